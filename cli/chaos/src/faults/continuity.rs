//! What must go on while replicas come and go: no event waits longer than a lease, and a timer is called once when it is
//! due.
//!
//! Both are read in the databases, which outlive every relay. An event waits from its transaction in the outbox to the
//! transaction that handles it, so the delay holds whatever stands between: the publisher, Kafka, the consumer group, the
//! lane. `order.placed` is looked at, for there is one for every order, inventory handles each of them, and their
//! keys fall into every shard and every partition.
//!
//! A timer's row counts the turns that were taken (`fence`). A turn ends with the next time on the schedule, or with its
//! relay; so there are no more turns than times that have passed and relays that have stopped.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::fault::Struck;
use crate::service::Service;
use crate::stage::Stage;

/// `limits.lease_ms`, and what a takeover needs beside the wait for it: the rebalance, and the events that piled up.
const MAX_DELAY: Duration = Duration::from_secs(10 + 5);
const LOOK: Duration = Duration::from_millis(500);

const NOW: &str = "SELECT extract(epoch FROM clock_timestamp())::float8";
const SAID: &str = "
    SELECT source || '#' || id, extract(epoch FROM created_at)::float8 FROM towpath.outbox
    WHERE topic = 'order.events' AND type = 'order.placed' AND created_at BETWEEN to_timestamp($1) AND to_timestamp($2)";
const HANDLED: &str = "
    SELECT event_id, extract(epoch FROM handled_at)::float8 FROM towpath.inbox
    WHERE handled_at >= to_timestamp($1) AND event_id = ANY ($2)";
const TURNS: &str = "
    SELECT fence, extract(epoch FROM next_due)::float8 FROM towpath.timer WHERE name = 'expire-orders'";
/// `every_ms` of that timer in relay.toml.
const EVERY_S: f64 = 5.0;

/// Watches from its beginning to its end.
pub(super) struct Continuity {
    since: f64,
    turns: Option<Turns>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Turns {
    fence: i64,
    next_due: f64,
}

impl Continuity {
    pub(super) async fn begin(stage: &Stage) -> Result<Self> {
        let since = stage.database(Service::Order).await?.query_one(NOW, &[]).await?.get(0);
        Ok(Self { since, turns: turns(stage).await? })
    }

    /// Adds to the fault what was seen. `restarts`: how many relays stopped meanwhile.
    pub(super) async fn end(self, stage: &Stage, restarts: i64, struck: &mut Struck) -> Result<()> {
        let delays = self.delays(stage).await?;
        let longest = delays.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((event, seconds)) = longest {
            struck.note += &format!("; of {} events the slowest took {seconds:.1} s to be handled", delays.len());
            let late = delays.iter().filter(|(_, delay)| *delay > MAX_DELAY.as_secs_f64()).count();
            if late > 0 {
                let most = MAX_DELAY.as_secs();
                struck.broken.push(format!(
                    "{late} events waited longer than a lease and a moment ({most} s): {event} for {seconds:.1} s"
                ));
            }
        }
        if let (Some(before), Some(after)) = (self.turns, turns(stage).await?) {
            struck.broken.extend(doubled(before, after, restarts));
        }
        Ok(())
    }

    /// How long each event waited that was said since the beginning, in seconds; at least so long where it still waits.
    async fn delays(&self, stage: &Stage) -> Result<Vec<(String, f64)>> {
        let order = stage.database(Service::Order).await?;
        let inventory = stage.database(Service::Inventory).await?;
        let until: f64 = order.query_one(NOW, &[]).await?.get(0);
        let said = order.query(SAID, &[&self.since, &until]).await?;
        let said: BTreeMap<String, f64> = said.iter().map(|row| (row.get(0), row.get(1))).collect();
        let ids: Vec<&String> = said.keys().collect();
        let begun = Instant::now();
        loop {
            let handled = inventory.query(HANDLED, &[&self.since, &ids]).await?;
            let handled: BTreeMap<String, f64> = handled.iter().map(|row| (row.get(0), row.get(1))).collect();
            let now: f64 = order.query_one(NOW, &[]).await?.get(0);
            if handled.len() == said.len() || begun.elapsed() > MAX_DELAY + LOOK {
                let waited = |(id, at): (String, f64)| {
                    let delay = handled.get(&id).unwrap_or(&now) - at;
                    (id, delay)
                };
                return Ok(said.into_iter().map(waited).collect());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn turns(stage: &Stage) -> Result<Option<Turns>> {
    let row = stage.database(Service::Order).await?.query_opt(TURNS, &[]).await?;
    Ok(row.map(|row| Turns { fence: row.get(0), next_due: row.get(1) }))
}

/// Says so where a timer was called more often than it was due.
fn doubled(before: Turns, after: Turns, restarts: i64) -> Option<String> {
    let taken = after.fence - before.fence;
    let due = ((after.next_due - before.next_due) / EVERY_S).round() as i64;
    // One turn may be under way at the end.
    let most = due + restarts + 1;
    (taken > most).then(|| {
        format!(
            "the timer expire-orders was called {taken} times: it was due {due} times, and {restarts} relays stopped"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_is_called_more_often_than_it_is_due_is_found_out() {
        let turns = |fence, next_due| Turns { fence, next_due };
        assert_eq!(doubled(turns(5, 100.0), turns(5, 100.0), 0), None);
        assert_eq!(doubled(turns(5, 100.0), turns(8, 115.0), 0), None);
        assert_eq!(doubled(turns(5, 100.0), turns(9, 115.0), 0), None, "one is under way");
        assert_eq!(doubled(turns(5, 100.0), turns(10, 115.0), 1), None, "one died with its relay");
        assert!(doubled(turns(5, 100.0), turns(10, 115.0), 0).is_some());
    }
}
