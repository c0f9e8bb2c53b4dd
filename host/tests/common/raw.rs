//! HTTP/1 byte by byte, for clients that no library would be.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::PATIENCE;

pub fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What the host says until it hangs up.
pub fn rest(mut stream: &TcpStream) -> String {
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer).map_err(|error| error.kind());
    assert_ne!(ended, Err(ErrorKind::WouldBlock), "the host does not hang up");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends `request` and reads until the host hangs up, which it may do before it has read all.
pub fn exchange(address: &str, request: impl AsRef<[u8]>) -> String {
    let stream = connect(address);
    let _ = (&stream).write_all(request.as_ref());
    rest(&stream)
}

/// The same, and closes the own side after the request.
pub fn exchange_and_close(address: &str, request: impl AsRef<[u8]>) -> String {
    let stream = connect(address);
    let _ = (&stream).write_all(request.as_ref());
    let _ = stream.shutdown(Shutdown::Write);
    rest(&stream)
}
