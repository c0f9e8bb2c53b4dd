//! wasmtime, set up for many small instances: a pool of slots that are reserved once, an epoch that ticks so that no
//! component can hold a thread, and compiled code that is kept from one start to the next.

mod busy;
mod call_depth;
mod guest_log;
mod instance;
mod memory;
mod variables;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use wasmtime::component::{Component, Linker};
use wasmtime::{Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::p3::bindings::ServicePre;

pub(crate) use instance::{ComponentContext, InstanceState};
pub(crate) use workers::{Caller, Instances, Slot};

/// How often the epoch ticks: the longest that a computing component keeps others on its thread waiting, and the
/// precision of `--busy-timeout`. Spin's value.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// What instances may use.
#[derive(Clone, Debug)]
pub(crate) struct InstanceLimits {
    /// Requests that one instance takes in its life.
    pub(crate) max_reuse: usize,
    /// Requests that one instance takes at once.
    pub(crate) max_concurrent: usize,
    /// How long an instance without work is kept.
    pub(crate) idle_timeout: Duration,
    /// How long a component may take for the head of its answer.
    pub(crate) request_timeout: Duration,
    /// How long a component may compute without waiting for anything.
    pub(crate) busy_timeout: Duration,
    /// Bytes of linear memory of one instance.
    pub(crate) max_memory: usize,
}

/// Compiles components and knows what they may import.
pub(crate) struct Runtime {
    engine: Engine,
    linker: Linker<InstanceState>,
}

impl Runtime {
    /// Sets up wasmtime. `cache` is the folder for compiled code; without one, wasmtime's own below the user's home.
    pub(crate) fn new(max_instances: u32, cache: Option<&Path>) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model(true).wasm_component_model_async(true).epoch_interruption(true);
        config.cache(Some(open_cache(cache)?));
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(max_instances)));
        let engine = Engine::new(&config).map_err(|error| {
            anyhow!("no room for {max_instances} instances (each reserves 4 GiB of addresses, not of memory); try a smaller --max-instances: {error:#}")
        })?;
        tick(&engine);
        let linker = linker(&engine).map_err(|error| anyhow!("{error:?}"))?;
        Ok(Self { engine, linker })
    }

    /// Compiles a component, or takes it from the cache.
    pub(crate) fn load(&self, file: &Path) -> anyhow::Result<ServicePre<InstanceState>> {
        let component = Component::from_file(&self.engine, file).map_err(|error| anyhow!("{error:?}"))?;
        self.check_interfaces(&component)?;
        let pre = self.linker.instantiate_pre(&component).map_err(|error| anyhow!("{error:#}"))?;
        ServicePre::new(pre).map_err(|error| anyhow!("{error:#}"))
    }

    /// Says what a component wants or offers that does not fit this host, all of it, before wasmtime says the first.
    fn check_interfaces(&self, component: &Component) -> anyhow::Result<()> {
        let component = component.component_type();
        let exports: Vec<_> = component.exports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        if !exports.iter().any(|name| name.starts_with("wasi:http/handler@0.3.")) {
            let old = exports.iter().find(|name| name.starts_with("wasi:http/incoming-handler@"));
            let found = old.map_or("nothing that answers HTTP", String::as_str);
            anyhow::bail!(
                "it exports {found}, and this host runs components that export wasi:http/handler@0.3: build it with spin-sdk 7, or run the application with `spin up`"
            );
        }
        const SERVED: [&str; 3] = ["wasi:http/client@0.3.", "wasi:http/types@0.3.", "spin:variables/variables@3."];
        let absent: Vec<_> = component
            .imports(&self.engine)
            .map(|(name, _)| name.to_owned())
            .filter(|name| name.contains('/') && !SERVED.iter().any(|served| name.starts_with(served)))
            .filter(|name| name.starts_with("wasi:http/") || !name.starts_with("wasi:") || is_draft(name))
            .collect();
        if !absent.is_empty() {
            anyhow::bail!(
                "it imports {}, which this host does not have; run the application with `spin up`",
                absent.join(", ")
            );
        }
        Ok(())
    }
}

/// WASI interfaces that are no standard yet; the linker has none of them.
fn is_draft(import: &str) -> bool {
    ["wasi:keyvalue/", "wasi:config/", "wasi:otel/"].iter().any(|draft| import.starts_with(draft))
}

fn open_cache(folder: Option<&Path>) -> anyhow::Result<Cache> {
    let mut config = CacheConfig::new();
    if let Some(folder) = folder {
        // wasmtime takes absolute paths only.
        config.with_directory(std::path::absolute(folder)?);
    }
    Cache::new(config).map_err(|error| anyhow!("{error:#}")).context("cannot keep compiled code; choose a --cache-dir")
}

/// The pool's limits. Only addresses are reserved; memory is taken as instances use it.
fn pool(max_instances: u32) -> PoolingAllocationConfig {
    /// wasm-component-ld makes a component of one program module and a few helper modules that join it to its imports.
    const CORE_INSTANCES_PER_COMPONENT: u32 = 20;
    let mut pool = PoolingAllocationConfig::new();
    pool
        // Components that live at once, all together: what `--max-instances` promises.
        .total_component_instances(max_instances)
        // A component has one memory. Each reserves 4 GiB of addresses and guard pages, so that the compiled code needs
        // no bounds checks.
        .total_memories(max_instances)
        // One for the component's functions, one for the helper module between it and its imports.
        .total_tables(max_instances.saturating_mul(2))
        // Every task of an instance that waits in the middle of a call has a stack of its own; most wait by callback
        // and have none.
        .total_stacks(max_instances.saturating_mul(2))
        .total_core_instances(max_instances.saturating_mul(4))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(2)
        .max_tables_per_component(8)
        .table_elements(50_000)
        // wasmtime's own bookkeeping of an instance: kilobytes for components of the usual size.
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        // Freed memory goes back to the kernel at once. Zeroing it by hand instead would be faster per instance; but an
        // instance serves many requests, and after a burst every slot that was ever used would hold its pages.
        .linear_memory_keep_resident(0)
        .table_keep_resident(0);
    pool
}

/// Lets the epoch tick as long as the engine lives.
fn tick(engine: &Engine) {
    let engine = engine.weak();
    std::thread::spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH_TICK);
        }
    });
}

/// All that a component may import.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<InstanceState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::bindings::http::types::add_to_linker::<_, WasiHttp>(&mut linker, InstanceState::http)?;
    call_depth::add_client_to_linker(&mut linker)?;
    variables::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// What the workers of one component need.
pub(crate) fn instances(
    pre: ServicePre<InstanceState>,
    context: ComponentContext,
    limits: InstanceLimits,
) -> Instances {
    Instances::new(pre, Arc::new(context), limits)
}
