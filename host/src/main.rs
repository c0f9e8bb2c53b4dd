//! `towpath-host`: see `towpath-host --help`.

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use towpath_host::manifest::Faults;
use towpath_host::{Options, Stopped, run, start_log};

/// Gives memory back after a burst.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit status if the command line or the application is wrong: `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(message) => {
            let _ = message.print();
            return if message.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    start_log(&options);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("towpath-host: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(serve(options));
    // Dropping the runtime would wait for idle instances; the process ends without them.
    std::mem::forget(runtime);
    match outcome {
        Ok(Stopped::Drained) => ExitCode::SUCCESS,
        Ok(Stopped::CutOff) => ExitCode::from(2),
        Err(error) => {
            eprintln!("towpath-host: {error:#}");
            if error.is::<Faults>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

async fn serve(options: Options) -> anyhow::Result<Stopped> {
    let (mut stop, mut force) = (Signals::new()?, Signals::new()?);
    // Both see every signal: the first one stops, the second one forces.
    let force = async move {
        force.next().await;
        force.next().await;
    };
    run(options, Box::pin(async move { stop.next().await }), Box::pin(force)).await
}

/// The signals that ask the host to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
