//! A clock that can't be right.
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// 2026-01-01. No machine that runs this program lives before that.
const EARLIEST_SECOND: i64 = 1_767_225_600;

/// What a person should know of this machine's clock; nothing where it may be right.
pub(crate) fn doubt() -> Option<String> {
    doubt_about(Timestamp::now())
}

fn doubt_about(now: Timestamp) -> Option<String> {
    (now.as_second() < EARLIEST_SECOND).then(|| {
        format!(
            "This machine's clock is wrong: it says {}. Set it: certificates seem not valid yet, so nothing can be downloaded, and \
             all that is written gets that time.",
            shown(now)
        )
    })
}

/// The time of day, as this machine has it.
pub(crate) fn now() -> String {
    shown(Timestamp::now())
}

fn shown(time: Timestamp) -> String {
    Zoned::new(time, TimeZone::system()).strftime("%F %T%:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_doubted() {
        let said = doubt_about(Timestamp::from_second(86_400).unwrap()).unwrap();
        assert!(said.contains("it says 1970-01-0") && said.contains("Set it"), "{said}");
        assert_eq!(doubt_about(Timestamp::from_second(EARLIEST_SECOND).unwrap()), None);
        assert_eq!(doubt(), None, "this machine's");
    }
}
