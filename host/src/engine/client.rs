//! `wasi:http/client`: the calls that components make. wasmtime's implementation sends them; this wrapper first finds
//! the request that makes the call.

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
            accessor.with(|mut store| prepare(wasmtime::AsContextMut::as_context_mut(&mut store), &request))?;
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
fn prepare(mut store: StoreContextMut<'_, InstanceState>, request: &Resource<Request>) -> wasmtime::Result<()> {
    let stack: Vec<_> = store.async_call_stack()?.collect();
    let state = store.data_mut();
    state.hooks.origin = state.origins.of(stack.into_iter());
    let request = state.table.get(request)?;
    match state.context.outbound.absent_component(request.authority.as_ref(), request.scheme.as_ref()) {
        Some(name) => {
            Err(wasmtime::format_err!("it called http://{name}.spin.internal, and there is no [component.{name}]"))
        }
        None => Ok(()),
    }
}
