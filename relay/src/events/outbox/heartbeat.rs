//! Renews a publisher's leases while it makes progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::gauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::store::{self, held};
use crate::postgres::RelayRole;
use crate::service::Service;
use crate::telemetry::metrics as names;

/// What `/readyz` calls the keys that wait because Kafka refuses their events.
const HELD_KEYS: &str = "held_keys";

/// How a publisher gets on. One that has been stuck in one batch for longer than a lease doesn't deserve its shards:
/// Kafka may be out of its reach and not out of another's.
#[derive(Debug)]
pub(super) struct Progress {
    origin: Instant,
    /// Milliseconds since `origin` + 1 when it began to work at a batch; 0 while there is none.
    busy_since: AtomicU64,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { origin: Instant::now(), busy_since: AtomicU64::new(0) })
    }

    /// Begins to work, unless it has begun already.
    pub(super) fn begin(&self) {
        let now = self.origin.elapsed().as_millis() as u64 + 1;
        let _ = self.busy_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Something was published, or there was nothing to publish.
    pub(super) fn end(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    fn stuck_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.origin.elapsed().saturating_sub(Duration::from_millis(since - 1)),
        }
    }
}

/// Renews until dropped, and counts what waits. However it ends, such as because the publisher was retired, it cancels `lost`.
pub(super) async fn beat(
    role: RelayRole,
    service: Arc<Service>,
    id: Arc<str>,
    lease: Duration,
    progress: Arc<Progress>,
    lost: CancellationToken,
) {
    let _lost = lost.drop_guard();
    let mut failing = false;
    loop {
        tokio::time::sleep(lease / 4).await;
        if let Ok((waiting, oldest)) = store::backlog(&role).await {
            gauge!(names::OUTBOX_WAITING, "service" => Arc::clone(&service.name)).set(waiting as f64);
            gauge!(names::OUTBOX_OLDEST_SECONDS, "service" => Arc::clone(&service.name)).set(oldest);
        }
        if let Ok(held) = held::summary(&role).await {
            tell_what_is_held(&service, held.as_ref());
        }
        let stuck_for = progress.stuck_for();
        if stuck_for > lease {
            if !std::mem::replace(&mut failing, true) {
                let stuck_ms = stuck_for.as_millis() as u64;
                tracing::warn!(
                    publisher = &*id,
                    stuck_ms,
                    "the outbox publisher is stuck in one batch; it stops renewing its leases"
                );
            }
            continue;
        }
        let renewed = match store::renew(&role, &id, lease).await {
            Ok(true) => store::cut(&role).await.map(|()| true),
            other => other,
        };
        match renewed {
            Ok(true) => failing = false,
            Ok(false) => return,
            Err(cause) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(
                        publisher = &*id,
                        cause = format!("{cause:#}"),
                        "renewing the outbox leases failed; retrying"
                    );
                }
            }
        }
    }
}

/// What is held is told by every relay that publishes the outbox, whichever tries it.
fn tell_what_is_held(service: &Service, held: Option<&held::Summary>) {
    let keys = held.map_or(0, |held| held.keys);
    gauge!(names::OUTBOX_HELD_KEYS, "service" => Arc::clone(&service.name)).set(keys as f64);
    let Some(held::Summary { keys, topic, seq, cause }) = held else {
        service.standstills.clear(HELD_KEYS);
        return;
    };
    let cause = format!(
        "{keys} keys of the outbox wait: Kafka refuses event {}/{seq} of {topic}: {cause}. See `towpath-relay outbox list`",
        service.name
    );
    service.standstills.note(HELD_KEYS, &cause, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_stuck_from_the_first_attempt_on() {
        let progress = Progress::new();
        assert_eq!(progress.stuck_for(), Duration::ZERO);
        progress.begin();
        let first = Duration::from_millis(20);
        while progress.stuck_for() < first {
            tokio::task::yield_now().await;
        }
        progress.begin();
        assert!(progress.stuck_for() >= first, "another attempt doesn't begin it anew");
        progress.end();
        assert_eq!(progress.stuck_for(), Duration::ZERO);
    }
}
