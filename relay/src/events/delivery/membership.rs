//! Whether this relay may still deliver what it has fetched.
//!
//! Kafka removes a relay that is stalled (stopped, swapped out, on a machine that was suspended) for longer than its session
//! from the group, and other relays deliver what it still has in its lanes; the relay learns that only at its next exchange with
//! Kafka. So after a stall it delivers nothing until Kafka has accepted a commit from it: Kafka takes commits only from current
//! members.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Moment;

#[derive(Debug)]
pub(super) struct Membership {
    origin: Moment,
    /// Milliseconds from `origin` to the last turn of the poll loop.
    last_turn: AtomicU64,
    /// A longer gap between two turns is a stall.
    stall: Duration,
    /// While true, the relay delivers nothing: Kafka hasn't confirmed that it is a member.
    in_doubt: watch::Sender<bool>,
    commits: Mutex<Commits>,
}

/// Commits are answered in the order in which they were sent: one connection carries them.
#[derive(Debug, Default)]
struct Commits {
    sent: u64,
    answered: u64,
    /// The number of the commit whose answer proves the membership: one that was sent after the stall.
    proof: Option<u64>,
    in_doubt_since: Option<Instant>,
}

impl Membership {
    /// `session`: the session timeout of the group.
    pub(super) fn new(session: Duration) -> Self {
        Self {
            origin: Moment::now(),
            last_turn: AtomicU64::new(0),
            stall: session / 2,
            in_doubt: watch::Sender::new(false),
            commits: Mutex::default(),
        }
    }

    /// Notes a turn of the poll loop. `true`: ask Kafka whether this relay is still a member.
    pub(super) fn turn(&self) -> bool {
        if self.is_stalled() {
            self.doubt();
        }
        self.last_turn.store(self.elapsed(), Ordering::Release);
        *self.in_doubt.borrow()
    }

    /// Kafka took a commit that was sent after the stall, or there was nothing to commit.
    pub(super) fn confirmed(&self) {
        let mut commits = self.commits();
        (commits.proof, commits.in_doubt_since) = (None, None);
        self.in_doubt.send_replace(false);
    }

    /// Whether to send a commit as the proof: none is under way.
    pub(super) fn begin_proof(&self) -> bool {
        let mut commits = self.commits();
        let begins = commits.proof.is_none();
        if begins {
            commits.proof = Some(commits.sent + 1);
        }
        begins
    }

    /// A commit was sent.
    pub(super) fn commit_sent(&self) {
        self.commits().sent += 1;
    }

    /// Kafka answered the oldest commit that it hadn't answered, or the client gave that one up.
    pub(super) fn commit_answered(&self, taken: bool) {
        let mut commits = self.commits();
        commits.answered += 1;
        if commits.proof.is_some_and(|proof| proof <= commits.answered) {
            commits.proof = None;
            drop(commits);
            if taken {
                self.confirmed();
            }
        }
    }

    /// Whether commits are under way.
    pub(super) fn awaits_answers(&self) -> bool {
        let commits = self.commits();
        commits.answered < commits.sent
    }

    /// Since when the relay doesn't know whether it is a member.
    pub(super) fn in_doubt_since(&self) -> Option<Instant> {
        self.commits().in_doubt_since
    }

    /// A new stall makes every earlier proof worthless.
    fn doubt(&self) {
        let mut commits = self.commits();
        commits.proof = None;
        commits.in_doubt_since.get_or_insert_with(Instant::now);
        self.in_doubt.send_replace(true);
    }

    fn commits(&self) -> MutexGuard<'_, Commits> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
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
                self.doubt();
            }
            if !*in_doubt.borrow_and_update() {
                return true;
            }
            if until.run_until_cancelled(in_doubt.changed()).await.is_none() {
                return false;
            }
        }
    }

    /// How long ago the poll loop came round.
    pub(super) fn since_turn(&self) -> Duration {
        Duration::from_millis(self.elapsed().saturating_sub(self.last_turn.load(Ordering::Acquire)))
    }

    fn is_stalled(&self) -> bool {
        self.since_turn() > self.stall
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
            membership.commit_sent();
            membership.commit_answered(true);
            assert!(futures::poll!(&mut waiting).is_pending(), "this one was sent for another reason");
            assert!(membership.begin_proof() && !membership.begin_proof());
            membership.commit_sent();
            membership.commit_answered(false);
            assert!(membership.in_doubt_since().is_some());
            assert!(membership.begin_proof(), "one that failed proves nothing");
            membership.commit_sent();
            membership.commit_answered(true);
            assert!(waiting.await);
        }
        assert_eq!(membership.in_doubt_since(), None);
        assert!(!membership.turn());
        never.cancel();
        assert!(!membership.certain(&never).await);
    }
}
