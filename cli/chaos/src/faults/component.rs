//! A component fails on one event: the proxy between relay and component answers in its place, or doesn't answer.
//!
//! Service and event are drawn by chance. The delivery rules say what must happen: a bounded number of tries before the event
//! is a dead letter, a dead letter at once, or retries for as long as it takes. Events of other keys must go on meanwhile.

mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::future::BoxFuture;
use http::StatusCode;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use towpath_fault_proxy::{Fate, answer};

use self::watch::Watch;
use crate::fault::{Fault, Struck};
use crate::group::Group;
use crate::lines::Lines;
use crate::stage::Stage;

/// How long the line is looked at before: what comes by then must go on coming by.
const LOOKS: Duration = Duration::from_secs(3);
/// So many events pass at most before one is picked.
const MAX_PASSED: usize = 20;
/// Under load an event comes by in this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// `delivery_attempts`, as the relay has it where relay.toml says nothing.
const TRIES: usize = 5;
/// Within this a delivery comes again: the longest pause between two with its jitter, and one that still waits for its answer.
const COMES_AGAIN: Duration = Duration::from_secs(45);
/// How often something is looked at that is awaited.
const LOOK: Duration = Duration::from_millis(50);

/// How it fails.
#[derive(Debug, Clone, Copy)]
enum Fails {
    /// 500: tried again, but not for ever.
    Broken,
    /// 422: it will never take it.
    Refusing,
    /// 503: what it needs is down.
    Unavailable,
    /// 401: its token was replaced, and the relay's was not.
    Locked,
    /// It doesn't answer.
    Silent,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    [Fails::Broken, Fails::Refusing, Fails::Unavailable, Fails::Locked, Fails::Silent]
        .map(|fails| Box::new(fails) as _)
        .into()
}

impl Fails {
    fn fate(self) -> Fate {
        let why = "towpath chaos answers in the component's place";
        match self {
            Self::Broken => Fate::Answered(answer(StatusCode::INTERNAL_SERVER_ERROR, why)),
            Self::Refusing => Fate::Answered(answer(StatusCode::UNPROCESSABLE_ENTITY, why)),
            Self::Unavailable => Fate::Answered(answer(StatusCode::SERVICE_UNAVAILABLE, why)),
            Self::Locked => Fate::Answered(answer(StatusCode::UNAUTHORIZED, why)),
            Self::Silent => Fate::Ignored,
        }
    }

    /// Longer than all tries of an event that becomes a dead letter; than the relay waits for an answer.
    fn lasts(self) -> Duration {
        Duration::from_secs(match self {
            Self::Broken | Self::Refusing => 8,
            Self::Unavailable | Self::Locked => 20,
            Self::Silent => 60,
        })
    }

    /// How many tries there may be, and whether the event is a dead letter after them.
    fn tries(self) -> (std::ops::RangeInclusive<usize>, bool) {
        match self {
            Self::Broken => (TRIES..=TRIES, true),
            Self::Refusing => (1..=1, true),
            Self::Unavailable | Self::Locked | Self::Silent => (2..=usize::MAX, false),
        }
    }
}

impl Fault for Fails {
    fn name(&self) -> String {
        let how = match self {
            Self::Broken => "500",
            Self::Refusing => "422",
            Self::Unavailable => "503",
            Self::Locked => "401",
            Self::Silent => "silent",
        };
        format!("component-{how}")
    }

    fn group(&self) -> Group {
        Group::Component
    }

    fn about(&self) -> String {
        let seconds = self.lasts().as_secs();
        match self {
            Self::Broken => "a component answers 500 to one event until that is a dead letter".to_owned(),
            Self::Refusing => "a component answers 422 to one event, which is a dead letter at once".to_owned(),
            Self::Unavailable => format!("a component answers 503 to one event for {seconds} s"),
            Self::Locked => format!("a component answers 401 to one event for {seconds} s"),
            Self::Silent => format!("a component says nothing to one event for {seconds} s"),
        }
    }

    fn duration(&self) -> Duration {
        let comes_again = match self {
            Self::Broken | Self::Refusing => Duration::ZERO,
            Self::Unavailable | Self::Locked => Duration::from_secs(12),
            Self::Silent => COMES_AGAIN,
        };
        LOOKS + self.lasts() + comes_again
    }

    fn strike<'a>(&'a self, stage: &'a Stage, random: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(strike(stage, *self, random))
    }
}

async fn strike(stage: &Stage, fails: Fails, random: &mut StdRng) -> Result<Struck> {
    let lines = stage.lines()?;
    let receivers: Vec<&str> = stage.services.receivers().collect();
    let service = receivers.choose(random).copied().context("no service subscribes to anything")?;
    let watched = Arc::new(Mutex::new(Watch::new(service)));
    watch(lines, &watched, &fails.fate());
    let struck = observe(&watched, fails, random).await;
    for line in &lines.components {
        line.pass();
    }
    struck
}

/// Shows every delivery to the watch, which says whether it fails.
fn watch(lines: &Lines, watched: &Arc<Mutex<Watch>>, fate: &Fate) {
    for line in &lines.components {
        let (watched, fate) = (Arc::clone(watched), fate.clone());
        line.rule(move |request| {
            let id = request.headers().get("ce-id").and_then(|id| id.to_str().ok());
            let fails = id.is_some_and(|id| look(&watched).sees(request.uri().path(), id, Instant::now()));
            if fails { fate.clone() } else { Fate::Pass }
        });
    }
}

fn look(watched: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn observe(watched: &Mutex<Watch>, fails: Fails, random: &mut StdRng) -> Result<Struck> {
    tokio::time::sleep(LOOKS).await;
    look(watched).pick(random.random_range(0..=MAX_PASSED));
    let Some(event) = until(PATIENCE, || look(watched).picked().map(str::to_owned)).await else {
        bail!("no event was delivered for {} s that could fail", PATIENCE.as_secs());
    };
    tokio::time::sleep(fails.lasts()).await;
    look(watched).mend(Instant::now());
    let (expected, is_letter) = fails.tries();
    let mut broken = Vec::new();
    let mut through = String::new();
    if !is_letter {
        match until(COMES_AGAIN, || look(watched).came_through()).await {
            Some(after) => through = format!(", which came through {:.1} s later", after.as_secs_f64()),
            None => broken.push(format!("the event {event} didn't come again within {COMES_AGAIN:?} after the fault")),
        }
    }
    let watched = look(watched);
    if !expected.contains(&watched.tries()) {
        broken.push(format!("the event {event} was delivered {} times, not {expected:?}", watched.tries()));
    }
    broken.extend(watched.held_up());
    let (service, tries, others) = (watched.service(), watched.tries(), watched.others());
    let note =
        format!("{service} failed {tries} times on the event {event}{through}; {others} others passed meanwhile");
    let dead_letters = is_letter.then_some(event).into_iter().collect();
    Ok(Struck { note, dead_letters, broken })
}

/// Looks until there is something.
async fn until<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let found = look();
        if found.is_some() || begun.elapsed() > patience {
            return found;
        }
        tokio::time::sleep(LOOK).await;
    }
}
