//! The board: what the last look at each dependency has seen.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::Notify;

use crate::telemetry::metrics as names;

/// A look that is older says nothing any more: its task hangs.
const MAX_AGE: Duration = Duration::from_secs(10);
/// A component that is away for less is told by `/readyz` alone: its host restarts, or stops before the relay does.
const COMPONENT_PATIENCE: Duration = Duration::from_secs(5);

/// What was seen of each dependency, by its name.
#[derive(Debug, Default)]
pub(crate) struct Board {
    entries: Mutex<BTreeMap<String, Entry>>,
    noted: Notify,
}

#[derive(Debug)]
struct Entry {
    /// When it was last looked at. `None`: not yet.
    seen_at: Option<Instant>,
    /// Whether nobody looks again: it stands until it is taken off.
    stays: bool,
    trouble: Option<String>,
    /// Since when something is wrong, and whether the log says so.
    since: Option<Instant>,
    logged: bool,
}

/// One dependency, as `/readyz` tells it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Dependency {
    /// Whether it works.
    pub(crate) up: bool,
    /// Why it doesn't. Holds no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

impl From<Result<(), String>> for Dependency {
    fn from(seen: Result<(), String>) -> Self {
        Self { up: seen.is_ok(), detail: seen.err() }
    }
}

impl Board {
    /// Somebody will look at this dependency.
    pub(crate) fn expect(&self, name: &str) {
        self.entries()
            .insert(name.to_owned(), Entry { seen_at: None, stays: false, trouble: None, since: None, logged: false });
    }

    /// A look has seen this.
    pub(crate) fn note(&self, name: &str, seen: Result<(), String>) {
        self.write(name, seen.err(), false);
        self.noted.notify_waiters();
    }

    /// Something is wrong, and stays so until [`clear`](Self::clear).
    pub(crate) fn trouble(&self, name: &str, cause: &str) {
        self.write(name, Some(cause.to_owned()), true);
    }

    /// What was wrong is right again.
    pub(crate) fn clear(&self, name: &str) {
        let was = self.entries().remove(name);
        if let Some(Entry { trouble: Some(_), logged, .. }) = was {
            works_again(name, logged);
        }
    }

    fn write(&self, name: &str, trouble: Option<String>, stays: bool) {
        let mut entries = self.entries();
        let before = entries.remove(name);
        let since = before.as_ref().and_then(|entry| entry.since);
        let was_logged = before.as_ref().is_some_and(|entry| entry.logged);
        let now = Instant::now();
        let since = trouble.as_ref().map(|_| since.unwrap_or(now));
        // The rest of a cause may change with each look, such as a duration; its beginning says what it is.
        let logged = since.is_some_and(|since| was_logged || now.duration_since(since) >= patience(name));
        let entry = Entry { seen_at: Some(now), stays, trouble: trouble.clone(), since, logged };
        entries.insert(name.to_owned(), entry);
        drop(entries);
        match (before.and_then(|entry| entry.trouble), trouble) {
            (None, None) => gauge!(names::DEPENDENCY_UP, "dependency" => name.to_owned()).set(1.0),
            (Some(_), None) => works_again(name, was_logged),
            (_, Some(cause)) => {
                gauge!(names::DEPENDENCY_UP, "dependency" => name.to_owned()).set(0.0);
                counter!(names::DEPENDENCY_FAILURES, "dependency" => name.to_owned()).increment(1);
                if logged && !was_logged {
                    tracing::warn!(
                        dependency = name,
                        cause,
                        "something that the relay needs doesn't work; /readyz names it"
                    );
                }
            }
        }
    }

    /// All dependencies, each after its first look. Waits for those that are being looked at for the first time.
    pub(crate) async fn read(&self) -> BTreeMap<String, Dependency> {
        loop {
            let noted = self.noted.notified();
            tokio::pin!(noted);
            noted.as_mut().enable();
            if let Some(all) = self.all() {
                return all;
            }
            noted.await;
        }
    }

    fn all(&self) -> Option<BTreeMap<String, Dependency>> {
        let entries = self.entries();
        entries.iter().map(|(name, entry)| Some((name.clone(), told(entry, entry.seen_at?.elapsed()).into()))).collect()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(entry: &Entry, age: Duration) -> Result<(), String> {
    match &entry.trouble {
        Some(cause) => Err(cause.clone()),
        None if !entry.stays && age > MAX_AGE => Err(format!("nobody has looked for {} s", age.as_secs())),
        None => Ok(()),
    }
}

/// How long something may be wrong before the log says so.
fn patience(name: &str) -> Duration {
    if name.starts_with("component.") { COMPONENT_PATIENCE } else { Duration::ZERO }
}

fn works_again(name: &str, logged: bool) {
    gauge!(names::DEPENDENCY_UP, "dependency" => name.to_owned()).set(1.0);
    if logged {
        tracing::info!(dependency = name, "what the relay needs works again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(detail: &str) -> Dependency {
        Dependency { up: false, detail: Some(detail.into()) }
    }

    #[tokio::test]
    async fn the_board_waits_for_the_first_look_and_tells_the_last() {
        let board = Board::default();
        board.expect("a");
        assert!(futures::poll!(Box::pin(board.read())).is_pending());
        let reading = board.read();
        tokio::pin!(reading);
        assert!(futures::poll!(&mut reading).is_pending());
        board.note("a", Err("away".into()));
        assert_eq!(reading.await["a"], down("away"));
        board.note("a", Ok(()));
        assert_eq!(board.read().await["a"], Dependency { up: true, detail: None });
    }

    #[test]
    fn a_component_that_is_away_for_a_moment_is_no_line_in_the_log() {
        let board = Board::default();
        let logged = |board: &Board, name: &str| board.entries()[name].logged;
        for name in ["component.beta", "kafka"] {
            board.note(name, Err("away".into()));
        }
        assert!(!logged(&board, "component.beta") && logged(&board, "kafka"));
        let long_ago = Instant::now().checked_sub(COMPONENT_PATIENCE);
        board.entries().get_mut("component.beta").expect("it is noted").since = long_ago;
        board.note("component.beta", Err("away".into()));
        assert!(logged(&board, "component.beta"));
        board.note("component.beta", Ok(()));
        assert!(!logged(&board, "component.beta"));
    }

    #[tokio::test]
    async fn what_is_refused_stands_there_until_it_is_right() {
        let board = Board::default();
        board.trouble("topic.x", "refused");
        assert_eq!(board.read().await["topic.x"], down("refused"));
        board.clear("topic.x");
        board.clear("topic.x");
        assert!(board.read().await.is_empty());
    }

    #[test]
    fn an_old_look_says_nothing() {
        let entry = |trouble: Option<&str>, stays| {
            let trouble = trouble.map(str::to_owned);
            Entry { seen_at: None, stays, trouble, since: None, logged: false }
        };
        assert_eq!(told(&entry(None, false), MAX_AGE), Ok(()));
        assert!(told(&entry(None, false), MAX_AGE * 2).is_err());
        assert_eq!(told(&entry(Some("away"), false), MAX_AGE * 2), Err("away".to_owned()));
        assert_eq!(told(&entry(None, true), MAX_AGE * 2), Ok(()));
    }
}
