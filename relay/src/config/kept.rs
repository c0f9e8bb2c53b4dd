//! How long Kafka may keep an event, beside how long the inbox remembers it. Pure rules.
//!
//! Kafka deletes whole segments. A segment goes once its newest record is older than `retention.ms`, and it may be `segment.ms`
//! from its oldest record to its newest: so an event may stay for the sum of the two, and as long as Kafka takes to look and to
//! delete. A consumer whose offsets are lost or set back hears everything again that Kafka has kept; of that the inbox must
//! know each event that had an effect.

use std::collections::BTreeMap;
use std::fmt;

/// Kafka's defaults of `retention.ms` and `segment.ms`: a week.
const WEEK_MS: u64 = 7 * 86_400_000;
/// Beyond both: `log.retention.check.interval.ms` (5 min) and `log.segment.delete.delay.ms` (1 min), and some time for a broker
/// that is busy.
const SLACK_MS: u64 = 15 * 60_000;
/// Shorter segments cost a broker too many files.
const MIN_SEGMENT_MS: u64 = 3_600_000;

/// How long Kafka may keep an event of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// For this long at most, in milliseconds.
    For(u64),
    /// For ever: the topic has no limit by time, or is only compacted.
    Ever,
}

impl Kept {
    /// By the settings of a topic as the broker tells them. One that isn't there has Kafka's default.
    pub(crate) fn of<'a>(setting: impl Fn(&str) -> Option<&'a str>) -> Self {
        let number = |name, default| setting(name).map_or(Some(default), |text| text.parse::<u64>().ok());
        let is_deleted = setting("cleanup.policy").is_none_or(|policy| policy.split(',').any(|p| p.trim() == "delete"));
        // -1 is no limit.
        let Some(retention) = number("retention.ms", WEEK_MS).filter(|_| is_deleted) else { return Self::Ever };
        let segment = number("segment.ms", WEEK_MS).unwrap_or(WEEK_MS);
        Self::For(retention.saturating_add(segment).saturating_add(SLACK_MS))
    }

    /// By what relay.toml says of a topic. `None` where it says nothing, so that the relay sets what fits.
    pub(crate) fn declared(settings: &BTreeMap<String, String>) -> Option<Self> {
        let named = ["cleanup.policy", "retention.ms", "segment.ms"].iter().any(|name| settings.contains_key(*name));
        // The shortest segments that the relay itself sets, where relay.toml names none.
        let shortest = MIN_SEGMENT_MS.to_string();
        named.then(|| {
            Self::of(|name| match (settings.get(name), name) {
                (Some(value), _) => Some(value),
                (None, "segment.ms") => Some(&shortest),
                (None, _) => None,
            })
        })
    }

    /// What is wrong, where that is longer than the inbox remembers.
    pub(crate) fn longer_than(self, inbox_retention_ms: u64) -> Option<Longer> {
        match self {
            Self::For(ms) if ms <= inbox_retention_ms => None,
            kept => Some(Longer { kept, inbox_retention_ms }),
        }
    }
}

/// The settings with which the relay makes a topic, so that no event stays in it for longer than every inbox remembers it that
/// hears the topic. What relay.toml declares stands, and the broker's default where there is no such inbox.
pub(crate) fn settings(
    inboxes_ms: impl Iterator<Item = u64>,
    declared: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let Some(inbox) = inboxes_ms.min() else { return BTreeMap::new() };
    let retention = match declared.get("retention.ms").map(|text| text.parse::<u64>()) {
        // For ever, or nothing that Kafka takes.
        Some(Err(_)) => return BTreeMap::new(),
        Some(Ok(ms)) => ms,
        None => WEEK_MS,
    };
    let room = inbox.saturating_sub(retention).saturating_sub(SLACK_MS);
    let segment = room.clamp(MIN_SEGMENT_MS, WEEK_MS);
    let settings = [("retention.ms", retention), ("segment.ms", segment)];
    let missing = settings.into_iter().filter(|(name, _)| !declared.contains_key(*name));
    missing.map(|(name, ms)| (name.to_owned(), ms.to_string())).collect()
}

/// A topic that keeps events for longer than an inbox remembers them. Reads as a sentence about the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Longer {
    kept: Kept,
    inbox_retention_ms: u64,
}

impl Longer {
    /// The `inbox_retention_ms` that would be enough; `None` where none is.
    pub(crate) fn enough_ms(self) -> Option<u64> {
        match self.kept {
            Kept::For(ms) => Some(ms),
            Kept::Ever => None,
        }
    }
}

impl fmt::Display for Longer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remembered = duration(self.inbox_retention_ms);
        match self.kept {
            Kept::For(ms) => write!(
                f,
                "keeps events for up to {} (retention.ms, segment.ms, and the time that Kafka takes to delete), and the inbox \
                 remembers them for {remembered} (limits.inbox_retention_ms): raise inbox_retention_ms to {ms}, or lower \
                 retention.ms or segment.ms of the topic",
                duration(ms)
            ),
            Kept::Ever => write!(
                f,
                "keeps events for ever, and the inbox remembers them for {remembered} (limits.inbox_retention_ms): if the \
                 offsets of the service's group are lost or set back further than that, older events have their effect again"
            ),
        }
    }
}

fn duration(ms: u64) -> String {
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000);
    match (hours / 24, hours % 24) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h"),
        (days, 0) => format!("{days} d"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn of(pairs: &[(&str, &str)]) -> Kept {
        let settings = map(pairs);
        Kept::of(|name| settings.get(name).map(String::as_str))
    }

    #[test]
    fn an_event_stays_for_retention_and_segment_together() {
        assert_eq!(of(&[]), Kept::For(14 * DAY_MS + SLACK_MS), "Kafka's defaults");
        assert_eq!(of(&[("retention.ms", "1000"), ("segment.ms", "500")]), Kept::For(1_500 + SLACK_MS));
        assert_eq!(of(&[("retention.ms", "-1")]), Kept::Ever);
        assert_eq!(of(&[("cleanup.policy", "compact")]), Kept::Ever);
        assert_eq!(of(&[("cleanup.policy", "compact,delete")]), Kept::For(14 * DAY_MS + SLACK_MS));
        assert_eq!(of(&[("retention.ms", &u64::MAX.to_string())]), Kept::For(u64::MAX));
    }

    #[test]
    fn what_is_longer_says_what_to_change() {
        assert_eq!(Kept::For(5).longer_than(5), None);
        let longer = of(&[]).longer_than(8 * DAY_MS).unwrap();
        assert_eq!(longer.enough_ms(), Some(14 * DAY_MS + SLACK_MS));
        let said = longer.to_string();
        for part in ["up to 14 d", "for 8 d", "raise inbox_retention_ms to 1210500000"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let ever = Kept::Ever.longer_than(u64::MAX).unwrap();
        assert_eq!(ever.enough_ms(), None);
        assert!(ever.to_string().contains("for ever"), "{ever}");
    }

    #[test]
    fn what_relay_toml_says_stands() {
        assert_eq!(Kept::declared(&map(&[("max.message.bytes", "1")])), None);
        assert_eq!(Kept::declared(&map(&[("retention.ms", "0")])), Some(Kept::For(MIN_SEGMENT_MS + SLACK_MS)));
        let inboxes = [9 * DAY_MS, 8 * DAY_MS];
        let of = |declared: &[(&str, &str)]| settings(inboxes.into_iter(), &map(declared));
        let segment = (DAY_MS - SLACK_MS).to_string();
        assert_eq!(of(&[]), map(&[("retention.ms", "604800000"), ("segment.ms", &segment)]));
        assert_eq!(of(&[("segment.ms", "7")]), map(&[("retention.ms", "604800000")]));
        assert_eq!(of(&[("retention.ms", "7")]), map(&[("segment.ms", "604800000")]));
        assert_eq!(of(&[("retention.ms", "-1")]), map(&[]));
        assert_eq!(settings(std::iter::empty(), &map(&[])), map(&[]));
        let short = settings([60_000].into_iter(), &map(&[]));
        assert_eq!(short["retention.ms"], "604800000", "an inbox that remembers little shortens no topic");
    }

    proptest! {
        /// What the relay makes fits by construction, if it can.
        #[test]
        fn a_topic_that_the_relay_makes_keeps_nothing_longer_than_the_inbox(inbox in (WEEK_MS + MIN_SEGMENT_MS + SLACK_MS)..u64::MAX) {
            let made = settings([inbox].into_iter(), &BTreeMap::new());
            let kept = Kept::of(|name| made.get(name).map(String::as_str));
            prop_assert_eq!(kept.longer_than(inbox), None);
        }
    }
}
