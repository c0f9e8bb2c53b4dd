//! `towpath-relay`: see `towpath-relay --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    towpath_relay::command::main()
}
