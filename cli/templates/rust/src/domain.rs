//! What a note is: pure rules, without I/O.

use serde::Serialize;
use towpath_sdk::{Fields, Id, Time, parse};

/// A note, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Its id.
    pub id: Id,
    /// What was written.
    pub text: String,
    /// When.
    pub written_at: Time,
    /// How many words it has: none until the event that it was written has come back.
    pub words: Option<i64>,
}

/// Reads the text of a new note from a request's body.
#[must_use]
pub fn text(fields: &Fields<'_>) -> Option<String> {
    fields.required("text", |value| parse::prose(value, 1..=1000))
}

/// How many words a text has.
#[must_use]
pub fn words(text: &str) -> i64 {
    i64::try_from(text.split_whitespace().count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted() {
        assert_eq!(words(""), 0);
        assert_eq!(words("  the towpath,\nat dawn "), 4);
    }
}
