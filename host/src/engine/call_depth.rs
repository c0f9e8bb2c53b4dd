//! `wasi:http/client`: calls that components make. wasmtime's implementation does the work; what is added here is which
//! of an instance's requests caused a call, so that components that call each other in a circle come to an end.

use wasmtime::StoreContextMut;
use wasmtime::component::{GuestTaskId, Linker, Resource};
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::p3::bindings::http::client::HostWithStore;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::{Request, Response};

use super::InstanceState;

/// The requests of an instance and how deep in a chain of components each stands. wasmtime uses an id again once its
/// task is over, so there are never more entries than tasks that lived at once.
#[derive(Debug, Default)]
pub(crate) struct Depths(Vec<(GuestTaskId, u8)>);

impl Depths {
    /// A request begins.
    pub(super) fn begin(&mut self, task: GuestTaskId, depth: u8) {
        match self.0.iter_mut().find(|(id, _)| *id == task) {
            Some(entry) => entry.1 = depth,
            None => self.0.push((task, depth)),
        }
    }

    /// The depth of the request that the tasks of a call stack belong to. One that is not known counts as the deepest
    /// there is: a bound that is too tight is an error that someone sees, one that is too wide is none.
    fn of(&self, mut stack: impl Iterator<Item = GuestTaskId>) -> u8 {
        let known = stack.find_map(|task| self.0.iter().find(|(id, _)| *id == task));
        known.map(|(_, depth)| *depth).or_else(|| self.0.iter().map(|(_, depth)| *depth).max()).unwrap_or_default()
    }
}

pub(super) fn add_client_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
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

/// Notes on whose behalf the call that follows is made; nothing else of the instance runs in between. Ends the caller
/// where it names a component that does not exist.
fn prepare(mut store: StoreContextMut<'_, InstanceState>, request: &Resource<Request>) -> wasmtime::Result<()> {
    let stack: Vec<_> = store.async_call_stack()?.collect();
    let state = store.data_mut();
    state.hooks.depth = state.depths.of(stack.into_iter());
    let request = state.table.get(request)?;
    match state.context.outbound.absent_component(request.authority.as_ref(), request.scheme.as_ref()) {
        Some(name) => {
            Err(wasmtime::format_err!("it called http://{name}.spin.internal, and there is no [component.{name}]"))
        }
        None => Ok(()),
    }
}
