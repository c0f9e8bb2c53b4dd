//! What the relay accepts as a key or an id.

use crate::config::Limits;
use crate::failure::{Failure, Result};

/// Bytes of an event id, an event's key, type and subject, an idempotency key and a request hash: what the relay's
/// tables hold.
pub(crate) const MAX_ID_BYTES: usize = 255;

/// Refuses a cache key, rate limit key, wake-up key or cache tag that is empty or longer than `limits.key_bytes`.
///
/// # Errors
/// `malformed_request` or `limit_exceeded`.
pub(crate) fn check_key(limits: &Limits, what: &str, key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(Failure::malformed(format!("{what} is empty")));
    }
    if key.len() > limits.key_bytes {
        let detail = format_args!("{what} has {} bytes", key.len());
        return Err(Failure::limit("key_bytes", limits.key_bytes, detail));
    }
    Ok(())
}

/// Refuses an id that has not 1 to 255 bytes, or that PostgreSQL could not store.
///
/// # Errors
/// `malformed_request`.
pub(crate) fn check_id(what: &str, id: &str) -> Result<()> {
    if !(1..=MAX_ID_BYTES).contains(&id.len()) {
        let bytes = id.len();
        return Err(Failure::malformed(format!("{what} must have 1 to {MAX_ID_BYTES} bytes, and has {bytes}")));
    }
    if id.contains('\0') { Err(Failure::malformed(format!("{what} holds U+0000"))) } else { Ok(()) }
}
