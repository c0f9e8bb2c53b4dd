//! The others: clients who go on asking while strangers attack, and what they see.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use tokio::task::JoinSet;
use towpath_client::Client;

/// Between two requests of one of them.
const EVERY: Duration = Duration::from_millis(50);
/// What they ask for: nothing but the edge, and all the way to a database.
const PATHS: &[&str] = &["/healthz", "/v1/products?limit=1", "/v1/orders/01890a5d-ac96-774b-bcce-b302099a8057"];
/// The status of each.
const STATUSES: &[u16] = &[200, 200, 404];
/// Within this time they must have their answers, also where they were refused first.
const IN_TIME: Duration = Duration::from_secs(1);

/// One request of theirs.
#[derive(Clone, Copy, Debug)]
struct Seen {
    begun: Instant,
    took: Duration,
    served: bool,
    /// How late this program was itself in that time: it says nothing about the stack.
    own: Duration,
}

/// They come until this is dropped.
pub(super) struct Others {
    seen: Arc<Mutex<Vec<Seen>>>,
    _clients: JoinSet<()>,
}

/// What they saw in a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Sight {
    pub(super) requests: usize,
    /// Answered as they should be, within a second.
    pub(super) in_time: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Others {
    pub(super) fn begin(url: &str) -> Result<Self> {
        let (seen, mut clients) = (Arc::<Mutex<Vec<Seen>>>::default(), JoinSet::new());
        for (path, status) in PATHS.iter().zip(STATUSES) {
            let (client, seen) = (Client::new(url)?, Arc::clone(&seen));
            clients.spawn(async move {
                loop {
                    let slept = Instant::now();
                    tokio::time::sleep(EVERY).await;
                    let own = slept.elapsed().saturating_sub(EVERY);
                    let begun = Instant::now();
                    let served = loop {
                        match client.get(path).send().await {
                            Ok(answer) if answer.status() == *status => break true,
                            // Who is refused for want of room comes back, as long as there is time.
                            Ok(answer) if answer.status() == 503 && begun.elapsed() < IN_TIME => {}
                            _ => break false,
                        }
                        tokio::time::sleep(EVERY).await;
                    };
                    let one = Seen { begun, took: begun.elapsed(), served, own };
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            });
        }
        Ok(Self { seen, _clients: clients })
    }

    /// What they saw of the requests that began since then and have ended.
    pub(super) fn since(&self, since: Instant) -> Sight {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Sight::of(seen.iter().filter(|one| one.begun >= since))
    }
}

impl Sight {
    fn of<'a>(seen: impl Iterator<Item = &'a Seen>) -> Self {
        let (mut times, mut in_time) = (Vec::new(), 0);
        for one in seen {
            let took = one.took.saturating_sub(one.own);
            in_time += usize::from(one.served && took <= IN_TIME);
            times.push(took);
        }
        times.sort_unstable();
        let at = |share: f64| {
            let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        Self { requests: times.len(), in_time, p50_ms: at(0.5), p99_ms: at(0.99) }
    }

    /// Whether everybody was served in time, and there was somebody.
    pub(super) fn is_served(&self) -> bool {
        self.requests > 0 && self.in_time == self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_and_wrong_answers_count_against_the_stack_and_own_lateness_does_not() {
        let seen = |took_ms, served, own_ms| Seen {
            begun: Instant::now(),
            took: Duration::from_millis(took_ms),
            served,
            own: Duration::from_millis(own_ms),
        };
        let sight = |seen: &[Seen]| Sight::of(seen.iter());
        assert!(sight(&[seen(5, true, 0), seen(1_000, true, 0), seen(1_200, true, 300)]).is_served());
        for wrong in [seen(1_001, true, 0), seen(5, false, 0)] {
            let sight = sight(&[seen(5, true, 0), wrong]);
            assert_eq!((sight.requests, sight.in_time, sight.is_served()), (2, 1, false));
        }
        assert!(!sight(&[]).is_served(), "nobody was answered");
        assert_eq!(sight(&[seen(1, true, 0), seen(2, true, 0), seen(9, true, 0)]).p99_ms, 9.0);
    }
}
