//! The answers that a connection is sending. A client that takes them in too slowly, byte by byte or in a stream of
//! HTTP/2 whose window it never opens, is hung up on, and everything that its answers held is free again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The answers of one connection that aren't sent yet. Numbered in the order in which they began.
#[derive(Clone, Debug, Default)]
pub(super) struct Open(Arc<Mutex<Answers>>);

#[derive(Debug, Default)]
struct Answers {
    began: BTreeMap<u64, Instant>,
    next: u64,
}

impl Open {
    /// An answer begins.
    pub(super) fn begin(&self) -> Sending {
        let number = self.change(|answers| {
            answers.next += 1;
            answers.began.insert(answers.next, Instant::now());
            answers.next
        });
        Sending { open: self.clone(), number }
    }

    /// Resolves once an answer has been on its way for longer than `limit`.
    pub(super) async fn overdue(self, limit: Duration) {
        loop {
            let oldest = self.change(|answers| answers.began.first_key_value().map(|(_, began)| *began));
            let wait = oldest.map_or(limit, |began| limit.saturating_sub(began.elapsed()));
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Answers) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An answer on its way. It is sent, or given up, when this is dropped.
#[derive(Debug)]
pub(super) struct Sending {
    open: Open,
    number: u64,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.open.change(|answers| answers.began.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_answer_decides() {
        let limit = Duration::from_millis(50);
        let open = Open::default();
        let first = open.begin();
        let began = Instant::now();
        let overdue = tokio::spawn(open.clone().overdue(limit));
        drop(first);
        let _second = open.begin();
        overdue.await.unwrap();
        assert!(began.elapsed() >= limit);
    }
}
