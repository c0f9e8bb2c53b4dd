//! Any protocol.

use std::io;

use bytes::Bytes;

use crate::Protocol;

/// Any protocol: whatever the client sends at once is a request.
#[derive(Debug)]
pub enum Tcp {}

impl Protocol for Tcp {
    /// What was sent.
    type Request = Bytes;
    type State = ();

    fn request((): &mut (), bytes: &[u8]) -> io::Result<Option<(usize, Bytes)>> {
        Ok((!bytes.is_empty()).then(|| (bytes.len(), Bytes::copy_from_slice(bytes))))
    }
}
