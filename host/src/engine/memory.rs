//! The memory that one instance may take.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

/// Refuses growth beyond the limit. A Rust component then ends with an allocation failure, which is a trap.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    pub(super) component: Arc<str>,
    pub(super) max_bytes: usize,
    /// Of all memories of the instance together.
    pub(super) used_bytes: usize,
}

/// Entries of one table: far above what a component's functions need.
const MAX_TABLE_ELEMENTS: usize = 50_000;

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.used_bytes.saturating_sub(current).saturating_add(desired);
        if wanted > self.max_bytes {
            tracing::warn!(component = %self.component, wanted_bytes = wanted, max_bytes = self.max_bytes, "memory refused (--max-instance-memory)");
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
