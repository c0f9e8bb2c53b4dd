//! What the machine needs before anything is started: programs, Kafka's jars, the components.
use std::path::Path;

use anyhow::Result;
use towpath_stack::checkout;
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
