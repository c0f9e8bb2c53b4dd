//! Numbers as a person reads them.

use towpath_stack::terminal::number;

/// A number as a person reads it: three digits that count, thousands apart.
pub(super) fn readable(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        less if less < 1.0 => format!("{value:.2}"),
        less if less < 100.0 => format!("{value:.1}"),
        _ if value < 0.0 => format!("-{}", number(-value.round_ties_even() as u64)),
        _ => number(value.round_ties_even() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0.0, 0.123, 7.04, 123.4, 1_234_567.0].map(readable), ["0", "0.12", "7.0", "123", "1,234,567"]);
    }
}
