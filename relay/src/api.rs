//! The relay's interface: loopback HTTP with JSON.
//!
//! Every call but the interface's own description shows a service's bearer token. Every failure is answered with a problem
//! document, unknown paths and panics too.

mod admin;
mod body;
mod caller;
#[cfg(test)]
mod described;
mod listen;
mod observe;
mod problem;
mod prompt_ack;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use towpath_wire::{CachePutOf, Code, QueryRequestOf, RateLimitRequest, TransactionRequestOf};

use crate::failure::{Failure, Result};
use crate::keys::check_key;
use crate::redis::rate_limit;
use crate::relay::Relay;
use crate::{query, unit_of_work};

pub(crate) use admin::admin_router;
pub(crate) use listen::{Full, serve};

use body::Json;
use caller::{Caller, Place};
use observe::Waited;

/// The description of the interface, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// One method on one path.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// The method, in capitals.
    pub method: &'static str,
    /// The name under which it is measured, and its `operationId` in the description.
    pub call: &'static str,
}

/// Every call. A test compares them with openapi.json.
pub const ROUTES: &[Route] = &[
    Route { path: "/v1/transactions", method: "POST", call: "transactions" },
    Route { path: "/v1/queries", method: "POST", call: "queries" },
    Route { path: "/v1/cache/{key}", method: "GET", call: "cache_get" },
    Route { path: "/v1/cache/{key}", method: "PUT", call: "cache_put" },
    Route { path: "/v1/cache/{key}", method: "DELETE", call: "cache_delete" },
    Route { path: "/v1/rate-limits/{key}", method: "POST", call: "rate_limit" },
    Route { path: "/v1/openapi.json", method: "GET", call: "openapi" },
];

/// The interface for services.
pub(crate) fn router(relay: Arc<Relay>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, handler(route.call));
    }
    router
        .method_not_allowed_fallback(no_such_method)
        .fallback(no_such_path)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&relay), observe::observe))
        .with_state(relay)
}

fn handler(call: &str) -> MethodRouter<Arc<Relay>> {
    match call {
        "transactions" => post(transactions),
        "queries" => post(queries),
        "cache_get" => get(cache_get),
        "cache_put" => put(cache_put),
        "cache_delete" => delete(cache_delete),
        "rate_limit" => post(rate_limit_take),
        "openapi" => get(openapi),
        _ => MethodRouter::new(),
    }
}

/// A value as it came.
type Raw = Box<RawValue>;

/// The unit of work is a task of its own: it goes on if the caller is gone.
async fn transactions(caller: Caller, body: Json<TransactionRequestOf<Raw>>) -> Result<Response> {
    let Caller { service, trace, place: _place } = caller;
    let response = unit_of_work::run(&service, body.value, trace, Box::new(body.held)).await?;
    Ok(json(StatusCode::OK, &response))
}

/// The query and its wait end if the caller is gone.
async fn queries(mut caller: Caller, body: Json<QueryRequestOf<Raw>>) -> Result<Response> {
    let Json { value: request, held: _held } = body;
    let waits = request.wait.is_some();
    if waits {
        caller.place = Place::waiting(&caller.service)?;
    }
    let mut response = json(StatusCode::OK, &query::run(&caller.service, request).await?);
    if waits {
        response.extensions_mut().insert(Waited);
    }
    Ok(response)
}

async fn cache_get(caller: Caller, Key(key): Key) -> Result<Response> {
    check_key(caller.service.limits(), "The key", &key)?;
    Ok(json(StatusCode::OK, &caller.service.cache.get(&key).await?))
}

async fn cache_put(caller: Caller, Key(key): Key, entry: Json<CachePutOf<Raw>>) -> Result<StatusCode> {
    check_key(caller.service.limits(), "The key", &key)?;
    caller.service.cache.put(&key, &entry.value).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn cache_delete(caller: Caller, Key(key): Key) -> Result<StatusCode> {
    check_key(caller.service.limits(), "The key", &key)?;
    caller.service.cache.delete(&key).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rate_limit_take(caller: Caller, Key(key): Key, body: Json<RateLimitRequest>) -> Result<Response> {
    check_key(caller.service.limits(), "The key", &key)?;
    let service = &caller.service;
    Ok(json(StatusCode::OK, &rate_limit::take(&service.redis, &service.name, &key, body.value).await?))
}

async fn openapi() -> Response {
    let mut response = OPENAPI.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn no_such_path(request: Request) -> Failure {
    Failure::new(Code::NotFound, format!("There is no {}", request.uri().path()))
}

/// The router adds the header `allow`.
async fn no_such_method(request: Request) -> Failure {
    Failure::new(Code::MethodNotAllowed, format!("There is no {} on {}", request.method(), request.uri().path()))
}

/// The key at the end of a path, percent-decoded.
struct Key(String);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Key {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<Self> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(key)) => Ok(Self(key)),
            Err(rejection) => Err(Failure::malformed(format!("The key can't be read: {rejection}"))),
        }
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(512);
    match serde_json::to_writer(&mut bytes, value) {
        Ok(()) => (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response(),
        Err(cause) => Failure::internal(cause).into_response(),
    }
}
