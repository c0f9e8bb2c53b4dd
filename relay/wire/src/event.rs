//! Events, and the headers of deliveries.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An event to publish, with data of the type `V`: a [CloudEvents 1.0] event with JSON data. The relay adds `source` (`/<service>`), `time` (now), the
/// trace context, and an `id` (a UUIDv7) if there is none.
///
/// ```
/// use towpath_wire::Event;
///
/// let event: Event = serde_json::from_str(r#"{"topic": "parcel.events", "key": "P-1", "type": "parcel.sent"}"#)?;
/// assert_eq!((event.kind.as_str(), event.id), ("parcel.sent", None));
/// # Ok::<_, serde_json::Error>(())
/// ```
///
/// [CloudEvents 1.0]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventOf<V> {
    /// The topic. relay.toml names those that the service may publish to.
    pub topic: String,
    /// The key: events with the same key reach every subscriber in commit order. 1 to 255 bytes.
    pub key: String,
    /// CloudEvents `type`, such as `thing.created`.
    #[serde(rename = "type")]
    pub kind: String,
    /// CloudEvents `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// CloudEvents `subject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The data, published as `application/json`.
    #[serde(default)]
    pub data: V,
}

/// An event whose data is at hand as JSON.
pub type Event = EventOf<Value>;

/// Names of HTTP headers between the relay and components, lower case.
///
/// Deliveries use the [HTTP binding of CloudEvents](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md)
/// in binary mode.
pub mod headers {
    /// W3C trace context, version 00. A receiver of both prefers it over `traceparent`, which Spin replaces on outbound
    /// calls when its own tracing is on.
    pub const TOWPATH_TRACEPARENT: &str = "towpath-traceparent";
    /// W3C trace context under its standard name.
    pub const TRACEPARENT: &str = "traceparent";
    /// W3C trace state.
    pub const TRACESTATE: &str = "tracestate";
    /// How many deliveries of this event came before this one, as a decimal number; absent on the first delivery.
    pub const DELIVERY_ATTEMPT: &str = "towpath-delivery-attempt";
    /// The Kafka key of the delivered event.
    pub const EVENT_KEY: &str = "towpath-event-key";
    /// The Kafka topic of the delivered event.
    pub const EVENT_TOPIC: &str = "towpath-event-topic";
    /// The name of the timer, on a timer's call.
    pub const TIMER: &str = "towpath-timer";
    /// When the timer was due, RFC 3339, on a timer's call.
    pub const TIMER_DUE: &str = "towpath-timer-due";
    /// CloudEvents `id`.
    pub const CE_ID: &str = "ce-id";
    /// CloudEvents `source`.
    pub const CE_SOURCE: &str = "ce-source";
    /// CloudEvents `specversion`: `1.0`.
    pub const CE_SPECVERSION: &str = "ce-specversion";
    /// CloudEvents `type`.
    pub const CE_TYPE: &str = "ce-type";
    /// CloudEvents `time`.
    pub const CE_TIME: &str = "ce-time";
}
