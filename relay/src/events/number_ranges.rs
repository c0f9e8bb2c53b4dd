//! Sets of numbers as text: `12-30,33,35-36`. Sequence numbers and offsets are nearly contiguous, so this is short.

use std::fmt::Write as _;

/// A text that unfolds into more was not written by the relay.
const MAX_NUMBERS: i64 = 1_000_000;

/// Writes ascending numbers.
pub(crate) fn encode(numbers: &[i64]) -> String {
    debug_assert!(numbers.is_sorted());
    let mut out = String::new();
    for run in numbers.chunk_by(|a, b| *b == a + 1) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let comma = if out.is_empty() { "" } else { "," };
        let _ = if first == last { write!(out, "{comma}{first}") } else { write!(out, "{comma}{first}-{last}") };
    }
    out
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(text: &str) -> Option<Vec<i64>> {
    let mut numbers = Vec::new();
    for run in text.split(',').filter(|run| !run.is_empty()) {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        let (first, last): (i64, i64) = (first.parse().ok()?, last.parse().ok()?);
        if first < 0 || last < first || last - first >= MAX_NUMBERS - numbers.len() as i64 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_are_short() {
        assert_eq!(encode(&[]), "");
        assert_eq!(encode(&[7]), "7");
        assert_eq!(encode(&[1, 2, 3, 5, 8, 9]), "1-3,5,8-9");
        for wrong in ["x", "1-", "3-1", "1-2-3", "0-9999999999", "-1", "1 2"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(set in proptest::collection::btree_set(0..2_000i64, 0..400)) {
            let seqs: Vec<i64> = set.into_iter().collect();
            prop_assert_eq!(decode(&encode(&seqs)), Some(seqs));
        }

        #[test]
        fn no_text_is_too_much(text in "[0-9,-]{0,30}") {
            if let Some(seqs) = decode(&text) {
                prop_assert!(seqs.len() <= MAX_NUMBERS as usize);
            }
        }
    }
}
