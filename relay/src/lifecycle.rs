//! The stages of a graceful stop.
//!
//! Within one deadline, in this order: consumers and timers begin nothing new ([`stop_calling`]); deliveries and timer calls in
//! flight finish while the components that they reached are still served, and offsets are committed ([`callers`] is empty);
//! listeners take nothing new ([`stop_taking`]); units of work in flight finish ([`takers`] is empty); outbox publishers publish
//! what is left and release their leases ([`stop_publishing`], [`publishers`]); the rest of the background ends and the pools close.
//! At the deadline, or at a second signal, [`forced`] ends what is left. That is as safe as a crash, but leases then run out instead
//! of being released.
//!
//! [`stop_calling`]: Lifecycle::stop_calling
//! [`callers`]: Lifecycle::callers
//! [`stop_taking`]: Lifecycle::stop_taking
//! [`takers`]: Lifecycle::takers
//! [`stop_publishing`]: Lifecycle::stop_publishing
//! [`publishers`]: Lifecycle::publishers
//! [`forced`]: Lifecycle::forced

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The stages of a stop, and the tasks that each waits for.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// First: call components no more.
    pub stop_calling: CancellationToken,
    /// Consumer groups with their deliveries, timers. Spawn them here.
    pub callers: TaskTracker,
    /// Then: take nothing new.
    pub stop_taking: CancellationToken,
    /// Units of work, queries. Spawn them here.
    pub takers: TaskTracker,
    /// Then: publish what is left, release leases.
    pub stop_publishing: CancellationToken,
    /// Outbox publishers. Spawn them here.
    pub publishers: TaskTracker,
    /// Then: everything else in the background, such as connections to Redis.
    pub stop_background: CancellationToken,
    /// Everything else in the background. Spawn it here.
    pub background: TaskTracker,
    /// At once, whatever is in flight.
    pub forced: CancellationToken,
}

impl Lifecycle {
    /// Nothing stops yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes through the stages. Answers whether all work ended by itself within the deadline.
    pub async fn stop(&self, deadline: Duration) -> bool {
        let at = Instant::now() + deadline;
        let stages = [
            ("calling", &self.stop_calling, &self.callers),
            ("taking", &self.stop_taking, &self.takers),
            ("publishing", &self.stop_publishing, &self.publishers),
            ("background", &self.stop_background, &self.background),
        ];
        let mut graceful = true;
        for (stage, token, tracker) in stages {
            token.cancel();
            tracker.close();
            graceful &= self.end(stage, tracker, at).await;
        }
        self.forced.cancel();
        graceful
    }

    async fn end(&self, stage: &'static str, tracker: &TaskTracker, at: Instant) -> bool {
        let ended = tokio::select! {
            biased;
            // Work that is forced to end hasn't ended by itself.
            () = self.forced.cancelled() => false,
            ended = timeout_at(at, tracker.wait()) => ended.is_ok() && !self.forced.is_cancelled(),
        };
        if !ended {
            tracing::warn!(
                stage,
                left = tracker.len(),
                "stopping now: the shutdown deadline passed or a second signal came; work in flight is dropped"
            );
            self.forced.cancel();
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn publishers_stop_only_when_the_last_taker_is_done() {
        let life = Lifecycle::new();
        let (finish, finished) = oneshot::channel::<()>();
        let (taker, publisher) = (life.clone(), life.clone());
        life.takers.spawn(async move {
            taker.stop_taking.cancelled().await;
            finished.await.expect("the test says when");
            assert!(!taker.stop_publishing.is_cancelled());
        });
        let published = life.publishers.spawn(async move { publisher.stop_publishing.cancelled().await });
        let stopping = life.stop(Duration::from_secs(60));
        tokio::pin!(stopping);
        assert!(futures::poll!(&mut stopping).is_pending());
        assert!(life.stop_taking.is_cancelled() && !life.stop_publishing.is_cancelled());
        finish.send(()).expect("the taker waits");
        assert!(stopping.await);
        assert!(published.is_finished());
    }

    #[tokio::test]
    async fn the_deadline_is_one_for_all_stages() {
        let life = Lifecycle::new();
        for tracker in [&life.callers, &life.takers, &life.publishers, &life.background] {
            tracker.spawn(std::future::pending::<()>());
        }
        let (began, deadline) = (Instant::now(), Duration::from_secs(1));
        assert!(!life.stop(deadline).await);
        assert!((deadline..deadline * 4).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn force_ends_the_wait_at_once() {
        let life = Lifecycle::new();
        life.takers.spawn(std::future::pending::<()>());
        life.forced.cancel();
        assert!(!life.stop(Duration::MAX / 4).await);
    }
}
