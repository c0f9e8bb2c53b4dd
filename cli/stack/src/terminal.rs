//! What a person reads in a terminal. Data goes to stdout, all else to stderr.
use std::io::Write;
use std::time::Duration;

/// One line on stderr.
pub fn say(text: &str) {
    // A closed stderr is no error: the reader has gone.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// An error with its causes, each said once: many texts have their cause in them already.
#[must_use]
pub fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(cause.trim()) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// What is done sooner needs no word.
const MOMENT: Duration = Duration::from_secs(1);

/// Does this work. Where it takes longer than a moment, says what it waits for.
pub async fn saying<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => done,
        () = tokio::time::sleep(MOMENT) => {
            say(&format!("Waiting for {what}"));
            work.await
        }
    }
}

/// One line of data, on stdout.
pub fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        // `towpath logs | head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// A whole number with its thousands apart: `1,234,567`.
#[must_use]
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("connection refused").context("order: connection refused").context("migrate");
        assert_eq!(told(&error), "migrate: order: connection refused");
        assert_eq!(told(&anyhow::anyhow!("one").context("two")), "two: one");
    }

    #[test]
    fn thousands_stand_apart() {
        let seen = [0, 999, 1000, 123_456, 1_234_567].map(number);
        assert_eq!(seen, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }
}
