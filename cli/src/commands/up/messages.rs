//! What `up` says.
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use towpath_stack::checkout;
use towpath_stack::home::Home;
use towpath_stack::ports::Ports;
use towpath_stack::state::{Phase, State};
use towpath_stack::terminal::say;

use super::args::Args;
use crate::commands::status;
use crate::screen::table;
use crate::seed::EXAMPLE_SKU;

/// A second `up`: nothing is started, and that is no failure.
pub(super) fn already_runs(home: &Home) -> Result<ExitCode> {
    let place = home.path().display();
    match State::current(home)?.filter(|state| state.phase != Phase::Stopped) {
        None => say(&format!("Another `towpath up` is preparing the stack under {place}; nothing to do here.")),
        Some(state) => {
            let urls = if state.urls.is_empty() { "without a host".to_owned() } else { state.urls.join(", ") };
            let pid = state.supervisor.pid;
            say(&format!("Towpath already runs under {place} (pid {pid}): {urls}"));
            for line in table(&status::rows(&state)) {
                say(&line);
            }
            say(&format!("`{}` stops it.", command(home, "down")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What stands under the table.
pub(super) fn foot(args: &Args, home: &Home, ports: &Ports) -> Result<Vec<String>> {
    let mut lines = vec![String::new()];
    let url = args.choice().urls(ports)?.into_iter().next();
    if let Some(url) = url.filter(|_| checkout::works_for_another().is_ok_and(|another| !another)) {
        lines.push("Order something:".to_owned());
        lines.extend(example(&url));
        lines.push(String::new());
    }
    lines.push(format!("Logs: `{}`, or {}", command(home, "logs relay -f"), home.logs().display()));
    let stop = if args.in_background { command(home, "down") } else { "Ctrl-C".to_owned() };
    lines.push(format!("Stop: {stop} (the data stays)"));
    Ok(lines)
}

fn example(url: &str) -> [String; 2] {
    [
        format!("  curl -s {url}/v1/orders -H 'content-type: application/json' -H \"idempotency-key: $RANDOM\" \\"),
        format!(
            "    -H 'prefer: wait=5' -d '{{\"customer_id\":\"you\",\"lines\":[{{\"sku\":\"{EXAMPLE_SKU}\",\
             \"quantity\":1}}],\"payment_method\":\"pm_card_visa\"}}'"
        ),
    ]
}

/// What stands above it with `--no-host`.
pub(super) fn without_host(application: &Path, file: &Path, port: u16) -> Vec<String> {
    vec![
        format!("Towpath is up, without a host. {} has the variables for it. In another terminal:", file.display()),
        format!("  cd {} && spin up --listen 127.0.0.1:{port}", application.display()),
        String::new(),
    ]
}

/// A command of ours for this home, as one would type it.
fn command(home: &Home, rest: &str) -> String {
    let usual = checkout::application().ok().map(|application| application.join(".towpath"));
    // As it was called: the script says how.
    let towpath = std::env::var("TOWPATH_COMMAND").unwrap_or_else(|_| "./towpath".to_owned());
    match usual.as_deref() == Some(home.path()) {
        true => format!("{towpath} {rest}"),
        false => format!("{towpath} --home {} {rest}", home.path().display()),
    }
}
