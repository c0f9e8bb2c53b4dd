//! One request from outside: what the host answers by itself, which route takes the rest, and whether there is room.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use hyper::body::Incoming;
use wasmtime_wasi_http::WasiBody;

use super::body::{Answer, BodyLimits};
use super::sending::Open;
use crate::admission::{Working, may_wait};
use crate::application::{Application, Route, WELL_KNOWN, static_answer};
use crate::engine::{Caller, Slot};
use crate::manifest::Target;
use crate::problem::{self, Problem};
use crate::spin_headers::remove_forged;

/// The edge of an application.
pub(super) struct Edge {
    pub(super) application: Arc<Application>,
    pub(super) max_header_bytes: usize,
    pub(super) max_headers: usize,
    pub(super) body: BodyLimits,
}

impl Edge {
    /// Answers a request of a client whose address is `client`, on a connection that is sending the answers in `open`.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        client: HeaderValue,
        open: &Open,
    ) -> Response<Answer> {
        let started = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = match self.route(request, &path, client).await {
            Ok((response, slot)) => response.map(|body| Answer::new(body, slot, open.begin())),
            Err(problem) => Self::refuse(problem, open),
        };
        let (status, took_us) = (response.status().as_u16(), started.elapsed().as_micros());
        tracing::debug!(%method, path, status, took_us, "answered");
        response
    }

    /// Answers with a problem.
    pub(super) fn refuse(problem: Problem, open: &Open) -> Response<Answer> {
        Response::<WasiBody>::from(problem).map(|body| Answer::new(body, None, open.begin()))
    }

    /// Whether this path is served however full it is: deliveries of the relay, and the host's own health.
    pub(super) fn is_steady(&self, path: &str) -> bool {
        path.starts_with(WELL_KNOWN) || self.application.router.find(path).is_some_and(|(route, _)| route.steady)
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        path: &str,
        client: HeaderValue,
    ) -> Result<(Response<WasiBody>, Option<Slot>), Problem> {
        self.check_head(&request)?;
        if let Some(name) = path.strip_prefix(WELL_KNOWN) {
            return Ok((self.well_known(name)?, None));
        }
        let (route, captures) = self.application.router.find(path).ok_or(Problem::NoRoute)?;
        let component = match &route.target {
            Target::Static(answer) => return Ok((static_answer(answer), None)),
            Target::Component(component) => component,
        };
        let (mut parts, body) = request.into_parts();
        parts.uri = complete(parts.uri, parts.headers.get(header::HOST))?;
        parts.headers.remove(header::CONNECTION);
        remove_forged(&mut parts.headers);
        route.headers.add(&mut parts.headers, &parts.uri, &captures, client);
        let (body, verdict) = self.body.receive(body).await?;
        let slot = take_place(route)?;
        let working = start_work(route, path)?;
        let caller = Caller { depth: 0, slot: Some(slot.clone()), working: working.clone() };
        let says_nothing = verdict.is_some();
        let patience = route.admission.as_ref().filter(|_| may_wait(&parts.headers)).map(|admission| admission.target);
        let answer = self.application.components.call(component, Request::from_parts(parts, body), caller);
        let response = match (working, patience) {
            (Some(working), Some(patience)) => while_it_works(answer, &working, patience).await,
            (Some(working), None) => {
                let response = answer.await;
                // A body that was still being sent took as long as its client did.
                if says_nothing {
                    working.waits()
                } else {
                    working.answered()
                }
                response
            }
            (None, _) => answer.await,
        };
        match verdict.and_then(|verdict| verdict.problem()) {
            Some(problem) => Err(problem),
            None => Ok((response, Some(slot))),
        }
    }

    /// hyper takes twice as much before it gives up without a word, so that there is a word for most.
    fn check_head(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let headers = request.headers();
        let line = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        let bytes = line + header_bytes(headers);
        let fits = headers.len() <= self.max_headers && bytes <= self.max_header_bytes;
        if fits { Ok(()) } else { Err(Problem::HeadersTooLarge) }
    }

    fn well_known(&self, name: &str) -> Result<Response<WasiBody>, Problem> {
        match name {
            "health" => Ok(Response::new(problem::full("OK"))),
            "info" => {
                let mut info = serde_json::json!({ "name": self.application.name });
                if let Some(version) = &self.application.version {
                    info["version"] = version.as_str().into();
                }
                let mut response = Response::new(problem::full(format!("{info:#}")));
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

/// Waits for an answer that may take its time: after `patience` the request no longer counts as being at work.
async fn while_it_works(
    answer: impl Future<Output = Response<WasiBody>>,
    working: &Working,
    patience: Duration,
) -> Response<WasiBody> {
    let mut answer = pin!(answer);
    let response = tokio::time::timeout(patience, &mut answer).await;
    working.waits();
    match response {
        Ok(response) => response,
        Err(_) => answer.await,
    }
}

fn start_work(route: &Route, path: &str) -> Result<Option<Arc<Working>>, Problem> {
    let Some(admission) = &route.admission else { return Ok(None) };
    admission.enter(path).map(Some).ok_or(Problem::Overloaded)
}

fn take_place(route: &Route) -> Result<Slot, Problem> {
    let place = route.places.clone().try_acquire_owned();
    place.map(Arc::new).map_err(|_| Problem::Overloaded)
}

/// The request's URI with scheme and authority. HTTP/1 names the host in a header, HTTP/2 in the URI; where both do, they
/// have to agree, or else two parties could take the request for two different ones.
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
