//! What a proxy must know of a protocol: where a request ends.

use std::io;

/// The two ports of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Where clients connect to.
    pub proxy: u16,
    /// Where the server listens.
    pub server: u16,
}

/// How a proxy finds requests in a stream.
pub trait Protocol: Send + Sync + 'static {
    /// What a rule sees of a request.
    type Request: Send;

    /// What must be remembered of a connection.
    type State: Default + Send;

    /// The first whole request in what a client has sent: how many bytes it has, and what a rule sees of it. `None`
    /// while a part of it is missing.
    ///
    /// # Errors
    /// Where it isn't this protocol. The connection is cut then.
    fn request(state: &mut Self::State, bytes: &[u8]) -> io::Result<Option<(usize, Self::Request)>>;

    /// How many of these bytes of the server may go to the client now. May change them; what stays behind is shown again
    /// with what follows it.
    ///
    /// # Errors
    /// Where it isn't this protocol. The connection is cut then.
    fn answer(bytes: &mut [u8], _ports: Ports) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

/// The error for a stream that isn't what it should be.
pub(crate) fn malformed(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// No message to PostgreSQL or Kafka is longer here. A length beyond this means another protocol.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// Four bytes as a length that counts at least `least`; `None` where they aren't all there.
pub(crate) fn length(bytes: &[u8], least: usize) -> io::Result<Option<usize>> {
    let Some(bytes) = bytes.first_chunk() else { return Ok(None) };
    match usize::try_from(i32::from_be_bytes(*bytes)) {
        Ok(length) if (least..=MAX_MESSAGE_BYTES).contains(&length) => Ok(Some(length)),
        _ => Err(malformed("a length that can't be")),
    }
}
