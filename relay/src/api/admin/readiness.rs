//! What `/readyz` answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use crate::board::Dependency;
use crate::relay::Relay;
use crate::service::Service;
use crate::standstill::Told;
use crate::watchdog::MAX_REPLACEMENTS;

/// A start takes no longer than this: what is not there then, isn't coming for a reason that `/readyz` tells otherwise.
const MAX_START: Duration = Duration::from_secs(30);

/// 200 for `ready` and for `degraded`: services whose database can be used are served, whatever else is away or stands still. A
/// component that can't be reached is `degraded` too: its events go to other relays, and everything else is served here. 503 for
/// `unready` (no database can be used, or a part stands still although it was replaced again and again), `starting` (its
/// publishers and consumers don't have their shares yet) and `stopping`.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    status: Status,
    dependencies: BTreeMap<String, Dependency>,
    /// The parts that don't have their share yet while the relay starts, such as `beta.outbox`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    starting: Vec<String>,
    /// Open dead letters per service, if there are any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    dead_letters: BTreeMap<String, u64>,
    /// Topics that keep events for longer than a service's inbox remembers them, such as `beta.things`, if any do. What
    /// that means, and what to change. No reason to take the relay out of use.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    kept_longer: BTreeMap<String, String>,
    /// What stands still, such as `beta.deliveries` or `redis`, if anything does.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    standing: BTreeMap<String, Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ready,
    Degraded,
    Starting,
    Unready,
    Stopping,
}

impl Readiness {
    pub(super) async fn of(relay: &Relay) -> Self {
        let mut dependencies = relay.health.read().await;
        let redis = relay.redis.trouble().map_or(Ok(()), |cause| Err(cause.to_string()));
        dependencies.insert("redis".into(), redis.into());
        let mut standing: BTreeMap<String, Told> = relay.services.values().flat_map(|service| told(service)).collect();
        let helpers = relay.standstills.all();
        let mut starting = Vec::new();
        if relay.config.kafka.is_some() && relay.started.elapsed() < MAX_START {
            starting.extend(relay.services.values().flat_map(|service| service.first_shares.missing(&service.name)));
        }
        let stops = relay.lifecycle.stop_calling.is_cancelled();
        let status = status(&dependencies, &starting, &standing, &helpers, stops);
        standing.extend(helpers);
        if status != Status::Starting {
            starting.clear();
        }
        let open = |s: &Arc<Service>| (s.name.to_string(), s.dead_letters.load(Ordering::Relaxed));
        let dead_letters = relay.services.values().map(open).filter(|(_, open)| *open > 0).collect();
        let kept_longer = relay.services.values().flat_map(|service| kept_longer(service)).collect();
        Self { status, dependencies, starting, dead_letters, kept_longer, standing }
    }

    pub(super) fn code(&self) -> StatusCode {
        match self.status {
            Status::Ready | Status::Degraded => StatusCode::OK,
            Status::Starting | Status::Unready | Status::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What follows from what is known. `helpers` are the parts that serve all services: without them requests and events go on. Pure.
fn status(
    dependencies: &BTreeMap<String, Dependency>,
    starting: &[String],
    standing: &BTreeMap<String, Told>,
    helpers: &BTreeMap<String, Told>,
    stops: bool,
) -> Status {
    let of = |kind: &'static str| dependencies.iter().filter(move |(name, _)| name.starts_with(kind));
    let no_database = of("postgres.").count() > 0 && of("postgres.").all(|(_, database)| !database.up);
    // A relay starts before its component does, and has its shares all the same; nor does it get them later for Redis.
    let is_needed = |name: &str| !name.starts_with("component.") && name != "redis";
    let servers_up = dependencies.iter().all(|(name, dependency)| dependency.up || !is_needed(name));
    let stuck = standing.values().any(|told| told.replaced >= MAX_REPLACEMENTS);
    let all_up = dependencies.values().all(|dependency| dependency.up);
    if stops {
        Status::Stopping
    } else if servers_up && !starting.is_empty() {
        Status::Starting
    } else if no_database || stuck {
        Status::Unready
    } else if standing.is_empty() && helpers.is_empty() && all_up {
        Status::Ready
    } else {
        Status::Degraded
    }
}

fn kept_longer(service: &Service) -> Vec<(String, String)> {
    let topics = service.kept_longer();
    topics.iter().map(|(topic, said)| (format!("{}.{topic}", service.name), format!("it {said}"))).collect()
}

fn told(service: &Service) -> impl Iterator<Item = (String, Told)> {
    service.standstills.all().into_iter().map(|(part, told)| (format!("{}.{part}", service.name), told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(down: &[&str]) -> BTreeMap<String, Dependency> {
        let all = ["postgres.a", "postgres.b", "component.a", "kafka", "redis"];
        all.map(|name| (name.to_owned(), Dependency { up: !down.contains(&name), detail: None })).into()
    }

    #[test]
    fn the_status_follows_from_what_is_known() {
        let closed = ["a.outbox".to_owned()];
        let told = |replaced| ("a.outbox".to_owned(), Told { seconds: 1, cause: "c".into(), replaced });
        for (expected, down, starting, replaced, stops) in [
            (Status::Ready, &[][..], &[][..], None, false),
            (Status::Degraded, &["component.a"], &[], None, false),
            (Status::Degraded, &["redis"], &[], None, false),
            (Status::Degraded, &["postgres.a"], &[], None, false),
            (Status::Unready, &["postgres.a", "postgres.b"], &[], None, false),
            (Status::Starting, &[], &closed, None, false),
            (Status::Starting, &["component.a"], &closed, None, false),
            (Status::Starting, &["redis"], &closed, None, false),
            (Status::Degraded, &["kafka"], &closed, None, false),
            (Status::Unready, &["postgres.a", "postgres.b"], &closed, None, false),
            (Status::Degraded, &[], &[], Some(1), false),
            (Status::Unready, &[], &[], Some(MAX_REPLACEMENTS), false),
            (Status::Stopping, &["postgres.a", "postgres.b"], &[], None, true),
        ] {
            let standing = replaced.map(told).into_iter().collect();
            let found = status(&seen(down), starting, &standing, &BTreeMap::new(), stops);
            assert_eq!(found, expected, "{down:?} {starting:?} {standing:?}");
        }
        let helpers = BTreeMap::from([told(MAX_REPLACEMENTS)]);
        assert_eq!(status(&seen(&[]), &[], &BTreeMap::new(), &helpers, false), Status::Degraded);
    }
}
