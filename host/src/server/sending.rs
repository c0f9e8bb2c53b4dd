//! The responses that a connection is sending. If the client does not take one in time, byte by byte or on an HTTP/2 stream
//! whose window it never opens, the host cuts it off and frees everything that it holds: one stream of HTTP/2, and with
//! HTTP/1 the connection.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

tokio::task_local! {
    /// Ends the HTTP/2 stream that the task serves.
    static RESET: CancellationToken;
}

/// Runs each stream of HTTP/2 as a task that can be ended alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams;

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let reset = CancellationToken::new();
        // Dropping the stream before its end resets it (CANCEL).
        tokio::spawn(RESET.scope(reset.clone(), async move { reset.run_until_cancelled_owned(stream).await }));
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendLimits {
    /// From the moment that a piece could be sent until the client takes it.
    pub(super) piece: Duration,
    /// For the whole response.
    pub(super) whole: Duration,
}

/// The unfinished responses of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Unfinished {
    /// Ends the connection, where it is no HTTP/2.
    pub(super) cut_off: CancellationToken,
    responses: Arc<Mutex<Responses>>,
}

#[derive(Debug, Default)]
struct Responses {
    /// By number, in the order in which they began.
    sending: BTreeMap<u64, Response>,
    next: u64,
}

#[derive(Debug)]
struct Response {
    began: Instant,
    /// When the piece that the client has not taken was there; `None` while the component makes the next one.
    piece: Option<Instant>,
    reset: CancellationToken,
}

impl Response {
    /// How long the client may still take.
    fn left(&self, limits: SendLimits, now: Instant) -> Duration {
        let whole = limits.whole.saturating_sub(now.saturating_duration_since(self.began));
        let piece = self.piece.map(|since| limits.piece.saturating_sub(now.saturating_duration_since(since)));
        piece.map_or(whole, |piece| piece.min(whole))
    }
}

impl Unfinished {
    /// What ends the response to the current request: its stream, or the connection.
    pub(super) fn reset(&self) -> CancellationToken {
        RESET.try_with(CancellationToken::clone).unwrap_or_else(|_| self.cut_off.clone())
    }

    /// A response begins. Call it in the task that serves the request.
    pub(super) fn begin(&self) -> Sending {
        let response = Response { began: Instant::now(), piece: None, reset: self.reset() };
        let number = self.change(|responses| {
            responses.next += 1;
            responses.sending.insert(responses.next, response);
            responses.next
        });
        Sending { unfinished: self.clone(), number }
    }

    /// Cuts off what takes longer than the limits, as long as this is polled. Calls `late` the first time.
    pub(super) async fn watch(self, limits: SendLimits, late: impl FnOnce()) -> Infallible {
        let mut late = Some(late);
        loop {
            let now = Instant::now();
            let (next, cut) = self.change(|responses| responses.cut_late(limits, now));
            if let Some(late) = late.take_if(|_| cut) {
                late();
            }
            tokio::time::sleep(next).await;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Responses) -> T) -> T {
        change(&mut self.responses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Responses {
    /// Cuts off what is late. Returns when to look again, and whether something was late.
    fn cut_late(&self, limits: SendLimits, now: Instant) -> (Duration, bool) {
        let (mut next, mut cut) = (limits.piece.min(limits.whole), false);
        for response in self.sending.values().filter(|response| !response.reset.is_cancelled()) {
            let left = response.left(limits, now);
            if left.is_zero() {
                response.reset.cancel();
                cut = true;
            } else {
                next = next.min(left);
            }
        }
        (next, cut)
    }
}

/// A response that is being sent, until this is dropped.
#[derive(Debug)]
pub(super) struct Sending {
    unfinished: Unfinished,
    number: u64,
}

impl Sending {
    /// A piece is there for the client to take.
    pub(super) fn offers(&self) {
        self.set(Some(Instant::now()));
    }

    /// The client took what was there.
    pub(super) fn took(&self) {
        self.set(None);
    }

    fn set(&self, piece: Option<Instant>) {
        self.unfinished.change(|responses| {
            if let Some(response) = responses.sending.get_mut(&self.number) {
                response.piece = piece;
            }
        });
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.unfinished.change(|responses| responses.sending.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SendLimits = SendLimits { piece: Duration::from_secs(30), whole: Duration::from_secs(120) };

    #[test]
    fn a_response_is_late_where_a_piece_or_the_whole_is() {
        let (began, after) = (Instant::now(), Duration::from_secs);
        let response = |piece| Response { began, piece, reset: CancellationToken::new() };
        let left = |piece: Option<Instant>, now: Instant| response(piece).left(LIMITS, now);
        assert_eq!(left(None, began + after(100)), after(20), "a component may take its time");
        assert_eq!(left(Some(began), began + after(10)), after(20));
        assert_eq!(left(Some(began + after(100)), began + after(115)), after(5), "the whole is due first");
        assert_eq!(left(Some(began), began + after(30)), Duration::ZERO);
        assert_eq!(left(None, began + after(120)), Duration::ZERO);
    }

    #[tokio::test]
    async fn what_is_late_is_cut_off_alone() {
        let limits = SendLimits { piece: Duration::from_millis(50), whole: Duration::from_secs(3600) };
        let unfinished = Unfinished::default();
        let stream = || RESET.sync_scope(CancellationToken::new(), || (unfinished.begin(), unfinished.reset()));
        let ((late, reset), (other, other_reset)) = (stream(), stream());
        late.offers();
        other.offers();
        other.took();
        let watching = tokio::spawn(unfinished.clone().watch(limits, || {}));
        reset.cancelled().await;
        assert!(!other_reset.is_cancelled() && !unfinished.cut_off.is_cancelled());
        let alone = unfinished.begin();
        alone.offers();
        unfinished.cut_off.cancelled().await;
        watching.abort();
    }
}
