//! The servers of a test run: one of each kind, where every test makes databases and topics of its own.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use towpath_stack::ports::{Ports, Reserved};
use towpath_stack::programs;
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_stack::state::{Phase, Servers, State, StopSignal};

use super::choice::Need;
use super::place::TestPlace;
use crate::edge::{Runtime, binary};
use crate::servers::kafka_jars::Jars;
use crate::servers::{Place, kafka, postgres, redis};
use crate::supervisor::probe::Probe;
use crate::supervisor::spec::{Launch, PartSpec, Tier};
use crate::supervisor::{Plan, this_supervisor};
use crate::wasm;

const PORTS: [&str; 8] =
    ["postgres", "kafka", "kafka-external", "kafka-controller", "redis", "stripe-mock", "stripe-mock-https", "stack"];
/// Test binaries run one after the other, but each opens pools of relays of its own.
const CONNECTIONS: u32 = 400;
/// All tests come from one address; the limit's own test sets its own.
const NO_RATE_LIMIT: &str = "100000";
/// What the webhooks of tests are signed with.
const WEBHOOK_SECRET: &str = "whsec_of_the_tests";

/// What was fetched or built for the servers, as far as they are needed.
pub(super) struct Made {
    pub(super) jars: Option<Jars>,
    pub(super) stripe: Option<PathBuf>,
    pub(super) schemathesis: Option<PathBuf>,
    pub(super) nginx: Option<PathBuf>,
}

/// The servers, and what tests are told of them.
pub(super) struct TestPlan {
    pub(super) plan: Plan,
    pub(super) environment: BTreeMap<String, String>,
    /// Held until the servers have stopped.
    pub(super) reserved: Reserved,
}

pub(super) fn plan(
    place: &TestPlace,
    root: &Path,
    services: &Services,
    needs: &BTreeSet<Need>,
    made: &Made,
    runtime: Option<Runtime>,
) -> Result<TestPlan> {
    let home = place.home();
    let (ports, reserved) = Ports::automatic(home, &PORTS)?;
    // These servers are thrown away: one password does for all.
    let password = Secrets::load_or_create(home, services)?.redis().to_owned();
    let files = Place { home: home.clone(), native: root.join("infra/native"), throw_away: true };
    let mut parts = Vec::new();
    let mut environment = BTreeMap::new();
    let mut tell = |name: &str, value: String| environment.insert(name.to_owned(), value);
    tell("TOWPATH_TEST_CLI", command()?.display().to_string());
    tell("TOWPATH_THROW_AWAY", "1".to_owned());
    // For `up`, whoever calls it.
    if let Some(runtime) = runtime {
        tell(Runtime::VARIABLE, runtime.word().to_owned());
    }
    tell("TMPDIR", place.temporary().display().to_string());
    for need in needs {
        match need {
            Need::Postgres => {
                let address = ports.address("postgres")?;
                tell("TOWPATH_TEST_POSTGRES", format!("postgres://postgres:{password}@{address}/postgres"));
                let server = postgres::Server {
                    place: files.clone(),
                    name: "postgres".to_owned(),
                    port: ports.get("postgres")?,
                    password: password.clone(),
                    max_connections: Some(CONNECTIONS),
                };
                parts.push(server.part()?);
            }
            Need::Kafka => {
                tell("TOWPATH_TEST_KAFKA", ports.address("kafka")?);
                tell("TOWPATH_TEST_KAFKA_PASSWORD", password.clone());
                let jars = made.jars.as_ref().context("Kafka's jars were not fetched")?;
                parts.push(kafka::part(&files, &ports, &password, jars, &programs::java()?)?);
            }
            Need::Redis => {
                tell("TOWPATH_TEST_REDIS", format!("redis://:{password}@{}", ports.address("redis")?));
                tell("TOWPATH_TEST_REDIS_SERVER", programs::redis()?.display().to_string());
                parts.push(redis::part(&files, ports.get("redis")?, &password)?);
            }
            Need::StripeMock => {
                tell("TOWPATH_TEST_STRIPE", format!("http://{}", ports.address("stripe-mock")?));
                let program = made.stripe.as_ref().context("stripe-mock was not built")?;
                parts.push(stripe_mock(place, &ports, program)?);
            }
            Need::Schemathesis => {
                let program = made.schemathesis.as_ref().context("Schemathesis was not installed")?;
                tell("TOWPATH_TEST_SCHEMATHESIS", program.display().to_string());
            }
            Need::Guest => {
                tell("TOWPATH_TEST_GUEST", guest(root).display().to_string());
            }
            Need::Nginx => {
                let program = made.nginx.as_ref().context("nginx was not fetched")?;
                tell("TOWPATH_TEST_NGINX", program.display().to_string());
            }
            Need::Stack => {
                tell("TOWPATH_TEST_STACK_HOME", place.stack().display().to_string());
                tell("TOWPATH_TEST_STACK_URL", format!("http://{}", ports.address("stack")?));
                tell("TOWPATH_TEST_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned());
                parts.push(stack(place, &ports, runtime)?);
            }
            Need::OwnStacks => {}
        }
    }
    let state = State {
        phase: Phase::Starting,
        supervisor: this_supervisor()?,
        urls: Vec::new(),
        servers: Servers::Native,
        runtime: None,
        dot_env: None,
        ports,
        kafka_jars: made.jars.as_ref().map(|jars| jars.folder.clone()),
        parts: Vec::new(),
    };
    Ok(TestPlan { plan: Plan { parts, tasks: Vec::new(), state }, environment, reserved })
}

fn stripe_mock(place: &TestPlace, ports: &Ports, program: &Path) -> Result<PartSpec> {
    let address = ports.address("stripe-mock")?;
    Ok(PartSpec {
        name: "stripe-mock".to_owned(),
        address: address.clone(),
        tier: Tier::Server,
        after: Vec::new(),
        prepare: None,
        // Both listeners are named: one that isn't would open on every address.
        launch: Launch::new(program)
            .args(["-http-addr".to_owned(), address.clone(), "-https-addr".to_owned()])
            .args([ports.address("stripe-mock-https")?]),
        variables: None,
        probe: Probe::Answers { url: format!("http://{address}/") },
        ready_deadline: Duration::from_secs(30),
        stop_signal: StopSignal::Terminate,
        stop_gently: None,
        stop_deadline: Duration::from_secs(5),
        log: place.home().log("stripe-mock"),
    })
}

/// The whole stack, by the same command that a person uses.
fn stack(place: &TestPlace, ports: &Ports, runtime: Option<Runtime>) -> Result<PartSpec> {
    let home = place.stack();
    let runtime = runtime.into_iter().flat_map(|runtime| ["--runtime", runtime.word()]);
    let launch = Launch::new(command()?)
        .args(["up", "--ports", "auto", "--no-build", "--throw-away", "--port"])
        .args([format!("host={}", ports.get("stack")?)])
        .args([PathBuf::from("--home"), home.clone()])
        .args(runtime)
        .env("SPIN_VARIABLE_RATE_LIMIT", NO_RATE_LIMIT)
        .env("SPIN_VARIABLE_STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET);
    Ok(PartSpec {
        name: "stack".to_owned(),
        address: ports.address("stack")?,
        tier: Tier::Edge,
        after: Vec::new(),
        prepare: None,
        launch,
        variables: None,
        probe: Probe::Stack { home },
        ready_deadline: Duration::from_secs(180),
        stop_signal: StopSignal::Terminate,
        stop_gently: None,
        stop_deadline: Duration::from_secs(120),
        log: place.home().log("stack"),
    })
}

fn guest(root: &Path) -> PathBuf {
    wasm::built(root).join("towpath_host_guest.wasm")
}

/// This program's own file.
fn command() -> Result<PathBuf> {
    binary("towpath").context("the tests run this program by its file")
}
