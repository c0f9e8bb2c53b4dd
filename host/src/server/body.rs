//! Bodies at the edge: how long a request's may be, and what an answer's holds on to.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use wasmtime_wasi_http::{Error, WasiBody};

use crate::engine::Slot;

/// Set once a body got too long.
pub(super) type Exceeded = Arc<AtomicBool>;

pin_project! {
    /// A request's body of unknown length, cut off where it gets too long.
    pub(super) struct Limited {
        #[pin]
        body: Incoming,
        left: u64,
        max: u64,
        exceeded: Exceeded,
    }
}

impl Limited {
    /// The body, and a mark that is set once it got too long.
    pub(super) fn new(body: Incoming, max: u64) -> (Self, Exceeded) {
        let exceeded = Arc::new(AtomicBool::new(false));
        (Self { body, left: max, max, exceeded: exceeded.clone() }, exceeded)
    }
}

impl Body for Limited {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match this.left.checked_sub(length) {
                Some(left) => *this.left = left,
                None => {
                    this.exceeded.store(true, Ordering::Relaxed);
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
    slot: Option<Slot>,
}

impl Answer {
    pub(super) fn new(body: WasiBody, slot: Option<Slot>) -> Self {
        Self { body, slot }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if matches!(frame, None | Some(Err(_))) {
            self.slot = None;
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
