//! The places of requests that wait (`Prefer: wait`, RFC 7240). They are slow on purpose, and so have places of their own:
//! whatever they wait for, other requests go on. Where all are taken, a component is not asked to wait.
//!
//! A client that left gives its place back. One that closed only its own side of the connection still gets its response,
//! unless somebody else needs the place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderValue};
use tokio_util::sync::CancellationToken;

const PREFER: &str = "prefer";

/// The places of requests that wait.
#[derive(Debug)]
pub(crate) struct Waits {
    max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    places: usize,
    /// What ends the waits of clients that send nothing any more, in the order in which they stopped.
    left: VecDeque<CancellationToken>,
}

impl Waits {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, taken: Mutex::default() }
    }

    /// A place, where there is one.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<WaitPlace> {
        let mut taken = self.taken();
        self.end_some(&mut taken);
        (taken.places < self.max).then(|| {
            taken.places += 1;
            WaitPlace { waits: self.clone() }
        })
    }

    /// The client of a wait stopped sending. Cancels `end` once the place is needed.
    pub(crate) fn stopped_sending(&self, end: CancellationToken) {
        let mut taken = self.taken();
        taken.left.push_back(end);
        self.end_some(&mut taken);
    }

    /// While fewer than half of the places are free, those whose clients seem to have left end. Half, because they take a
    /// moment to end.
    fn end_some(&self, taken: &mut Taken) {
        let mut free = self.max - taken.places;
        while free < self.max.div_ceil(2) {
            let Some(end) = taken.left.pop_front() else { break };
            // It counts as free, though it is not yet, so that one request does not end all of them.
            free += usize::from(!end.is_cancelled());
            end.cancel();
        }
        taken.left.retain(|end| !end.is_cancelled());
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a request that waits, until this is dropped.
#[derive(Debug)]
pub(crate) struct WaitPlace {
    waits: Arc<Waits>,
}

impl Drop for WaitPlace {
    fn drop(&mut self) {
        self.waits.taken().places -= 1;
    }
}

/// Whether a request prefers to wait for its response for some time. `wait=0` and what is no number do not count.
pub(crate) fn may_wait(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let seconds = values.flat_map(|value| value.split(',')).filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u32>().ok()).flatten()
    });
    // The first of several counts, as in the SDK.
    { seconds }.next().is_some_and(|seconds| seconds > 0)
}

/// Takes `wait` out of the preferences.
pub(crate) fn do_not_wait(headers: &mut HeaderMap) {
    let is_wait = |preference: &str| {
        let name = preference.split(['=', ';']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("wait")
    };
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let others = values.flat_map(|value| value.split(',')).filter(|preference| !is_wait(preference));
    let others = others.map(str::trim).collect::<Vec<_>>().join(", ");
    headers.remove(PREFER);
    if let Some(value) = HeaderValue::from_str(&others).ok().filter(|value| !value.is_empty()) {
        headers.insert(PREFER, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let pair = |value: &&'static str| (http::HeaderName::from_static(PREFER), HeaderValue::from_static(value));
        values.iter().map(pair).collect()
    }

    #[test]
    fn who_prefers_to_wait_says_so() {
        for wait in ["wait=5", "respond-async, Wait = 10", "return=minimal, wait=\"1\"; x=y"] {
            assert!(may_wait(&headers(&[wait])), "{wait}");
        }
        for none in ["respond-async", "waiting=5", "", "wait", "wait=0", "wait=-1", "wait=x", "wait=0, wait=5"] {
            assert!(!may_wait(&headers(&[none])), "{none}");
        }
        assert!(may_wait(&headers(&["respond-async", "wait=5"])) && !may_wait(&HeaderMap::new()));
    }

    #[test]
    fn only_the_wait_is_taken_out() {
        let without = |values: &[&'static str]| {
            let mut headers = headers(values);
            do_not_wait(&mut headers);
            headers.get_all(PREFER).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(without(&["wait=5"]), [""; 0]);
        assert_eq!(
            without(&["respond-async, Wait = 10; a=b", "return=minimal", "wait"]),
            ["respond-async, return=minimal"]
        );
        assert_eq!(without(&["waiting=5"]), ["waiting=5"]);
    }

    #[test]
    fn places_of_those_who_left_are_given_to_others() {
        let waits = Arc::new(Waits::new(4));
        let places: Vec<_> = (0..2).filter_map(|_| waits.enter()).collect();
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        waits.stopped_sending(first.clone());
        waits.stopped_sending(second.clone());
        assert!(!first.is_cancelled(), "there is room");
        let more: Vec<_> = (0..2).filter_map(|_| waits.enter()).collect();
        assert!(first.is_cancelled() && !second.is_cancelled());
        assert!(waits.enter().is_none() && second.is_cancelled());
        drop(places);
        assert!(waits.enter().is_some());
        drop(more);
        assert_eq!(waits.taken().places, 0);
    }
}
