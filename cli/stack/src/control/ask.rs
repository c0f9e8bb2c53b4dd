//! The client that asks and waits for one answer.
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::protocol::{Answer, Request, UNHEARD, WORKING_EVERY, socket_of_running};
use crate::home::Home;
use crate::state::State;

/// A supervisor says every second that it is at work: one that is silent for so long doesn't run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the supervisor of this home and waits for its answer, which may take as long as a part takes to start.
pub fn ask(home: &Home, request: &Request) -> Result<String> {
    ask_telling(home, request, |_| ())
}

/// The same, and tells what it waits for: once the wait is long, and as often as that changes.
pub fn ask_telling(home: &Home, request: &Request, mut tell: impl FnMut(&str)) -> Result<String> {
    let (_folder, path) = socket_of_running(home)?;
    let begun = Instant::now();
    let mut stream = UnixStream::connect(path).context(UNHEARD)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.line()?.as_bytes()).context(UNHEARD)?;
    let mut answers = BufReader::new(stream);
    let mut told = String::new();
    loop {
        let mut line = String::new();
        match answers.read_line(&mut line) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("{}", silent(home));
            }
            read => read.context(UNHEARD)?,
        };
        match Answer::parse(&line)? {
            Answer::Working(what) => {
                if begun.elapsed() >= WORKING_EVERY && what != told {
                    tell(&what);
                    told = what;
                }
            }
            answer => return answer.outcome(),
        }
    }
}

/// Who doesn't answer, and the way out.
fn silent(home: &Home) -> String {
    let pid = State::load(home).ok().flatten().map(|state| state.supervisor.pid.to_string());
    let pid = pid.unwrap_or_else(|| "unknown".to_owned());
    let seconds = PATIENCE.as_secs();
    format!(
        "the supervisor (pid {pid}) has said nothing for {seconds} s. `kill -CONT {pid}` continues one that was stopped; \
         after `kill -KILL {pid}` `{}` stops what it leaves",
        home.command("down")
    )
}
