//! What one instance of a component may use.

use std::time::Duration;

/// The limits of one instance.
#[derive(Clone, Debug)]
pub(crate) struct InstanceLimits {
    /// Requests over the instance's life.
    pub(crate) max_reuse: usize,
    /// Requests at a time.
    pub(crate) max_concurrent: usize,
    /// Time without a request after which the instance ends.
    pub(crate) idle_timeout: Duration,
    /// Time until the head of a response.
    pub(crate) request_timeout: Duration,
    /// Time that the component computes without waiting for anything.
    pub(crate) busy_timeout: Duration,
    /// Linear memory.
    pub(crate) max_memory_bytes: usize,
}
