//! Any text in the headers of a call, as the
//! [HTTP binding of CloudEvents](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md)
//! encodes it.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Puts any text or bytes into a header, percent-encoded where need be.
pub(crate) fn put(to: &mut HeaderMap, name: &str, value: impl AsRef<[u8]>) {
    let encoded = encode(value.as_ref());
    // Neither fails: an attribute's name is lower case ASCII, and `encode` leaves only visible ASCII.
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&encoded)) {
        // It has room for more headers than `delivery` lets through.
        let _ = to.try_insert(name, value);
    }
}

/// How many bytes a value has once it is [encoded](encode).
#[must_use]
pub(crate) fn encoded_bytes(value: &[u8]) -> usize {
    value.iter().map(|&byte| if stays(byte) { 1 } else { 3 }).sum()
}

fn stays(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%'
}

/// Section 3.1.3.2: space, double quote, percent and everything outside of visible ASCII is percent-encoded, byte for
/// byte in UTF-8.
#[must_use]
pub fn encode(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    for &byte in value {
        if stays(byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_length_is_known_before(value in any::<Vec<u8>>()) {
            prop_assert_eq!(encoded_bytes(&value), encode(&value).len());
        }
    }
}
