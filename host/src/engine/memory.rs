//! The memory limit of one instance.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

/// Refuses growth beyond the limit. A Rust component then traps with an allocation failure.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    pub(super) component: Arc<str>,
    pub(super) max_bytes: usize,
    /// The sum over all memories of the instance.
    pub(super) used_bytes: usize,
}

/// Entries of one table: far more than the functions of a component need.
pub(super) const MAX_TABLE_ELEMENTS: usize = 50_000;

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.used_bytes.saturating_sub(current).saturating_add(desired);
        if wanted > self.max_bytes {
            let (component, max_bytes) = (&self.component, self.max_bytes);
            tracing::warn!(
                %component,
                wanted_bytes = wanted,
                max_bytes,
                "memory refused: the instance asked for more than --max-instance-memory"
            );
            return Ok(false);
        }
        self.used_bytes = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_of_an_instance_share_one_limit() {
        let mut limit = MemoryLimit { component: "c".into(), max_bytes: 300, used_bytes: 0 };
        assert!(limit.memory_growing(0, 100, None).unwrap());
        assert!(limit.memory_growing(0, 100, None).unwrap());
        assert!(limit.memory_growing(100, 200, None).unwrap());
        assert!(!limit.memory_growing(100, 101, None).unwrap());
        assert_eq!(limit.used_bytes, 300);
    }
}
