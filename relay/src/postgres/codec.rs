//! Values: JSON to PostgreSQL and back, without loss.
//!
//! Parameters travel in PostgreSQL's text format under the type that the prepared statement names; each is checked
//! here first, so that a value that doesn't fit is refused with its number and the reason, and nothing is rounded or
//! cut silently. Results come in the binary format, which has every value exactly, and are written as JSON by the
//! table in `towpath_wire`.
//!
//! Parameters stay the text that came. JSON numbers keep their text (serde_json's `arbitrary_precision`), so that a `jsonb` with a number of forty digits
//! is the same number on the other side, and `1.10` stays `1.10`.

mod decode;
mod encode;
mod errors;
mod fit;
mod form;
mod json;
mod numeric;
#[cfg(test)]
mod tests;
mod time;

pub use encode::{TextParameter, encode};
pub use errors::Unfit;
pub use form::Form;

pub(crate) use decode::Decoder;
pub(crate) use errors::Undecodable;
pub(crate) use fit::Declared;
