//! The types of events that a subscription names.

use std::fmt;

/// One type, or all types that begin with the same words. CloudEvents leaves the form of a type open; by custom it is words with
/// dots between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    /// The type, or what comes before the `*`: words that end with a dot.
    text: String,
    begins: bool,
}

impl EventType {
    /// Reads `thing.made`, or `thing.*` for every type that begins with `thing.`, such as `thing.made` and `thing.part.lost`.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("holds an empty type, which no event has".into());
        }
        if text.trim() != text || text.chars().any(char::is_control) {
            return Err(format!("holds {text:?}: no type begins or ends with a space, or has control characters"));
        }
        let words = text.strip_suffix('*').unwrap_or(text);
        let begins = words.len() < text.len();
        if words.contains('*') || begins && (words == "." || !words.ends_with('.')) {
            return Err(format!(
                "holds {text:?}: * may only stand at the end, after a dot, as in \"thing.*\"; leave types out to get all"
            ));
        }
        Ok(Self { text: words.to_owned(), begins })
    }

    /// Whether it means this type.
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        if self.begins { kind.len() > self.text.len() && kind.starts_with(&self.text) } else { kind == self.text }
    }

    /// Whether there is a type that both mean.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.begins, other.begins) {
            (true, true) => self.text.starts_with(&other.text) || other.text.starts_with(&self.text),
            (true, false) => self.is(&other.text),
            (false, _) => other.is(&self.text),
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.begins { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_means_every_type_that_begins_with_the_words_before_it() {
        let of = |text| EventType::parse(text).unwrap();
        for (pattern, kind, is) in [
            ("thing.sent", "thing.sent", true),
            ("thing.sent", "thing.sent.twice", false),
            ("thing.*", "thing.sent", true),
            ("thing.*", "thing.sent.twice", true),
            ("thing.*", "thing.", false),
            ("thing.*", "thing", false),
            ("thing.*", "things.sent", false),
            ("thing.*", "Thing.sent", false),
        ] {
            assert_eq!(of(pattern).is(kind), is, "{pattern} {kind}");
        }
        for (one, other, overlaps) in [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.*", true),
            ("a.*", "b.*", false),
            ("a.*", "a", false),
        ] {
            assert_eq!((of(one).overlaps(&of(other)), of(other).overlaps(&of(one))), (overlaps, overlaps));
        }
        for wrong in ["", " a", "a ", "a\n", "*", ".*", "a*", "a.*.b", "*.a", "a.**"] {
            assert!(EventType::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn two_that_mean_one_type_overlap(one in "[ab](\\.[ab]){0,2}(\\.\\*)?", other in "[ab](\\.[ab]){0,2}(\\.\\*)?", kind in "[ab](\\.[ab]){0,3}") {
            let (one, other) = (EventType::parse(&one).unwrap(), EventType::parse(&other).unwrap());
            prop_assert_eq!(EventType::parse(&one.to_string()), Ok(one.clone()));
            if one.is(&kind) && other.is(&kind) {
                prop_assert!(one.overlaps(&other));
            }
        }
    }
}
