//! What the machine needs before anything is started: programs, Kafka's jars, the components.
use std::path::Path;

use anyhow::{Result, bail};
use towpath_stack::checkout;
use towpath_stack::home::Home;
use towpath_stack::room;
use towpath_stack::services::Services;
use towpath_stack::state::Servers;

use crate::progress::Progress;
use crate::servers::kafka_jars::{self, Jars};
use crate::tools::{self, Wanted};
use crate::wasm;

/// What was found or made.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Kafka's jars; none where containers are the servers.
    pub(crate) jars: Option<Jars>,
}

/// What the data of a new stack take, four databases and Kafka, and what one that goes on needs for its first minutes.
const NEW_STACK: u64 = 400 << 20;
const OLD_STACK: u64 = 64 << 20;

/// Refuses a disk that is too full before anything is made on it.
pub(super) fn room(home: &Home) -> Result<()> {
    let (is_new, left) = (!home.data().join("kafka").exists(), room::left(home.path()));
    let (wanted, whose) = if is_new { (NEW_STACK, "a new stack takes") } else { (OLD_STACK, "this stack needs") };
    match left {
        Some(left) if left < wanted => bail!(
            "the disk is full under {}: it has {} MiB left, and {whose} {} MiB. Make room there, or choose another place \
             with --home",
            home.path().display(),
            left >> 20,
            wanted >> 20
        ),
        _ => Ok(()),
    }
}

/// Installs programs, fetches jars, builds components: each as far as it isn't there.
pub(super) async fn prepare(
    root: &Path,
    services: &Services,
    servers: Servers,
    build: bool,
    progress: &mut Progress,
) -> Result<Machine> {
    let jars = match servers {
        Servers::Native => Some(prepare_kafka(root, progress).await?),
        Servers::Compose => {
            let missing = tools::missing(Wanted { servers: false, kafka_jars: false });
            progress.step("packages", tools::install(&missing)).await?;
            None
        }
    };
    if build {
        progress.say("Building the components");
        if checkout::works_for_another()? {
            let application = checkout::application()?;
            progress.step("components", wasm::build_application(root, &application, services)).await?;
        } else {
            progress.step("components", wasm::build(root, &services.packages().collect::<Vec<_>>())).await?;
        }
    }
    Ok(Machine { jars })
}

/// Installs the programs of native servers.
pub(crate) async fn prepare_programs(progress: &mut Progress) -> Result<()> {
    let missing = tools::missing(Wanted { servers: true, kafka_jars: false });
    progress.step("packages", tools::install(&missing)).await
}

/// Installs the programs of native servers, and fetches Kafka's jars.
pub(crate) async fn prepare_kafka(root: &Path, progress: &mut Progress) -> Result<Jars> {
    let native = root.join("infra/native");
    let present = kafka_jars::present(&native)?;
    let missing = tools::missing(Wanted { servers: true, kafka_jars: present.is_none() });
    progress.step("packages", tools::install(&missing)).await?;
    match present {
        Some(jars) => Ok(jars),
        None => {
            progress.say("Fetching Apache Kafka from Maven Central, 41 MB, once");
            progress.step("Kafka", kafka_jars::fetch(&native)).await
        }
    }
}
