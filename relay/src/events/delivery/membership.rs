//! Whether this relay may still deliver what it has fetched.
//!
//! A relay that was stalled (stopped, swapped out) for longer than its session was thrown out of its group, and others
//! deliver what it still has in its lanes; but it learns so only at its next exchange with Kafka. So after any stall it
//! delivers nothing until Kafka has accepted a commit from it, which Kafka takes only from members of the group as it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct Membership {
    origin: Instant,
    /// Milliseconds from `origin` to the last turn of the poll loop.
    last_turn: AtomicU64,
    /// A gap between two turns that is longer than this is a stall.
    stall: Duration,
    /// Nothing is delivered until Kafka confirmed that this relay is a member.
    in_doubt: watch::Sender<bool>,
}

impl Membership {
    /// `session`: how long Kafka waits for a member that says nothing.
    pub(super) fn new(session: Duration) -> Self {
        Self {
            origin: Instant::now(),
            last_turn: AtomicU64::new(0),
            stall: session / 2,
            in_doubt: watch::Sender::new(false),
        }
    }

    /// A turn of the poll loop. `true`: Kafka must be asked whether this relay is still a member.
    pub(super) fn turn(&self) -> bool {
        if self.is_stalled() {
            self.in_doubt.send_replace(true);
        }
        self.last_turn.store(self.elapsed(), Ordering::Release);
        *self.in_doubt.borrow()
    }

    /// Kafka took a commit that was sent after the doubt arose, or there is nothing left to be in doubt about.
    pub(super) fn confirmed(&self) {
        self.in_doubt.send_replace(false);
    }

    /// Waits until deliveries may begin. `false`: `until` came first.
    pub(super) async fn certain(&self, until: &CancellationToken) -> bool {
        let mut in_doubt = self.in_doubt.subscribe();
        loop {
            if until.is_cancelled() {
                return false;
            }
            if self.is_stalled() {
                // Whoever notices first says so; the poll loop asks Kafka at its next turn.
                self.in_doubt.send_replace(true);
            }
            if !*in_doubt.borrow_and_update() {
                return true;
            }
            if until.run_until_cancelled(in_doubt.changed()).await.is_none() {
                return false;
            }
        }
    }

    fn is_stalled(&self) -> bool {
        let gap = self.elapsed().saturating_sub(self.last_turn.load(Ordering::Acquire));
        Duration::from_millis(gap) > self.stall
    }

    fn elapsed(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_stall_nothing_is_delivered_until_kafka_confirmed() {
        let membership = Membership::new(Duration::from_millis(100));
        let never = CancellationToken::new();
        assert!(!membership.turn());
        assert!(membership.certain(&never).await);
        while !membership.is_stalled() {
            std::thread::yield_now();
        }
        {
            let waiting = membership.certain(&never);
            tokio::pin!(waiting);
            assert!(futures::poll!(&mut waiting).is_pending());
            assert!(membership.turn(), "the poll loop is told to ask");
            assert!(futures::poll!(&mut waiting).is_pending());
            membership.confirmed();
            assert!(waiting.await);
        }
        assert!(!membership.turn());
        never.cancel();
        assert!(!membership.certain(&never).await);
    }
}
