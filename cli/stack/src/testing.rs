//! What the tests of the command and its crates share: folders, and states that no supervisor wrote.
#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a test that can't go on must fail")]
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::home::Home;
use crate::ports::Ports;
use crate::process::Identity;
use crate::secrets::Secrets;
use crate::services::Services;
use crate::state::{PartRecord, PartState, Phase, Servers, State, StopSignal};
use crate::surroundings::Surroundings;

/// A folder that goes with the test.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new folder.
    #[must_use]
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("towpath-test-{}-{number}", std::process::id()));
        // What an earlier process with the same number left when it was killed.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("the folder of the test");
        Self(path)
    }

    /// It as the folder of a stack.
    #[must_use]
    pub fn home(&self) -> Home {
        let home = Home::resolve(Some(self.path())).expect("an absolute path");
        home.create().expect("the folders of the stack");
        home
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The checkout that this was compiled in.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The services of that checkout.
#[must_use]
pub fn services() -> Services {
    Services::read(&root().join("relay.toml"), &root().join("spin.toml")).expect("relay.toml and spin.toml")
}

/// What the environments of a stack of two pairs are made from, with the secrets of a home of its own.
pub fn with_surroundings(check: impl FnOnce(&Surroundings<'_>, &Secrets)) {
    let folder = TempDir::new();
    let services = services();
    let ports = Ports::defaults(&services, 2);
    let secrets = Secrets::load_or_create(&folder.home(), &services).expect("secrets");
    let surroundings = Surroundings { ports: &ports, services: &services, secrets: &secrets, servers: Servers::Native };
    check(&surroundings, &secrets);
}

/// The state of a stack that is up, with these parts on the usual ports.
#[must_use]
pub fn example(supervisor: Identity, parts: Vec<PartRecord>) -> State {
    State {
        phase: Phase::Up,
        supervisor,
        urls: vec!["http://127.0.0.1:3000".to_owned()],
        servers: Servers::Native,
        runtime: None,
        dot_env: None,
        ports: Ports::defaults(&services(), 1),
        kafka_jars: None,
        parts,
    }
}

/// A part that is ready.
#[must_use]
pub fn part(name: &str, process: Option<Identity>) -> PartRecord {
    PartRecord {
        name: name.to_owned(),
        state: PartState::Ready,
        process,
        address: "127.0.0.1:1".to_owned(),
        stop_signal: StopSignal::Terminate,
        note: None,
    }
}
