//! What must be read while the run goes on: a killed relay loses its counters, and a fence that went backwards may be right
//! again at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Fence, tables};
use crate::service::Service;
use crate::stage::Stage;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// How long a relay or a database that is away may hold a look up.
const PATIENCE: Duration = Duration::from_millis(900);

/// Duplicates: deliveries of events whose unit of work had committed already.
pub(crate) const DUPLICATES: &str = "duplicate events";

/// What is counted: by which name, in which metric, with which label. All services and relays are summed up.
const COUNTED: [(&str, &str, &str); 10] = [
    ("events delivered", "towpath_relay_deliveries_total", "result=\"accepted\""),
    (DUPLICATES, "towpath_relay_duplicates_total", "found_by=\"inbox\""),
    ("deliveries held back", "towpath_relay_deliveries_total", "result=\"held_back\""),
    ("events published", "towpath_relay_outbox_published_total", ""),
    ("batches not published", "towpath_relay_outbox_failures_total", ""),
    ("publishers taken over", "towpath_relay_outbox_takeovers_total", ""),
    ("rebalances", "towpath_relay_rebalances_total", ""),
    ("units of work repeated", "towpath_relay_units_repeated_total", ""),
    ("commits in doubt", "towpath_relay_commits_in_doubt_total", ""),
    ("commits that stayed unknown", "towpath_relay_commits_in_doubt_total", "outcome=\"unknown\""),
];

/// What the relays counted, over their deaths. A relay that was killed takes with it what it counted since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Counters(pub(crate) BTreeMap<&'static str, u64>);

/// What was seen on the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) counters: Counters,
    /// How many fence numbers were looked at.
    pub(crate) fences: usize,
    /// Those that went backwards, with what they had been.
    pub(crate) backwards: Vec<(Fence, i64)>,
}

/// A watch that goes on until it is ended.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: CancellationToken,
    counters: tokio::task::JoinHandle<Counters>,
    fences: Vec<tokio::task::JoinHandle<Seen>>,
    tasks: TaskTracker,
}

impl Watch {
    /// Begins to look.
    pub(crate) fn begin(stage: Arc<Stage>) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let fences = Service::ALL.map(|service| tasks.spawn(watch_fences(Arc::clone(&stage), service, stop.clone())));
        let counters = tasks.spawn(watch_counters(stage, stop.clone()));
        Self { stop, counters, fences: fences.into(), tasks }
    }

    /// Looks a last time, and tells.
    pub(crate) async fn end(self) -> anyhow::Result<Seen> {
        self.stop.cancel();
        self.tasks.close();
        let mut seen = Seen { counters: self.counters.await?, ..Seen::default() };
        for fences in self.fences {
            let fences = fences.await?;
            seen.fences += fences.fences;
            seen.backwards.extend(fences.backwards);
        }
        Ok(seen)
    }
}

/// A counter over restarts: what is less than before began again at zero.
#[derive(Debug, Default)]
struct Odometer {
    last: u64,
    sum: u64,
}

impl Odometer {
    fn read(&mut self, now: u64) {
        self.sum += if now >= self.last { now - self.last } else { now };
        self.last = now;
    }
}

async fn watch_counters(stage: Arc<Stage>, stop: CancellationToken) -> Counters {
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap_or_default();
    let mut odometers: BTreeMap<(String, &'static str), Odometer> = BTreeMap::new();
    let mut known = BTreeSet::new();
    loop {
        let over = stop.is_cancelled();
        for relay in admins(&stage) {
            let Some(text) = scrape(&http, &relay).await else { continue };
            let begins = known.insert(relay.clone());
            for (name, metric, label) in COUNTED {
                let odometer = odometers.entry((relay.clone(), name)).or_default();
                odometer.read(sum(&text, metric, label));
                // What was counted before the run isn't the run's.
                if begins {
                    odometer.sum = 0;
                }
            }
        }
        if over {
            break;
        }
        stop.run_until_cancelled(tokio::time::sleep(EVERY)).await;
    }
    let mut counters = Counters::default();
    for ((_, name), odometer) in odometers {
        *counters.0.entry(name).or_default() += odometer.sum;
    }
    counters
}

fn admins(stage: &Stage) -> Vec<String> {
    stage.running().map(|running| running.relay_admins).unwrap_or_default()
}

async fn scrape(http: &reqwest::Client, relay: &str) -> Option<String> {
    http.get(format!("{relay}/metrics")).send().await.ok()?.error_for_status().ok()?.text().await.ok()
}

/// The sum of a counter over all of its labels that hold `label`.
fn sum(text: &str, metric: &str, label: &str) -> u64 {
    let of_it = |line: &&str| line.starts_with(metric) && line[metric.len()..].starts_with(['{', ' ']);
    let values = text.lines().filter(of_it).filter(|line| line.contains(label));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

async fn watch_fences(stage: Arc<Stage>, service: Service, stop: CancellationToken) -> Seen {
    let (mut seen, mut highest) = (Seen::default(), BTreeMap::new());
    let mut database: Option<Client> = None;
    loop {
        let over = stop.is_cancelled();
        if database.as_ref().is_none_or(Client::is_closed) {
            database = in_time(stage.database(service)).await;
        }
        if let Some(client) = &database {
            match in_time(tables::fences(client, service)).await {
                Some(fences) => compare(fences, &mut highest, &mut seen),
                None => database = None,
            }
        }
        if over {
            return seen;
        }
        stop.run_until_cancelled(tokio::time::sleep(EVERY)).await;
    }
}

async fn in_time<T>(look: impl Future<Output = anyhow::Result<T>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, look).await.ok()?.ok()
}

fn compare(fences: Vec<Fence>, highest: &mut BTreeMap<String, i64>, seen: &mut Seen) {
    for fence in fences {
        seen.fences += 1;
        let before = highest.entry(fence.of.clone()).or_insert(fence.number);
        if fence.number < *before {
            seen.backwards.push((fence, *before));
        } else {
            *before = fence.number;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// All Rust code under a folder.
    fn code(folder: &Path) -> String {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .map(|path| if path.is_dir() { code(&path) } else { fs::read_to_string(path).unwrap_or_default() })
            .collect()
    }

    #[test]
    fn the_relay_has_the_metrics_that_are_read() {
        let relay = code(&towpath_stack::testing::root().join("relay/src"));
        for (_, metric, _) in COUNTED {
            assert!(relay.contains(&format!("\"{metric}\"")), "relay/src has no metric {metric}");
        }
    }

    #[test]
    fn a_counter_goes_on_over_a_death() {
        let mut odometer = Odometer::default();
        for now in [5, 9, 2, 4] {
            odometer.read(now);
        }
        assert_eq!(odometer.sum, 13);
    }

    #[test]
    fn labels_are_summed_up() {
        let text = "# TYPE a counter\na_total{service=\"x\",result=\"accepted\"} 3\na_total{service=\"y\",result=\"accepted\"} 4\n\
                    a_total{service=\"y\",result=\"held_back\"} 5\na_total_more 9\n";
        assert_eq!(sum(text, "a_total", "result=\"accepted\""), 7);
        assert_eq!(sum(text, "a_total", ""), 12);
    }

    #[test]
    fn a_fence_that_goes_back_is_seen() {
        let fence = |number| Fence { service: Service::Order, of: "shard 3".into(), number };
        let (mut seen, mut highest) = (Seen::default(), BTreeMap::new());
        for number in [1, 2, 2, 5] {
            compare(vec![fence(number)], &mut highest, &mut seen);
        }
        assert_eq!((seen.fences, seen.backwards.len()), (4, 0));
        compare(vec![fence(4)], &mut highest, &mut seen);
        assert_eq!(seen.backwards, [(fence(4), 5)]);
    }
}
