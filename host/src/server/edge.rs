//! One request from outside: what the host answers by itself, which route takes the rest, and whether there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use wasmtime_wasi_http::{Error, WasiBody};

use super::body::{Answer, Exceeded, Limited};
use crate::answer::{self, Problem};
use crate::application::{Application, Route, WELL_KNOWN, static_answer};
use crate::engine::{Caller, Slot};
use crate::headers::remove_forged;
use crate::manifest::Target;

/// The edge of an application.
pub(super) struct Edge {
    pub(super) application: Arc<Application>,
    pub(super) max_body_bytes: u64,
}

impl Edge {
    /// Answers a request of a client whose address is `client`.
    pub(super) async fn answer(&self, request: Request<Incoming>, client: HeaderValue) -> Response<Answer> {
        let started = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = match self.route(request, &path, client).await {
            Ok((response, slot)) => response.map(|body| Answer::new(body, slot)),
            Err(problem) => Response::<WasiBody>::from(problem).map(|body| Answer::new(body, None)),
        };
        let (status, took_us) = (response.status().as_u16(), started.elapsed().as_micros());
        tracing::debug!(%method, path, status, took_us, "answered");
        response
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        path: &str,
        client: HeaderValue,
    ) -> Result<(Response<WasiBody>, Option<Slot>), Problem> {
        if let Some(name) = path.strip_prefix(WELL_KNOWN) {
            return Ok((self.well_known(name)?, None));
        }
        let (route, captures) = self.application.router.find(path).ok_or(Problem::NoRoute)?;
        let component = match &route.target {
            Target::Static(answer) => return Ok((static_answer(answer), None)),
            Target::Component(component) => component,
        };
        let slot = take_place(route)?;
        let (mut parts, body) = request.into_parts();
        parts.uri = complete(parts.uri, parts.headers.get(header::HOST))?;
        parts.headers.remove(header::CONNECTION);
        remove_forged(&mut parts.headers);
        route.headers.add(&mut parts.headers, &parts.uri, &captures, client);
        let (body, exceeded) = self.bounded(body)?;
        let caller = Caller { depth: 0, slot: Some(slot.clone()) };
        let response = self.application.components.call(component, Request::from_parts(parts, body), caller).await;
        if exceeded.is_some_and(|exceeded| exceeded.load(Ordering::Relaxed)) {
            return Err(Problem::BodyTooLarge);
        }
        Ok((response, Some(slot)))
    }

    /// The body; where it did not say its length before, with a mark that tells whether it got too long.
    fn bounded(&self, body: Incoming) -> Result<(WasiBody, Option<Exceeded>), Problem> {
        let hint = body.size_hint();
        if hint.lower() > self.max_body_bytes {
            return Err(Problem::BodyTooLarge);
        }
        if hint.exact().is_some() {
            return Ok((body.map_err(Error::from).boxed_unsync(), None));
        }
        let (body, exceeded) = Limited::new(body, self.max_body_bytes);
        Ok((body.boxed_unsync(), Some(exceeded)))
    }

    fn well_known(&self, name: &str) -> Result<Response<WasiBody>, Problem> {
        match name {
            "health" => Ok(Response::new(answer::full("OK"))),
            "info" => {
                let mut info = serde_json::json!({ "name": self.application.name });
                if let Some(version) = &self.application.version {
                    info["version"] = version.as_str().into();
                }
                let mut response = Response::new(answer::full(format!("{info:#}")));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Ok(response)
            }
            _ => Err(Problem::NoRoute),
        }
    }
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
