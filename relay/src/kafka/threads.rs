//! Threads for what librdkafka does while it blocks.

use rdkafka::error::KafkaError;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

/// Lets go of a client on a thread that may block: its end waits for its threads.
pub(crate) fn dispose<T: Send + 'static>(client: T) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
        Err(_) => drop(client),
    }
}

/// Runs a loop on a thread of its own, as long as it likes. The token that it gets is cancelled where whoever waits here
/// is gone: then it must end.
///
/// # Errors
/// Where there is no thread to be had, or it panicked.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    name: String,
    run: impl FnOnce(CancellationToken) -> T + Send + 'static,
) -> anyhow::Result<T> {
    let (ended, end) = oneshot::channel();
    let abandoned = CancellationToken::new();
    let _guard = abandoned.clone().drop_guard();
    std::thread::Builder::new().name(name).spawn(move || {
        let _ = ended.send(run(abandoned));
    })?;
    Ok(end.await?)
}

/// Runs a call of librdkafka that blocks for a while.
///
/// # Errors
/// What the call answers.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    match spawn_blocking(call).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
