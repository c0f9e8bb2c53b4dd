//! Threads for calls of librdkafka that block.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::error::KafkaError;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::panics;

/// Drops a client on a thread that may block: its end waits for its own threads.
pub(crate) fn dispose<T: Send + 'static>(client: T) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
        Err(_) => drop(client),
    }
}

/// Runs a loop on a thread of its own. The loop must end when its token is cancelled: the task that waits here is gone.
///
/// # Errors
/// If the thread can't be spawned, or it panics.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    name: String,
    run: impl FnOnce(CancellationToken) -> T + Send + 'static,
) -> anyhow::Result<T> {
    let (ended, end) = oneshot::channel();
    let abandoned = CancellationToken::new();
    let _guard = abandoned.clone().drop_guard();
    std::thread::Builder::new().name(name).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| run(abandoned)));
        let _ = ended.send(result.map_err(|panic| anyhow::anyhow!(panics::cause(&*panic))));
    })?;
    end.await?
}

/// Runs a call of librdkafka that blocks for a while.
///
/// # Errors
/// Those of the call.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    match spawn_blocking(call).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_says_so() {
        let ended = on_a_thread("test".into(), |_| assert!(std::hint::black_box(false), "a word")).await;
        assert_eq!(ended.map_err(|cause| cause.to_string()), Err("it panicked: a word".into()));
        assert_eq!(on_a_thread("test".into(), |_| 7).await.ok(), Some(7));
    }
}
