//! What faults, load and judge work on: the running stack, seen from outside.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio_postgres::NoTls;
use towpath_stack::home::Home;
use towpath_stack::running::{Part, Running};
use towpath_stack::services::Services;

use super::lines::Lines;
use super::service::Service;

/// How often something is looked at that is awaited.
const LOOK: Duration = Duration::from_millis(100);

/// The stack that a run is made against.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) home: Home,
    pub(crate) services: Services,
    /// The public addresses, one per replica of the edge.
    pub(crate) urls: Vec<String>,
    /// Proxies between its parts, where the run has put them there.
    pub(crate) lines: Option<Lines>,
}

impl Stage {
    /// Looks at the stack under this home.
    pub(crate) fn of(home: &Home) -> Result<Self> {
        let running = Running::of(home)?;
        if running.urls.is_empty() {
            bail!("the stack runs without a host: start it with `towpath up` (without --no-host)");
        }
        Ok(Self { home: home.clone(), services: Services::load()?, urls: running.urls, lines: None })
    }

    /// Refuses a stack of which a part isn't ready: what is broken before can't be told from what the run breaks.
    pub(crate) fn is_whole(&self) -> Result<()> {
        let parts = self.running()?.parts;
        let missing = parts.iter().filter(|part| part.state != "ready");
        let missing: Vec<String> = missing.map(|part| format!("{} is {}", part.name, part.state)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let start = self.home.command("start NAME");
        bail!("this stack isn't whole: {}. Start what is stopped (`{start}`), and try again", missing.join(", "))
    }

    /// The lines of this run. only faults of a group that [needs lines](super::group::Group::needs_lines) break them.
    pub(crate) fn lines(&self) -> Result<&Lines> {
        self.lines.as_ref().context("this run has no proxies between the parts")
    }

    /// The stack as it is now.
    pub(crate) fn running(&self) -> Result<Running> {
        Running::of(&self.home)
    }

    /// One part as it is now.
    pub(crate) fn part(&self, name: &str) -> Result<Part> {
        let part = self.running()?.parts.into_iter().find(|part| part.name == name);
        part.with_context(|| format!("no part is called {name}"))
    }

    /// The process of a part that must be running.
    pub(crate) fn pid(&self, name: &str) -> Result<u32> {
        self.part(name)?.pid.with_context(|| format!("{name} does not run"))
    }

    /// Waits until a part is ready in another process than this one; how long that took.
    pub(crate) async fn until_replaced(&self, name: &str, gone: u32, deadline: Duration) -> Result<Duration> {
        let replaced = |part: &Part| part.state == "ready" && part.pid.is_some_and(|pid| pid != gone);
        self.until(name, "ready again", deadline, replaced).await
    }

    /// Waits until a part is ready; how long that took.
    pub(crate) async fn until_ready(&self, name: &str, deadline: Duration) -> Result<Duration> {
        self.until(name, "ready", deadline, |part| part.state == "ready").await
    }

    async fn until(
        &self,
        name: &str,
        what: &str,
        deadline: Duration,
        holds: impl Fn(&Part) -> bool,
    ) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let part = self.part(name)?;
            if holds(&part) {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > deadline {
                bail!(
                    "{name} is not {what} after {} s, but {}: see `towpath logs {name}`",
                    deadline.as_secs(),
                    part.state
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A superuser's connection to a service's database, that closes when it is dropped.
    pub(crate) async fn database(&self, service: Service) -> Result<tokio_postgres::Client> {
        let url = self.running()?.postgres_admin_url(service.name());
        let (client, connection) = tokio_postgres::connect(&url, NoTls)
            .await
            .with_context(|| format!("cannot reach postgres-{}", service.name()))?;
        tokio::spawn(connection);
        Ok(client)
    }
}
