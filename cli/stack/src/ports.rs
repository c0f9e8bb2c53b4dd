//! The port of each part. The defaults are the documented ones; `--ports auto` finds free ones and remembers them;
//! `--port NAME=N` sets one.
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use anyhow::{Context, Result, bail};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::home::{Home, write_atomically};
use crate::process;
use crate::replica;
use crate::services::Services;

/// The port of the first service's database; the next service's is the next port.
const FIRST_DATABASE: u16 = 5433;
/// The ports of the other servers with their defaults.
const SERVERS: [(&str, u16); 4] =
    [("kafka", 9092), ("kafka-external", 29092), ("kafka-controller", 9093), ("redis", 6379)];

/// The part, and the port, of a service's database.
#[must_use]
pub fn database(service: &str) -> String {
    format!("postgres-{service}")
}

/// The ports of the first pair of relay and host, and how far on those of the next pair are.
const PAIR: [(&str, u16, u16); 4] =
    [("relay", 7070, 2), ("relay-admin", 7071, 2), ("host", 3000, 1), (DELIVERIES, 3100, 1)];

/// The port on which the embedded host takes deliveries. Spin has none: it takes them where it takes everything.
pub const DELIVERIES: &str = "host-deliveries";

/// All ports of a full stack with their defaults.
pub fn usual(services: &Services, replicas: usize) -> impl Iterator<Item = (String, u16)> {
    let databases = services.databases().map(database).zip(FIRST_DATABASE..);
    let servers = SERVERS.into_iter().map(|(name, port)| (name.to_owned(), port));
    let pairs = (1_u16..).take(replicas).flat_map(|pair| {
        PAIR.map(|(name, first, step)| (replica::named(name, pair.into()), first + (pair - 1) * step))
    });
    databases.chain(servers).chain(pairs)
}

/// Where automatic ports are looked for.
const AUTO: Range<u16> = 20_000..32_000;

/// The part of [`AUTO`] that lies outside of the range from which Linux takes the ports of outgoing connections, so that
/// none of those gets in between. Where that range leaves less than a stack needs, its upper end is left to luck.
fn automatic_range() -> Range<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    outside_of(&text)
}

fn outside_of(outgoing: &str) -> Range<u16> {
    const ENOUGH: u16 = 1000;
    let mut bounds = outgoing.split_whitespace().filter_map(|bound| bound.parse::<u16>().ok());
    let (Some(first), Some(last)) = (bounds.next(), bounds.next()) else { return AUTO };
    let below = AUTO.start.min(first.saturating_sub(ENOUGH)).max(1024)..AUTO.end.min(first);
    let above = last.saturating_add(1)..u16::MAX;
    [below, above].into_iter().find(|range| range.len() >= usize::from(ENOUGH)).unwrap_or(AUTO)
}

/// Automatic ports that no other `--ports auto` takes while this is held: not before the servers listen on them, nor while a
/// server restarts.
///
/// Each is a socket with the port in its name, in Linux's abstract namespace: that belongs to the same network namespace
/// as the port itself, leaves no file, and ends with the process, however that ends.
#[derive(Debug)]
pub struct Reserved {
    _sockets: Vec<UnixDatagram>,
}

/// Ports by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports(BTreeMap<String, u16>);

impl Ports {
    /// The documented ports.
    #[must_use]
    pub fn defaults(services: &Services, replicas: usize) -> Self {
        Self(usual(services, replicas).collect())
    }

    /// Free ports for all of these names: those remembered under the home, as far as they are free, and new ones.
    pub fn automatic(home: &Home, names: &[impl AsRef<str>]) -> Result<(Self, Reserved)> {
        let remembered = Self::remembered(home);
        let range = automatic_range();
        let mut sockets = Vec::new();
        let mut ports = BTreeMap::new();
        for name in names {
            let before = remembered.0.get(name.as_ref()).filter(|port| range.contains(port));
            let before = before.and_then(|port| Some((*port, reserve(*port)?)));
            let (port, socket) = match before {
                Some(free) => free,
                None => any_free(&range)?,
            };
            sockets.push(socket);
            ports.insert(name.as_ref().to_owned(), port);
        }
        Ok((Self(ports), Reserved { _sockets: sockets }))
    }

    /// Whether this home's ports are automatic ones.
    #[must_use]
    pub fn are_remembered(home: &Home) -> bool {
        home.ports_file().exists()
    }

    /// From now on this home has the default ports.
    pub fn forget(home: &Home) -> Result<()> {
        match std::fs::remove_file(home.ports_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", home.ports_file().display()))
            }
            _ => Ok(()),
        }
    }

    /// Writes the ports down: this home's ports are automatic from now on.
    pub fn remember(&self, home: &Home) -> Result<()> {
        write_atomically(&home.ports_file(), &serde_json::to_string_pretty(self)?, 0o600)
    }

    fn remembered(home: &Home) -> Self {
        std::fs::read_to_string(home.ports_file())
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_else(|| Self(BTreeMap::new()))
    }

    /// The port with this name. Asking for one that doesn't exist is a fault of this program.
    pub fn get(&self, name: &str) -> Result<u16> {
        self.0.get(name).copied().with_context(|| format!("no port is called {name}"))
    }

    /// Where a client of this port connects to.
    pub fn address(&self, name: &str) -> Result<String> {
        Ok(format!("127.0.0.1:{}", self.get(name)?))
    }

    /// Where the relay of a pair delivers to.
    pub fn deliveries(&self, pair: usize) -> Result<String> {
        let own = replica::named(DELIVERIES, pair);
        let name = if self.0.contains_key(&own) { own } else { replica::named("host", pair) };
        self.address(&name)
    }

    /// Takes out the ports for deliveries, where Spin runs the components.
    pub fn without_deliveries(&mut self) {
        self.0.retain(|name, _| !name.starts_with(DELIVERIES));
    }

    /// Applies one `NAME=PORT` of the command line.
    pub fn set(&mut self, name: &str, port: u16) -> Result<()> {
        let Some(entry) = self.0.get_mut(name) else {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            bail!("no port is called {name}: the names are {}", known.join(", "));
        };
        *entry = port;
        Ok(())
    }

    /// Fails where something else holds one of these ports, and names both.
    pub fn check_free(&self, names: &[impl AsRef<str>]) -> Result<()> {
        let mut taken = Vec::new();
        for name in names.iter().map(AsRef::as_ref) {
            let port = self.get(name)?;
            if bind(port).is_err() {
                let holder = process::holder_of_port(port).unwrap_or_else(|| "another process".to_owned());
                taken.push(format!("{port} (for {name}) is used by {holder}"));
            }
        }
        match taken.len() {
            0 => Ok(()),
            1 => bail!("port {}: stop that, or use other ports with `towpath up --ports auto`", taken[0]),
            _ => bail!("ports {}: stop those, or use other ports with `towpath up --ports auto`", taken.join(", ")),
        }
    }
}

fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// None where the port is in use, or reserved by another process.
fn reserve(port: u16) -> Option<UnixDatagram> {
    let name = SocketAddr::from_abstract_name(format!("towpath-port-{port}")).ok()?;
    let socket = UnixDatagram::bind_addr(&name).ok()?;
    bind(port).is_ok().then_some(socket)
}

fn any_free(range: &Range<u16>) -> Result<(u16, UnixDatagram)> {
    let mut random = rand::rng();
    for _ in 0..200 {
        let port = random.random_range(range.clone());
        if let Some(socket) = reserve(port) {
            return Ok((port, socket));
        }
    }
    bail!("no free port found between {} and {}", range.start, range.end)
}

/// Reads `NAME=PORT`.
pub fn parse_assignment(text: &str) -> Result<(String, u16), String> {
    let (name, port) = text.split_once('=').ok_or("write NAME=PORT, as in host=3100")?;
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((name.to_owned(), port)),
        _ => Err(format!("{port:?} is no port: 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, services};
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    fn all() -> Vec<String> {
        usual(&services(), 2).map(|(name, _)| name).collect()
    }

    #[test]
    fn automatic_ports_stay_outside_of_those_of_outgoing_connections() {
        assert_eq!(outside_of("32768\t60999\n"), AUTO);
        assert_eq!(outside_of("25000 60999"), 20_000..25_000);
        assert_eq!(outside_of("15000 60999"), 14_000..15_000);
        assert_eq!(outside_of("1024 40000"), 40_001..u16::MAX);
        assert_eq!(outside_of("1024 65535"), AUTO, "there is no place beside them");
        assert_eq!(outside_of("nonsense"), AUTO);
    }

    #[test]
    fn databases_have_the_documented_ports() {
        let ports = Ports::defaults(&services(), 1);
        let documented = [("product", 5433), ("order", 5434), ("payment", 5435), ("inventory", 5436)];
        for (service, port) in documented {
            assert_eq!(ports.get(&database(service)).unwrap(), port, "{service}");
        }
        assert_eq!(services().databases().count(), documented.len(), "each has one");
    }

    #[test]
    fn every_pair_has_ports_of_its_own() {
        let names: Vec<String> =
            usual(&services(), 2).skip(services().databases().count() + SERVERS.len()).map(|(name, _)| name).collect();
        let first = ["relay", "relay-admin", "host", "host-deliveries"];
        assert_eq!(names, [first, ["relay-2", "relay-admin-2", "host-2", "host-deliveries-2"]].concat());
        let most = Ports::defaults(&services(), replica::MAX_REPLICAS.into());
        assert_eq!(most.0.values().collect::<BTreeSet<_>>().len(), most.0.len());
        assert_eq!((most.get("host-8").unwrap(), most.get("relay-2").unwrap()), (3007, 7072));
        let error = Ports::defaults(&services(), 1).set("host-2", 80).unwrap_err().to_string();
        assert!(error.contains("no port is called host-2"), "{error}");
    }

    #[test]
    fn spin_has_no_port_for_deliveries() {
        let mut ports = Ports::defaults(&services(), 2);
        assert_eq!(ports.deliveries(2).unwrap(), "127.0.0.1:3101");
        ports.without_deliveries();
        assert_eq!(
            (ports.deliveries(1).unwrap(), ports.deliveries(2).unwrap()),
            ("127.0.0.1:3000".into(), "127.0.0.1:3001".into())
        );
    }

    /// A child that another test starts at this moment has our sockets too until it has become its program.
    fn soon(mut what: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it doesn't come to be");
            std::thread::yield_now();
        }
    }

    #[test]
    fn automatic_ports_differ_and_are_remembered() {
        let folder = TempDir::new();
        let home = folder.home();
        let (first, reserved) = Ports::automatic(&home, &all()).unwrap();
        assert_eq!(first.0.values().collect::<BTreeSet<_>>().len(), all().len());
        soon(|| first.check_free(&all()).is_ok());
        first.remember(&home).unwrap();
        drop(reserved);
        soon(|| Ports::automatic(&home, &all()).unwrap().0 == first);
    }

    #[test]
    fn a_remembered_port_that_is_taken_is_replaced() {
        let folder = TempDir::new();
        let home = folder.home();
        let names = ["redis", "relay", "host"];
        let (first, reserved) = Ports::automatic(&home, &names).unwrap();
        first.remember(&home).unwrap();
        drop(reserved);
        let port = |ports: &Ports, name| ports.get(name).unwrap();
        let _taken = bind(port(&first, "redis")).unwrap();
        let mut reserved = None;
        soon(|| {
            reserved = reserve(port(&first, "host"));
            reserved.is_some()
        });
        soon(|| {
            let (second, _reserved) = Ports::automatic(&home, &names).unwrap();
            assert_ne!(port(&second, "redis"), port(&first, "redis"), "somebody listens on it");
            assert_ne!(port(&second, "host"), port(&first, "host"), "somebody will");
            port(&second, "relay") == port(&first, "relay")
        });
    }

    #[test]
    fn a_port_in_use_is_named_with_its_holder_and_a_way_out() {
        let listener = bind(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut ports = Ports::defaults(&services(), 1);
        ports.set("redis", port).unwrap();
        let error = ports.check_free(&["redis"]).unwrap_err().to_string();
        for part in [port.to_string(), "redis".to_owned(), std::process::id().to_string(), "--ports auto".to_owned()] {
            assert!(error.contains(&part), "{error} lacks {part}");
        }
    }

    #[test]
    fn assignments_are_checked() {
        assert_eq!(parse_assignment("host=3100"), Ok(("host".to_owned(), 3100)));
        assert!(parse_assignment("host").is_err());
        assert!(parse_assignment("host=0").is_err());
        assert!(parse_assignment("host=70000").is_err());
        let error = Ports::defaults(&services(), 1).set("nothing", 1).unwrap_err().to_string();
        assert!(error.contains("postgres-order"), "{error}");
    }
}
