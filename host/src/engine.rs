//! Compiles components with wasmtime and defines what they may import. wasmtime is set up for many small instances: a
//! pool of reserved slots, an epoch that ticks so that no component can hold a thread, and a cache of compiled code.

mod busy;
mod client;
mod guest_log;
mod instance;
mod interfaces;
mod limits;
mod memory;
mod origins;
mod outgoing_handler;
mod variables;
mod workers;

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use wasmtime::component::{Component, Linker};
use wasmtime::{Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::{p2, p3};

use busy::EPOCH_TICK;
pub(crate) use instance::ComponentContext;
use instance::InstanceState;
use interfaces::{Handler, Interfaces};
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
        // A stack of the pool that is free again gives its pages back: else every one that a burst needed would keep some
        // 100 KiB for good. It costs little: an instance keeps the stack that it used last.
        config.async_stack_zeroing(true);
        config.cache(Some(open_cache(cache)?));
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(max_instances)));
        let engine = Engine::new(&config).map_err(|error| {
            anyhow!("cannot reserve addresses for {max_instances} instances (4 GiB each, no memory); choose a smaller --max-instances: {error:#}")
        })?;
        tick(&engine);
        let linker = linker(&engine).map_err(|error| anyhow!("{error:?}"))?;
        Ok(Self { engine, linker })
    }

    /// Compiles a component, or reads it from the cache. `id` is its name in the log.
    pub(crate) fn load(&self, id: &str, file: &Path) -> anyhow::Result<ProxyPre<InstanceState>> {
        let component = compile(&self.engine, id, file).map_err(|error| anyhow!("{error:?}"))?;
        let interfaces = Interfaces::of(&component, &self.engine)?;
        let mut linker = self.linker.clone();
        if !interfaces.absent.is_empty() {
            let absent = interfaces.absent.join(", ");
            tracing::warn!(
                component = id,
                absent,
                "it imports what this host does not have: it traps where it calls that"
            );
            interfaces::define_absent(&mut linker, &component, &interfaces.absent)
                .map_err(|error| anyhow!("{error:#}"))?;
        }
        let pre = linker.instantiate_pre(&component).map_err(|error| anyhow!("{error:#}"))?;
        let pre = match interfaces.handler {
            Handler::Http02 => p2::bindings::ProxyPre::new(pre).map(ProxyPre::P2),
            Handler::Http03 => p3::bindings::ServicePre::new(pre).map(ProxyPre::P3),
        };
        pre.map_err(|error| anyhow!("{error:#}"))
    }
}

/// A large component takes a minute, once: how long it has taken is told meanwhile.
fn compile(engine: &Engine, component: &str, file: &Path) -> wasmtime::Result<Component> {
    let bytes = std::fs::metadata(file).map_or(0, |file| file.len());
    let begun = Instant::now();
    let tell = || {
        let seconds = begun.elapsed().as_secs();
        tracing::info!(
            component,
            bytes,
            seconds,
            "compiling a component; its code is kept, and the next start is quick"
        );
    };
    let compiled = telling(TELL_EVERY, tell, || Component::from_file(engine, file));
    if begun.elapsed() >= TELL_EVERY && compiled.is_ok() {
        tracing::info!(component, bytes, seconds = begun.elapsed().as_secs(), "compiled a component");
    }
    compiled
}

/// How often a component is told of that is being compiled.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Does this work, and tells every so often that it isn't done.
fn telling<T>(every: Duration, tell: impl Fn() + Send, work: impl FnOnce() -> T) -> T {
    let (done, waiting) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = waiting.recv_timeout(every) {
                tell();
            }
        });
        let result = work();
        drop(done);
        result
    })
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
        .table_keep_resident(0)
        .async_stack_keep_resident(0);
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
    p3::bindings::http::types::add_to_linker::<_, WasiHttp>(&mut linker, InstanceState::http)?;
    client::add_to_linker(&mut linker)?;
    p2::bindings::http::types::add_to_linker::<_, WasiHttp>(
        &mut linker,
        &p2::bindings::LinkOptions::default().into(),
        InstanceState::http,
    )?;
    outgoing_handler::add_to_linker(&mut linker)?;
    variables::add_to_linker(&mut linker)?;
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_is_told_until_it_ends() {
        let (told, hears) = mpsc::channel();
        let tell = move || {
            let _ = told.send(());
        };
        let twice = telling(Duration::from_millis(1), tell, || (hears.recv(), hears.recv()) == (Ok(()), Ok(())));
        assert!(twice);
        telling(Duration::from_secs(3600), || panic!("it was no long wait"), || ());
    }
}
