//! What the host holds in memory for clients: bodies that have not arrived whole, and responses that were not taken yet.
//! All connections of a listener share one number of bytes (`--max-held-bytes`).
//!
//! Beyond it nobody new is refused: the address that has the most held for it gives up what has been held longest. Whoever
//! sends and reads at an ordinary pace has something held for milliseconds, and so is never the one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// What an entry costs beside its bytes: the tasks and buffers of a request.
pub(super) const ENTRY_BYTES: u64 = 8 << 10;

/// The bytes that are held for all clients of a listener.
#[derive(Clone, Debug)]
pub(super) struct Held {
    max_bytes: u64,
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    bytes: u64,
    next: u64,
    owners: HashMap<IpAddr, Owner>,
}

/// What is held for one address, by number, in the order in which it began.
#[derive(Debug, Default)]
struct Owner {
    bytes: u64,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    /// Cancelled when the entry is given up. `None` for what cannot be given up any more.
    given_up: Option<CancellationToken>,
}

impl Held {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, entries: Arc::default() }
    }

    /// Holds `bytes`, and what an entry costs, for an address. Cancels `given_up` where the memory is needed for others.
    pub(super) fn hold(&self, owner: IpAddr, bytes: u64, given_up: CancellationToken) -> Hold {
        let mut entries = self.entries();
        let number = entries.next;
        entries.next += 1;
        let entry = Entry { bytes: 0, given_up: Some(given_up) };
        entries.owners.entry(owner).or_default().entries.insert(number, entry);
        let hold = Hold { held: self.clone(), owner, number };
        entries.grow(owner, number, bytes.saturating_add(ENTRY_BYTES));
        entries.shrink_to(self.max_bytes);
        hold
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn grow(&mut self, owner: IpAddr, number: u64, bytes: u64) {
        let Some(owner) = self.owners.get_mut(&owner) else { return };
        let Some(entry) = owner.entries.get_mut(&number) else { return };
        entry.bytes = entry.bytes.saturating_add(bytes);
        owner.bytes = owner.bytes.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Gives up entries until no more than `max_bytes` are held, or nothing is left that can be given up.
    fn shrink_to(&mut self, max_bytes: u64) {
        while self.bytes > max_bytes {
            let oldest =
                |owner: &Owner| owner.entries.iter().find(|(_, entry)| entry.given_up.is_some()).map(|(n, _)| *n);
            let with_most = self
                .owners
                .iter()
                .filter_map(|(address, owner)| Some((owner.bytes, *address, oldest(owner)?)))
                .max_by_key(|(bytes, ..)| *bytes);
            let Some((_, owner, number)) = with_most else { break };
            if let Some(given_up) = self.remove(owner, number).and_then(|entry| entry.given_up) {
                given_up.cancel();
            }
        }
    }

    fn remove(&mut self, address: IpAddr, number: u64) -> Option<Entry> {
        let owner = self.owners.get_mut(&address)?;
        let entry = owner.entries.remove(&number)?;
        owner.bytes = owner.bytes.saturating_sub(entry.bytes);
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        if owner.entries.is_empty() {
            self.owners.remove(&address);
        }
        Some(entry)
    }
}

/// Bytes that are held, until this is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    held: Held,
    owner: IpAddr,
    number: u64,
}

impl Hold {
    /// More bytes are held. May give up this entry or others.
    pub(super) fn grow(&self, bytes: u64) {
        let mut entries = self.held.entries();
        entries.grow(self.owner, self.number, bytes);
        entries.shrink_to(self.held.max_bytes);
    }

    /// The entry has a place: it counts, and is not given up any more.
    pub(super) fn keep(&self) {
        let mut entries = self.held.entries();
        let owner = entries.owners.get_mut(&self.owner);
        if let Some(entry) = owner.and_then(|owner| owner.entries.get_mut(&self.number)) {
            entry.given_up = None;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.entries().remove(self.owner, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn hold(held: &Held, owner: IpAddr, bytes: u64) -> (Hold, CancellationToken) {
        let given_up = CancellationToken::new();
        (held.hold(owner, bytes, given_up.clone()), given_up)
    }

    fn bytes(held: &Held) -> u64 {
        held.entries().bytes
    }

    #[test]
    fn whoever_has_most_held_gives_up_the_oldest() {
        let held = Held::new(10 * ENTRY_BYTES);
        let (_patient, others) = hold(&held, OTHER, ENTRY_BYTES);
        let many: Vec<_> = (0..20).map(|_| hold(&held, ONE, 0)).collect();
        assert!(!others.is_cancelled(), "who has little held keeps it, however old it is");
        let given_up: Vec<bool> = many.iter().map(|(_, given_up)| given_up.is_cancelled()).collect();
        assert_eq!(given_up, [[true; 12].as_slice(), &[false; 8]].concat());
        assert_eq!(bytes(&held), 10 * ENTRY_BYTES);
        drop(many);
        assert_eq!(bytes(&held), 2 * ENTRY_BYTES, "what was given up counts once");
    }

    #[test]
    fn what_grows_beyond_all_is_given_up_itself() {
        let held = Held::new(4 * ENTRY_BYTES);
        let (body, given_up) = hold(&held, ONE, 0);
        body.grow(3 * ENTRY_BYTES);
        assert!(!given_up.is_cancelled());
        body.grow(1);
        assert!(given_up.is_cancelled());
        body.grow(1);
        drop(body);
        assert_eq!(bytes(&held), 0);
        assert!(held.entries().owners.is_empty(), "addresses are forgotten");
    }

    #[test]
    fn what_has_a_place_stays() {
        let held = Held::new(2 * ENTRY_BYTES);
        let (at_work, kept) = hold(&held, ONE, ENTRY_BYTES);
        at_work.keep();
        let (_new, given_up) = hold(&held, OTHER, 0);
        assert!(!kept.is_cancelled() && given_up.is_cancelled());
        drop(at_work);
        let (_next, given_up) = hold(&held, OTHER, ENTRY_BYTES);
        assert!(!given_up.is_cancelled());
    }
}
