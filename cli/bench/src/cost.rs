//! What one request, unit of work or order costs: processor time of every part, calls, commits, fsyncs, transactions of Kafka.
//! From this the next bottleneck is read.

mod metrics;
mod processor;
mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use hyper::Method;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, NoTls};
use towpath_stack::running::Running;

use self::walk::bytes_under;
use super::line::Line;
use super::number::readable;

/// A backend of PostgreSQL reports what it has done at most once a second, when it is idle.
const REPORTED_AFTER: Duration = Duration::from_millis(1_100);
/// Commits and fsyncs since the server started. `pg_stat_io` has the fsyncs of the WAL since PostgreSQL 18.
const COMMITS: &str = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
const FSYNCS: &str = "SELECT wal_sync FROM pg_stat_wal";
const FSYNCS_18: &str = "SELECT coalesce(sum(fsyncs), 0)::bigint FROM pg_stat_io WHERE object = 'wal'";
/// All bytes of WAL that the server has written.
const WAL_BYTES: &str = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";

/// What one of them costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cost {
    /// Milliseconds of a processor, by part; `clients` is the benchmark itself.
    pub(super) processor_ms: BTreeMap<String, f64>,
    /// By the name of what is counted.
    pub(super) counts: BTreeMap<String, f64>,
}

/// All counters at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    processor: BTreeMap<String, Duration>,
    counts: BTreeMap<&'static str, f64>,
}

/// Reads the counters of a stack.
pub(super) struct Meter<'a> {
    stack: &'a Running,
    databases: Vec<(Client, &'static str)>,
    kafka_data: PathBuf,
}

impl<'a> Meter<'a> {
    /// Of a stack under this home.
    pub(super) async fn open(stack: &'a Running, home: &Path) -> Result<Self> {
        let mut databases = Vec::new();
        for service in stack.parts.iter().filter_map(|part| part.name.strip_prefix("postgres-")) {
            let url = stack.postgres_admin_url(service);
            let (client, connection) = tokio_postgres::connect(&url, NoTls)
                .await
                .with_context(|| format!("cannot reach {service}'s database"))?;
            tokio::spawn(connection);
            let version: i32 =
                client.query_one("SELECT current_setting('server_version_num')::integer", &[]).await?.get(0);
            databases.push((client, if version >= 180_000 { FSYNCS_18 } else { FSYNCS }));
        }
        Ok(Self { stack, databases, kafka_data: home.join("data").join("kafka") })
    }

    /// All counters now. It waits until PostgreSQL has reported what it did.
    pub(super) async fn read(&self) -> Result<Reading> {
        // Taken first: what the wait and the looks below cost is not the load's.
        let processor = self.processor()?;
        tokio::time::sleep(REPORTED_AFTER).await;
        let mut counts = self.relay().await?;
        for (database, fsyncs) in &self.databases {
            for (name, sql) in [("commits", COMMITS), ("fsyncs", *fsyncs), ("bytes of WAL", WAL_BYTES)] {
                let count: i64 = database
                    .query_one(sql, &[])
                    .await
                    .with_context(|| format!("cannot read the {name}"))?
                    .try_get(0)?;
                *counts.entry(name).or_default() += count as f64;
            }
        }
        counts.insert("bytes in Kafka", bytes_under(&self.kafka_data, "log") as f64);
        Ok(Reading { processor, counts })
    }

    fn processor(&self) -> Result<BTreeMap<String, Duration>> {
        let mut spent = BTreeMap::from([("clients".to_owned(), processor::of(std::process::id())?)]);
        for part in &self.stack.parts {
            let Some(pid) = part.pid else { continue };
            // Replicas of one part are one: relay, relay-2, postgres-order.
            let kind = part.name.split('-').next().unwrap_or_default();
            *spent.entry(kind.to_owned()).or_default() += processor::of_all(pid)?;
        }
        Ok(spent)
    }

    async fn relay(&self) -> Result<BTreeMap<&'static str, f64>> {
        let mut counts = BTreeMap::new();
        for admin in &self.stack.relay_admins {
            let mut line = Line::open(admin).await?;
            let text = line.expect(200, Method::GET, "/metrics", &[], Bytes::new()).await?;
            let text = String::from_utf8_lossy(&text);
            for (name, metric) in [
                ("calls of the relay", "towpath_relay_requests_total"),
                ("deliveries", "towpath_relay_deliveries_total"),
                ("events", "towpath_relay_outbox_published_total"),
                ("transactions of Kafka", "towpath_relay_outbox_batches_total"),
            ] {
                *counts.entry(name).or_default() += metrics::sum(&text, metric);
            }
        }
        Ok(counts)
    }
}

impl Reading {
    /// What each of so many cost since an earlier reading.
    pub(super) fn each(&self, since: &Self, of: f64) -> Cost {
        let of = of.max(1.0);
        let spent = |part: &String| since.processor.get(part).copied().unwrap_or_default();
        let processor_ms = self
            .processor
            .iter()
            .map(|(part, now)| (part.clone(), now.saturating_sub(spent(part)).as_secs_f64() * 1e3 / of));
        let counts = self.counts.iter().map(|(name, now)| {
            ((*name).to_owned(), (now - since.counts.get(name).copied().unwrap_or_default()).max(0.0) / of)
        });
        Cost { processor_ms: processor_ms.collect(), counts: counts.collect() }
    }
}

impl Cost {
    /// Milliseconds of a processor that servers and stack spent, without the clients.
    pub(super) fn processor_ms(&self) -> f64 {
        self.processor_ms.iter().filter(|(part, _)| *part != "clients").map(|(_, ms)| ms).sum()
    }

    /// The mean of some rounds.
    pub(super) fn mean(rounds: &[Self]) -> Self {
        let mut mean = Self::default();
        for round in rounds {
            for (sums, values) in [(&mut mean.processor_ms, &round.processor_ms), (&mut mean.counts, &round.counts)] {
                for (name, value) in values {
                    *sums.entry(name.clone()).or_default() += value / rounds.len() as f64;
                }
            }
        }
        mean
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |values: &BTreeMap<String, f64>, least: f64| {
            let mut values: Vec<_> = values.iter().filter(|(_, value)| **value >= least).collect();
            values.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            values
                .into_iter()
                .map(|(name, value)| format!("{name} {}", readable(*value)))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let all = self.processor_ms();
        write!(f, "{} ms of a processor ({})", readable(all), shown(&self.processor_ms, all / 100.0))?;
        let counts = shown(&self.counts, 0.01);
        if counts.is_empty() { Ok(()) } else { write!(f, "; {counts}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_what_came_in_between_shared_by_all() {
        let reading = |relay: u64, commits: f64| Reading {
            processor: BTreeMap::from([
                ("relay".to_owned(), Duration::from_secs(relay)),
                ("clients".to_owned(), Duration::ZERO),
            ]),
            counts: BTreeMap::from([("commits", commits)]),
        };
        let cost = reading(3, 110.0).each(&reading(1, 10.0), 50.0);
        assert_eq!((cost.processor_ms["relay"], cost.counts["commits"]), (40.0, 2.0));
        assert_eq!(cost.processor_ms(), 40.0);
        let mean = Cost::mean(&[cost.clone(), Cost::default()]);
        assert_eq!(mean.counts["commits"], 1.0);
        assert_eq!(cost.to_string(), "40.0 ms of a processor (relay 40.0); commits 2.0");
    }
}
