//! The components of an application: handing requests to them, from clients and from each other.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use wasmtime::PoolConcurrencyLimitError;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::handler::{ExpirationError, InstantiationError, ProxyHandler};

use crate::engine::{Caller, Instances};
use crate::outbound::{Answering, CALLER_ADDRESS, Origin, Peers, remove_hop_by_hop};
use crate::problem::{Problem, full_body};
use crate::routes::Captures;
use crate::spin_headers::{RouteHeaders, remove_forged};

/// The components by id.
pub(crate) struct Components {
    handlers: HashMap<String, ProxyHandler<Instances>>,
    /// The route headers of a call from another component.
    chained: RouteHeaders,
}

impl std::fmt::Debug for Components {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.handlers.keys()).finish()
    }
}

impl Components {
    pub(crate) fn new(handlers: HashMap<String, ProxyHandler<Instances>>) -> Self {
        Self { handlers, chained: RouteHeaders::new("/...") }
    }

    /// Hands a request to a component. If the component fails, the response is a problem document.
    pub(crate) async fn call(&self, id: &str, request: Request<WasiBody>, caller: Caller) -> Response<WasiBody> {
        self.ask(id, request, caller).await.unwrap_or_else(Into::into)
    }

    async fn ask(&self, id: &str, request: Request<WasiBody>, caller: Caller) -> Result<Response<WasiBody>, Problem> {
        let handler = self.handlers.get(id).ok_or(Problem::ComponentFailed)?;
        let answer = handler.handle(caller, request).await;
        let mut answer = answer.map_err(|error| problem_of(handler.state().component(), &error))?;
        remove_hop_by_hop(answer.headers_mut());
        Ok(answer)
    }
}

impl Peers for Components {
    fn contains(&self, id: &str) -> bool {
        self.handlers.contains_key(id)
    }

    fn call<'a>(&'a self, id: &'a str, mut request: Request<WasiBody>, origin: Origin) -> Answering<'a> {
        let uri = with_scheme_http(request.uri());
        let path = uri.path().to_owned();
        let client = HeaderValue::from_str(&CALLER_ADDRESS.to_string());
        let client = client.unwrap_or(HeaderValue::from_static("0.0.0.0:0"));
        let captures = Captures { named: Vec::new(), rest: &path };
        remove_forged(request.headers_mut());
        self.chained.add(request.headers_mut(), &uri, &captures, client);
        *request.uri_mut() = uri;
        Box::pin(async move {
            let answer = self.ask(id, request, Caller::component(origin)).await;
            // As with Spin, the failure of a component is a 500 without words for its caller.
            answer.unwrap_or_else(|problem| match problem {
                Problem::ComponentFailed => {
                    let mut answer = Response::new(full_body(Bytes::new()));
                    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    answer
                }
                other => other.into(),
            })
        })
    }
}

/// Logs why a component did not respond, and returns the problem for its caller.
fn problem_of(component: &str, error: &wasmtime::Error) -> Problem {
    if let Some(instantiation) = error.downcast_ref::<InstantiationError<Caller>>() {
        let error = &instantiation.error;
        if error.is::<PoolConcurrencyLimitError>() {
            tracing::warn!(component, "request refused: all instances are in use (--max-instances)");
            return Problem::Overloaded;
        }
        tracing::error!(component, ?error, "request failed: the component cannot be instantiated");
        return Problem::ComponentFailed;
    }
    if error.is::<ExpirationError>() {
        tracing::warn!(component, "request failed: the component did not respond within --request-timeout");
        return Problem::ComponentTimeout;
    }
    let error = format_args!("{error:#}");
    tracing::warn!(component, %error, "request failed: the component trapped or returned an error");
    Problem::ComponentFailed
}

fn with_scheme_http(uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}
