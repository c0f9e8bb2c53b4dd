//! One request of a client: checks it, finds its route, decides whether there is room, and calls the component. The host
//! itself responds below `/.well-known/spin/` and on routes with a static response.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use hyper::body::Incoming;
use wasmtime_wasi_http::WasiBody;

use super::body::{BodyLimits, ResponseBody};
use super::sending::Unfinished;
use crate::admission::{Working, may_wait};
use crate::application::{Application, Route, WELL_KNOWN};
use crate::engine::{Caller, InFlight};
use crate::manifest::{StaticResponse, Target};
use crate::problem::{Problem, full_body};
use crate::spin_headers::remove_forged;

/// An application as clients reach it.
pub(super) struct Edge {
    pub(super) application: Arc<Application>,
    pub(super) max_header_bytes: usize,
    pub(super) max_headers: usize,
    pub(super) body: BodyLimits,
}

impl Edge {
    /// Responds to a request from the address `client`, on a connection with these unfinished responses.
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        client: HeaderValue,
        unfinished: &Unfinished,
    ) -> Response<ResponseBody> {
        let started = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = match self.route(request, &path, client).await {
            Ok((response, in_flight)) => response.map(|body| ResponseBody::new(body, in_flight, unfinished.begin())),
            Err(problem) => Self::refuse(problem, unfinished),
        };
        let (status, took_us) = (response.status().as_u16(), started.elapsed().as_micros());
        tracing::debug!(%method, path, status, took_us, "responded");
        response
    }

    /// Responds with a problem.
    pub(super) fn refuse(problem: Problem, unfinished: &Unfinished) -> Response<ResponseBody> {
        Response::<WasiBody>::from(problem).map(|body| ResponseBody::new(body, None, unfinished.begin()))
    }

    /// Whether spare connections serve this path: steady routes, and the host's own health.
    pub(super) fn is_steady(&self, path: &str) -> bool {
        path.starts_with(WELL_KNOWN) || self.application.router.find(path).is_some_and(|(route, _)| route.is_steady)
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        path: &str,
        client: HeaderValue,
    ) -> Result<(Response<WasiBody>, Option<InFlight>), Problem> {
        self.check_head(&request)?;
        if let Some(name) = path.strip_prefix(WELL_KNOWN) {
            return Ok((self.well_known(name)?, None));
        }
        let (route, captures) = self.application.router.find(path).ok_or(Problem::NoRoute)?;
        let component = match &route.target {
            Target::Static(response) => return Ok((static_response(response), None)),
            Target::Component(component) => component,
        };
        let (mut parts, body) = request.into_parts();
        parts.uri = complete(parts.uri, parts.headers.get(header::HOST))?;
        parts.headers.remove(header::CONNECTION);
        remove_forged(&mut parts.headers);
        route.headers.add(&mut parts.headers, &parts.uri, &captures, client);
        let (body, verdict) = self.body.receive(body).await?;
        let in_flight = take_permit(route)?;
        let working = start_work(route, path)?;
        let caller = Caller::client(in_flight.clone(), working.clone());
        // The latency of a request whose body is still arriving says how fast the client is, not the component.
        let is_streamed = verdict.is_some();
        let patience = route.admission.as_ref().filter(|_| may_wait(&parts.headers)).map(|admission| admission.target);
        let response = self.application.components.call(component, Request::from_parts(parts, body), caller);
        let response = match (working, patience) {
            (Some(working), Some(patience)) => while_it_works(response, &working, patience).await,
            (Some(working), None) => {
                let response = response.await;
                if is_streamed {
                    working.waits()
                } else {
                    working.answered()
                }
                response
            }
            (None, _) => response.await,
        };
        match verdict.and_then(|verdict| verdict.problem()) {
            Some(problem) => Err(problem),
            None => Ok((response, Some(in_flight))),
        }
    }

    /// Checks the limits of the head. hyper's own limits are twice as high, because it refuses without a problem document.
    fn check_head(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let headers = request.headers();
        let line = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        let bytes = line + header_bytes(headers);
        let fits = headers.len() <= self.max_headers && bytes <= self.max_header_bytes;
        if fits { Ok(()) } else { Err(Problem::HeadersTooLarge) }
    }

    fn well_known(&self, name: &str) -> Result<Response<WasiBody>, Problem> {
        match name {
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

/// Waits for the response to a request that prefers to wait. After `patience` it no longer counts as being at work.
async fn while_it_works(
    response: impl Future<Output = Response<WasiBody>>,
    working: &Working,
    patience: Duration,
) -> Response<WasiBody> {
    let mut response = pin!(response);
    let early = tokio::time::timeout(patience, &mut response).await;
    working.waits();
    match early {
        Ok(response) => response,
        Err(_) => response.await,
    }
}

fn start_work(route: &Route, path: &str) -> Result<Option<Arc<Working>>, Problem> {
    let Some(admission) = &route.admission else { return Ok(None) };
    admission.enter(path).map(Some).ok_or(Problem::Overloaded)
}

fn take_permit(route: &Route) -> Result<InFlight, Problem> {
    let permit = route.in_flight.clone().try_acquire_owned();
    permit.map(Arc::new).map_err(|_| Problem::Overloaded)
}

fn static_response(config: &StaticResponse) -> Response<WasiBody> {
    let mut response = Response::new(full_body(config.body.clone()));
    *response.status_mut() = config.status;
    response.headers_mut().extend(config.headers.iter().cloned());
    response
}

/// The request's URI with scheme and authority. HTTP/1 names the host in a header, HTTP/2 in the URI. If both do, they
/// must agree: otherwise a proxy and the component could disagree on which host the request is for.
fn complete(uri: Uri, host: Option<&HeaderValue>) -> Result<Uri, Problem> {
    let named = host.map(|host| Authority::try_from(host.as_bytes())).transpose().map_err(|_| Problem::BadHost)?;
    let mut parts = uri.into_parts();
    parts.authority = match (named, parts.authority) {
        (Some(named), Some(own)) if named != own => return Err(Problem::BadHost),
        (named, own) => Some(named.or(own).ok_or(Problem::BadHost)?),
    };
    parts.scheme = Some(Scheme::HTTP);
    Uri::from_parts(parts).map_err(|_| Problem::BadHost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_needed() {
        let complete = |uri: &str, host: Option<&'static str>| {
            let host = host.map(HeaderValue::from_static);
            complete(uri.parse().unwrap(), host.as_ref()).map(|uri| uri.to_string())
        };
        assert_eq!(complete("/a?b", Some("example.com:81")), Ok("http://example.com:81/a?b".into()));
        assert_eq!(complete("http://example.com/a", None), Ok("http://example.com/a".into()));
        assert_eq!(complete("https://example.com/a", Some("example.com")), Ok("http://example.com/a".into()));
        assert_eq!(complete("http://example.com/a", Some("example.org")), Err(Problem::BadHost));
        assert_eq!(complete("/a", None), Err(Problem::BadHost));
        assert_eq!(complete("/a", Some("no host")), Err(Problem::BadHost));
        assert_eq!(complete("/a", Some("")), Err(Problem::BadHost));
    }
}
