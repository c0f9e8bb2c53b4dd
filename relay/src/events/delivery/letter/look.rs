//! The watchdog's look at what writes a service's dead letters: is a letter acknowledged?
//!
//! What Kafka says of a letter is no standstill, whatever it is; that nothing is heard of one, while Kafka answers others, is.

use std::sync::Arc;
use std::time::Duration;

use crate::config::KafkaConfig;
use crate::kafka::{Outside, Renewed};
use crate::watchdog::{Look, Seen};

/// A letter that waits for this long is worth a question to Kafka.
const MAX_WAIT: Duration = Duration::from_secs(3);

pub(in crate::events::delivery) struct Eye {
    producer: Arc<Renewed>,
    outside: Outside,
    /// The topics of the letters.
    topics: Vec<String>,
}

impl Look for Eye {
    async fn look(&mut self) -> Seen {
        let Some(since) = self.producer.waits_since().filter(|since| since.elapsed() > MAX_WAIT) else {
            return Seen::Moves;
        };
        if self.outside.answers(self.topics.clone()).await.is_err() {
            return Seen::Waits;
        }
        let cause = format!("a dead letter has waited for {} s, and nothing is heard of it", since.elapsed().as_secs());
        Seen::Stands { since, cause }
    }
}

impl Eye {
    pub(in crate::events::delivery) fn new(
        producer: &Arc<Renewed>,
        kafka: &KafkaConfig,
        service: &str,
        topics: Vec<String>,
    ) -> Self {
        Self { producer: Arc::clone(producer), outside: Outside::new(kafka, service), topics }
    }
}
