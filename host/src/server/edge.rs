//! One request of a client: checks it, finds its route, decides whether there is room, and calls the component. The host
//! itself responds below `/.well-known/spin/` and on routes with a static response.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::WasiBody;

use super::answer::{Answer, Taken};
use super::body::BodyLimits;
use super::callers;
use super::client::Client;
use super::connections::Busy;
use super::held::Held;
use super::sending::Unfinished;
use super::target;
use crate::admission::Working;
use crate::application::{Application, Route, WELL_KNOWN};
use crate::engine::{Caller, Place, PlaceKind};
use crate::manifest::{StaticResponse, Target};
use crate::problem::{Problem, full_body};
use crate::routes::Captures;
use crate::spin_headers::remove_forged;
use crate::waits::{do_not_wait, may_wait};

/// Requests for `--health-path` at a time. Nobody else can take these places.
pub(super) const MAX_HEALTH_REQUESTS: usize = 16;

/// Which requests a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Those of clients: everything but deliveries.
    Public,
    /// Those of the relay, and no others.
    Deliveries,
}

/// An application as clients reach it.
pub(super) struct Edge {
    pub(super) application: Arc<Application>,
    pub(super) door: Door,
    pub(super) max_header_bytes: usize,
    pub(super) max_headers: usize,
    /// Names that the listener for deliveries is reached by.
    pub(super) deliveries_hosts: Vec<String>,
    pub(super) body: BodyLimits,
    pub(super) held: Held,
    /// The places of requests for `--health-path`.
    pub(super) health: Arc<Semaphore>,
}

impl Edge {
    /// Responds to a request on a connection with these unfinished responses.
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        client: &Client,
        unfinished: &Unfinished,
        busy: Busy,
    ) -> Response<Answer> {
        let started = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = async {
            let (response, place) = self.route(request, &path, client).await?;
            Ok((Taken::from(response, &method).await?, place))
        };
        let (response, place) = match answer.await {
            Ok(answer) => answer,
            Err(problem) => (Taken::of_problem(problem, &method), None),
        };
        let (status, took_us) = (response.status().as_u16(), started.elapsed().as_micros());
        tracing::debug!(%method, path, status, took_us, "responded");
        self.send(response, client, unfinished, busy, place)
    }

    /// Responds with a problem.
    pub(super) fn refuse(
        &self,
        problem: Problem,
        client: &Client,
        unfinished: &Unfinished,
        busy: Busy,
    ) -> Response<Answer> {
        self.send(Taken::of_problem(problem, &Method::GET), client, unfinished, busy, None)
    }

    fn send(
        &self,
        response: Response<Taken>,
        client: &Client,
        unfinished: &Unfinished,
        busy: Busy,
        place: Option<Place>,
    ) -> Response<Answer> {
        response.map(|taken| {
            let hold = self.held.hold(client.owner, taken.bytes(), unfinished.reset());
            Answer::new(taken, unfinished.begin(), hold, busy, place)
        })
    }

    /// Whether spare connections serve this path: the host's own health and the application's, and deliveries.
    pub(super) fn serves_beyond_the_limit(&self, path: &str) -> bool {
        self.door == Door::Deliveries || path.starts_with(WELL_KNOWN) || self.is_health(path)
    }

    fn is_health(&self, path: &str) -> bool {
        self.door == Door::Public && path == self.application.health_path
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        path: &str,
        client: &Client,
    ) -> Result<(Response<WasiBody>, Option<Place>), Problem> {
        self.check_head(&request)?;
        let uri = target::of(&request, || client.local())?;
        if let (Door::Deliveries, Some(host)) = (self.door, uri.authority()) {
            callers::check(request.headers(), host, &self.deliveries_hosts)?;
        }
        if path == target::SERVER {
            return Ok((nothing(), None));
        }
        if let Some(name) = path.strip_prefix(WELL_KNOWN) {
            return Ok((self.well_known(name, request.method())?, None));
        }
        let (route, captures) = self.find(path)?;
        let component = match &route.target {
            Target::Static(response) => return Ok((static_response(response), None)),
            Target::Component(component) => component,
        };
        let (mut parts, body) = request.into_parts();
        parts.uri = uri;
        parts.headers.remove(header::CONNECTION);
        remove_forged(&mut parts.headers);
        let head_bytes = header_bytes(&parts.headers) as u64;
        route.headers.add(&mut parts.headers, &parts.uri, &captures, client.address.clone());
        let hold = |given_up| self.held.hold(client.owner, head_bytes, given_up);
        let (body, verdict) = match self.door {
            Door::Public => self.body.receive(body, hold).await?,
            Door::Deliveries => self.body.pass(body)?,
        };
        let (place, waits) = self.take_place(route, path, &mut parts.headers)?;
        let working = self.start_work(route, path)?;
        let ended = CancellationToken::new();
        let caller = Caller::client(place.clone(), working.clone(), ended.clone());
        let response = self.application.components.call(component, Request::from_parts(parts, body), caller);
        let response = if waits {
            // If the client leaves, hyper drops this.
            let leaving = ended.clone().drop_guard();
            let response = self.while_it_waits(response, working, client, ended).await;
            leaving.disarm();
            response
        } else {
            let response = response.await;
            match working {
                // The latency of a request whose body is still arriving says how fast the client is, not the component.
                Some(working) if verdict.is_some() => working.waits(),
                Some(working) => working.answered(),
                None => {}
            }
            response
        };
        match verdict.and_then(|verdict| verdict.problem()) {
            Some(problem) => Err(problem),
            None => Ok((response, Some(place))),
        }
    }

    /// The route of a path, among those that this listener serves.
    fn find<'path>(&self, path: &'path str) -> Result<(&Route, Captures<'_, 'path>), Problem> {
        let application = &self.application;
        let found = match self.door {
            Door::Deliveries => application.find_delivery(path),
            Door::Public if application.has_deliveries_below(path) => None,
            Door::Public => application.router.find(path).filter(|(route, _)| !route.is_delivery),
        };
        found.ok_or(Problem::NoRoute)
    }

    /// A place for a request, and whether it is one for requests that wait. Where those are taken, the component is not
    /// asked to wait.
    fn take_place(&self, route: &Route, path: &str, headers: &mut HeaderMap) -> Result<(Place, bool), Problem> {
        let places = if self.is_health(path) { &self.health } else { &route.in_flight };
        if may_wait(headers) {
            match self.application.waits.enter() {
                Some(place) => return Ok((Arc::new(PlaceKind::Wait(place)), true)),
                None => do_not_wait(headers),
            }
        }
        let permit = places.clone().try_acquire_owned().map_err(|_| Problem::Overloaded)?;
        Ok((Arc::new(PlaceKind::InFlight(permit)), false))
    }

    fn start_work(&self, route: &Route, path: &str) -> Result<Option<Arc<Working>>, Problem> {
        match &route.admission {
            Some(admission) if !self.is_health(path) => admission.enter(path).map(Some).ok_or(Problem::Overloaded),
            _ => Ok(None),
        }
    }

    /// Waits for the response to a request that prefers to wait. After the target latency it no longer counts as being at
    /// work. Cancels `ended` if the client leaves.
    async fn while_it_waits(
        &self,
        response: impl Future<Output = Response<WasiBody>>,
        working: Option<Arc<Working>>,
        client: &Client,
        ended: CancellationToken,
    ) -> Response<WasiBody> {
        let mut response = pin!(response);
        let answered = async {
            let Some(working) = working else { return response.await };
            match tokio::time::timeout(working.patience(), &mut response).await {
                Ok(response) => {
                    working.answered();
                    response
                }
                Err(_) => {
                    working.waits();
                    response.await
                }
            }
        };
        let leaves = async {
            client.stopped_sending().await;
            self.application.waits.stopped_sending(ended.clone());
            client.left().await;
            ended.cancel();
            pending().await
        };
        tokio::select! {
            response = answered => response,
            never = leaves => never,
        }
    }

    /// Checks the limits of the head. hyper's own limits are twice as high, because it refuses without a problem document.
    fn check_head(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let headers = request.headers();
        let line = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        let bytes = line + header_bytes(headers);
        let fits = headers.len() <= self.max_headers && bytes <= self.max_header_bytes;
        if !fits {
            return Err(Problem::HeadersTooLarge);
        }
        // hyper passes over what it doesn't know.
        let expectations = headers.get_all(header::EXPECT).iter();
        let mut members = expectations.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        if members.any(|member| !matches!(member.trim_ascii().to_ascii_lowercase().as_slice(), b"" | b"100-continue")) {
            return Err(Problem::ExpectationFailed);
        }
        // hyper takes `gzip, chunked` and `chunked, chunked` as well, and would pass on what it didn't decode.
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let is_chunked = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        match (codings.next(), codings.next()) {
            (None, _) => Ok(()),
            (Some(coding), None) if is_chunked(coding) => Ok(()),
            _ => Err(Problem::UnknownCoding),
        }
    }

    fn well_known(&self, name: &str, method: &Method) -> Result<Response<WasiBody>, Problem> {
        match name {
            "health" | "info" if !matches!(*method, Method::GET | Method::HEAD) => Err(Problem::MethodNotAllowed),
            "health" => Ok(Response::new(full_body("OK"))),
            "info" => {
                let mut info = serde_json::json!({ "name": self.application.name });
                if let Some(version) = &self.application.version {
                    info["version"] = version.as_str().into();
                }
                let mut response = Response::new(full_body(format!("{info:#}")));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Ok(response)
            }
            _ => Err(Problem::NoRoute),
        }
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    /// Colon, space, end of line.
    const BETWEEN: usize = 4;
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + BETWEEN).sum()
}

/// The answer to OPTIONS of the server itself: that it is there. What it takes depends on the path.
fn nothing() -> Response<WasiBody> {
    let mut response = Response::new(full_body(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn static_response(config: &StaticResponse) -> Response<WasiBody> {
    let mut response = Response::new(full_body(config.body.clone()));
    *response.status_mut() = config.status;
    response.headers_mut().extend(config.headers.iter().cloned());
    response
}
