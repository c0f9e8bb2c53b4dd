//! Compiles components with wasmtime and defines what they may import. wasmtime is set up for many small instances: a
//! pool of reserved slots, an epoch that ticks so that no component can hold a thread, and a cache of compiled code.

mod busy;
mod client;
mod guest_log;
mod instance;
mod limits;
mod memory;
mod origins;
mod variables;
mod workers;

use std::path::Path;

use anyhow::{Context as _, anyhow};
use wasmtime::component::{Component, Linker};
use wasmtime::{Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use busy::EPOCH_TICK;
pub(crate) use instance::ComponentContext;
use instance::InstanceState;
pub(crate) use limits::InstanceLimits;
use memory::MAX_TABLE_ELEMENTS;
pub(crate) use workers::{Caller, Instances, Place, PlaceKind};

/// A configured wasmtime, and all that a component may import.
pub(crate) struct Runtime {
    engine: Engine,
    linker: Linker<InstanceState>,
}

impl Runtime {
    /// Sets up wasmtime. `cache` is the folder for compiled code; the default is wasmtime's own in the user's home.
    pub(crate) fn new(max_instances: u32, cache: Option<&Path>) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model(true).wasm_component_model_async(true).epoch_interruption(true);
        config.cache(Some(open_cache(cache)?));
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(max_instances)));
        let engine = Engine::new(&config).map_err(|error| {
            anyhow!("cannot reserve addresses for {max_instances} instances (4 GiB each, no memory); choose a smaller --max-instances: {error:#}")
        })?;
        tick(&engine);
        let linker = linker(&engine).map_err(|error| anyhow!("{error:?}"))?;
        Ok(Self { engine, linker })
    }

    /// Compiles a component, or reads it from the cache.
    pub(crate) fn load(&self, file: &Path) -> anyhow::Result<ServicePre<InstanceState>> {
        let component = Component::from_file(&self.engine, file).map_err(|error| anyhow!("{error:?}"))?;
        self.check_interfaces(&component)?;
        let pre = self.linker.instantiate_pre(&component).map_err(|error| anyhow!("{error:#}"))?;
        ServicePre::new(pre).map_err(|error| anyhow!("{error:#}"))
    }

    /// Names every import and export of a component that this host does not support; wasmtime would name the first only.
    fn check_interfaces(&self, component: &Component) -> anyhow::Result<()> {
        let component = component.component_type();
        let exports: Vec<_> = component.exports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        if !exports.iter().any(|name| name.starts_with("wasi:http/handler@0.3.")) {
            let old = exports.iter().find(|name| name.starts_with("wasi:http/incoming-handler@"));
            let found = old.map_or("no HTTP handler", String::as_str);
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

/// Whether an import is a WASI interface that is not a standard yet; the linker has none of these.
fn is_draft(import: &str) -> bool {
    ["wasi:keyvalue/", "wasi:config/", "wasi:otel/"].iter().any(|draft| import.starts_with(draft))
}

fn open_cache(folder: Option<&Path>) -> anyhow::Result<Cache> {
    let mut config = CacheConfig::new();
    if let Some(folder) = folder {
        // wasmtime takes absolute paths only.
        config.with_directory(std::path::absolute(folder)?);
    }
    Cache::new(config)
        .map_err(|error| anyhow!("{error:#}"))
        .context("cannot open the cache of compiled code; choose another folder with --cache-dir")
}

/// The limits of the pool. It reserves addresses only; memory is allocated as instances use it.
fn pool(max_instances: u32) -> PoolingAllocationConfig {
    /// wasm-component-ld makes a component of one program module and a few adapter modules.
    const MAX_CORE_INSTANCES_PER_COMPONENT: u32 = 20;
    /// wasmtime's own bookkeeping of an instance: kilobytes for components of the usual size.
    const MAX_INSTANCE_BOOKKEEPING_BYTES: usize = 4 << 20;
    let mut pool = PoolingAllocationConfig::new();
    pool
        // The sum over all components, as `--max-instances` says.
        .total_component_instances(max_instances)
        // A component has one memory. Each reserves 4 GiB of addresses and guard pages, so that the compiled code needs
        // no bounds checks.
        .total_memories(max_instances)
        // One for the component's functions, one for the adapter between it and its imports.
        .total_tables(max_instances.saturating_mul(2))
        // A task that waits in the middle of a call has a stack of its own; most tasks wait by callback and have none.
        .total_stacks(max_instances.saturating_mul(2))
        .total_core_instances(max_instances.saturating_mul(4))
        .max_core_instances_per_component(MAX_CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(2)
        .max_tables_per_component(8)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_component_instance_size(MAX_INSTANCE_BOOKKEEPING_BYTES)
        .max_core_instance_size(MAX_INSTANCE_BOOKKEEPING_BYTES)
        // Returns freed memory to the kernel. Zeroing it for reuse would be faster per instance, but an instance serves
        // many requests, and after a burst every slot that was ever used would keep its pages.
        .linear_memory_keep_resident(0)
        .table_keep_resident(0);
    pool
}

/// Increments the epoch until the engine is dropped.
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

/// Everything that a component may import.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<InstanceState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::bindings::http::types::add_to_linker::<_, WasiHttp>(&mut linker, InstanceState::http)?;
    client::add_to_linker(&mut linker)?;
    variables::add_to_linker(&mut linker)?;
    Ok(linker)
}
