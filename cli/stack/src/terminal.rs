//! What a person reads in a terminal. Data goes to stdout, all else to stderr.
use std::io::Write;

/// One line on stderr.
pub fn say(text: &str) {
    // A closed stderr is no error: the reader has gone.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
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
    fn thousands_stand_apart() {
        let seen = [0, 999, 1000, 123_456, 1_234_567].map(number);
        assert_eq!(seen, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }
}
