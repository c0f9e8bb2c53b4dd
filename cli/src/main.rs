//! The `towpath` command. Everything it does is in the library, so that tests can reach it.
use std::process::ExitCode;

fn main() -> ExitCode {
    towpath_cli::run()
}
