//! The command line of the audit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use towpath_stack::home::Home;
use towpath_stack::ports;
use towpath_stack::running::Running;
use towpath_stack::state::State;
use towpath_stack::terminal::{say, saying, told};

use super::provider::{Account, Comparison, Difference};
use super::{Answered, Databases, Report, Rules, Scope, once, settled};

/// Reads the databases and checks the five invariants of docs/invariants.md.
///
/// The databases are read one after the other while the stack works, so an order that changed in the last seconds is
/// reported as in flight where its databases don't agree yet. So is one that waits for its customer or a bank, until it
/// expires.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  towpath audit                          look once
  towpath audit --settle 60              wait until nothing is in flight, at most 60 s; what still is counts as broken
  towpath audit --expect answers.jsonl   check also that every order a client was told of exists
  towpath audit --json | jq '.invariants[] | select(.broken != [])'
  towpath audit --provider               compare payments and refunds with what the payment provider says
  towpath audit --provider --json | jq '.differences[] | select(.in_flight | not)'

--provider lists the sandbox's books, and Stripe's where SPIN_VARIABLE_STRIPE_KEY is set, or STRIPE_KEY in the home's
secrets.env. It reads everything once, changes nothing, and needs the same memory for a million payments.

Exit status: 0 where all invariants hold, 1 where one is broken. With --provider: 0 where both sides agree, 1 where they
differ. In both cases 2 where it could not look: no stack, a database or the provider that is away.")]
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
    /// Compare every payment and refund with what the payment provider says, instead of checking the invariants
    #[arg(long, conflicts_with = "expect")]
    provider: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the audit on the stack under `home`. The exit status tells what is broken from what could not be looked at.
pub async fn command(args: &Args, home: &Home) -> ExitCode {
    look(args, home).await.unwrap_or_else(|error| {
        say(&format!("towpath: {}", told(&error)));
        ExitCode::from(COULD_NOT_LOOK)
    })
}

/// Exit status where nothing is known of the invariants.
const COULD_NOT_LOOK: u8 = 2;

async fn look(args: &Args, home: &Home) -> Result<ExitCode> {
    let wanted = if args.provider { &["payment"][..] } else { &["order", "payment", "inventory", "product"] };
    let wanted: Vec<String> = wanted.iter().map(|service| ports::database(service)).collect();
    State::running(home)?.needs(home, &wanted)?;
    if args.provider {
        return against_provider(args, home).await;
    }
    let answered = match &args.expect {
        Some(file) => expectations(file)?,
        None => Vec::new(),
    };
    let databases = Databases::of(&Running::of(home)?);
    let report = match args.settle {
        Some(seconds) => {
            let all = Scope::all();
            let settling = settled(&databases, &all, &answered, Duration::from_secs(seconds));
            saying(&format!("the end of what is in flight, {seconds} s at most"), settling).await?
        }
        None => {
            let rules = Rules { grace_s: args.grace, answered, may_wait: true };
            let all = Scope::all();
            saying("the databases", once(&databases, &all, &rules)).await?
        }
    };
    print(&report, args.json)?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// How long a comparison rests before it is repeated.
const INTERVAL: Duration = Duration::from_secs(1);

async fn against_provider(args: &Args, home: &Home) -> Result<ExitCode> {
    let running = Running::of(home)?;
    let (payments, stripe) = (running.postgres_admin_url("payment"), Account::of(home)?);
    let folder = home.path();
    let compare = |grace| Comparison { payments: &payments, stripe: stripe.as_ref(), folder, grace };
    let progress = |line: &str| eprintln!("{line}");
    let mut grace = Duration::try_from_secs_f64(args.grace).context("--grace is a number of seconds")?;
    if let Some(seconds) = args.settle {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        grace = Duration::ZERO;
        while Instant::now() < deadline {
            let waiting = compare(Duration::from_secs(seconds)).run(&mut |_| (), &|_| ()).await;
            if matches!(&waiting, Ok(sides) if sides.iter().all(|side| side.in_flight + side.differences == 0)) {
                break;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
    let mut first = true;
    let json = args.json;
    if json {
        print!("{{\"differences\": [");
    }
    let mut tell = |difference: Difference| {
        if json {
            let text = serde_json::to_string(&difference).unwrap_or_default();
            print!("{}\n  {text}", if std::mem::take(&mut first) { "" } else { "," });
        } else {
            println!("{difference}");
        }
    };
    let summaries = match compare(grace).run(&mut tell, &progress).await {
        Ok(summaries) => summaries,
        Err(error) => {
            // What was printed until here is cut off, and no whole JSON document.
            println!();
            say(&format!("towpath: {}", told(&error)));
            return Ok(ExitCode::from(COULD_NOT_LOOK));
        }
    };
    if json {
        println!("\n], \"providers\": {}}}", serde_json::to_string_pretty(&summaries)?);
    } else {
        summaries.iter().for_each(|summary| println!("{summary}"));
        if summaries.is_empty() {
            println!("there are no payments, and no provider has any");
        }
    }
    let differs = summaries.iter().any(|summary| summary.differences > 0);
    Ok(if differs { ExitCode::from(1) } else { ExitCode::SUCCESS })
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
