//! How commands talk to the supervisor: a line of JSON, and lines that answer it, over a unix socket in the home's `run` folder,
//! which only this user can enter. The supervisor ends a detour when its connection ends, so that no detour outlives the program
//! that asked for it.
mod ask;
mod detour;
mod protocol;

pub use self::ask::{ask, ask_telling};
pub use self::detour::{Detour, detour};
pub use self::protocol::{Answer, Environments, MAX_REQUEST_BYTES, Request, WORKING_EVERY, socket};
