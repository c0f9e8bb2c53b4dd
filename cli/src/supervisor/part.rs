//! The life of one part: an actor that owns the child process, starts it, sees it become ready, starts it again when it
//! dies, and ends it when asked. Everyone else holds a [`Handle`].
use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, interval_at, sleep};
use towpath_stack::process::{Identity, MARK, holder_of_port};
use towpath_stack::state::PartState;

use super::deaths::Deaths;
use super::events::{Event, recorded};
use super::family::{self, Family};
use super::logs;
use super::probe::Probe;
use super::spec::PartSpec;

/// A part that dies this often before it was ever ready won't start: the cause is not chance.
const MAX_FIRST_STARTS: u32 = 3;
const PROBE_EVERY: Duration = Duration::from_millis(60);
const MAX_LAST_WORDS: usize = 6;
/// How often a part that takes long to start is told of.
const WORD_EVERY: Duration = Duration::from_secs(10);

/// What others see of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: PartState,
    pub(crate) process: Option<Identity>,
    /// Deaths since it was last ready or ordered to start.
    pub(crate) deaths: u32,
    /// Why it isn't ready: how it died, or what the probe said.
    pub(crate) note: Option<String>,
    /// Set where another try can't help.
    pub(crate) hopeless: bool,
    /// Where in its log the present run begins.
    pub(crate) log_from: u64,
}

enum Order {
    Start(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// A part, from outside.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) spec: PartSpec,
    pub(crate) status: watch::Receiver<Status>,
    orders: mpsc::Sender<Order>,
    events: mpsc::UnboundedSender<Event>,
    detour: Arc<watch::Sender<BTreeMap<String, String>>>,
}

impl Handle {
    /// Makes the actor; nothing is started yet. When `force` turns true, whatever is being stopped is killed at once.
    pub(crate) fn new(spec: PartSpec, events: mpsc::UnboundedSender<Event>, force: watch::Receiver<bool>) -> Self {
        let status =
            Status { state: PartState::Stopped, process: None, deaths: 0, note: None, hopeless: false, log_from: 0 };
        let (sender, receiver) = watch::channel(status);
        let (orders, incoming) = mpsc::channel(4);
        let (detour, variables) = watch::channel(BTreeMap::new());
        let (spec_too, events_too) = (spec.clone(), events.clone());
        let actor =
            Actor { spec: spec_too, orders: incoming, status: sender, events: events_too, force, detour: variables };
        tokio::spawn(actor.live());
        Self { spec, status: receiver, orders, events, detour: Arc::new(detour) }
    }

    /// The part with this name; the error lists the names.
    pub(crate) fn find<'a>(all: &'a [Self], name: &str) -> Result<&'a Self> {
        all.iter().find(|part| part.name() == name).with_context(|| {
            let names: Vec<&str> = all.iter().map(Self::name).collect();
            format!("no part is called {name}: the parts are {}", names.join(", "))
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// From its next start on the part has these variables over its own.
    pub(crate) fn divert(&self, variables: BTreeMap<String, String>) {
        self.detour.send_replace(variables);
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, wait) = oneshot::channel();
        // A closed channel means that the actor has ended, and with it the part.
        if self.orders.send(order(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    /// Ends the part and waits until it has ended, and that is written down. It stays stopped.
    pub(crate) async fn stop(&self) {
        self.order(Order::Stop).await;
        recorded(&self.events).await;
    }

    /// Starts the part and waits until it answers, and that is written down; the error tells its last words.
    pub(crate) async fn start(&self) -> Result<()> {
        self.order(Order::Start).await;
        let started = self.started().await;
        recorded(&self.events).await;
        started
    }

    /// Its state, and why it isn't ready: `kafka is starting: no answer within 2 s`.
    pub(crate) fn how_far(&self) -> String {
        let status = self.status.borrow();
        let why = status.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        format!("{} is {}{why}", self.name(), status.state.word())
    }

    async fn started(&self) -> Result<()> {
        let mut status = self.status.clone();
        let settled = |status: &Status| {
            matches!(status.state, PartState::Ready | PartState::Stopped)
                || status.hopeless
                || status.deaths >= MAX_FIRST_STARTS
        };
        let waited = tokio::time::timeout(self.spec.ready_deadline, status.wait_for(settled)).await;
        let status = match waited {
            Ok(Ok(status)) => status.clone(),
            Ok(Err(_)) => bail!("{} was given up", self.name()),
            Err(_) => {
                let status = self.status.borrow();
                let said = status.note.clone().unwrap_or_else(|| "it says nothing".to_owned());
                let limit = self.spec.ready_deadline.as_secs();
                bail!("{} does not answer after {limit} s: {said}{}", self.name(), self.last_words(&status));
            }
        };
        match status.state {
            PartState::Ready => return Ok(()),
            PartState::Stopped => bail!("{} was stopped meanwhile", self.name()),
            _ => {}
        }
        let cause = status.note.clone().unwrap_or_default();
        bail!("{} does not start: {cause}{}", self.name(), self.last_words(&status))
    }

    fn last_words(&self, status: &Status) -> String {
        let lines = logs::last_words(&self.spec.log, status.log_from, MAX_LAST_WORDS);
        let log = self.spec.log.display();
        match lines.is_empty() {
            true => format!("; its log: {log}"),
            false => format!("; the end of {log}:\n    {}", lines.join("\n    ")),
        }
    }
}

struct Actor {
    spec: PartSpec,
    orders: mpsc::Receiver<Order>,
    status: watch::Sender<Status>,
    events: mpsc::UnboundedSender<Event>,
    force: watch::Receiver<bool>,
    detour: watch::Receiver<BTreeMap<String, String>>,
}

enum End {
    /// By an order; its sender waits for the answer.
    Asked(oneshot::Sender<()>),
    /// By itself: how, and how long it had been ready.
    Died(String, Duration),
    /// All handles are gone.
    Abandoned,
}

impl Actor {
    async fn live(mut self) {
        // Between the runs of this loop there is no child.
        loop {
            match self.orders.recv().await {
                None => return,
                Some(Order::Stop(done)) => drop(done.send(())),
                Some(Order::Start(done)) => {
                    self.begin(done);
                    match self.keep_running().await {
                        Some(done) => drop(done.send(())),
                        None => return,
                    }
                }
            }
        }
    }

    /// What happened before an order to start doesn't count for it.
    fn begin(&self, ordered: oneshot::Sender<()>) {
        self.change(|status| {
            (status.deaths, status.note, status.hopeless) = (0, None, false);
            status.state = PartState::Starting;
        });
        let _ = ordered.send(());
    }

    /// Runs the part, again and again, until an order stops it (`Some`) or all handles are gone (`None`).
    async fn keep_running(&mut self) -> Option<oneshot::Sender<()>> {
        let mut deaths = Deaths::default();
        loop {
            let asked = match self.run_once().await {
                End::Abandoned => return None,
                End::Asked(done) => Some(done),
                End::Died(how, ready_for) => {
                    let pause = deaths.pause(ready_for);
                    let how = match deaths.in_a_row() {
                        0 | 1 => how,
                        deaths => format!("{how}; {deaths} deaths in a row"),
                    };
                    self.pause(how, pause).await?
                }
            };
            if let Some(done) = asked {
                self.change(|status| {
                    (status.state, status.process, status.note) = (PartState::Stopped, None, None);
                });
                return Some(done);
            }
        }
    }

    /// Waits before the next try: `Some(None)` is the time for it, `Some(Some)` an order to stop.
    async fn pause(&mut self, how: String, pause: Duration) -> Option<Option<oneshot::Sender<()>>> {
        self.say(format!("{} {how}; starts again in {:.1} s", self.spec.name, pause.as_secs_f64()));
        self.change(|status| {
            (status.state, status.process) = (PartState::Restarting, None);
            status.deaths += 1;
            status.note = Some(how);
        });
        tokio::select! {
            () = sleep(pause) => Some(None),
            order = self.orders.recv() => match order? {
                Order::Stop(done) => Some(Some(done)),
                Order::Start(done) => {
                    self.begin(done);
                    Some(None)
                }
            },
        }
    }

    /// From the start of one process to its end.
    async fn run_once(&mut self) -> End {
        self.change(|status| status.state = PartState::Starting);
        if let Some(prepare) = self.spec.prepare.clone() {
            let result = tokio::select! {
                result = prepare() => result,
                order = self.next_stop() => return order.map_or(End::Abandoned, End::Asked),
            };
            if let Err(error) = result {
                self.change(|status| status.hopeless = true);
                return End::Died(format!("cannot be prepared: {error:#}"), Duration::ZERO);
            }
        }
        let began = Instant::now();
        let (mut child, family) = match self.spawn() {
            Ok(started) => started,
            Err(error) => {
                self.change(|status| status.hopeless = true);
                return End::Died(format!("cannot be started: {error:#}"), Duration::ZERO);
            }
        };
        let (probe, told) = (self.spec.probe.clone(), self.status.clone());
        let mut ready_since = None;
        let mut word = interval_at(began + WORD_EVERY, WORD_EVERY);
        loop {
            tokio::select! {
                () = family.first_ended(&mut child) => {
                    let ready_for = ready_since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
                    return End::Died(self.clean_up(&mut child, &family).await, ready_for);
                }
                () = until_ready(&probe, &told), if ready_since.is_none() => {
                    ready_since = Some(Instant::now());
                    self.become_ready(began);
                }
                _ = word.tick(), if ready_since.is_none() => self.say_how_far(),
                order = self.next_stop() => {
                    self.terminate(&mut child, &family).await;
                    return order.map_or(End::Abandoned, End::Asked);
                }
            }
        }
    }

    /// What it has logged last, while it starts.
    fn say_how_far(&self) {
        let (from, note) = {
            let status = self.status.borrow();
            (status.log_from, status.note.clone().unwrap_or_default())
        };
        let said = logs::last_said(&self.spec.log, from).unwrap_or(note);
        self.say(format!("{} is starting still: {said}", self.spec.name));
    }

    fn become_ready(&self, began: Instant) {
        self.say(format!("{} is ready after {:.1} s", self.spec.name, began.elapsed().as_secs_f64()));
        self.change(|status| {
            (status.state, status.deaths, status.note) = (PartState::Ready, 0, None);
        });
    }

    /// The next order that stops the part. One that starts it finds it running already.
    async fn next_stop(&mut self) -> Option<oneshot::Sender<()>> {
        loop {
            match self.orders.recv().await? {
                Order::Stop(done) => return Some(done),
                Order::Start(done) => drop(done.send(())),
            }
        }
    }

    /// Ends what a process that has died has left: it would keep the port. Tells how it died.
    async fn clean_up(&self, child: &mut Child, family: &Family) -> String {
        let left = family::names(&family.others());
        let stubborn = family.kill().await;
        let mut how = describe(&child.wait().await);
        if !left.is_empty() {
            how += &format!(", and what it had left is killed: {}", left.join(", "));
        }
        if !stubborn.is_empty() {
            how += &format!(", of which these don't end: {}", stubborn.join(", "));
        }
        // Whoever listens there now is a stranger: the next start would fail because of it, and say less.
        let port = self.spec.address.rsplit(':').next().and_then(|port| port.parse().ok());
        if let Some(holder) = port.and_then(holder_of_port) {
            how += &format!("; {} is held by {holder}", self.spec.address);
        }
        how
    }

    fn spawn(&mut self) -> Result<(Child, Family)> {
        let (log, log_from) = logs::open(&self.spec.log, &self.spec.name)?;
        let mut launch = self.spec.launch.clone();
        if let Some(read) = &self.spec.variables {
            launch.environment = read()?;
        }
        let mut command = launch.command(self.spec.stop_signal);
        command.envs(self.detour.borrow().iter()).env(MARK, &self.spec.log).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("setpriv (of util-linux)")?;
        let process = child.id().and_then(Identity::of);
        self.change(|status| (status.process, status.log_from) = (process, log_from));
        let family = Family::of(&child, &self.spec.log).context("its process has no number")?;
        Ok((child, family))
    }

    /// Asks the process to end, and then what it has started. Kills all of them where they don't within the deadline or the
    /// stop is forced.
    async fn terminate(&mut self, child: &mut Child, family: &Family) {
        self.change(|status| status.state = PartState::Stopping);
        let signal = self.spec.stop_signal.signal();
        // Killed with this function's end: the process that it stops has ended then, or is killed itself.
        let _stopping = match &self.spec.launch.stopped_by {
            Some(stop) => match stop.command(self.spec.stop_signal).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
            {
                Ok(stopping) => Some(stopping),
                Err(error) => {
                    self.say(format!("{} can't be asked to stop: {error}", self.spec.name));
                    None
                }
            },
            None => {
                match self.spec.stop_gently {
                    None => family.signal_first(signal),
                    Some(patience) => {
                        family.signal_first(Signal::TERM);
                        tokio::select! {
                            () = family.first_ended(child) => {}
                            () = sleep(patience) => family.signal_first(signal),
                            _ = self.force.wait_for(|force| *force) => family.signal_first(signal),
                        }
                    }
                }
                None
            }
        };
        let ends = async {
            family.first_ended(child).await;
            family.end_others(signal).await;
        };
        let forced = self.force.wait_for(|force| *force);
        let why = tokio::select! {
            () = ends => None,
            () = sleep(self.spec.stop_deadline) => {
                Some(format!("does not stop within {} s and is killed", self.spec.stop_deadline.as_secs()))
            }
            _ = forced => Some("is killed".to_owned()),
        };
        if let Some(why) = why {
            self.say(format!("{} {why}", self.spec.name));
            let stubborn = family.kill().await;
            if !stubborn.is_empty() {
                self.say(format!("{}: these processes don't end: {}", self.spec.name, stubborn.join(", ")));
            }
        }
        let _ = child.wait().await;
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
        let _ = self.events.send(Event::Changed);
    }

    fn say(&self, text: String) {
        let _ = self.events.send(Event::Said(text));
    }
}

/// Asks until the part answers; what it says meanwhile is kept in its status.
async fn until_ready(probe: &Probe, status: &watch::Sender<Status>) {
    while let Err(error) = probe.check().await {
        let note = format!("{error:#}");
        status.send_if_modified(|status| {
            let changed = status.note.as_ref() != Some(&note);
            status.note = Some(note);
            changed
        });
        sleep(PROBE_EVERY).await;
    }
}

fn describe(status: &std::io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("died (exit status {code})"),
            (None, Some(signal)) => format!("died (signal {signal})"),
            (None, None) => "died".to_owned(),
        },
        Err(error) => format!("is lost ({error})"),
    }
}
