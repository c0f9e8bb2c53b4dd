//! Request bodies. A request has no place while its body arrives: the host receives it whole where it is small enough, and
//! counts its bytes among what it holds for clients. A larger one has a place once its first part is there, for as long as
//! the rest of it keeps coming.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, WasiBody};

use super::held::Hold;
use crate::problem::Problem;

/// The host receives bodies up to this size whole, and this much of larger ones, before the request gets a place.
const MAX_BUFFERED_BYTES: usize = 1 << 20;
/// Of a body that has a place, this many bytes must come ...
const PACE_BYTES: usize = 64 << 10;
/// ... in each such time that the component waits for them.
const PACE_TIME: Duration = Duration::from_secs(5);

/// What is wrong with a body, once that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict(Arc<OnceLock<Problem>>);

impl Verdict {
    /// The problem, if there is one.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.0.get().copied()
    }
}

/// The limits of a request body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    pub(super) max_bytes: u64,
    pub(super) timeout: Duration,
}

impl BodyLimits {
    /// Receives a body, or its first part; then returns also its verdict. `hold` counts what is received, and is given up
    /// by cancelling its token.
    pub(super) async fn receive(
        self,
        body: Incoming,
        hold: impl FnOnce(CancellationToken) -> Hold,
    ) -> Result<(WasiBody, Option<Verdict>), Problem> {
        if body.size_hint().lower() > self.max_bytes {
            return Err(Problem::BodyTooLarge);
        }
        if body.is_end_stream() {
            return Ok((body.map_err(Error::from).boxed_unsync(), None));
        }
        let verdict = Verdict::default();
        let limited = self.limited(body, &verdict);
        let given_up = CancellationToken::new();
        let first = First::receive(Box::pin(limited), hold(given_up.clone()));
        let first = given_up.run_until_cancelled(first).await.ok_or(Problem::Crowded)?;
        let body = first.map_err(|_| verdict.problem().unwrap_or(Problem::BodyIncomplete))?;
        let verdict = body.rest.is_some().then_some(verdict);
        Ok((body.boxed_unsync(), verdict))
    }

    /// Passes on the body of a delivery as it comes. The component decides by the head, where the relay's token is, whether it
    /// reads any of it; the relay sends what it has.
    pub(super) fn pass(self, body: Incoming) -> Result<(WasiBody, Option<Verdict>), Problem> {
        if body.size_hint().lower() > self.max_bytes {
            return Err(Problem::BodyTooLarge);
        }
        let verdict = Verdict::default();
        Ok((self.limited(body, &verdict).boxed_unsync(), Some(verdict)))
    }

    fn limited(self, body: Incoming, verdict: &Verdict) -> Limited {
        Limited {
            body,
            left: self.max_bytes,
            max: self.max_bytes,
            deadline: tokio::time::sleep(self.timeout),
            verdict: verdict.clone(),
        }
    }
}

/// The first part of a body, and the rest of it where there is more.
struct First {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    rest: Option<Pin<Box<Limited>>>,
    /// The time for the rest.
    pace: Pace,
    /// Counts `data` until the component has read it.
    _hold: Hold,
}

impl First {
    async fn receive(mut body: Pin<Box<Limited>>, hold: Hold) -> Result<Self, Error> {
        // In one piece: a client that sends single bytes would otherwise make each of them a buffer.
        let (mut data, mut trailers, mut ended) = (BytesMut::new(), None, false);
        while data.len() < MAX_BUFFERED_BYTES && !ended {
            match body.as_mut().frame().await {
                None => ended = true,
                Some(frame) => match frame?.into_data() {
                    Ok(piece) => {
                        hold.grow(piece.len() as u64);
                        data.extend_from_slice(&piece);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
            ended |= body.is_end_stream();
        }
        hold.keep();
        let data = (!data.is_empty()).then(|| data.freeze());
        Ok(Self { data, trailers, rest: (!ended).then_some(body), pace: Pace::default(), _hold: hold })
    }
}

impl Body for First {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let First { trailers, rest, pace, .. } = &mut *self;
        let Some(rest) = rest else {
            return Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        };
        match rest.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => {
                pace.came(frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len));
                Poll::Ready(frame)
            }
            Poll::Pending if pace.poll_late(cx).is_ready() => {
                let _ = rest.verdict.0.set(Problem::BodyTimeout);
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref().is_none_or(|rest| rest.is_end_stream());
        self.data.is_none() && self.trailers.is_none() && rest
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.data.as_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = &self.rest else { return SizeHint::with_exact(first) };
        let (rest, mut hint) = (rest.size_hint(), SizeHint::new());
        hint.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first);
        }
        hint
    }
}

/// The time that the component waited for the bytes that are due.
#[derive(Default)]
struct Pace {
    bytes: usize,
    waited: Duration,
    waits_since: Option<Instant>,
    due: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn came(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.waited += self.waits_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        if self.bytes >= PACE_BYTES {
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = match self.waits_since {
            Some(_) => self.due.get_or_insert_with(|| Box::pin(tokio::time::sleep(PACE_TIME))),
            None => {
                let now = Instant::now();
                self.waits_since = Some(now);
                let due = tokio::time::Instant::from_std(now + PACE_TIME.saturating_sub(self.waited));
                self.due.insert(Box::pin(tokio::time::sleep_until(due)))
            }
        };
        due.as_mut().poll(cx)
    }
}

pin_project! {
    /// A request body that fails if it is too large or too slow.
    struct Limited {
        #[pin]
        body: Incoming,
        left: u64,
        max: u64,
        #[pin]
        deadline: Sleep,
        verdict: Verdict,
    }
}

impl Body for Limited {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.project();
        let Poll::Ready(frame) = this.body.poll_frame(cx) else {
            std::task::ready!(this.deadline.poll(cx));
            let _ = this.verdict.0.set(Problem::BodyTimeout);
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match this.left.checked_sub(length) {
                Some(left) => *this.left = left,
                None => {
                    let _ = this.verdict.0.set(Problem::BodyTooLarge);
                    return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(*this.max)))));
                }
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_of_waiting_counts_and_bytes_buy_more_of_it() {
        let mut pace = Pace { waited: PACE_TIME, ..Pace::default() };
        pace.came(PACE_BYTES - 1);
        assert_eq!(pace.waited, PACE_TIME, "not enough came");
        pace.came(1);
        assert_eq!((pace.waited, pace.bytes), (Duration::ZERO, 0));
    }
}
