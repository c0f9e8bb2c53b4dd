//! The connections of a listener: how many there are, in all and for each address, and which of them are idle.
//!
//! Where there is no room for a new connection, the one that has been idle longest ends for it. So connections that do
//! nothing keep nobody out, however many they are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// The clients that share limits: an IPv4 address, or the /64 network of an IPv6 address, which is what one customer has.
pub(super) fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

/// The connections of a listener.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    max_per_address: usize,
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    /// Those that count.
    open: HashMap<u64, Entry>,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Entry {
    owner: IpAddr,
    activity: Arc<Activity>,
}

/// A new connection.
pub(super) enum Admitted {
    /// It has a place.
    Regular(Slot),
    /// It has the place of one that was idle, which is told to end.
    Instead { slot: Slot, of: Arc<Activity> },
    /// Every place is taken by a connection with a request.
    Full,
}

impl Connections {
    pub(super) fn new(max: usize, max_per_address: usize) -> Self {
        Self { max, max_per_address, registry: Mutex::default() }
    }

    /// Finds a place for a new connection.
    pub(super) fn admit(self: &Arc<Self>, owner: IpAddr) -> Admitted {
        let mut registry = self.registry();
        let of_address = registry.by_address.get(&owner).copied().unwrap_or_default();
        let instead = if of_address >= self.max_per_address {
            registry.longest_idle(|entry| entry.owner == owner)
        } else if registry.open.len() >= self.max {
            registry.longest_idle(|_| true)
        } else {
            return Admitted::Regular(registry.add(self, owner));
        };
        let Some(of) = instead.and_then(|number| registry.remove(number)) else { return Admitted::Full };
        of.activity.end.cancel();
        Admitted::Instead { slot: registry.add(self, owner), of: of.activity }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn add(&mut self, connections: &Arc<Connections>, owner: IpAddr) -> Slot {
        let number = self.next;
        self.next += 1;
        let activity = Arc::new(Activity::new());
        self.open.insert(number, Entry { owner, activity: activity.clone() });
        *self.by_address.entry(owner).or_default() += 1;
        Slot { connections: connections.clone(), number, activity }
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.open.remove(&number)?;
        if let Some(count) = self.by_address.get_mut(&entry.owner) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&entry.owner);
            }
        }
        Some(entry)
    }

    fn longest_idle(&self, which: impl Fn(&Entry) -> bool) -> Option<u64> {
        let entries = self.open.iter().filter(|(_, entry)| which(entry));
        let idle = entries.filter_map(|(number, entry)| Some((entry.activity.idle_since_ms()?, *number)));
        idle.min().map(|(_, number)| number)
    }
}

/// The place of a connection, until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Arc<Connections>,
    number: u64,
    pub(super) activity: Arc<Activity>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.registry().remove(self.number);
        self.activity.gone.cancel();
    }
}

/// What a connection does.
#[derive(Debug)]
pub(super) struct Activity {
    /// Requests whose response the client has not taken.
    requests: AtomicUsize,
    /// When the last request ended, or the connection began ([`now_ms`]).
    idle_since_ms: AtomicU64,
    /// Requests that came.
    asked: AtomicU64,
    /// Whether the client stopped sending: nothing more comes, and whoever needs its place may have it.
    stopped: AtomicBool,
    /// Cancelled when the connection is to end, since another needs its place.
    pub(super) end: CancellationToken,
    /// Cancelled when the connection has ended.
    pub(super) gone: CancellationToken,
}

/// Milliseconds by a clock that all connections share, so that their times can be compared.
fn now_ms() -> u64 {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(EPOCH.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            requests: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(now_ms()),
            asked: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            end: CancellationToken::new(),
            gone: CancellationToken::new(),
        }
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.asked.fetch_add(1, Ordering::AcqRel);
        Busy(self.clone())
    }

    /// How many requests came.
    pub(super) fn requests(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// The client stopped sending.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether a request is being answered.
    pub(super) fn has_request(&self) -> bool {
        self.requests.load(Ordering::Acquire) > 0
    }

    /// Whether a request is being answered to a client that is still there, as far as one can know.
    pub(super) fn is_busy(&self) -> bool {
        self.has_request() && !self.stopped.load(Ordering::Relaxed)
    }

    fn idle(&self) -> Option<Duration> {
        let since = self.idle_since_ms.load(Ordering::Acquire);
        (!self.has_request()).then(|| Duration::from_millis(now_ms().saturating_sub(since)))
    }

    /// Since when it is idle, comparable between connections.
    fn idle_since_ms(&self) -> Option<u64> {
        (!self.is_busy()).then(|| self.idle_since_ms.load(Ordering::Acquire))
    }

    /// Resolves once no request was there for `limit`. Pings and other frames of HTTP/2 are no request.
    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let wait = self.idle().map_or(limit, |idle| limit.saturating_sub(idle));
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }
}

/// A request of a connection, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since_ms.store(now_ms(), Ordering::Release);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        owner(text.parse().unwrap())
    }

    fn admitted(connections: &Arc<Connections>, of: &str) -> Option<Slot> {
        match connections.admit(address(of)) {
            Admitted::Regular(slot) | Admitted::Instead { slot, .. } => Some(slot),
            Admitted::Full => None,
        }
    }

    #[test]
    fn the_longest_idle_one_makes_room_and_a_busy_one_does_not() {
        let connections = Arc::new(Connections::new(3, 3));
        let [first, second, third] =
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|of| admitted(&connections, of).unwrap());
        let at_work = first.activity.begin();
        drop(third.activity.begin());
        let fourth = admitted(&connections, "192.0.2.4").expect("room");
        assert!(second.activity.end.is_cancelled(), "it was idle longest");
        assert!(!first.activity.end.is_cancelled() && !third.activity.end.is_cancelled());
        let _busy = [third.activity.begin(), fourth.activity.begin()];
        assert!(admitted(&connections, "192.0.2.5").is_none(), "all have requests");
        drop(second);
        assert!(admitted(&connections, "192.0.2.5").is_none(), "its place was given away already");
        drop(at_work);
        assert!(admitted(&connections, "192.0.2.5").is_some());
    }

    #[test]
    fn an_address_has_a_share_of_the_places() {
        let connections = Arc::new(Connections::new(10, 2));
        let slots: Vec<_> = (0..2).filter_map(|_| admitted(&connections, "2001:db8::1")).collect();
        let busy: Vec<_> = slots.iter().map(|slot| slot.activity.begin()).collect();
        assert!(admitted(&connections, "2001:db8::ffff").is_none(), "the same network");
        let other = admitted(&connections, "2001:db8:0:1::1");
        assert!(other.is_some() && admitted(&connections, "::ffff:192.0.2.1").is_some(), "others");
        drop(busy);
        assert!(admitted(&connections, "2001:db8::ffff").is_some(), "the place of one that is idle");
        drop((slots, other));
        assert!(connections.registry().open.is_empty() && connections.registry().by_address.is_empty());
    }
}
