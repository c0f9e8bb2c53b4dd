//! The [HTTP binding](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md),
//! binary mode.

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderValue};
use towpath_wire::headers;

use super::{Event, SPECVERSION};
use crate::component::{encoded_bytes, put};

pub use crate::component::encode;

impl Event {
    /// What its attributes take in the head of a request, roughly.
    pub(crate) fn head_bytes(&self) -> usize {
        let header = |name: &str, value: &str| "ce-: \r\n".len() + name.len() + encoded_bytes(value.as_bytes());
        let named = [("id", &self.id), ("source", &self.source), ("type", &self.kind)];
        let named: usize = named.iter().map(|(name, value)| header(name, value)).sum();
        let others: usize = self.attributes.iter().map(|(name, value)| header(name, value)).sum();
        named + others + self.content_type.as_ref().map_or(0, String::len)
    }

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
