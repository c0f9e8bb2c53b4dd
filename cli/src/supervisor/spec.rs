//! What a part is: how it is started, how one sees that it answers, how it is asked to end.
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use towpath_stack::state::StopSignal;

use super::probe::Probe;

/// Stopping goes from the edge inwards, so that each part can still finish what it has in flight with those behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    Server,
    Relay,
    Edge,
}

impl Tier {
    /// In the order in which they stop.
    pub(crate) const STOPPING: [Self; 3] = [Self::Edge, Self::Relay, Self::Server];
}

/// Work to be done each time before a part starts, such as making its data folder.
pub(crate) type Prepare = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Variables that are read anew each time before a part starts, so that it starts with the secrets of now.
pub(crate) type Variables = Arc<dyn Fn() -> Result<BTreeMap<String, String>> + Send + Sync>;

/// One part of a stack.
#[derive(Clone)]
pub(crate) struct PartSpec {
    pub(crate) name: String,
    /// Where it listens, for people and for `status`.
    pub(crate) address: String,
    pub(crate) tier: Tier,
    /// Parts and tasks that must be ready (done) before this one is started for the first time.
    pub(crate) after: Vec<String>,
    pub(crate) prepare: Option<Prepare>,
    pub(crate) launch: Launch,
    /// Instead of those of the launch, which are as they were when the stack came up.
    pub(crate) variables: Option<Variables>,
    pub(crate) probe: Probe,
    /// How long the first start may take until the part answers.
    pub(crate) ready_deadline: Duration,
    pub(crate) stop_signal: StopSignal,
    /// How long it may take to end after SIGTERM, before it gets the stop signal.
    pub(crate) stop_gently: Option<Duration>,
    /// How long it may take to end before it is killed.
    pub(crate) stop_deadline: Duration,
    pub(crate) log: PathBuf,
}

/// Something that is done once while a stack starts, between its parts: migrating, seeding.
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) after: Vec<String>,
    pub(crate) work: BoxFuture<'static, Result<()>>,
}

/// A command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Launch {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: BTreeMap<String, String>,
    /// Further variables that it reads where they are set.
    pub(crate) optional: BTreeSet<String>,
    /// Whether the part sees none of this process's own environment.
    pub(crate) clean_environment: bool,
    /// The user it runs as, where that isn't ours.
    pub(crate) user: Option<String>,
    pub(crate) folder: Option<PathBuf>,
    /// What stops it, where a signal to this process would not stop what it stands for.
    pub(crate) stopped_by: Option<Box<Launch>>,
}

impl Launch {
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), ..Self::default() }
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    pub(crate) fn stopped_by(mut self, stop: Self) -> Self {
        self.stopped_by = Some(Box::new(stop));
        self
    }

    /// The command. Two safety nets are woven in: a process group of its own, so that Ctrl-C in the terminal reaches the
    /// supervisor alone, and a signal from the kernel to the child when the supervisor dies (`setpriv --pdeathsig`).
    /// That signal follows the *thread* that starts the child, so this must be called on the main thread only.
    pub(crate) fn command(&self, when_orphaned: StopSignal) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("setpriv");
        command.arg(format!("--pdeathsig={}", when_orphaned.name()));
        if let Some(user) = &self.user {
            command.args([format!("--reuid={user}"), format!("--regid={user}")]);
            command.args(["--clear-groups", "--inh-caps=-all"]);
        }
        command.arg("--").arg(&self.program).args(&self.arguments);
        if self.clean_environment {
            command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        }
        command.envs(&self.environment).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }
}
