//! `towpath status`: every part with its state, process and address.
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use towpath_stack::home::Home;
use towpath_stack::ports;
use towpath_stack::services::Services;
use towpath_stack::state::{PartState, Phase, State};
use towpath_stack::terminal::{print, say};

use crate::screen::{Row, table};

/// Exit status while a part is not ready, as of `systemctl status` for a service that doesn't run.
const NOT_RUNNING: u8 = 3;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  towpath status                              a table
  towpath status --json                       for programs
  towpath status --json | jq -r .url          the public address
  towpath status --json | jq -r .urls[]       one for each replica
  towpath status >/dev/null && echo ready     exit status 0: every part is ready; 3: not so")]
pub(crate) struct Args {
    /// Print {\"url\", \"urls\": [], \"parts\": [{\"name\", \"pid\", \"state\", \"address\"}]}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    /// The first of them.
    url: Option<&'a str>,
    urls: &'a [String],
    parts: Vec<PartReport<'a>>,
}

#[derive(Debug, Serialize)]
struct PartReport<'a> {
    name: &'a str,
    pid: Option<u32>,
    state: &'static str,
    address: &'a str,
}

pub(crate) fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    let state = State::current(home)?;
    let running = state.as_ref().filter(|state| state.phase != Phase::Stopped);
    let rows = match &state {
        Some(state) => rows(state),
        None => never_started(&Services::load()?),
    };
    let urls = running.map_or(&[][..], |state| &state.urls);
    if args.json {
        print(&serde_json::to_string_pretty(&report(urls, &rows))?)?;
    } else {
        match running {
            None => say(&format!("No stack runs under {}.", home.path().display())),
            Some(state) if state.urls.is_empty() => say("Towpath runs without a host."),
            Some(_) => urls.iter().try_for_each(|url| print(url))?,
        }
        for line in table(&rows) {
            print(&line)?;
        }
    }
    let ready = running.is_some() && rows.iter().all(|row| row.state == PartState::Ready);
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::from(NOT_RUNNING) })
}

/// The parts of a state as lines of the table.
pub(crate) fn rows(state: &State) -> Vec<Row> {
    let rows = state.parts.iter().map(|part| Row {
        name: part.name.clone(),
        state: part.state,
        address: part.address.clone(),
        pid: part.process.as_ref().map(|process| process.pid),
        note: None,
    });
    rows.collect()
}

/// What there would be.
fn never_started(services: &Services) -> Vec<Row> {
    let parts = ports::usual(services, 1)
        .filter(|(name, _)| !matches!(name.as_str(), "kafka-external" | "kafka-controller" | "relay-admin"));
    let rows = parts.map(|(name, port)| Row {
        name,
        state: PartState::Stopped,
        address: format!("127.0.0.1:{port}"),
        pid: None,
        note: None,
    });
    rows.collect()
}

fn report<'a>(urls: &'a [String], rows: &'a [Row]) -> Report<'a> {
    let parts = rows.iter().map(|row| PartReport {
        name: &row.name,
        pid: row.pid,
        state: row.state.word(),
        address: &row.address,
    });
    Report { url: urls.first().map(String::as_str), urls, parts: parts.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_exactly_what_is_documented() {
        let row = Row {
            name: "postgres-order".to_owned(),
            state: PartState::Ready,
            address: "127.0.0.1:5434".to_owned(),
            pid: Some(7),
            note: Some("not shown".to_owned()),
        };
        let urls = ["http://127.0.0.1:3000", "http://127.0.0.1:3001"].map(str::to_owned);
        let json = serde_json::to_value(report(&urls, &[row])).unwrap();
        let wanted = serde_json::json!({
            "url": "http://127.0.0.1:3000",
            "urls": ["http://127.0.0.1:3000", "http://127.0.0.1:3001"],
            "parts": [{"name": "postgres-order", "pid": 7, "state": "ready", "address": "127.0.0.1:5434"}],
        });
        assert_eq!(json, wanted);
    }

    #[test]
    fn a_stack_that_never_ran_has_its_servers_a_relay_and_a_host() {
        let services = towpath_stack::testing::services();
        let names: Vec<String> = never_started(&services).into_iter().map(|row| row.name).collect();
        let databases = services.databases().map(|service| format!("postgres-{service}"));
        let wanted: Vec<String> = databases.chain(["kafka", "redis", "relay", "host"].map(str::to_owned)).collect();
        assert_eq!(names, wanted);
    }
}
