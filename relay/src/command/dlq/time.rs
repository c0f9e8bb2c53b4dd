//! Times as a person types them on the command line.

use jiff::{Span, Timestamp, Zoned};

/// A time (RFC 3339), or how long ago: `90s`, `2h`, `1d 12h`.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let ago = text.parse::<Span>().ok().filter(|span| !span.is_negative());
    let time = ago.and_then(|ago| Zoned::now().checked_sub(ago).ok());
    time.map(|time| time.timestamp())
        .ok_or_else(|| "write how long ago (90s, 2h, 3d) or a time with its zone (2026-08-23T10:00:00Z)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moments_or_how_long_ago() {
        assert_eq!(parse("2026-08-23T12:00:00+02:00").unwrap().to_string(), "2026-08-23T10:00:00Z");
        let hours = |text| (Timestamp::now() - parse(text).unwrap()).total(jiff::Unit::Hour).unwrap();
        for (text, wanted) in [("2h", 2.0), ("90m", 1.5), ("1d 12h", 36.0), ("PT2H", 2.0)] {
            assert!((hours(text) - wanted).abs() < 1.1, "{text}: {}", hours(text));
        }
        for wrong in ["", "yesterday", "2", "-2h", "2026-08-23T10:00:00"] {
            assert!(parse(wrong).unwrap_err().contains("2h"), "{wrong}");
        }
    }
}
