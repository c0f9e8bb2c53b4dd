//! `wasi:http/outgoing-handler@0.2`: the calls of components that speak WASI 0.2. As with `client`, wasmtime's
//! implementation sends them, and this wrapper first finds the request that makes the call.

use http::uri::{Authority, Scheme};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::RequestOptions;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::{ErrorCode, Host};
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};

use super::client::begin_call;
use super::instance::InstanceState;

type Call = (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>);
type Answer = Result<Resource<HostFutureIncomingResponse>, ErrorCode>;

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    let mut handler = linker.instance("wasi:http/outgoing-handler@0.2.12")?;
    handler.func_wrap("handle", |mut store, (request, options): Call| {
        let (scheme, authority) = destination(&store, &request)?;
        begin_call(&mut store, authority.as_ref(), scheme.as_ref())?;
        let answer: Answer = match store.data_mut().http().handle(request, options) {
            Ok(response) => Ok(response),
            Err(error) => Err(error.downcast()?),
        };
        Ok((answer,))
    })
}

/// Where a request goes. What is no scheme or authority is refused where the request is sent.
fn destination(
    store: &StoreContextMut<'_, InstanceState>,
    request: &Resource<HostOutgoingRequest>,
) -> wasmtime::Result<(Option<Scheme>, Option<Authority>)> {
    let request = store.data().table.get(request)?;
    let scheme = match &request.scheme {
        Some(types::Scheme::Http) => Some(Scheme::HTTP),
        Some(types::Scheme::Https) => Some(Scheme::HTTPS),
        Some(types::Scheme::Other(other)) => other.parse().ok(),
        None => None,
    };
    Ok((scheme, request.authority.as_ref().and_then(|authority| authority.parse().ok())))
}
