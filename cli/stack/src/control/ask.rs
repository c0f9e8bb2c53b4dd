//! The client that asks and waits for one answer.
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};

use super::protocol::{Answer, Request, UNHEARD, socket_of_running};
use crate::home::Home;

/// Asks the supervisor of this home and waits for its answer, which may take as long as a part takes to start.
pub fn ask(home: &Home, request: &Request) -> Result<String> {
    let (_folder, path) = socket_of_running(home)?;
    let mut stream = UnixStream::connect(path).context(UNHEARD)?;
    stream.write_all(request.line()?.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Answer::read(&answer)
}
