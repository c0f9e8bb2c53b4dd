//! What the tests' output says: how many passed, which failed.
use std::time::Duration;

/// The sum over all test programs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    programs: u64,
    failures: Vec<String>,
    /// cargo itself: false where a test program could not even run to its end.
    completed: bool,
}

impl Tally {
    /// Takes one line of output.
    pub(super) fn take(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        // "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s"
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        self.programs += 1;
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// The runner has ended.
    pub(super) fn end(&mut self, success: bool) {
        self.completed = success;
    }

    /// Every test passed, and there was one.
    pub(super) fn is_success(&self) -> bool {
        self.completed && self.failed == 0 && self.passed > 0
    }

    /// For a person, and the last line for programs.
    pub(super) fn summary(&self, took: Duration) -> Vec<String> {
        let mut lines: Vec<String> = self.failures.iter().map(|name| format!("failed: {name}")).collect();
        let seconds = took.as_secs();
        let took = format!("{} min {:02} s", seconds / 60, seconds % 60);
        lines.push(match (self.passed + self.failed, self.completed) {
            (0, true) => "No test was run: does the filter name one?".to_owned(),
            (_, false) if self.failed == 0 => "A test program did not run to its end: see above.".to_owned(),
            _ => format!("{} test programs in {took}.", self.programs),
        });
        let ignored = if self.ignored > 0 { format!(", {} skipped", self.ignored) } else { String::new() };
        lines.push(format!("{} passed, {} failed{ignored}", self.passed, self.failed));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s";
    const BAD: &str =
        "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s";

    fn tally(lines: &[&str], success: bool) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.take(line));
        tally.end(success);
        tally
    }

    #[test]
    fn results_are_added_up() {
        let tally = tally(&["test a::b ... ok", GOOD, GOOD], true);
        assert!(tally.is_success());
        let summary = tally.summary(Duration::from_secs(61));
        assert_eq!(summary, ["2 test programs in 1 min 01 s.", "6 passed, 0 failed, 2 skipped"]);
    }

    #[test]
    fn failures_are_named() {
        let tally = tally(&[GOOD, "test a::c ... FAILED", BAD], false);
        assert!(!tally.is_success());
        let summary = tally.summary(Duration::ZERO);
        assert_eq!(summary[0], "failed: a::c");
        assert_eq!(summary.last().unwrap(), "4 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn no_test_and_a_crash_are_no_success() {
        assert!(!tally(&[], true).is_success());
        let crashed = tally(&[GOOD], false);
        assert!(!crashed.is_success());
        assert!(crashed.summary(Duration::ZERO)[0].contains("did not run to its end"));
    }
}
