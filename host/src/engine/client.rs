//! `wasi:http/client`: the calls that components make. wasmtime's implementation sends them; this wrapper first finds
//! the request that makes the call.

use http::uri::{Authority, Scheme};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::p3::bindings::http::client::HostWithStore;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::{Request, Response};

use super::instance::InstanceState;

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    let mut client = linker.instance("wasi:http/client@0.3.0")?;
    client.func_wrap_concurrent("send", |accessor, (request,): (Resource<Request>,)| {
        Box::pin(async move {
            accessor.with(|mut store| {
                let mut store = wasmtime::AsContextMut::as_context_mut(&mut store);
                let request = store.data().table.get(&request)?;
                let (authority, scheme) = (request.authority.clone(), request.scheme.clone());
                begin_call(&mut store, authority.as_ref(), scheme.as_ref())
            })?;
            let accessor = accessor.with_getter::<WasiHttp>(InstanceState::http);
            let answer = <WasiHttp as HostWithStore<InstanceState>>::send(&accessor, request).await;
            let answer: Result<Resource<Response>, ErrorCode> = match answer {
                Ok(response) => Ok(response),
                Err(error) => Err(error.downcast()?),
            };
            Ok((answer,))
        })
    })
}

/// Stores the origin of the call that follows; no other code of the instance runs in between. Traps the caller if it
/// calls a component that does not exist.
pub(super) fn begin_call(
    store: &mut StoreContextMut<'_, InstanceState>,
    authority: Option<&Authority>,
    scheme: Option<&Scheme>,
) -> wasmtime::Result<()> {
    let stack: Vec<_> = store.async_call_stack()?.collect();
    let state = store.data_mut();
    state.hooks.origin = state.origins.of(stack.into_iter());
    match state.context.outbound.absent_component(authority, scheme) {
        Some(name) => {
            Err(wasmtime::format_err!("it called http://{name}.spin.internal, and there is no [component.{name}]"))
        }
        None => Ok(()),
    }
}
