//! The headers that a dead letter has beside those of the event.

/// What the names of all of them start with.
pub(crate) const PREFIX: &str = "towpath-dlq-";

/// Why: one of [`Reason`](super::Reason).
pub const REASON: &str = "towpath-dlq-reason";
/// What the component said last, or what is wrong with the event.
pub const DETAIL: &str = "towpath-dlq-detail";
/// How often it was delivered.
pub const ATTEMPTS: &str = "towpath-dlq-attempts";
/// The status of the last answer; absent where there was none.
pub const STATUS: &str = "towpath-dlq-status";
/// The service that didn't take it.
pub const SERVICE: &str = "towpath-dlq-service";
/// The topic that it came from.
pub const TOPIC: &str = "towpath-dlq-topic";
/// The partition that it came from.
pub const PARTITION: &str = "towpath-dlq-partition";
/// The offset that it had there.
pub const OFFSET: &str = "towpath-dlq-offset";
/// When it was given up, RFC 3339.
pub const TIME: &str = "towpath-dlq-time";
/// How often it had been replayed before.
pub const REPLAYS: &str = "towpath-dlq-replays";
/// Where the whole record stands, as `topic/partition/offset`. Only where the letter refers to its record instead of holding
/// it: it was too large. The letter then has no data, the key only if it is short, and as many of the event's headers as fit.
pub const RECORD: &str = "towpath-dlq-record";
/// How many bytes key, headers and data of that record have.
pub const BYTES: &str = "towpath-dlq-bytes";
