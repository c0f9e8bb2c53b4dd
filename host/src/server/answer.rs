//! Responses on their way to clients. A response that is complete and small is handed over: its request gives its place
//! back, however long the client takes. A larger one, and one that the component is still making, keeps the place until it
//! is sent.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, WasiBody};

use super::connections::Busy;
use super::held::Hold;
use super::sending::Sending;
use crate::engine::Place;
use crate::problem::Problem;

/// The host takes responses up to this size from the component before the client takes them.
const MAX_HANDED_BYTES: u64 = 1 << 20;
/// Waits this long for the end of a response that does not say how long it is. Then it counts as a stream.
const STREAM_GRACE: Duration = Duration::from_millis(20);

/// The body of a response, as far as it was taken from the component.
#[derive(Default)]
pub(super) struct Taken {
    frames: VecDeque<Frame<Bytes>>,
    bytes: u64,
    rest: Option<WasiBody>,
    /// The bytes that must still come, where the component said how many there are.
    left: Option<u64>,
    /// The response to HEAD: it has no body, and its headers are those of the response to GET.
    is_head: bool,
}

impl Taken {
    /// Takes a response from the component, whole where it is small.
    ///
    /// # Errors
    /// [`Problem::ComponentFailed`] if a small body fails, or is not as long as its content-length says.
    pub(super) async fn from(response: Response<WasiBody>, method: &Method) -> Result<Response<Self>, Problem> {
        let (parts, body) = response.into_parts();
        let is_head = *method == Method::HEAD;
        if is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Response::from_parts(parts, Self { is_head, ..Self::default() }));
        }
        let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut taken = Self { rest: Some(body), left: declared, ..Self::default() };
        match declared.or(taken.rest.as_ref().and_then(|body| body.size_hint().exact())) {
            Some(length) if length <= MAX_HANDED_BYTES => taken.take().await?,
            Some(_) => {}
            None => {
                if let Ok(result) = tokio::time::timeout(STREAM_GRACE, taken.take()).await {
                    result?;
                }
            }
        }
        Ok(Response::from_parts(parts, taken))
    }

    /// The response of the host itself.
    pub(super) fn of_problem(problem: Problem, method: &Method) -> Response<Self> {
        let (parts, document) = problem.document().into_parts();
        let is_head = *method == Method::HEAD;
        let (bytes, frames) = match is_head {
            true => (0, VecDeque::new()),
            false => (document.len() as u64, VecDeque::from([Frame::data(document)])),
        };
        Response::from_parts(parts, Self { frames, bytes, is_head, ..Self::default() })
    }

    /// Takes frames until the end, or until there are too many.
    async fn take(&mut self) -> Result<(), Problem> {
        while self.bytes <= MAX_HANDED_BYTES {
            let Some(body) = &mut self.rest else { return Ok(()) };
            match body.frame().await {
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.bytes += length;
                    self.left = self.left.map(|left| left.saturating_sub(length));
                    self.frames.push_back(frame);
                }
                Some(Err(error)) => {
                    broke_off(&error);
                    return Err(Problem::ComponentFailed);
                }
                None => {
                    self.rest = None;
                    if self.left.is_some_and(|left| left > 0) {
                        too_short();
                        return Err(Problem::ComponentFailed);
                    }
                }
            }
        }
        Ok(())
    }

    /// A body that is complete.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// The bytes that the host holds of it.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn broke_off(error: &Error) {
    if let Error::HttpResponseBodySize(_) = error {
        too_short();
    } else {
        tracing::warn!(?error, "response failed: the component ended its body with an error");
    }
}

fn too_short() {
    tracing::warn!("response failed: the component's body is not as long as its content-length says");
}

/// A response body that is being sent.
pub(super) struct Answer {
    taken: Taken,
    sending: Sending,
    _hold: Hold,
    _busy: Busy,
    /// Held until the last byte is there, where the response is a stream.
    place: Option<Place>,
}

impl Answer {
    pub(super) fn new(taken: Taken, sending: Sending, hold: Hold, busy: Busy, place: Option<Place>) -> Self {
        let place = place.filter(|_| !taken.is_whole());
        sending.offers();
        Self { taken, sending, _hold: hold, _busy: busy, place }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(frame) = self.taken.frames.pop_front() {
            self.taken.bytes -= frame.data_ref().map_or(0, |data| data.len() as u64);
            self.sending.offers();
            return Poll::Ready(Some(Ok(frame)));
        }
        self.sending.took();
        let Some(rest) = &mut self.taken.rest else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(rest).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.taken.left = self.taken.left.map(|left| left.saturating_sub(length));
                self.sending.offers();
            }
            Some(Err(error)) => {
                broke_off(error);
                (self.taken.rest, self.place) = (None, None);
            }
            None => {
                (self.taken.rest, self.place) = (None, None);
                if self.taken.left.is_some_and(|left| left > 0) {
                    too_short();
                    return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.taken.rest.as_ref().is_none_or(Body::is_end_stream);
        !self.taken.is_head && self.taken.frames.is_empty() && rest
    }

    fn size_hint(&self) -> SizeHint {
        let Taken { bytes, rest, left, is_head, .. } = &self.taken;
        match (rest, left) {
            _ if *is_head => SizeHint::default(),
            (None, _) => SizeHint::with_exact(*bytes),
            (Some(_), Some(left)) => SizeHint::with_exact(bytes + left),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::full_body;
    use http_body_util::StreamBody;

    async fn taken(body: WasiBody, length: Option<u64>, method: Method) -> Result<Taken, Problem> {
        let mut response = Response::new(body);
        if let Some(length) = length {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        Taken::from(response, &method).await.map(Response::into_body)
    }

    fn endless() -> WasiBody {
        StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Error>>()).boxed_unsync()
    }

    #[tokio::test]
    async fn small_bodies_are_taken_whole_and_others_stay_streams() {
        let small = taken(full_body("text"), Some(4), Method::GET).await.unwrap();
        assert_eq!((small.is_whole(), small.bytes()), (true, 4));
        let unsaid = taken(full_body("text"), None, Method::GET).await.unwrap();
        assert!(unsaid.is_whole());
        let large = taken(endless(), Some(MAX_HANDED_BYTES + 1), Method::GET).await.unwrap();
        assert!(!large.is_whole() && large.bytes() == 0);
        assert!(!taken(endless(), None, Method::GET).await.unwrap().is_whole());
        assert!(taken(endless(), Some(5), Method::HEAD).await.unwrap().is_whole(), "there is no body to wait for");
    }

    #[tokio::test]
    async fn a_body_that_is_too_short_is_the_components_fault() {
        assert_eq!(taken(full_body("text"), Some(5), Method::GET).await.err(), Some(Problem::ComponentFailed));
    }
}
