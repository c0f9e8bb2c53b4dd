//! The [HTTP binding](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md),
//! binary mode.

use std::fmt::Write as _;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderName, HeaderValue};
use towpath_wire::headers;

use super::{Event, SPECVERSION};

impl Event {
    /// Puts its attributes and its trace context into the headers of a request, whose body is then `self.data`.
    pub fn write_http(&self, to: &mut HeaderMap) {
        put(to, headers::CE_SPECVERSION, SPECVERSION);
        put(to, headers::CE_ID, &self.id);
        put(to, headers::CE_SOURCE, &self.source);
        put(to, headers::CE_TYPE, &self.kind);
        for (name, value) in &self.attributes {
            put(to, &format!("ce-{name}"), value);
        }
        if let Some(media) = self.content_type.as_deref().and_then(|media| HeaderValue::from_str(media).ok()) {
            to.insert(CONTENT_TYPE, media);
        }
        if let Some(trace) = &self.trace {
            trace.write(to);
        }
    }
}

/// Puts any text or bytes into a header, percent-encoded where need be.
pub fn put(to: &mut HeaderMap, name: &str, value: impl AsRef<[u8]>) {
    let encoded = encode(value.as_ref());
    // Neither fails: an attribute's name is lower case ASCII, and `encode` leaves only visible ASCII.
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&encoded)) {
        to.insert(name, value);
    }
}

/// Section 3.1.3.2: space, double quote, percent and everything outside of visible ASCII is percent-encoded, byte for
/// byte in UTF-8.
#[must_use]
pub fn encode(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    for &byte in value {
        if (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%' {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
