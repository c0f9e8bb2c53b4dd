//! `towpath status`: every part with its state, process and address, what the relays say of themselves, and whether anybody is
//! paid.
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use futures::future;
use serde::Serialize;
use serde_json::Value;
use towpath_stack::home::Home;
use towpath_stack::ports;
use towpath_stack::services::Services;
use towpath_stack::state::{PartState, Phase, State};
use towpath_stack::terminal::{print, say, saying, told};

use crate::readiness::{self, Readiness};
use crate::screen::{Row, table};

/// Exit status while a part is not ready, as of `systemctl status` for a service that doesn't run.
const NOT_RUNNING: u8 = 3;

/// How long the edge may take to say who is paid.
const EDGE_TIMEOUT: Duration = Duration::from_secs(3);
/// The edge's header that says that the payment provider is the sandbox.
const PAYMENT_PROVIDER: &str = "towpath-payment-provider";

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  towpath status                              a table
  towpath status --json                       for programs
  towpath status --json | jq -r .url          the public address
  towpath status --json | jq -r .urls[]       one for each replica
  towpath status --json | jq .readiness       what each relay says of itself
  towpath status >/dev/null && echo ready     exit status 0: every part is ready, and no relay's /readyz is 503; 3: not so")]
pub(crate) struct Args {
    /// Print {\"url\", \"urls\": [], \"payment_provider\", \"parts\": [{\"name\", \"pid\", \"state\", \"address\"}],
    /// \"readiness\": {RELAY: what its /readyz says}}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    /// The first of them.
    url: Option<&'a str>,
    urls: &'a [String],
    /// `sandbox` where nobody is paid; null where somebody is, or the edge doesn't answer.
    payment_provider: Option<&'a str>,
    parts: Vec<PartReport<'a>>,
    readiness: BTreeMap<&'a str, &'a Value>,
}

#[derive(Debug, Serialize)]
struct PartReport<'a> {
    name: &'a str,
    pid: Option<u32>,
    state: &'static str,
    address: &'a str,
}

pub(crate) async fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    let state = State::current(home)?;
    let running = state.as_ref().filter(|state| state.phase != Phase::Stopped);
    let rows = match &state {
        Some(state) => rows(state),
        None => never_started(&Services::load()?),
    };
    let urls = running.map_or(&[][..], |state| &state.urls);
    let asking = future::join(readiness_of(running), edge(running));
    let ((relays, mut silent), (provider, silent_hosts)) = saying("an answer of relay and host", asking).await;
    silent.extend(silent_hosts);
    if args.json {
        print(&serde_json::to_string_pretty(&report(urls, provider.as_deref(), &rows, &relays))?)?;
    } else {
        match running {
            None => say(&format!("No stack runs under {}.", home.path().display())),
            Some(state) if state.urls.is_empty() => say("Towpath runs without a host."),
            Some(_) => urls.iter().try_for_each(|url| print(url))?,
        }
        if let Some(provider) = &provider {
            say(&format!("The payment provider is the {provider}: nobody is paid."));
        }
        for line in table(&rows) {
            print(&line)?;
        }
        for line in relays.iter().flat_map(|(relay, readiness)| said(relay, readiness)).chain(open(&relays)) {
            print(&line)?;
        }
        for (part, why) in &silent {
            print(&format!("{part} runs and doesn't answer: {why}"))?;
        }
    }
    let ready = running.is_some()
        && rows.iter().all(|row| row.state == PartState::Ready)
        && silent.is_empty()
        && relays.values().all(|readiness| readiness.serves);
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::from(NOT_RUNNING) })
}

/// Parts that are ready as far as the supervisor knows, and why they were asked in vain.
type Silent = BTreeMap<String, String>;

/// What each relay that runs says of itself.
async fn readiness_of(running: Option<&State>) -> (BTreeMap<String, Readiness>, Silent) {
    let (mut relays, mut silent) = (BTreeMap::new(), Silent::new());
    let Some(state) = running else { return (relays, silent) };
    let asking = readiness::addresses(&state.ports).into_iter().map(async |(relay, url)| {
        let part = state.parts.iter().find(|part| part.name == relay && part.process.is_some())?;
        Some((relay, part.state, Readiness::of(&url).await))
    });
    for (relay, state, said) in future::join_all(asking).await.into_iter().flatten() {
        match said {
            Ok(readiness) => drop(relays.insert(relay, readiness)),
            // Of the others their state tells it.
            Err(error) if state == PartState::Ready => drop(silent.insert(relay, format!("{error:#}"))),
            Err(_) => {}
        }
    }
    (relays, silent)
}

/// Who is paid, as the first host that answers says, and which don't answer.
async fn edge(running: Option<&State>) -> (Option<String>, Silent) {
    let Some(state) = running else { return (None, Silent::new()) };
    let hosts = state.parts.iter().filter(|part| part.name == "host" || part.name.starts_with("host-"));
    let ready = hosts.filter(|part| part.state == PartState::Ready);
    let asking =
        ready.map(async |part| (part.name.clone(), payment_provider(&format!("http://{}", part.address)).await));
    let (mut provider, mut silent) = (None, Silent::new());
    for (host, said) in future::join_all(asking).await {
        match said {
            Ok(said) => provider = provider.or(said),
            Err(error) => drop(silent.insert(host, told(&error))),
        }
    }
    (provider, silent)
}

/// What waits for a person, below that. Every relay counts all letters.
fn open(relays: &BTreeMap<String, Readiness>) -> BTreeSet<String> {
    relays.values().flat_map(Readiness::open).collect()
}

/// What a relay misses, below the table.
fn said(relay: &str, readiness: &Readiness) -> Vec<String> {
    if readiness.is_ready() {
        return Vec::new();
    }
    let title = format!("{relay} is {}:", readiness.status());
    [title].into_iter().chain(readiness.missing().into_iter().map(|line| format!("  {line}"))).collect()
}

/// What the edge says about who is paid: it is part of every answer about orders, that of an order that nobody placed too.
async fn payment_provider(url: &str) -> Result<Option<String>> {
    let client = reqwest::Client::builder().no_proxy().timeout(EDGE_TIMEOUT).build()?;
    let asked = client.get(format!("{url}/v1/orders/nobody")).send().await;
    let answer = asked.map_err(|error| readiness::unheard(&error, EDGE_TIMEOUT))?;
    Ok(answer.headers().get(PAYMENT_PROVIDER).and_then(|value| value.to_str().ok()).map(str::to_owned))
}

/// The parts of a state as lines of the table.
pub(crate) fn rows(state: &State) -> Vec<Row> {
    let rows = state.parts.iter().map(|part| Row {
        name: part.name.clone(),
        state: part.state,
        address: part.address.clone(),
        pid: part.process.as_ref().map(|process| process.pid),
        note: part.note.clone(),
    });
    rows.collect()
}

/// What there would be.
fn never_started(services: &Services) -> Vec<Row> {
    let parts = ports::usual(services, 1).filter(|(name, _)| {
        !matches!(name.as_str(), "kafka-external" | "kafka-controller" | "relay-admin" | ports::DELIVERIES)
    });
    let rows = parts.map(|(name, port)| Row {
        name,
        state: PartState::Stopped,
        address: format!("127.0.0.1:{port}"),
        pid: None,
        note: None,
    });
    rows.collect()
}

fn report<'a>(
    urls: &'a [String],
    payment_provider: Option<&'a str>,
    rows: &'a [Row],
    relays: &'a BTreeMap<String, Readiness>,
) -> Report<'a> {
    let parts = rows.iter().map(|row| PartReport {
        name: &row.name,
        pid: row.pid,
        state: row.state.word(),
        address: &row.address,
    });
    let readiness = relays.iter().map(|(relay, readiness)| (relay.as_str(), &readiness.said)).collect();
    let url = urls.first().map(String::as_str);
    Report { url, urls, payment_provider, parts: parts.collect(), readiness }
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
        let said =
            serde_json::json!({"status": "degraded", "dependencies": {"redis": {"up": false, "detail": "away"}}});
        let relays = BTreeMap::from([("relay".to_owned(), Readiness::read(true, said.clone()).unwrap())]);
        let rows = [row];
        let json = serde_json::to_value(report(&urls, Some("sandbox"), &rows, &relays)).unwrap();
        let wanted = serde_json::json!({
            "url": "http://127.0.0.1:3000",
            "urls": ["http://127.0.0.1:3000", "http://127.0.0.1:3001"],
            "payment_provider": "sandbox",
            "parts": [{"name": "postgres-order", "pid": 7, "state": "ready", "address": "127.0.0.1:5434"}],
            "readiness": {"relay": said},
        });
        assert_eq!(super::said("relay", &relays["relay"]), ["relay is degraded:", "  redis does not work: away"]);
        assert_eq!(json, wanted);
    }

    #[test]
    fn letters_that_wait_for_a_person_are_told_once_and_where_nothing_is_missing_too() {
        let said = serde_json::json!({"status": "ready", "dead_letters": {"order": 1, "payment": 2}});
        let relay = || Readiness::read(true, said.clone()).unwrap();
        let relays = BTreeMap::from([("relay".to_owned(), relay()), ("relay-2".to_owned(), relay())]);
        let lines: Vec<String> = open(&relays).into_iter().collect();
        assert_eq!(
            lines,
            [
                "1 dead letter is open: `towpath dlq list --service order`",
                "2 dead letters are open: `towpath dlq list --service payment`"
            ]
        );
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
