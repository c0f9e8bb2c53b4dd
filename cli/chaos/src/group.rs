//! The groups of faults, as `chaos --list` shows them: each fault belongs to one.

/// A group of faults of one kind. docs/promises.md names the faults that test each promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Group {
    /// SIGKILL of a part.
    Kill,
    /// SIGSTOP of a part for some seconds.
    Stall,
    /// One of two pairs of host and relay goes and comes back, by force or gracefully.
    Replicas,
    /// A connection is cut at a chosen moment.
    Cut,
    /// Kafka away for long.
    KafkaAway,
    /// The payment provider fails.
    Provider,
    /// A customer or a bank takes its time, or never comes back, and webhooks come as they like.
    Bank,
    /// Redis forgets everything.
    RedisEmptied,
    /// A component fails on one event.
    Component,
    /// Partitions added, the consumer groups rebalanced.
    Partitions,
    /// PostgreSQL ends all connections, or another session holds a lock.
    Postgres,
    /// A database's clock is hours ahead for a while.
    Clock,
}

impl Group {
    /// As `--faults` and the report name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stall => "stall",
            Self::Replicas => "replicas",
            Self::Cut => "cut",
            Self::KafkaAway => "kafka-away",
            Self::Provider => "provider",
            Self::Bank => "bank",
            Self::RedisEmptied => "redis-emptied",
            Self::Component => "component",
            Self::Partitions => "partitions",
            Self::Postgres => "postgres",
            Self::Clock => "clock",
        }
    }

    /// Whether its faults break lines.
    pub(crate) fn needs_lines(self) -> bool {
        matches!(self, Self::Cut | Self::KafkaAway | Self::Component)
    }
}
