//! Contexts of clients that hear more than the log takes.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::client::Log;
use super::statistics::Statistics;

/// What somebody hears of a client beside the log. The client's own thread, or the one that polls it, tells.
pub(crate) trait Listener: Send + Sync + 'static {
    /// An error of the client or of a connection, with what librdkafka says of it.
    fn error(&self, _error: &KafkaError, _reason: &str) {}

    /// How far the client is, where `statistics.interval.ms` is set.
    fn statistics(&self, _told: Statistics) {}
}

/// A client's context: the log gets what it gets of every client, the listener the rest.
#[derive(Debug)]
pub(crate) struct LogAnd<L> {
    pub(crate) log: Log,
    pub(crate) listener: L,
}

impl<L: Listener> ClientContext for LogAnd<L> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(&error, reason);
        self.log.error(error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(told) = Statistics::read(statistics) {
            self.listener.statistics(told);
        }
    }
}
