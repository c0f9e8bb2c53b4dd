//! The [Kafka binding](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md).

use bytes::Bytes;
use rdkafka::message::{Header, OwnedHeaders};

use super::{Event, Malformed, Parts, SPECVERSION, is_attribute_name, structured};
use crate::kafka::RecordHeader;
use crate::telemetry::TraceContext;

const CONTENT_TYPE: &str = "content-type";
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// What a record's headers say of an event with JSON data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    /// `id`
    pub(crate) id: &'a str,
    /// `source`
    pub(crate) source: &'a str,
    /// `type`
    pub(crate) kind: &'a str,
    /// `subject`
    pub(crate) subject: Option<&'a str>,
    /// `time`, RFC 3339
    pub(crate) time: &'a str,
    /// Where it stands in a trace.
    pub(crate) trace: Option<&'a TraceContext>,
}

impl Attributes<'_> {
    /// The headers of its record, in binary mode. The trace context stands there twice: as the transport's
    /// (`traceparent`), for those who trace Kafka, and as the event's own (`ce_traceparent`, the distributed tracing
    /// extension), for those who carry the event on.
    #[must_use]
    pub(crate) fn headers(&self) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new_with_capacity(11);
        headers = with(headers, "ce_specversion", SPECVERSION);
        headers = with(headers, "ce_id", self.id);
        headers = with(headers, "ce_source", self.source);
        headers = with(headers, "ce_type", self.kind);
        if let Some(subject) = self.subject {
            headers = with(headers, "ce_subject", subject);
        }
        headers = with(headers, "ce_time", self.time);
        headers = with(headers, CONTENT_TYPE, "application/json");
        if let Some(trace) = self.trace {
            headers = with(headers, TRACEPARENT, &trace.traceparent);
            headers = with(headers, "ce_traceparent", &trace.traceparent);
            if let Some(state) = &trace.tracestate {
                headers = with(headers, TRACESTATE, state);
                headers = with(headers, "ce_tracestate", state);
            }
        }
        headers
    }
}

fn with(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

/// Reads a record's value as an event, in either mode.
///
/// # Errors
/// Where it isn't one.
pub fn read(headers: &[RecordHeader], value: Option<Bytes>) -> Result<Event, Malformed> {
    let content_type = match text(headers, |name| name.eq_ignore_ascii_case(CONTENT_TYPE)) {
        None => None,
        Some(media) => Some(media.map_err(|()| Malformed::Attribute("datacontenttype".into(), "UTF-8"))?),
    };
    let parts = match content_type {
        Some(media) if is_cloudevents(media) => structured::read(media, value.unwrap_or_default())?,
        media => binary(headers, media, value.unwrap_or_default())?,
    };
    parts.event(trace(headers))
}

fn binary(headers: &[RecordHeader], media: Option<&str>, data: Bytes) -> Result<Parts, Malformed> {
    let mut parts = Parts { content_type: media.map(str::to_owned), data, ..Parts::default() };
    for (name, value) in headers {
        let Some(name) = name.strip_prefix("ce_").filter(|name| is_attribute_name(name)) else { continue };
        let Some(value) = value else { continue };
        let value = std::str::from_utf8(value).map_err(|_| Malformed::Attribute(name.into(), "UTF-8"))?;
        // If a header is there twice, the first counts.
        parts.attributes.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    Ok(parts)
}

fn is_cloudevents(media: &str) -> bool {
    media.get(..23).is_some_and(|start| start.eq_ignore_ascii_case("application/cloudevents"))
}

fn trace(headers: &[RecordHeader]) -> Option<TraceContext> {
    let state = text(headers, |name| name == TRACESTATE).and_then(Result::ok);
    TraceContext::new(text(headers, |name| name == TRACEPARENT)?.ok()?, state)
}

fn text(headers: &[RecordHeader], wanted: impl Fn(&str) -> bool) -> Option<Result<&str, ()>> {
    let (_, value) = headers.iter().find(|(name, value)| value.is_some() && wanted(name))?;
    value.as_deref().map(|bytes| std::str::from_utf8(bytes).map_err(|_| ()))
}
