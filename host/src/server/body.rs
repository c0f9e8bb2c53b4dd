//! Bodies between clients and components: the size limit and timeout of a request body, and what a response body holds
//! until it is sent.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error, WasiBody};

use super::sending::Sending;
use crate::engine::InFlight;
use crate::problem::Problem;

/// The host receives bodies up to this size before it counts the request as in flight, so that slow clients keep nobody
/// else out.
const MAX_BUFFERED_BYTES: u64 = 64 << 10;

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
    /// Receives a body if it says that it is small; otherwise returns a body that keeps the limits, and its verdict.
    pub(super) async fn receive(self, body: Incoming) -> Result<(WasiBody, Option<Verdict>), Problem> {
        let length = body.size_hint();
        if length.lower() > self.max_bytes {
            return Err(Problem::BodyTooLarge);
        }
        if body.is_end_stream() {
            return Ok((body.map_err(Error::from).boxed_unsync(), None));
        }
        let verdict = Verdict::default();
        let limited = Limited {
            body,
            left: self.max_bytes,
            max: self.max_bytes,
            deadline: tokio::time::sleep(self.timeout),
            verdict: verdict.clone(),
        };
        if length.exact().is_none_or(|length| length > MAX_BUFFERED_BYTES) {
            return Ok((limited.boxed_unsync(), Some(verdict)));
        }
        match limited.collect().await {
            Ok(whole) => Ok((whole.map_err(|never| match never {}).boxed_unsync(), None)),
            Err(_) => Err(verdict.problem().unwrap_or(Problem::BodyIncomplete)),
        }
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
            ready!(this.deadline.poll(cx));
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

/// A response body. Until it is sent, its request counts as in flight and its connection as sending.
pub(super) struct ResponseBody {
    body: WasiBody,
    held: Option<(Option<InFlight>, Sending)>,
}

impl ResponseBody {
    pub(super) fn new(body: WasiBody, in_flight: Option<InFlight>, sending: Sending) -> Self {
        Self { body, held: Some((in_flight, sending)) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if matches!(frame, None | Some(Err(_))) {
            self.held = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
