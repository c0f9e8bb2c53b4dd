#![doc = include_str!("../README.md")]

pub mod budget;
pub mod context;
pub mod cursor;
pub mod delivery;
pub mod etag;
pub mod fields;
pub mod id;
pub mod idempotency;
pub mod money;
pub mod outbound;
pub mod parse;
pub mod peer;
pub mod prefer;
pub mod principal;
pub mod problem;
pub mod relay;
pub mod request;
pub mod response;
pub mod serve;
pub mod time;
pub mod trace;

pub use budget::Budget;
pub use context::Context;
pub use cursor::Cursor;
pub use delivery::{Delivery, TimerCall};
pub use fields::{Change, Fields};
pub use id::Id;
pub use idempotency::{IdempotencyKey, StoredAnswer, request_hash};
pub use money::{Currency, Money};
pub use parse::Invalid;
pub use principal::Principal;
pub use problem::{FieldError, Problem};
pub use relay::{Outcome, Query, Relay, RelayError, Row, Rows, UnitOfWork};
pub use request::Request;
pub use response::Response;
pub use serve::log;
pub use time::Time;
pub use towpath_wire as wire;
pub use trace::Trace;

/// Makes `async fn $handler(Context, Request) -> Result<Response, Problem>` the component's entry point.
///
/// `$max_body` tells how many bytes a client may send to a path, where that is not [`serve::max_body`].
///
/// The export exists in WebAssembly alone: natively all services are linked into one test binary, where the five
/// entry points would have the same name.
#[macro_export]
macro_rules! service {
    ($handler:path) => {
        $crate::service!($handler, $crate::serve::max_body);
    };
    ($handler:path, $max_body:path) => {
        #[cfg(target_arch = "wasm32")]
        mod entry {
            use super::*;

            #[::spin_sdk::http_service]
            async fn entry(request: ::spin_sdk::http::Request) -> impl ::spin_sdk::http::IntoResponse {
                $crate::serve::serve(request, $max_body, $handler).await
            }
        }
    };
}
