//! The other commands' end.
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};

use super::{Answer, Request, socket};
use crate::home::Home;

/// Asks the supervisor of this home and waits for its answer, which may take as long as a part takes to start.
pub(crate) fn ask(home: &Home, request: &Request) -> Result<String> {
    if !home.is_held()? {
        bail!("no stack runs under {}: start it with `towpath up`", home.path().display());
    }
    let (_folder, path) = socket(home)?;
    let unheard = "the supervisor doesn't listen yet or any more: try again in a moment";
    let mut stream = UnixStream::connect(path).context(unheard)?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match serde_json::from_str(&answer).context("the supervisor ended before it answered")? {
        Answer::Done(text) => Ok(text),
        Answer::Failed(text) => bail!(text),
    }
}
