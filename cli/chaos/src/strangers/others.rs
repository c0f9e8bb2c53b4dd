//! The others: clients who go on asking while strangers attack, and what they see.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use towpath_client::Client;

use crate::machine::Machine;
use crate::record::{Record, Witness};
use crate::stage::Stage;

/// Between two requests of one of them.
const EVERY: Duration = Duration::from_millis(50);
/// What they ask for, and the status of each: nothing but the edge, and all the way to a database.
const PATHS: &[(&str, u16)] =
    &[("/healthz", 200), ("/v1/products?limit=1", 200), ("/v1/orders/01890a5d-ac96-774b-bcce-b302099a8057", 404)];
/// Within this time they must have their answers, also where they were refused first ...
const IN_TIME: Duration = Duration::from_secs(1);
/// ... or within so many times their slowest answer without an attack, where that is more: on a machine that others load too,
/// nobody is faster.
const TIMES_CALM: u32 = 4;
/// For so long they come back where they are refused for want of room, and whoever counts waits for their answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// One request of theirs.
#[derive(Clone, Copy, Debug)]
struct Seen {
    begun: Duration,
    took: Duration,
    served: bool,
}

#[derive(Debug, Default)]
struct Requests {
    ended: Vec<Seen>,
    /// When the one began that each of them waits for.
    under_way: [Option<Duration>; PATHS.len()],
}

/// They come until this is dropped.
pub(super) struct Others {
    record: Arc<Record>,
    requests: Arc<Mutex<Requests>>,
    in_time: Duration,
    _end: DropGuard,
}

/// What they saw in a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Sight {
    pub(super) requests: usize,
    /// Answered as they should be, and in time while the machine went on.
    pub(super) in_time: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) slowest_ms: f64,
    /// For how long the machine itself stood still: that says nothing about the stack.
    pub(super) standstill_ms: u64,
}

impl Others {
    /// They have a thread of their own, so that attackers in this program don't keep them waiting.
    ///
    /// # Errors
    /// Where there is no thread, or no file for the watch over the disk.
    pub(super) fn begin(stage: &Stage) -> Result<Self> {
        let (record, requests) = (Arc::new(Record::begin()), Arc::<Mutex<Requests>>::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let end = CancellationToken::new();
        let (machine, mut clients) = {
            let _inside = runtime.enter();
            (Machine::watch(&stage.home.data(), &record)?, JoinSet::new())
        };
        for (number, (path, status)) in PATHS.iter().enumerate() {
            let client = Client::new(&stage.urls[0])?;
            let (record, requests) = (Arc::clone(&record), Arc::clone(&requests));
            clients.spawn_on(
                async move {
                    loop {
                        tokio::time::sleep(EVERY).await;
                        let begun = record.now();
                        lock(&requests).under_way[number] = Some(begun);
                        let served = is_served(&client, path, *status).await;
                        let mut requests = lock(&requests);
                        requests.under_way[number] = None;
                        requests.ended.push(Seen { begun, took: record.now().saturating_sub(begun), served });
                    }
                },
                runtime.handle(),
            );
        }
        let over = end.clone();
        let come = move || {
            let _all = (machine, clients);
            runtime.block_on(over.cancelled());
        };
        thread::Builder::new().name("others".into()).spawn(come).context("the other clients have no thread")?;
        Ok(Self { record, requests, in_time: IN_TIME, _end: end.drop_guard() })
    }

    /// From now on, being served in time is measured against this too: what they saw without an attack.
    pub(super) fn are_calm(&mut self, calm: &Sight) {
        let slowest = Duration::from_secs_f64(calm.slowest_ms / 1000.0);
        self.in_time = (slowest * TIMES_CALM).clamp(IN_TIME, PATIENCE);
    }

    /// Within which time they must have their answers.
    pub(super) fn in_time(&self) -> Duration {
        self.in_time
    }

    /// How long they have been coming.
    pub(super) fn now(&self) -> Duration {
        self.record.now()
    }

    /// What they see from now on, for so long.
    pub(super) async fn see(&self, time: Duration) -> Sight {
        let since = self.now();
        tokio::time::sleep(time).await;
        self.saw(since).await
    }

    /// What they have seen since then. Waits for the answers to what they have asked for until now.
    pub(super) async fn saw(&self, since: Duration) -> Sight {
        let until = self.now();
        let of_that_time = |begun: Duration| begun >= since && begun < until;
        let is_asked = |requests: &Requests| requests.under_way.iter().flatten().copied().any(of_that_time);
        while is_asked(&lock(&self.requests)) && self.now() < until + PATIENCE {
            tokio::time::sleep(EVERY).await;
        }
        let now = self.now();
        let requests = lock(&self.requests);
        let unanswered = requests.under_way.iter().flatten();
        let unanswered =
            unanswered.map(|begun| Seen { begun: *begun, took: now.saturating_sub(*begun), served: false });
        let seen = requests.ended.iter().copied().chain(unanswered).filter(|one| of_that_time(one.begun));
        let witness = self.record.witness();
        let standstill = witness.lag_within(since, until);
        Sight::of(seen, self.in_time, &witness, standstill)
    }
}

fn lock(requests: &Mutex<Requests>) -> MutexGuard<'_, Requests> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a client got this status. Who is refused for want of room comes back.
async fn is_served(client: &Client, path: &str, status: u16) -> bool {
    let asked = async {
        loop {
            match client.get(path).send().await {
                Ok(answer) if answer.status() == 503 => {}
                answer => return answer.is_ok_and(|answer| answer.status() == status),
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or(false)
}

impl Sight {
    fn of(seen: impl Iterator<Item = Seen>, limit: Duration, witness: &Witness, standstill: Duration) -> Self {
        let (mut times, mut in_time) = (Vec::new(), 0);
        for one in seen {
            let late = witness.lag_within(one.begun, one.begun + one.took);
            in_time += usize::from(one.served && one.took <= limit + late);
            times.push(one.took);
        }
        times.sort_unstable();
        let at = |share: f64| {
            let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        let standstill_ms = u64::try_from(standstill.as_millis()).unwrap_or(u64::MAX);
        let (p50_ms, p99_ms, slowest_ms) = (at(0.5), at(0.99), at(1.0));
        Self { requests: times.len(), in_time, p50_ms, p99_ms, slowest_ms, standstill_ms }
    }

    /// Whether everybody was served in time, and there was somebody.
    pub(super) fn is_served(&self) -> bool {
        self.requests > 0 && self.in_time == self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Lag, Resource};

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn seen(begun_ms: u64, took_ms: u64, served: bool) -> Seen {
        Seen { begun: MS(begun_ms), took: MS(took_ms), served }
    }

    fn sight(seen: &[Seen], lags: &[Lag]) -> Sight {
        let witness = Witness { lags: lags.to_vec(), ..Witness::default() };
        Sight::of(seen.iter().copied(), IN_TIME, &witness, Duration::ZERO)
    }

    #[test]
    fn late_and_wrong_answers_count_against_the_stack() {
        assert!(sight(&[seen(0, 5, true), seen(0, 1_000, true)], &[]).is_served());
        for wrong in [seen(0, 1_001, true), seen(0, 5, false)] {
            let sight = sight(&[seen(0, 5, true), wrong], &[]);
            assert_eq!((sight.requests, sight.in_time, sight.is_served()), (2, 1, false));
        }
        assert!(!sight(&[], &[]).is_served(), "nobody was answered");
        assert_eq!(sight(&[seen(0, 1, true), seen(0, 2, true), seen(0, 9, true)], &[]).p99_ms, 9.0);
    }

    #[test]
    fn the_machines_own_standstill_does_not_count() {
        let late = seen(10_000, 1_200, true);
        let lag = |at_ms| [Lag { of: Resource::Processor, at: MS(at_ms), late: MS(300) }];
        assert!(sight(&[late], &lag(10_900)).is_served());
        assert!(!sight(&[late], &lag(9_000)).is_served(), "it was before");
        assert!(!sight(&[seen(10_000, 1_200, false)], &lag(10_900)).is_served(), "a wrong answer stays one");
    }
}
