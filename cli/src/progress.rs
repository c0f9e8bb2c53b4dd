//! Tells what a long command does, and how long each step took.
use std::time::{Duration, Instant};

use towpath_stack::terminal::say;

/// A total below this needs no explanation.
const WORTH_EXPLAINING: Duration = Duration::from_secs(30);

/// The steps so far, with what each took.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    steps: Vec<(String, Duration)>,
}

impl Progress {
    /// Begins with what `./towpath` did before this program ran: `TOWPATH_STEPS` has `name=seconds`, separated by `;`.
    pub(crate) fn begin() -> Self {
        let before = std::env::var("TOWPATH_STEPS").unwrap_or_default();
        Self { began: Instant::now(), steps: parse(&before) }
    }

    /// Does one step and remembers how long it took.
    pub(crate) async fn step<T>(&mut self, name: &str, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let result = work.await;
        self.steps.push((name.to_owned(), began.elapsed()));
        result
    }

    /// Where the time went, where there was enough of it to ask.
    pub(crate) fn summary(&self) -> Vec<String> {
        let total: Duration = self.steps.iter().map(|(_, took)| *took).sum();
        if total < WORTH_EXPLAINING {
            return Vec::new();
        }
        let steps: Vec<String> = self
            .steps
            .iter()
            .filter(|(_, took)| *took >= Duration::from_secs(1))
            .map(|(name, took)| format!("{name} {}", minutes(*took)))
            .collect();
        vec![format!("It took {}: {}. The next time nothing of it is built again.", minutes(total), steps.join(", "))]
    }

    /// One line for the eye, with the time since the command began.
    pub(crate) fn say(&self, text: &str) {
        say(&format!("[{:5.1} s] {text}", self.began.elapsed().as_secs_f64()));
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

fn parse(steps: &str) -> Vec<(String, Duration)> {
    steps
        .split(';')
        .filter_map(|step| {
            let (name, seconds) = step.rsplit_once('=')?;
            Some((name.to_owned(), Duration::from_secs(seconds.parse().ok()?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_waits_are_explained() {
        let mut progress = Progress { began: Instant::now(), steps: parse("building=3") };
        assert!(progress.summary().is_empty());
        progress.steps.extend(parse("tools=0;components=65;nonsense;worse=x"));
        let summary = progress.summary().join("\n");
        assert!(summary.starts_with("It took 1 min 08 s: building 3 s, components 1 min 05 s."), "{summary}");
    }
}
