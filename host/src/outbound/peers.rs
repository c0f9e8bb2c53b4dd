//! How a component reaches the others. The calls are recursive: a component that is called may call again. This trait
//! lets `outbound` make such a call without depending on what runs components.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use http::{Request, Response};
use wasmtime_wasi_http::WasiBody;

use super::Origin;

/// A response that is being waited for.
pub(crate) type Answering<'a> = Pin<Box<dyn Future<Output = Response<WasiBody>> + Send + 'a>>;

/// The components of the application.
pub(crate) trait Peers: Debug + Send + Sync {
    /// Whether there is a component of this id.
    fn contains(&self, id: &str) -> bool;

    /// Hands a component the request that another one makes for `origin`.
    fn call<'a>(&'a self, id: &'a str, request: Request<WasiBody>, origin: Origin) -> Answering<'a>;
}
