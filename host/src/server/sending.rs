//! The responses that a connection is sending. If the client receives one too slowly, byte by byte or on an HTTP/2 stream
//! whose window it never opens, the host closes the connection and frees everything that its responses hold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The unfinished responses of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Unfinished(Arc<Mutex<Responses>>);

#[derive(Debug, Default)]
struct Responses {
    /// By number, in the order in which they began.
    began: BTreeMap<u64, Instant>,
    next: u64,
}

impl Unfinished {
    /// A response begins.
    pub(super) fn begin(&self) -> Sending {
        let number = self.change(|responses| {
            responses.next += 1;
            responses.began.insert(responses.next, Instant::now());
            responses.next
        });
        Sending { unfinished: self.clone(), number }
    }

    /// Resolves once a response takes longer than `limit`.
    pub(super) async fn overdue(self, limit: Duration) {
        loop {
            let oldest = self.change(|responses| responses.began.first_key_value().map(|(_, began)| *began));
            let wait = oldest.map_or(limit, |began| limit.saturating_sub(began.elapsed()));
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Responses) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A response that is being sent, until this is dropped.
#[derive(Debug)]
pub(super) struct Sending {
    unfinished: Unfinished,
    number: u64,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.unfinished.change(|responses| responses.began.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_response_decides() {
        let limit = Duration::from_millis(50);
        let unfinished = Unfinished::default();
        let first = unfinished.begin();
        let began = Instant::now();
        let overdue = tokio::spawn(unfinished.clone().overdue(limit));
        drop(first);
        let _second = unfinished.begin();
        overdue.await.unwrap();
        assert!(began.elapsed() >= limit);
    }
}
