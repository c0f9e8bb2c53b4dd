//! Bodies at the edge: how long a request's may be and may take, and what an answer's holds on to.

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
use crate::engine::Slot;
use crate::problem::Problem;

/// Bodies that say that they are no longer than this are received whole before the request takes a place, so that who
/// sends slowly keeps nobody else out.
const RECEIVED_WHOLE: u64 = 64 << 10;

/// What a body did wrong; nothing as long as it is right.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict(Arc<OnceLock<Problem>>);

impl Verdict {
    /// The fault, where there was one.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.0.get().copied()
    }
}

/// What a request's body may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    pub(super) max_bytes: u64,
    pub(super) timeout: Duration,
}

impl BodyLimits {
    /// Takes a body in: whole where it is known to be small, and otherwise with a word on what became of it.
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
        if length.exact().is_none_or(|length| length > RECEIVED_WHOLE) {
            return Ok((limited.boxed_unsync(), Some(verdict)));
        }
        match limited.collect().await {
            Ok(whole) => Ok((whole.map_err(|never| match never {}).boxed_unsync(), None)),
            Err(_) => Err(verdict.problem().unwrap_or(Problem::BodyIncomplete)),
        }
    }
}

pin_project! {
    /// A request's body, cut off where it gets too long or takes too long.
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

/// An answer's body, which keeps its request's place until it is sent.
pub(super) struct Answer {
    body: WasiBody,
    held: Option<(Option<Slot>, Sending)>,
}

impl Answer {
    pub(super) fn new(body: WasiBody, slot: Option<Slot>, sending: Sending) -> Self {
        Self { body, held: Some((slot, sending)) }
    }
}

impl Body for Answer {
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
