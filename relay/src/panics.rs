//! Panics in the relay's own tasks: none ends a part without a word.
//!
//! The hook ([`log`]) logs where a panic came from. What becomes of the part is its owner's to decide:
//!
//! | what panics | what follows |
//! |---|---|
//! | a request, a unit of work | it is answered with 500; nothing else notices |
//! | a connection to PostgreSQL | whoever uses it sees it end; the pool makes another |
//! | an outbox publisher, or its heartbeat | another begins, and retires the one before |
//! | a consumer's poll thread | a new consumer begins |
//! | the worker of a lane | it begins anew with the event that it was at |
//! | a timer, retention | its task begins anew; its turn is taken over after the lease |
//! | what serves all services: listeners, Redis, wake-ups, topics, dead letters, metrics | it begins anew ([`outlive`]) |
//! | a look at a dependency ([`crate::health`]) | it counts as away; the next look comes as always |
//! | the retirement of another publisher | it is tried again at the next look |
//! | what makes publishers and consumers | it has ended, and `/healthz` says so ([`Service::logged`](crate::service::Service::logged)) |

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::time::Duration;

use futures::FutureExt;
use metrics::counter;
use tokio::task::JoinError;

use crate::backoff::Backoff;
use crate::telemetry::metrics as names;

/// Before a part that panicked begins anew.
pub(crate) const AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

thread_local! {
    /// Whether this thread runs what panics at what others send.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Logs where each panic comes from, from now on, but for those that are [`expected`].
pub(crate) fn log() {
    set_hook(Box::new(|panic| {
        if EXPECTED.get() {
            return;
        }
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "the relay panicked");
    }));
}

/// Runs what panics at what others send: that is no fault of the relay. `None`: it panicked.
pub(crate) fn expected<T>(read: impl FnOnce() -> T) -> Option<T> {
    EXPECTED.set(true);
    let read = catch_unwind(AssertUnwindSafe(read)).ok();
    EXPECTED.set(false);
    read
}

/// What a panic said, as the cause of something.
pub(crate) fn cause(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("without a word"))
}

/// Why a task that was spawned has no result.
pub(crate) fn of(error: JoinError) -> String {
    error.try_into_panic().map_or_else(|_| "it was cut off".to_owned(), |panic| cause(&*panic))
}

/// Runs a future. `Err`: what its panic said.
pub(crate) async fn caught<T>(task: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(task).catch_unwind().await.map_err(|panic| cause(&*panic))
}

/// Runs a part that serves all services, to its end. Where it panics, it begins anew.
pub(crate) async fn outlive<F: Future>(part: &'static str, make: impl Fn() -> F) -> F::Output {
    let mut failures = AGAIN.failures();
    loop {
        match caught(make()).await {
            Ok(output) => return output,
            Err(cause) => {
                counter!(names::REPLACED, "service" => "", "part" => part).increment(1);
                tracing::error!(part, cause, "a part of the relay panicked; starting it again");
                tokio::time::sleep(failures.next()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        assert_eq!(cause(&"a text"), "it panicked: a text");
        assert_eq!(cause(&"a text".to_owned()), "it panicked: a text");
        assert_eq!(cause(&7), "it panicked: without a word");
    }

    #[test]
    fn a_panic_that_is_expected_ends_nothing_and_the_next_one_is_logged_again() {
        assert_eq!(expected(|| EXPECTED.get()), Some(true));
        assert_eq!(expected::<()>(|| panic!("at what others send")), None);
        assert!(!EXPECTED.get());
    }

    #[tokio::test]
    async fn a_part_that_panics_begins_anew_until_it_ends_by_itself() {
        let begun = AtomicUsize::new(0);
        outlive("test", || async {
            assert!(begun.fetch_add(1, Ordering::Relaxed) == 2, "not yet");
        })
        .await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }
}
