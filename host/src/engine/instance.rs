//! The state of one instance of a component: its view of WASI, its limits, and the hooks for its HTTP calls.

use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderName, Request, Response, header};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks,
};

use super::busy::Busy;
use super::guest_log::GuestLog;
use super::memory::MemoryLimit;
use super::origins::Origins;
use crate::outbound::{Origin, Outbound};
use crate::variables::ComponentVariables;

/// What the instances of a component share.
#[derive(Debug)]
pub(crate) struct ComponentContext {
    pub(crate) id: Arc<str>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) variables: ComponentVariables,
    pub(crate) outbound: Arc<Outbound>,
}

/// The state of one instance.
pub(crate) struct InstanceState {
    pub(super) context: Arc<ComponentContext>,
    pub(super) table: ResourceTable,
    pub(super) hooks: GuestHooks,
    pub(super) memory: MemoryLimit,
    pub(super) busy: Arc<Busy>,
    pub(super) origins: Origins,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    edge_hooks: EdgeHooks,
}

impl InstanceState {
    pub(super) fn new(context: Arc<ComponentContext>, busy: Arc<Busy>, max_memory_bytes: usize) -> Self {
        let mut wasi = WasiCtx::builder();
        wasi.envs(&context.environment)
            .stdout(GuestLog::new(context.id.clone(), "stdout"))
            .stderr(GuestLog::new(context.id.clone(), "stderr"))
            .socket_addr_check(sockets(context.outbound.clone()));
        Self {
            table: ResourceTable::new(),
            hooks: GuestHooks { outbound: context.outbound.clone(), origin: Origin::default() },
            memory: MemoryLimit { component: context.id.clone(), max_bytes: max_memory_bytes, used_bytes: 0 },
            busy,
            origins: Origins::default(),
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            edge_hooks: EdgeHooks,
            context,
        }
    }

    /// HTTP as the component itself uses it.
    pub(super) fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }

    /// HTTP as the host uses it to pass a request to the component.
    pub(super) fn edge_http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.edge_hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Which addresses a component may use with sockets of its own: those of `allowed_outbound_hosts`, with the schemes `tcp` and
/// `udp`. As with Spin it looks up no names, listens nowhere, and binds no address of its choice.
fn sockets(outbound: Arc<Outbound>) -> impl Fn(SocketAddr, SocketAddrUse) -> Pin<Box<Permitted>> + Send + Sync {
    move |address, usage| {
        let permitted = match usage {
            // What the system binds for a call.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => address.ip().is_unspecified() && address.port() == 0,
            SocketAddrUse::TcpConnect => outbound.allows_socket("tcp", address),
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => outbound.allows_socket("udp", address),
            SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => false,
        };
        Box::pin(ready(permitted))
    }
}

type Permitted = dyn Future<Output = bool> + Send + Sync;

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

type Sent = Box<dyn Future<Output = Result<(Response<WasiBody>, Processed), Error>> + Send>;
type Processed = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Sends the calls of a component.
pub(super) struct GuestHooks {
    outbound: Arc<Outbound>,
    /// The request that makes the next call.
    pub(super) origin: Origin,
}

impl WasiHttpHooks for GuestHooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn send_request(&mut self, request: Request<WasiBody>, options: Option<RequestOptions>, _: Processed) -> Sent {
        let call = self.outbound.clone().send(request, options.unwrap_or_default(), self.origin.clone());
        // The response body reports errors of the connection, so the second future has none to report.
        Box::new(async { Ok((call.await?, Box::new(ready(Ok(()))) as Processed)) })
    }
}

/// Lets a component read all headers of its request except `connection`, as Spin does. It cannot set forbidden headers,
/// and `outbound` removes those that it forwards.
struct EdgeHooks;

impl WasiHttpHooks for EdgeHooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        *name == header::CONNECTION
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name))
    }

    fn send_request(&mut self, _: Request<WasiBody>, _: Option<RequestOptions>, _: Processed) -> Sent {
        Box::new(ready(Err(Error::ConfigurationError)))
    }
}
