//! Logs and traces.

mod context;

pub use context::TraceContext;
