//! Watches the deliveries to one service, and picks the one that fails. Pure.

use std::time::{Duration, Instant};

/// Nothing at all for so long is no accident.
const HELD_UP: Duration = Duration::from_secs(15);
/// Fewer than this before the fault say nothing about what must come during it.
const ENOUGH: usize = 3;

/// What was seen of the deliveries to a service.
#[derive(Debug)]
pub(super) struct Watch {
    service: String,
    /// Deliveries before one is to be picked.
    before: usize,
    picking: Option<usize>,
    picked: Option<Picked>,
}

/// The event that fails.
#[derive(Debug)]
struct Picked {
    id: String,
    tries: usize,
    /// When it was lifted.
    mended: Option<Instant>,
    through: Option<Instant>,
    /// Deliveries of other events while it failed, when the last was, and the longest time without.
    others: usize,
    last: Instant,
    silence: Duration,
}

impl Watch {
    pub(super) fn new(service: &str) -> Self {
        Self { service: service.to_owned(), before: 0, picking: None, picked: None }
    }

    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// From now on the next event fails once so many have passed.
    pub(super) fn pick(&mut self, after: usize) {
        self.picking = Some(after);
    }

    /// From now on nothing fails.
    pub(super) fn mend(&mut self, now: Instant) {
        if let Some(picked) = &mut self.picked {
            picked.silence = picked.silence.max(now.duration_since(picked.last));
            picked.mended = Some(now);
        }
    }

    /// Takes note of a delivery to this path. Whether it fails.
    pub(super) fn sees(&mut self, path: &str, id: &str, now: Instant) -> bool {
        let own = path.strip_prefix("/_relay/").and_then(|path| path.strip_prefix(self.service.as_str()));
        if !own.is_some_and(|rest| rest.starts_with('/')) {
            return false;
        }
        match (&mut self.picked, &mut self.picking) {
            (Some(picked), _) => return picked.sees(id, now),
            (None, None) => self.before += 1,
            (None, Some(left @ 1..)) => *left -= 1,
            (None, Some(0)) => {
                let id = id.to_owned();
                let (tries, others, silence) = (1, 0, Duration::ZERO);
                self.picked = Some(Picked { id, tries, mended: None, through: None, others, last: now, silence });
                return true;
            }
        }
        false
    }

    /// The id of the event that fails.
    pub(super) fn picked(&self) -> Option<&str> {
        self.picked.as_ref().map(|picked| picked.id.as_str())
    }

    /// How often it failed.
    pub(super) fn tries(&self) -> usize {
        self.picked.as_ref().map_or(0, |picked| picked.tries)
    }

    /// How many other deliveries there were meanwhile.
    pub(super) fn others(&self) -> usize {
        self.picked.as_ref().map_or(0, |picked| picked.others)
    }

    /// How long after the end of the fault the event passed, if it did.
    pub(super) fn came_through(&self) -> Option<Duration> {
        let picked = self.picked.as_ref()?;
        Some(picked.through?.duration_since(picked.mended?))
    }

    /// What is wrong with the deliveries of other events.
    pub(super) fn held_up(&self) -> Option<String> {
        let picked = self.picked.as_ref().filter(|_| self.before >= ENOUGH)?;
        let service = &self.service;
        if picked.others == 0 {
            return Some(format!("{service} got nothing else while it failed on the event {}", picked.id));
        }
        let seconds = picked.silence.as_secs();
        (picked.silence > HELD_UP)
            .then(|| format!("{service} got nothing for {seconds} s while it failed on the event {}", picked.id))
    }
}

impl Picked {
    fn sees(&mut self, id: &str, now: Instant) -> bool {
        let own = id == self.id;
        match (own, self.mended) {
            (true, None) => self.tries += 1,
            (true, Some(_)) => {
                self.through.get_or_insert(now);
            }
            (false, None) => {
                self.others += 1;
                self.silence = self.silence.max(now.duration_since(self.last));
                self.last = now;
            }
            (false, Some(_)) => {}
        }
        own && self.mended.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch that has seen so many deliveries, and then was told to pick one after two more.
    fn watch(before: usize) -> (Watch, Instant) {
        let (mut watch, now) = (Watch::new("order"), Instant::now());
        for n in 0..before {
            assert!(!watch.sees("/_relay/order/events", &n.to_string(), now));
        }
        watch.pick(2);
        (watch, now)
    }

    fn order(watch: &mut Watch, id: &str, now: Instant) -> bool {
        watch.sees("/_relay/order/events", id, now)
    }

    #[test]
    fn one_event_of_one_service_fails_each_time_until_it_is_mended() {
        let (mut watch, now) = watch(3);
        assert!(!order(&mut watch, "a", now) && !order(&mut watch, "b", now) && watch.picked().is_none());
        assert!(!watch.sees("/_relay/payment/events", "c", now) && !watch.sees("/_relay/orders/events", "c", now));
        assert!(order(&mut watch, "c", now) && watch.picked() == Some("c"));
        assert!(!watch.sees("/_relay/payment/events", "c", now), "another service takes the same event");
        assert!(!order(&mut watch, "d", now) && order(&mut watch, "c", now));
        assert_eq!((watch.tries(), watch.others(), watch.came_through()), (2, 1, None));
        watch.mend(now);
        assert!(!order(&mut watch, "c", now + Duration::from_secs(2)) && !order(&mut watch, "e", now));
        assert_eq!((watch.tries(), watch.others()), (2, 1));
        assert_eq!((watch.came_through(), watch.held_up()), (Some(Duration::from_secs(2)), None));
    }

    #[test]
    fn others_that_are_held_up_are_noticed() {
        let failing = |before: usize| {
            let (mut watch, now) = watch(before);
            assert_eq!(["a", "b", "c"].map(|id| order(&mut watch, id, now)), [false, false, true]);
            (watch, now)
        };
        let after = |now: Instant, seconds: u64| now + Duration::from_secs(seconds);
        let (mut none, now) = failing(3);
        none.mend(after(now, 1));
        assert!(none.held_up().unwrap().contains("nothing else"));
        let (mut quiet, now) = failing(2);
        quiet.mend(after(now, 60));
        assert_eq!(quiet.held_up(), None, "there was little before");
        for (ends, held_up) in [(16, false), (17, true)] {
            let (mut watch, now) = failing(3);
            order(&mut watch, "d", after(now, 1));
            watch.mend(after(now, ends));
            assert_eq!(watch.held_up().is_some(), held_up, "{ends}");
        }
    }
}
