//! TCP proxies that break a connection at a chosen moment: what `towpath chaos` and the tests put between two parts to
//! lose a request, an answer, a COMMIT or an acknowledgement on purpose.
//!
//! A [`Proxy`] carries TCP in both directions and looks at what the client says, request by request: [`Tcp`], [`Http`],
//! [`Kafka`] and [`Postgres`] say what a request is. A rule, given at any time, picks the requests that meet another
//! [`Fate`] than to pass. What the proxy doesn't break it leaves as it is, byte for byte, but for the port of a Kafka
//! broker, which would lead clients past it.
//!
//! What a proxy can't hide: the first client to come while its server is down sees a connection that breaks, where it
//! would have seen one that is refused. Those after it are refused. And a client of a server that stands still is
//! connected at once, where it would have waited for that.

mod fate;
mod http;
mod kafka;
mod line;
mod postgres;
mod protocol;
mod proxy;
mod tcp;

pub use crate::fate::Fate;
pub use crate::http::{Http, answer};
pub use crate::kafka::{Kafka, PRODUCE, Request as KafkaRequest};
pub use crate::postgres::{Message as PostgresMessage, Postgres};
pub use crate::protocol::{Ports, Protocol};
pub use crate::proxy::Proxy;
pub use crate::tcp::Tcp;
