//! Whether this relay may still deliver what it has fetched.
//!
//! Kafka removes a relay that is stalled (stopped, swapped out) for longer than its session from the group, and other relays
//! deliver what it still has in its lanes; the relay learns that only at its next exchange with Kafka. So after a stall it
//! delivers nothing until Kafka has accepted a commit from it: Kafka takes commits only from current members.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct Membership {
    origin: Instant,
    /// Milliseconds from `origin` to the last turn of the poll loop.
    last_turn: AtomicU64,
    /// A longer gap between two turns is a stall.
    stall: Duration,
    /// While true, the relay delivers nothing: Kafka hasn't confirmed that it is a member.
    in_doubt: watch::Sender<bool>,
}

impl Membership {
    /// `session`: the session timeout of the group.
    pub(super) fn new(session: Duration) -> Self {
        Self {
            origin: Instant::now(),
            last_turn: AtomicU64::new(0),
            stall: session / 2,
            in_doubt: watch::Sender::new(false),
        }
    }

    /// Notes a turn of the poll loop. `true`: ask Kafka whether this relay is still a member.
    pub(super) fn turn(&self) -> bool {
        if self.is_stalled() {
            self.in_doubt.send_replace(true);
        }
        self.last_turn.store(self.elapsed(), Ordering::Release);
        *self.in_doubt.borrow()
    }

    /// Kafka took a commit that was sent after the stall, or there was nothing to commit.
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
                // The poll loop asks Kafka at its next turn.
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
