//! The command line of the audit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use towpath_stack::home::Home;
use towpath_stack::running::Running;

use super::{Answered, Databases, Report, Rules, Scope, once, settled};

/// Reads the databases and checks the five invariants of docs/invariants.md.
///
/// The databases are read one after the other while the stack works, so an order that changed in the last seconds is
/// reported as in flight where its databases don't agree yet.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  towpath audit                          look once
  towpath audit --settle 60              wait until nothing is in flight, at most 60 s; what still is counts as broken
  towpath audit --expect answers.jsonl   check also that every order a client was told of exists
  towpath audit --json | jq '.invariants[] | select(.broken != [])'

Exit status: 0 where all invariants hold, 1 where one is broken.")]
pub struct Args {
    /// Wait up to this long until nothing is in flight
    #[arg(long, value_name = "SECONDS")]
    settle: Option<u64>,
    /// Without --settle: an order that changed in the last SECONDS may still be in flight
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, conflicts_with = "settle")]
    grace: f64,
    /// Orders that clients were told of: JSON lines such as {"id": "0190...", "key": "..."}; the key may be left out
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the audit on the stack under `home`.
pub async fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    let answered = match &args.expect {
        Some(file) => expectations(file)?,
        None => Vec::new(),
    };
    let databases = Databases::of(&Running::of(home)?);
    let report = match args.settle {
        Some(seconds) => settled(&databases, &Scope::all(), &answered, Duration::from_secs(seconds)).await?,
        None => once(&databases, &Scope::all(), &Rules { grace_s: args.grace, answered }).await?,
    };
    print(&report, args.json)?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(report: &Report, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn expectations(file: &Path) -> Result<Vec<Answered>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(n, line)| {
            serde_json::from_str(line).with_context(|| format!("{}, line {}: no answered order", file.display(), n + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_read_line_by_line() {
        let file = std::env::temp_dir().join(format!("expect-{}.jsonl", uuid::Uuid::now_v7()));
        let id = uuid::Uuid::now_v7();
        fs::write(&file, format!("{{\"id\": \"{id}\"}}\n\n{{\"order_id\": \"{id}\", \"key\": \"k\"}}\n")).unwrap();
        let wanted = [Answered { id, key: None }, Answered { id, key: Some("k".into()) }];
        assert_eq!(expectations(&file).unwrap(), wanted);
        fs::write(&file, "{\"id\": 7}\n").unwrap();
        let error = format!("{:#}", expectations(&file).unwrap_err());
        assert!(error.contains("line 1"), "{error}");
        fs::remove_file(&file).unwrap();
    }
}
