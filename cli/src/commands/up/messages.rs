//! What `up` says.
use std::path::Path;

use anyhow::Result;
use towpath_stack::checkout;
use towpath_stack::formats::shell;
use towpath_stack::home::Home;
use towpath_stack::ports::Ports;

use super::args::Args;
use crate::seed::EXAMPLE_SKU;

/// What stands under the table.
pub(super) fn foot(args: &Args, home: &Home, ports: &Ports) -> Result<Vec<String>> {
    let mut lines = vec![String::new()];
    let url = args.choice().urls(ports)?.into_iter().next();
    if let Some(url) = url.filter(|_| checkout::works_for_another().is_ok_and(|another| !another)) {
        lines.push("Order something:".to_owned());
        lines.extend(example(&url));
        lines.push(String::new());
    }
    lines.push(format!("Logs: `{}`, or {}", home.command("logs relay -f"), home.logs().display()));
    let stop = if args.in_background { home.command("down") } else { "Ctrl-C".to_owned() };
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
        format!("  cd {} && spin up --listen 127.0.0.1:{port}", shell(&application.display().to_string())),
        String::new(),
    ]
}
