//! Topics and groups change under load: partitions are added, and another member joins a consumer group.
//!
//! Adding partitions moves keys: a key's new events may stand in another partition than its old ones, and be delivered
//! before them. That is why the relay never does it by itself, and why every handler of this application is right in
//! every order of arrival. What must hold is that no event is skipped: a new partition is heard from its beginning,
//! although no consumer knew of it when the first event was written to it.
//!
//! The stranger that joins is a real member with the same protocol, and Kafka assigns it its share of the partitions. It
//! handles no event and commits nothing, like a relay that joins and dies. So the events in its partitions wait until it
//! leaves, and then are delivered from the last commit.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::BoxFuture;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::task::spawn_blocking;
use towpath_stack::services;

use crate::fault::{Fault, Struck};
use crate::group::Group;
use crate::stage::Stage;

/// A topic isn't given more than this, however often partitions are added: none can be taken away again.
const MAX_PARTITIONS: i32 = 16;
/// Relays look for new partitions this often (`topic.metadata.refresh.interval.ms`).
const FOUND_WITHIN: Duration = Duration::from_secs(15);
/// How long the stranger stays in the group.
const STAYS: Duration = Duration::from_secs(5);
/// How long a rebalance may take.
const REBALANCE: Duration = Duration::from_secs(30);
const REQUEST: Duration = Duration::from_secs(10);
const CLIENT: &str = "towpath-chaos";

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(Added), Box::new(Rebalanced)]
}

fn client(stage: &Stage) -> Result<ClientConfig> {
    let mut config: ClientConfig = stage.running()?.kafka.settings().collect();
    config.set("client.id", CLIENT);
    Ok(config)
}

/// One more partition for one of the topics of events.
struct Added;

impl Fault for Added {
    fn name(&self) -> String {
        "partitions-added".to_owned()
    }

    fn group(&self) -> Group {
        Group::Partitions
    }

    fn about(&self) -> String {
        format!("one more partition for a topic, up to {MAX_PARTITIONS}")
    }

    fn duration(&self) -> Duration {
        FOUND_WITHIN + Duration::from_secs(2)
    }

    fn strike<'a>(&'a self, stage: &'a Stage, random: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(add(stage, random))
    }
}

async fn add(stage: &Stage, random: &mut StdRng) -> Result<Struck> {
    let admin: AdminClient<DefaultClientContext> = client(stage)?.create()?;
    let (admin, metadata) = spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, REQUEST);
        (admin, metadata)
    })
    .await?;
    let metadata = metadata.context("cannot ask Kafka for its topics")?;
    let topics = metadata.topics().iter().map(|topic| (topic.name(), topic.partitions().len() as i32));
    let room = topics
        .filter(|(name, count)| stage.services.topics().iter().any(|known| known == name) && *count < MAX_PARTITIONS);
    let room: Vec<(&str, i32)> = room.collect();
    let Some(&(topic, before)) = room.choose(random) else {
        return Ok(Struck::noted(format!("no topic has fewer than {MAX_PARTITIONS} partitions: nothing was added")));
    };
    let after = before + 1;
    let added = NewPartitions::new(topic, usize::try_from(after)?);
    let options = AdminOptions::new().operation_timeout(Some(REQUEST));
    for result in admin.create_partitions([&added], &options).await? {
        result.map_err(|(topic, code)| anyhow::anyhow!("Kafka refused to add a partition to {topic}: {code}"))?;
    }
    // Before that some don't know of it: what they miss is what this is about.
    tokio::time::sleep(FOUND_WITHIN).await;
    Ok(Struck::noted(format!("{topic} has {after} partitions now, and had {before}")))
}

/// A stranger joins the group of a service, and leaves it again.
struct Rebalanced;

impl Fault for Rebalanced {
    fn name(&self) -> String {
        "rebalance".to_owned()
    }

    fn group(&self) -> Group {
        Group::Partitions
    }

    fn about(&self) -> String {
        format!("a stranger joins a consumer group, holds its partitions for {} s and leaves", STAYS.as_secs())
    }

    fn duration(&self) -> Duration {
        STAYS + Duration::from_secs(8)
    }

    fn strike<'a>(&'a self, stage: &'a Stage, random: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let groups = stage.services.groups();
            let group =
                groups.get(random.random_range(0..groups.len().max(1))).context("no service subscribes to anything")?;
            let (config, group) = (client(stage)?, group.clone());
            let name = group.id.clone();
            let (partitions, settled) = spawn_blocking(move || join_and_leave(config, &group)).await??;
            let settled = settled.as_secs_f64();
            Ok(Struck::noted(format!(
                "held {partitions} partitions of the group {name} for {} s; the group was stable {settled:.1} s later",
                STAYS.as_secs()
            )))
        })
    }
}

/// Blocks. Answers how many partitions it had, and how long the group took to settle without it.
fn join_and_leave(mut config: ClientConfig, group: &services::Group) -> Result<(usize, Duration)> {
    let observer: BaseConsumer = config.create()?;
    config
        .set("group.id", &group.id)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false");
    let stranger: BaseConsumer = config.create()?;
    stranger.subscribe(&group.topics.iter().map(String::as_str).collect::<Vec<_>>())?;
    let begun = Instant::now();
    let mut since: Option<Instant> = None;
    let mut most = 0;
    while since.is_none_or(|since| since.elapsed() < STAYS) {
        // Whatever it is given it lets go: what isn't committed comes again.
        let _ = stranger.poll(Duration::from_millis(50));
        let held = stranger.assignment()?;
        if held.count() > 0 {
            stranger.pause(&held)?;
            since.get_or_insert_with(Instant::now);
        }
        most = most.max(held.count());
        ensure!(since.is_some() || begun.elapsed() < REBALANCE, "the group {} gave the stranger nothing", group.id);
    }
    drop(stranger);
    let left = Instant::now();
    loop {
        let groups = observer.fetch_group_list(Some(&group.id), REQUEST)?;
        let settled = |found: &rdkafka::groups::GroupInfo| {
            found.state() == "Stable" && found.members().iter().all(|member| member.client_id() != CLIENT)
        };
        if groups.groups().first().is_some_and(settled) {
            return Ok((most, left.elapsed()));
        }
        ensure!(left.elapsed() < REBALANCE, "the group {} isn't stable since the stranger left", group.id);
        std::thread::sleep(Duration::from_millis(100));
    }
}
