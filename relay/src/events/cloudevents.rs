//! CloudEvents 1.0: their form in Kafka and in HTTP.
//!
//! The relay writes Kafka's [binary mode](kafka): attributes as `ce_*` headers, the data as the record's value. It reads that
//! mode and the structured one (`application/cloudevents+json`), since others may write to a topic too. Components get
//! [HTTP's binary mode](http) in both cases.
//!
//! No record may stop the relay: one that isn't an event is [`Malformed`], with a reason, and becomes a dead letter.

pub mod http;
pub mod kafka;
mod structured;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::telemetry::TraceContext;

/// The version that the relay reads and writes.
pub(crate) const SPECVERSION: &str = "1.0";

/// An event, whatever mode it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `id`
    pub id: String,
    /// `source`
    pub source: String,
    /// `type`
    pub kind: String,
    /// Every other attribute: `subject`, `time`, `dataschema` and extensions. Not `datacontenttype`.
    pub attributes: BTreeMap<String, String>,
    /// `datacontenttype`: the media type of the data.
    pub content_type: Option<String>,
    /// The data, byte for byte.
    pub data: Bytes,
    /// Where it stands in a trace.
    pub trace: Option<TraceContext>,
}

/// Why something isn't an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A required attribute is missing.
    #[error("the attribute {0} is missing")]
    Missing(&'static str),
    /// A version that the relay doesn't know.
    #[error("specversion is {0:?}; only 1.0 is supported")]
    Version(String),
    /// An attribute's value can't be read.
    #[error("the attribute {0} is not {1}")]
    Attribute(String, &'static str),
    /// A mode or format that the relay doesn't read.
    #[error("the content type {0:?} is not supported; use binary mode or application/cloudevents+json")]
    Format(String),
    /// The structured form isn't valid.
    #[error("not a CloudEvent in JSON: {0}")]
    Json(String),
}

/// The parts of an event while it is read.
#[derive(Debug, Default)]
struct Parts {
    attributes: BTreeMap<String, String>,
    content_type: Option<String>,
    data: Bytes,
}

impl Parts {
    fn event(mut self, trace: Option<TraceContext>) -> Result<Event, Malformed> {
        match self.attributes.remove("specversion") {
            Some(version) if version == SPECVERSION => {}
            Some(version) => return Err(Malformed::Version(version)),
            None => return Err(Malformed::Missing("specversion")),
        }
        let id = self.required("id")?;
        let source = self.required("source")?;
        let kind = self.required("type")?;
        if let Some(media) = &self.content_type
            && ::http::HeaderValue::from_str(media).is_err()
        {
            return Err(Malformed::Attribute("datacontenttype".into(), "a media type"));
        }
        let trace = trace.or_else(|| {
            let state = self.attributes.get("tracestate").map(String::as_str);
            TraceContext::new(self.attributes.get("traceparent")?, state)
        });
        let Self { attributes, content_type, data } = self;
        Ok(Event { id, source, kind, attributes, content_type, data, trace })
    }

    fn required(&mut self, name: &'static str) -> Result<String, Malformed> {
        self.attributes.remove(name).filter(|value| !value.is_empty()).ok_or(Malformed::Missing(name))
    }
}

/// Attribute names are lower case letters and digits. The relay leaves others out.
fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name != "data" && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}
