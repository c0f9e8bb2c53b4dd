//! Kafka can't be reached for long, though it runs: longer than anything in the relay waits for it.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use rand::rngs::StdRng;

use crate::fault::{Fault, Struck};
use crate::group::Group;
use crate::stage::Stage;

/// Longer than a transaction in Kafka may stay open, and than a session of a consumer.
const AWAY: Duration = Duration::from_secs(60);
/// Publishers and consumers have found back by then.
const AFTERWARDS: Duration = Duration::from_secs(15);

/// The line to Kafka is cut for all relays. No client that places an order may notice: the order is taken, and goes on afterwards.
pub(super) struct KafkaAway;

impl Fault for KafkaAway {
    fn name(&self) -> String {
        "kafka-away".to_owned()
    }

    fn group(&self) -> Group {
        Group::KafkaAway
    }

    fn about(&self) -> String {
        format!("no relay reaches Kafka for {} s", AWAY.as_secs())
    }

    fn duration(&self) -> Duration {
        AWAY + AFTERWARDS
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let kafka = &stage.lines()?.kafka;
            kafka.shut();
            tokio::time::sleep(AWAY).await;
            kafka.open();
            Ok(Struck::noted(format!("Kafka was away for {} s", AWAY.as_secs())))
        })
    }
}
