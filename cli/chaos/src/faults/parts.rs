//! What the parts of a stack are to its clients, by their names.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use towpath_stack::process::{self, Identity};

use crate::fault::Blast;
use crate::service::Service;
use crate::stage::Stage;

/// What a part does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The database of a service.
    Postgres(Service),
    Kafka,
    Redis,
    /// The relay of this replica (1 is the first).
    Relay(usize),
    /// The host of this replica.
    Host(usize),
}

impl Kind {
    /// Of the part with this name, where it is one that can be broken.
    pub(super) fn of(part: &str) -> Option<Self> {
        if let Some(service) = part.strip_prefix("postgres-") {
            return Service::ALL.into_iter().find(|known| known.name() == service).map(Self::Postgres);
        }
        let (name, replica) = match part.rsplit_once('-') {
            Some((name, number)) => (name, number.parse().ok()?),
            None => (part, 1),
        };
        match name {
            "kafka" => Some(Self::Kafka),
            "redis" => Some(Self::Redis),
            "relay" => Some(Self::Relay(replica)),
            "host" => Some(Self::Host(replica)),
            _ => None,
        }
    }

    /// What clients may see while it is away: calls that need a database need that alone, everything of a replica needs
    /// its relay, and nothing needs Kafka or Redis.
    pub(super) fn blast(self) -> Blast {
        match self {
            Self::Postgres(service) => Blast::refusing([service]),
            Self::Kafka | Self::Redis => Blast::none(),
            Self::Relay(replica) => Blast { refused_by: BTreeSet::from([replica]), ..Blast::none() },
            Self::Host(replica) => Blast { unreachable: BTreeSet::from([replica]), ..Blast::none() },
        }
    }
}

/// The parts of the running stack that can be broken.
pub(super) fn of_stack(stage: &Stage) -> Vec<(String, Kind)> {
    let parts = stage.running().map(|running| running.parts).unwrap_or_default();
    parts.into_iter().filter_map(|part| Kind::of(&part.name).map(|kind| (part.name, kind))).collect()
}

/// The process of a part, as it is now.
pub(super) fn process(stage: &Stage, part: &str) -> Result<Identity> {
    let pid = stage.pid(part)?;
    Identity::of(pid).with_context(|| format!("{part} (pid {pid}) is about to end"))
}

/// Sends a signal to this process; to nobody where it is gone.
pub(super) fn signal(process: &Identity, signal: Signal) -> Result<()> {
    let Some(pid) = Pid::from_raw(process.pid.cast_signed()).filter(|_| process.is_alive()) else { return Ok(()) };
    match kill_process(pid, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        sent => sent.with_context(|| format!("cannot send a signal to pid {}", process.pid)),
    }
}

/// A process and all that it has started, itself first. It can't start more while it stands still.
pub(super) fn tree(root: &Identity) -> Vec<Identity> {
    let mut tree = vec![root.clone()];
    tree.extend(process::descendants(root.pid));
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_their_names() {
        let known = [
            ("postgres-order", Kind::Postgres(Service::Order)),
            ("kafka", Kind::Kafka),
            ("redis", Kind::Redis),
            ("relay", Kind::Relay(1)),
            ("relay-2", Kind::Relay(2)),
            ("host", Kind::Host(1)),
            ("host-8", Kind::Host(8)),
        ];
        for (name, kind) in known {
            assert_eq!(Kind::of(name), Some(kind), "{name}");
        }
        for name in ["compose", "postgres-nothing", "relay-two", "proxy-1"] {
            assert_eq!(Kind::of(name), None, "{name}");
        }
    }

    #[test]
    fn nobody_needs_kafka_or_redis_and_a_replica_needs_its_relay() {
        assert_eq!(Kind::Kafka.blast(), Blast::none());
        assert_eq!(Kind::Redis.blast(), Blast::none());
        let needs = BTreeSet::from([Service::Order]);
        assert!(Kind::Postgres(Service::Order).blast().may_refuse(1, &needs));
        assert!(!Kind::Postgres(Service::Payment).blast().may_refuse(1, &needs));
        let relay = Kind::Relay(2).blast();
        assert!(relay.may_refuse(2, &needs) && !relay.may_refuse(1, &needs) && relay.unreachable.is_empty());
    }
}
