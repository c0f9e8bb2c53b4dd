//! Whole numbers as a person reads them.

/// Thousands apart: `1,234,567`.
pub(crate) fn number(n: impl TryInto<u64>) -> String {
    // No count here is negative, nor beyond what 64 bits hold.
    let digits = n.try_into().unwrap_or(u64::MAX).to_string();
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
        let seen = [0_u64, 999, 1000, 123_456, 1_234_567].map(number);
        assert_eq!(seen, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }
}
