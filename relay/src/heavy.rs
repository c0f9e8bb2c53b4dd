//! Work on large inputs, such as reading a body of JSON of a megabyte: it takes milliseconds. On a worker of the runtime it would
//! keep everybody else's requests for as long, one such request after the other.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::block_in_place;

/// Work on fewer bytes takes less than a millisecond.
const MIN_BYTES: usize = 64 << 10;

/// Does `work` on so many bytes. Where these are many, another worker takes over what this one has to do, and the processor is
/// shared by the system.
pub(crate) fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let has_workers = || Handle::try_current().is_ok_and(|now| now.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes >= MIN_BYTES && has_workers() { block_in_place(work) } else { work() }
}

/// The same; work on many bytes waits for its turn among that of one service, so that a service keeps one processor busy with
/// it at most.
pub(crate) async fn in_turn<T>(turn: &Semaphore, bytes: usize, work: impl FnOnce() -> T) -> T {
    // It is never closed.
    let _turn = if bytes >= MIN_BYTES { turn.acquire().await.ok() } else { None };
    aside(bytes, work)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn others_go_on_while_something_large_is_at_work() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let (go, gone) = mpsc::channel();
        let (at_work, begun) = mpsc::channel();
        let large = runtime.spawn(async move {
            aside(MIN_BYTES, || {
                at_work.send(()).expect("the test waits");
                gone.recv().expect("somebody else says so")
            })
        });
        begun.recv().expect("it begins");
        runtime.spawn(async move { go.send(7).expect("it waits") });
        assert_eq!(runtime.block_on(large).expect("no panic"), 7);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_of_a_service_is_at_work_at_a_time() {
        let (turn, at_work) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..16).map(|_| {
            let (turn, at_work) = (Arc::clone(&turn), Arc::clone(&at_work));
            tokio::spawn(async move {
                in_turn(&turn, MIN_BYTES, || {
                    let before = at_work.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                    at_work.fetch_sub(1, Ordering::SeqCst);
                    before
                })
                .await
            })
        });
        assert_eq!(futures::future::try_join_all(tasks).await.expect("no panic"), [0; 16]);
    }

    #[tokio::test]
    async fn where_there_is_one_thread_it_is_done_there() {
        assert_eq!(in_turn(&Semaphore::new(1), MIN_BYTES, || 1).await, 1);
        assert_eq!(aside(1, || 2), 2);
    }
}
