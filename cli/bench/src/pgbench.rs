//! PostgreSQL's own benchmark, with a script of ours.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use towpath_stack::programs;
use uuid::Uuid;

/// How long it runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// So long; it counts whole seconds.
    Over(Duration),
    /// Until each client has run the script so often.
    Runs(u64),
}

/// Runs the script with so many clients, and gives how often it ran in a second.
///
/// Statements are prepared once per connection (`-M prepared`), as the relay does it.
pub(super) async fn run(clients: usize, until: Until, url: &str, script: &str) -> Result<f64> {
    let file = std::env::temp_dir().join(format!("towpath-bench-{}.sql", Uuid::now_v7().simple()));
    fs::write(&file, script).with_context(|| format!("cannot write {}", file.display()))?;
    let program = programs::postgres()?.programs.join("pgbench");
    let output = command(&program, clients, until, url, &file).output().await.context("cannot run pgbench");
    let removed = fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()));
    let output = output?;
    removed?;
    let said = String::from_utf8_lossy(&output.stdout);
    match transactions_per_second(&said) {
        Some(rate) if output.status.success() => Ok(rate),
        _ => bail!("pgbench: {}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

fn command(program: &Path, clients: usize, until: Until, url: &str, script: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-n", "-M", "prepared", "-j", if clients > 1 { "2" } else { "1" }, "-c", &clients.to_string()]);
    match until {
        Until::Over(time) => command.args(["-T", &time.as_secs().max(1).to_string()]),
        Until::Runs(each) => command.args(["-t", &each.to_string()]),
    };
    command.arg("-f").arg(script).arg(url);
    command
}

/// The rate without the time that connecting took.
fn transactions_per_second(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_in_what_pgbench_says() {
        let said = "latency average = 0.5 ms\ninitial connection time = 3.4 ms\ntps = 1234.567 (without initial \
                    connection time)\n";
        assert_eq!(transactions_per_second(said), Some(1234.567));
        assert_eq!(transactions_per_second("pgbench: error"), None);
    }
}
