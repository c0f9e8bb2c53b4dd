//! A real component, in the real host, traps on one event. A program of its own: nothing else of the relay needs the component.

#![allow(clippy::unwrap_used, reason = "a test that can't go on shall say where")]

#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::json;
use support::{ServiceSetup, Setup, TestRelay, eventually, free_port};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use towpath_fault_proxy::{Fate, Http, Proxy};
use towpath_relay::events::dead_letters::{self, Filter, Reason};
use towpath_wire::headers::{DELIVERY_ATTEMPT, EVENT_KEY};

/// The topic of the events.
const TOPIC: &str = "things";

/// The host's own program. `./towpath` builds it with the relay.
fn program() -> PathBuf {
    let here = std::env::current_exe().expect("this program");
    let host = here.ancestors().nth(2).expect("target/release").join("towpath-host");
    assert!(host.is_file(), "{} isn't built: `cargo build --release -p towpath-host`", host.display());
    host
}

/// A host whose one component, the guest of the host's own tests, hears events. Killed when it is dropped.
struct Host {
    child: Child,
    manifest: PathBuf,
}

impl Host {
    /// One that traps on the event that is called `KEY:NUMBER`.
    async fn start(address: &str, trap_on: &str) -> Self {
        let guest = std::env::var("TOWPATH_TEST_GUEST");
        let guest = guest.expect("TOWPATH_TEST_GUEST must name towpath_host_guest.wasm; `./towpath test` sets that");
        let manifest = std::env::temp_dir().join(format!("trap-{}.toml", address.replace(':', "-")));
        let text = format!(
            "spin_manifest_version = 2\n\
             [application]\nname = \"trap\"\nversion = \"1.0.0\"\n\
             [variables]\ntrap_on = {{ default = \"\" }}\n\
             [[trigger.http]]\nroute = \"/...\"\ncomponent = \"subscriber\"\n\
             [component.subscriber]\nsource = \"{guest}\"\n\
             [component.subscriber.variables]\ntrap_on = \"{{{{ trap_on }}}}\"\n"
        );
        std::fs::write(&manifest, text).expect("writes");
        let mut command = Command::new(program());
        command.arg("--manifest").arg(&manifest).args(["--listen", address]).env("SPIN_VARIABLE_TRAP_ON", trap_on);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("its output")).lines().next_line().await;
        assert_eq!(said.expect("reads").as_deref(), Some(format!("listening http://{address}").as_str()));
        Self { child, manifest }
    }

    /// Another one in its place.
    async fn replaced(mut self, address: &str, trap_on: &str) -> Self {
        self.child.kill().await.expect("it ends");
        Self::start(address, trap_on).await
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.manifest);
    }
}

/// By key, how often each event had been delivered before, in the order of the deliveries.
type Deliveries = Arc<Mutex<Vec<(String, String)>>>;

/// Writes down what passes.
fn listen_in(proxy: &Proxy<Http>) -> Deliveries {
    let deliveries = Deliveries::default();
    let seen = Arc::clone(&deliveries);
    proxy.rule(move |request| {
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let key = header(EVENT_KEY).expect("every event here has a key");
        // The first delivery doesn't say that it is.
        let before = header(DELIVERY_ATTEMPT).unwrap_or_else(|| "0".to_owned());
        seen.lock().expect("nobody panicked with it").push((key, before));
        Fate::Pass
    });
    deliveries
}

fn of_key(deliveries: &Deliveries, key: &str) -> Vec<String> {
    let deliveries = deliveries.lock().expect("nobody panicked with it");
    deliveries.iter().filter(|(of, _)| of == key).map(|(_, before)| before.clone()).collect()
}

async fn accepts(relay: &TestRelay, count: usize) {
    let name = "towpath_relay_deliveries_total{service=\"trapped\",result=\"accepted\"}";
    eventually("the component accepts", async || {
        let accepted = relay.metric(name).await as usize;
        if accepted == count { Ok(()) } else { Err(accepted) }
    })
    .await;
}

async fn letters(setup: &Setup) -> Vec<dead_letters::Letter> {
    dead_letters::list(&setup.config("cli"), &Filter::default()).await.expect("lists")
}

#[tokio::test]
async fn an_event_that_a_component_traps_on_is_a_dead_letter_and_can_be_replayed() {
    let address = format!("127.0.0.1:{}", free_port());
    let host = Host::start(&address, "key-1:1").await;
    let proxy = Proxy::before(&address).await.expect("a port");
    let deliveries = listen_in(&proxy);
    let limits = "delivery_attempts = 3\ndelivery_backoff_ms = 10\ndelivery_backoff_max_ms = 20";
    let trapped = ServiceSetup::new("trapped").database().publishes(TOPIC);
    let trapped = trapped.component(&format!("http://{}", proxy.address()));
    let trapped = trapped.toml("[[services.trapped.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/events\"");
    let setup = Setup::new().service(trapped).declare(TOPIC).toml(&format!("[limits]\n{limits}")).databases().await;
    let relay = setup.start().await;
    for n in 0..3 {
        let event =
            |key: &str| json!({"topic": setup.topic(TOPIC), "key": key, "type": "thing.happened", "data": {"n": n}});
        let answer = relay.transaction("trapped", json!({"events": [event("key-0"), event("key-1")]})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    accepts(&relay, 5).await;
    assert_eq!(of_key(&deliveries, "key-0"), ["0", "0", "0"], "the other key doesn't notice");
    assert_eq!(of_key(&deliveries, "key-1"), ["0", "0", "1", "2", "0"], "its own goes on after it");
    let given_up = letters(&setup).await;
    assert_eq!(given_up.len(), 1, "{given_up:?}");
    let letter = &given_up[0];
    assert_eq!((letter.reason, letter.status, letter.attempts), (Some(Reason::Failed), Some(500), 3));
    assert_eq!(letter.key.as_deref(), Some("key-1"));
    assert!(letter.detail.contains("component_failed"), "{}", letter.detail);

    let _mended = host.replaced(&address, "").await;
    let replayed = dead_letters::replay(&setup.config("cli"), &Filter::default()).await.expect("replays");
    assert_eq!(replayed.done, given_up);
    accepts(&relay, 6).await;
    assert_eq!(letters(&setup).await, []);
}
