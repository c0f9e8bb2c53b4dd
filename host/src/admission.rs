//! How many requests of clients may be at work at once: as many as are answered in time, and no more.
//!
//! Whoever takes in more than it can do makes everybody wait until nobody is served in time. So the limit follows what
//! is measured: where the median of the answers takes longer than the target, fewer are let in; where all are quick and
//! the limit was reached, more (additive increase, multiplicative decrease, as TCP does). What is refused costs next to
//! nothing, and hears at once when to come back.
//!
//! The target is lower than what a client would bear, for the sake of the work that follows from what was let in: an order
//! that is taken also has to be brought to its end, on the same processors. Where the queue of those who want in is short,
//! that work gets its share.
//!
//! Requests fall into lanes by the first two segments of their path, each with a limit of its own: where the database of
//! one service stands still, its requests are slow, and those of the others aren't refused for it. Lanes without a
//! request are forgotten when there are many, so that nobody fills the memory by inventing paths.
//!
//! A request that says that it wants to wait (`Prefer: wait`, RFC 7240) is slow on purpose: it is at work for as long as
//! the target, then only waits, and what it took says nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;

/// Beyond this many lanes those without a request are forgotten: there are never more than this and one for each request.
const LANES: usize = 256;
/// The least that a lane is limited to. Few enough that a machine which does fifty requests a second answers each within
/// one, and enough for a service that waits for others.
const LEAST: usize = 48;
/// What a lane begins with.
const FIRST: usize = 128;
/// How many answers decide, and how long they are collected at least.
const SAMPLES: usize = 16;
const WINDOW: Duration = Duration::from_millis(50);
/// No more than this many are kept.
const MOST_SAMPLES: usize = 512;

/// Decides who comes in.
#[derive(Debug)]
pub(crate) struct Admission {
    lanes: Mutex<HashMap<Box<str>, Lane>>,
    most: usize,
    pub(crate) target: Duration,
}

impl Admission {
    /// Keeps answers within `target`, with at most `most` requests at work in a lane.
    pub(crate) fn new(target: Duration, most: usize) -> Self {
        Self { lanes: Mutex::default(), most, target }
    }

    /// A place among those that work; none where there is no room.
    pub(crate) fn enter(self: &Arc<Self>, path: &str) -> Option<Arc<Working>> {
        let (lane, began) = (lane_of(path), Instant::now());
        let mut lanes = self.lanes();
        if lanes.len() >= LANES && !lanes.contains_key(lane) {
            lanes.retain(|_, lane| lane.working > 0);
        }
        let entered = match lanes.get_mut(lane) {
            Some(lane) => lane.enter(),
            None => lanes.entry(lane.into()).or_insert_with(|| Lane::new(self.target, self.most, began)).enter(),
        };
        let over = AtomicBool::new(false);
        entered.then(|| Arc::new(Working { admission: self.clone(), lane: lane.into(), began, over }))
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Box<str>, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first two segments of a path.
fn lane_of(path: &str) -> &str {
    let end = path.match_indices('/').nth(2).map_or(path.len(), |(at, _)| at);
    &path[..end]
}

/// A request at work. It is so until it is answered or waits, or else until nothing holds it any more: the component
/// goes on though its client has left, and takes its place as long.
#[derive(Debug)]
pub(crate) struct Working {
    admission: Arc<Admission>,
    lane: Box<str>,
    began: Instant,
    over: AtomicBool,
}

impl Working {
    /// It was answered, and how long that took says how busy everything is.
    pub(crate) fn answered(&self) {
        self.end(Some(self.began));
    }

    /// It is no longer at work, and what it took says nothing.
    pub(crate) fn waits(&self) {
        self.end(None);
    }

    fn end(&self, began: Option<Instant>) {
        if self.over.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(lane) = self.admission.lanes().get_mut(&self.lane) {
            lane.leave(began, Instant::now());
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// Whether a request says that its answer may take its time.
pub(crate) fn may_wait(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split([',', ';'])).any(|preference| {
        let name = preference.split('=').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("wait")
    })
}

/// The requests of one lane.
#[derive(Debug)]
struct Lane {
    target: Duration,
    least: f64,
    most: f64,
    limit: f64,
    working: usize,
    /// Whether the limit was what kept somebody out, or nearly.
    reached: bool,
    taken: Vec<Duration>,
    looked_at: Instant,
    /// Requests that began before say nothing of the limit as it is.
    lowered_at: Instant,
}

impl Lane {
    fn new(target: Duration, most: usize, now: Instant) -> Self {
        let (least, first) = (LEAST.min(most) as f64, FIRST.min(most) as f64);
        let (looked_at, lowered_at) = (now, now);
        let (working, reached, taken) = (0, false, Vec::new());
        Self { target, least, most: most as f64, limit: first, working, reached, taken, looked_at, lowered_at }
    }

    fn enter(&mut self) -> bool {
        self.reached |= (self.working + 1) as f64 >= self.limit;
        let room = (self.working as f64) < self.limit.floor();
        self.working += usize::from(room);
        room
    }

    fn leave(&mut self, began: Option<Instant>, now: Instant) {
        self.working = self.working.saturating_sub(1);
        if let Some(began) = began.filter(|began| *began >= self.lowered_at) {
            self.taken.push(now.saturating_duration_since(began));
        }
        let waited = now.saturating_duration_since(self.looked_at) >= WINDOW;
        if self.taken.len() >= MOST_SAMPLES || (waited && self.taken.len() >= SAMPLES) {
            self.adjust(now);
        }
    }

    fn adjust(&mut self, now: Instant) {
        let middle = self.taken.len() / 2;
        let median = *self.taken.select_nth_unstable(middle).1;
        if median > self.target {
            let ratio = self.target.as_secs_f64() / median.as_secs_f64();
            self.limit = (self.limit * ratio.max(0.5)).max(self.least);
            self.lowered_at = now;
        } else if self.reached {
            self.limit = (self.limit + (self.limit / 16.0).max(1.0)).min(self.most);
        }
        (self.looked_at, self.reached) = (now, false);
        self.taken.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(100);

    /// A server that does `per_second` requests a second, one after the other, and is asked as often as it lets in.
    /// Answers the limit after `seconds`, and how long the last request took.
    fn run(lane: &mut Lane, mut now: Instant, per_second: u32, seconds: u32) -> Duration {
        let mut queue = std::collections::VecDeque::new();
        let mut took = Duration::ZERO;
        for _ in 0..per_second * seconds {
            while lane.enter() {
                queue.push_back(now);
            }
            now += Duration::from_secs(1) / per_second;
            let began = queue.pop_front().expect("somebody was let in");
            took = now - began;
            lane.leave(Some(began), now);
        }
        took
    }

    #[test]
    fn the_limit_settles_where_answers_take_the_target() {
        let now = Instant::now();
        let mut lane = Lane::new(TARGET, 10_000, now);
        let took = run(&mut lane, now, 2_000, 10);
        assert!((TARGET / 2..TARGET * 2).contains(&took), "{took:?} with {}", lane.limit);
        assert!((100.0..400.0).contains(&lane.limit), "{}", lane.limit);
    }

    #[test]
    fn a_slow_server_gets_the_least_and_one_that_recovers_more() {
        let start = Instant::now();
        let mut lane = Lane::new(TARGET, 512, start);
        run(&mut lane, start, 50, 10);
        assert_eq!(lane.limit, LEAST as f64);
        // The requests that it left in the lane are forgotten with it.
        lane.working = 0;
        run(&mut lane, start + Duration::from_secs(10), 5_000, 2);
        assert!(lane.limit > 300.0, "{}", lane.limit);
    }

    #[test]
    fn where_the_limit_is_not_reached_it_does_not_grow() {
        let mut now = Instant::now();
        let mut lane = Lane::new(TARGET, 512, now);
        for _ in 0..10_000 {
            assert!(lane.enter());
            let began = now;
            now += Duration::from_millis(5);
            lane.leave(Some(began), now);
        }
        assert_eq!(lane.limit, FIRST as f64);
    }

    #[test]
    fn one_who_waits_gives_the_place_back_once() {
        let admission = Arc::new(Admission::new(TARGET, 1));
        let first = admission.enter("/v1/orders/1").expect("room");
        assert!(admission.enter("/v1/orders").is_none());
        assert!(admission.enter("/v1/products").is_some(), "another lane");
        assert!(admission.enter("/v1/orders/2/cancel").is_none());
        first.waits();
        let second = admission.enter("/v1/orders/2").expect("room again");
        first.answered();
        drop(first);
        assert!(admission.enter("/v1/orders/3").is_none(), "the first has given its place back already");
        drop(second);
        assert!(admission.enter("/v1/orders/3").is_some(), "who forgets to leave has left");
    }

    #[test]
    fn inventing_paths_fills_no_memory() {
        let admission = Arc::new(Admission::new(TARGET, 10));
        let busy = admission.enter("/v1/orders").expect("room");
        for number in 0..10 * LANES {
            assert!(admission.enter(&format!("/v1/{number}")).is_some());
        }
        assert!(admission.lanes().len() <= LANES + 1);
        assert_eq!(admission.lanes()["/v1/orders"].working, 1);
        drop(busy);
    }

    #[test]
    fn who_prefers_to_wait_says_so() {
        let prefers = |value: &'static str| may_wait(&[("prefer", value)].map(header).into_iter().collect());
        fn header((name, value): (&'static str, &'static str)) -> (http::HeaderName, http::HeaderValue) {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        }
        assert!(prefers("wait=5") && prefers("respond-async, Wait = 10") && prefers("return=minimal; wait=1"));
        assert!(!prefers("respond-async") && !prefers("waiting=5") && !prefers("") && !may_wait(&HeaderMap::new()));
    }
}
