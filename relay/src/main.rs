//! `towpath-relay`: see `towpath-relay --help`.

use std::process::ExitCode;

/// Gives memory back after a burst.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    towpath_relay::command::main()
}
