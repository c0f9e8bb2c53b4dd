//! Admission control: limits the requests at work so that the median response takes no longer than the target latency.
//!
//! A server that admits more than it can do makes every request wait, until none is answered in time. So the limit follows
//! the measured latency: if the median of the responses exceeds the target, the limit falls; if the median is below it and
//! the limit was reached, the limit rises (additive increase, multiplicative decrease, as in TCP). A refusal costs next to
//! nothing and comes at once, with `Retry-After`.
//!
//! The target is lower than what a client would accept, because admitted requests cause further work: an order that was
//! placed must also be finished, on the same processors. A short queue leaves room for that work.
//!
//! Requests fall into lanes by the first two segments of their path, and each lane has its own limit: if the database of
//! one service is slow, the requests of the others are not refused for it. When there are many lanes, those without a
//! request are dropped, so that invented paths cannot fill the memory.
//!
//! A request that asks to wait (`Prefer: wait`, RFC 7240) and has one of the places for that is slow on purpose. It counts
//! as being at work until the target latency has passed; if it takes longer, its latency is not measured.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::routes::plain_segments;

/// With this many lanes, adding another first drops those without a request. So there are never more lanes than this and
/// one per request at work.
const MAX_LANES: usize = 256;
/// The lowest limit of a lane: low enough that a machine which serves fifty requests a second answers each within a
/// second, and high enough for a service that waits for others.
const MIN_LIMIT: usize = 48;
/// The limit of a new lane.
const INITIAL_LIMIT: usize = 128;
/// A lane adjusts its limit after at least this many responses and this much time.
const MIN_SAMPLES: usize = 16;
const MIN_WINDOW: Duration = Duration::from_millis(50);
/// A lane adjusts its limit after this many responses, however little time has passed.
const MAX_SAMPLES: usize = 512;

/// Decides which requests are admitted.
#[derive(Debug)]
pub(crate) struct Admission {
    lanes: Mutex<HashMap<Box<str>, Lane>>,
    max_working: usize,
    target: Duration,
}

impl Admission {
    /// Keeps the median latency below `target`, with at most `max_working` requests at work in a lane.
    pub(crate) fn new(target: Duration, max_working: usize) -> Self {
        Self { lanes: Mutex::default(), max_working, target }
    }

    /// Admits a request, or returns `None` if its lane is at its limit.
    pub(crate) fn enter(self: &Arc<Self>, path: &str) -> Option<Arc<Working>> {
        let (lane, began) = (lane_of(path), Instant::now());
        let mut lanes = self.lanes();
        if lanes.len() >= MAX_LANES && !lanes.contains_key(&*lane) {
            lanes.retain(|_, lane| lane.working > 0);
        }
        let new = || Lane::new(self.target, self.max_working, began);
        let entered = lanes.entry(lane.clone()).or_insert_with(new).enter();
        let over = AtomicBool::new(false);
        entered.then(|| Arc::new(Working { admission: self.clone(), lane, began, over }))
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Box<str>, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first two segments of a path, the same for all its spellings: whoever writes `/v1//Orders` or `/v1/%6Frders` for
/// `/v1/orders` is in the same lane, whatever the component takes the path for.
fn lane_of(path: &str) -> Box<str> {
    let mut segments = plain_segments(path);
    segments.truncate(2);
    segments.iter().flat_map(|segment| ["/", segment]).collect::<String>().into()
}

/// A request at work: until it is answered or waits, or until this is dropped. A component goes on after its client has
/// left, and counts until it is done.
#[derive(Debug)]
pub(crate) struct Working {
    admission: Arc<Admission>,
    lane: Box<str>,
    began: Instant,
    over: AtomicBool,
}

impl Working {
    /// How long a request that prefers to wait counts as being at work.
    pub(crate) fn patience(&self) -> Duration {
        self.admission.target
    }

    /// The request was answered; measures its latency.
    pub(crate) fn answered(&self) {
        self.end(Some(self.began));
    }

    /// The request is no longer at work; its latency does not count.
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

/// The requests of one lane.
#[derive(Debug)]
struct Lane {
    target: Duration,
    min_limit: f64,
    max_limit: f64,
    limit: f64,
    working: usize,
    /// Whether the requests at work reached the limit since the last adjustment.
    reached: bool,
    latencies: Vec<Duration>,
    adjusted_at: Instant,
    /// Requests that began earlier ran under a higher limit, so their latency does not count.
    lowered_at: Instant,
}

impl Lane {
    fn new(target: Duration, max_working: usize, now: Instant) -> Self {
        Self {
            target,
            min_limit: MIN_LIMIT.min(max_working) as f64,
            max_limit: max_working as f64,
            limit: INITIAL_LIMIT.min(max_working) as f64,
            working: 0,
            reached: false,
            latencies: Vec::new(),
            adjusted_at: now,
            lowered_at: now,
        }
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
            self.latencies.push(now.saturating_duration_since(began));
        }
        let waited = now.saturating_duration_since(self.adjusted_at) >= MIN_WINDOW;
        if self.latencies.len() >= MAX_SAMPLES || (waited && self.latencies.len() >= MIN_SAMPLES) {
            self.adjust(now);
        }
    }

    fn adjust(&mut self, now: Instant) {
        let middle = self.latencies.len() / 2;
        let median = *self.latencies.select_nth_unstable(middle).1;
        if median > self.target {
            let ratio = self.target.as_secs_f64() / median.as_secs_f64();
            self.limit = (self.limit * ratio.max(0.5)).max(self.min_limit);
            self.lowered_at = now;
        } else if self.reached {
            self.limit = (self.limit + (self.limit / 16.0).max(1.0)).min(self.max_limit);
        }
        (self.adjusted_at, self.reached) = (now, false);
        self.latencies.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(100);

    /// Runs a server that handles `per_second` requests a second, one after another, with as many clients as it admits.
    /// Returns the latency of the last request after `seconds`.
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
        assert_eq!(lane.limit, MIN_LIMIT as f64);
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
        assert_eq!(lane.limit, INITIAL_LIMIT as f64);
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
        for number in 0..10 * MAX_LANES {
            assert!(admission.enter(&format!("/v1/{number}")).is_some());
        }
        assert!(admission.lanes().len() <= MAX_LANES + 1);
        assert_eq!(admission.lanes()["/v1/orders"].working, 1);
        drop(busy);
    }

    #[test]
    fn all_spellings_of_a_path_are_in_one_lane() {
        for spelling in [
            "/v1/orders",
            "/v1/orders/1/cancel",
            "/V1/Orders",
            "//v1///orders/",
            "/v1/%6Frders",
            "/v1%2Forders",
            "/v1/%2e/orders",
            "/v1/./orders",
            "/v1/../v1/orders",
            "/%76%31/orders",
            "/v1/orders;a=b",
            "/v1/%256Frders",
            "/v1\\orders",
        ] {
            assert_eq!(&*lane_of(spelling), "/v1/orders", "{spelling}");
        }
        assert_eq!(&*lane_of("/"), "");
        assert_eq!(&*lane_of("/healthz"), "/healthz");
    }
}
