//! One connection of a client, to its end.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::Listener;
use super::answer::Answer;
use super::client::{Client, ClientStream, Head, HeadHold};
use super::connections::{Activity, Slot};
use super::sending::{SendLimits, Unfinished};
use crate::problem::Problem;

/// Closes a spare connection that sends no request for this long, and a refused one after this long.
const SPARE_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that was told to end has this long for it.
const END_GRACE: Duration = Duration::from_secs(1);

/// A connection. A spare one has no slot: it serves health, and refuses other requests.
pub(super) struct Connection {
    listener: Arc<Listener>,
    stream: Arc<TcpStream>,
    address: SocketAddr,
    client: Client,
    slot: Option<Slot>,
    activity: Arc<Activity>,
    unfinished: Unfinished,
    turned_away: Arc<Notify>,
    head: HeadHold,
}

impl Connection {
    pub(super) fn new(
        listener: Arc<Listener>,
        stream: Arc<TcpStream>,
        address: SocketAddr,
        owner: IpAddr,
        slot: Option<Slot>,
    ) -> Self {
        let text = HeaderValue::from_str(&address.to_string()).unwrap_or(HeaderValue::from_static(""));
        let client = Client::new(text, owner, stream.clone());
        let activity = slot.as_ref().map_or_else(|| Arc::new(Activity::new()), |slot| slot.activity.clone());
        let (unfinished, turned_away, head) = Default::default();
        Self { listener, stream, address, client, slot, activity, unfinished, turned_away, head }
    }

    /// What hyper calls for each request.
    fn service(
        &self,
    ) -> impl Service<Request<Incoming>, Response = Response<Answer>, Error = Infallible, Future: Send + 'static> + use<>
    {
        let (listener, activity, unfinished) = (self.listener.clone(), self.activity.clone(), self.unfinished.clone());
        let (client, turned_away, head) = (self.client.clone(), self.turned_away.clone(), self.head.clone());
        let is_spare = self.slot.is_none();
        service_fn(move |request: Request<Incoming>| {
            let busy = activity.begin();
            head.lock().unwrap_or_else(PoisonError::into_inner).take();
            let (listener, client, unfinished) = (listener.clone(), client.clone(), unfinished.clone());
            let is_refused = is_spare && !listener.edge.serves_beyond_the_limit(request.uri().path());
            if is_refused {
                turned_away.notify_one();
            }
            async move {
                let edge = &listener.edge;
                Ok::<_, Infallible>(match is_refused {
                    true => edge.refuse(Problem::NoConnection, &client, &unfinished, busy),
                    false => edge.respond(request, &client, &unfinished, busy).await,
                })
            }
        })
    }

    /// The stream as hyper uses it.
    fn io(&self) -> TokioIo<Pin<Box<TimeoutStream<ClientStream>>>> {
        let (held, cut_off) = (self.listener.edge.held.clone(), self.unfinished.cut_off.clone());
        let head = Head::new(held, self.client.owner, cut_off, self.head.clone());
        let mut stream = TimeoutStream::new(ClientStream::new(self.stream.clone(), self.activity.clone(), head));
        stream.set_write_timeout(Some(self.listener.limits.write_timeout));
        TokioIo::new(Box::pin(stream))
    }

    /// Resolves once the connection is to end: it had no request for too long, or another needs its place.
    async fn is_needless(&self) {
        let limit = if self.slot.is_none() { SPARE_TIMEOUT } else { self.listener.limits.header_timeout };
        tokio::select! {
            () = self.activity.idle_for(limit) => {}
            () = self.activity.end.cancelled() => {}
        }
    }

    /// Resolves once a refused connection must end. One of HTTP/1 closes with the refusal; a client of HTTP/2 could keep
    /// it open.
    async fn was_refused(&self) {
        self.turned_away.notified().await;
        tokio::time::sleep(SPARE_TIMEOUT).await;
    }

    /// Cuts off responses that the client does not take.
    async fn cut_off_late_responses(&self) -> Infallible {
        let limits = &self.listener.limits;
        let limits = SendLimits { piece: limits.write_timeout, whole: limits.answer_timeout };
        let late = || {
            tracing::warn!(
                client = %self.address,
                "response cut off: the client did not take it within --write-timeout or --answer-timeout"
            );
        };
        self.unfinished.clone().watch(limits, late).await
    }

    /// Serves the connection to its end; from `stopping` on, only the requests that it has.
    pub(super) async fn run(self, stopping: CancellationToken) {
        let mut connection = pin!(self.listener.http.serve_connection(self.io(), self.service()));
        let mut needless = pin!(self.is_needless());
        let mut refused = pin!(self.was_refused());
        let mut late = pin!(self.cut_off_late_responses());
        let mut stopped_sending = pin!(self.client.stopped_sending());
        let mut end = pin!(tokio::time::sleep(Duration::ZERO));
        let (mut is_draining, mut is_ending, mut has_stopped) = (false, false, false);
        let why = loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(client = %self.address, %error, "connection failed");
                    }
                    return;
                }
                () = stopping.cancelled(), if !is_draining => {
                    is_draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = needless.as_mut(), if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                    end.as_mut().reset(Instant::now() + END_GRACE);
                }
                () = end.as_mut(), if is_ending => {
                    if !self.activity.is_busy() {
                        break "it was idle, or its place was needed";
                    }
                    end.as_mut().reset(Instant::now() + END_GRACE);
                }
                () = stopped_sending.as_mut(), if !has_stopped => {
                    has_stopped = true;
                    self.activity.stop();
                }
                () = self.unfinished.cut_off.cancelled() => break "the host held too much for it, or for too long",
                () = refused.as_mut() => break "too many connections (--max-connections, --max-connections-per-address)",
                never = late.as_mut() => match never {},
            }
        };
        tracing::debug!(client = %self.address, requests = self.activity.requests(), why, "connection closed");
    }
}
