//! Schemathesis, with all its checks, against a relay with real servers: what fits relay/openapi.json is accepted, what doesn't
//! fit is refused, and every answer is one that it describes.
//!
//! `.ci/schemathesis.toml` says what it does. `TOWPATH_SCHEMATHESIS` adds arguments, such as `--seed 7 --max-examples 1000`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on shall say where")]

#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use support::{Component, ServiceSetup, Setup, eventually, variable};
use tokio::process::Command;

/// The topic and the tables of the description's examples.
const TOPIC: &str = "parcel.events";
const TABLES: &str = "CREATE TABLE parcels (id text PRIMARY KEY, state text NOT NULL);
    INSERT INTO parcels VALUES ('P-1', 'packed')";

/// A folder for what Schemathesis keeps of a run.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("schemathesis-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let component = Component::start().await;
    let alpha = ServiceSetup::new("alpha").database().component(&component.url).toml(&format!(
        "[services.alpha.publish]\ntopics = [\"{TOPIC}\"]\n[[services.alpha.subscriptions]]\ntopic = \"{TOPIC}\"\nroute = \"/events\""
    ));
    let topic = format!("[kafka.topics.\"{TOPIC}\"]\npartitions = 1\nreplication_factor = 1");
    let setup = Setup::new().service(alpha).toml(&topic).databases().await;
    setup.execute("alpha", TABLES).await;
    let relay = setup.start().await;
    eventually("the relay is ready", async || {
        let readiness = relay.readiness().await;
        if readiness["status"] == "ready" { Ok(()) } else { Err(readiness) }
    })
    .await;

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let folder = Folder::new();
    let more = std::env::var("TOWPATH_SCHEMATHESIS").unwrap_or_default();
    let output = Command::new(variable("TOWPATH_TEST_SCHEMATHESIS"))
        .arg("--no-color")
        .arg("--config-file")
        .arg(root.join(".ci/schemathesis.toml"))
        .arg("run")
        .arg(root.join("relay/openapi.json"))
        .args(["--checks", "all"])
        .args(more.split_whitespace())
        // Not among the arguments: everybody on the machine can read those.
        .env("TOWPATH_RELAY_TOKEN", setup.token("alpha"))
        .env("TOWPATH_RELAY_URL", &relay.url)
        .env("TOWPATH_ROOT", &root)
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("Schemathesis runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    assert!(relay.metric("towpath_relay_panics_total ").await == 0.0, "no request made the relay panic");

    // What was accepted is done, whatever strange texts it has: every event arrives, and the relay is as well as before.
    let admin = setup.admin("alpha").await;
    let accepted: i64 = admin.query_one("SELECT count(*) FROM towpath.outbox", &[]).await.unwrap().get(0);
    assert!(accepted > 0, "no unit of work with an event was accepted");
    eventually("every event that was accepted is delivered", async || match component.calls().len() as i64 {
        calls if calls >= accepted => Ok(()),
        calls => Err(format!("{calls} of {accepted}")),
    })
    .await;
    let readiness = relay.readiness().await;
    assert_eq!((&readiness["status"], &readiness["dead_letters"]), (&"ready".into(), &Value::Null), "{readiness}");
    assert!(relay.stop().await, "nothing was left hanging");
}
