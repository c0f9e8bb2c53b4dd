//! Nothing is in a dead letter topic that no fault put there.

use std::collections::BTreeSet;

use super::{Promise, Window};
use crate::evidence::{Evidence, Letter};

/// Only what a fault owned up to, and nothing after it was replayed.
pub(super) fn judge(evidence: &Evidence, windows: &[Window]) -> Promise {
    let owned: BTreeSet<&str> = windows.iter().flat_map(|window| &window.letters).map(String::as_str).collect();
    let mut promise = Promise::new(
        "no dead letter that no fault put there, none after the replay",
        evidence.letters.len(),
        "letters",
    );
    let (expected, stranger): (Vec<&Letter>, _) =
        evidence.letters.iter().partition(|letter| owned.contains(letter.event.as_str()));
    for letter in stranger {
        promise.broken_by([&letter.event, &letter.key], "handled by its service", what(letter));
    }
    let replayed: BTreeSet<(&str, i64)> =
        expected.iter().map(|letter| (letter.topic.as_str(), letter.offset)).collect();
    let strangers = |letter: &&Letter| evidence.letters.iter().all(|before| before != *letter);
    for letter in &evidence.letters_left {
        if replayed.contains(&(letter.topic.as_str(), letter.offset)) {
            promise.broken_by([&letter.event, &letter.key], "replayed", format!("not replayed: {}", what(letter)));
        } else if strangers(&letter) {
            let seen = format!("dead once more, or only then: {}", what(letter));
            promise.broken_by([&letter.event, &letter.key], "handled after the replay", seen);
        }
    }
    promise
}

fn what(letter: &Letter) -> String {
    format!("{} stands in {} at {}: {}", letter.kind, letter.topic, letter.offset, letter.reason)
}

#[cfg(test)]
mod tests {
    use super::super::clients::tests::window;
    use super::*;

    fn letter(offset: i64, event: &str) -> Letter {
        let (topic, kind) = ("order.events.inventory.dlq".into(), "order.placed".into());
        Letter { topic, offset, event: event.into(), kind, key: "k".into(), reason: "refused".into() }
    }

    fn evidence(letters: Vec<Letter>, letters_left: Vec<Letter>) -> Evidence {
        Evidence { letters, letters_left, ..Evidence::default() }
    }

    fn owning(event: &str) -> [Window; 1] {
        [Window { letters: [event.to_owned()].into(), ..window(1, 2) }]
    }

    #[test]
    fn what_a_fault_put_there_and_was_replayed_is_well() {
        assert_eq!(judge(&evidence(vec![letter(1, "a")], vec![]), &owning("a")).broken, []);
    }

    #[test]
    fn a_letter_of_nobodys_is_found_out() {
        let promise = judge(&evidence(vec![letter(1, "b")], vec![letter(1, "b")]), &owning("a"));
        assert_eq!(promise.broken.len(), 1);
        assert_eq!(promise.broken[0].ids, ["b", "k"]);
    }

    #[test]
    fn a_letter_that_was_not_replayed_is_found_out() {
        let promise = judge(&evidence(vec![letter(1, "a")], vec![letter(1, "a")]), &owning("a"));
        assert_eq!(promise.broken[0].expected, "replayed");
    }

    #[test]
    fn a_letter_that_died_again_is_found_out() {
        let promise = judge(&evidence(vec![letter(1, "a")], vec![letter(3, "a")]), &owning("a"));
        assert_eq!(promise.broken[0].expected, "handled after the replay");
    }
}
