//! Any protocol.

use std::io;

use crate::Protocol;

/// Any protocol: whatever the client sends at once is a request.
#[derive(Debug)]
pub enum Tcp {}

impl Protocol for Tcp {
    type Request = ();
    type State = ();

    fn request((): &mut (), bytes: &[u8]) -> io::Result<Option<(usize, ())>> {
        Ok((!bytes.is_empty()).then_some((bytes.len(), ())))
    }
}
