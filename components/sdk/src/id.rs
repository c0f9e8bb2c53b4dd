//! Ids: UUIDv7, made by the component. They sort by the time at which they were made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A UUID in its hyphenated form.
///
/// ```
/// use towpath_sdk::Id;
///
/// let id = Id::new();
/// assert!(Id::new() > id);
/// assert_eq!(id.to_string().parse(), Ok(id));
/// assert!("7".parse::<Id>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(Uuid);

/// It isn't a UUID in its hyphenated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl Id {
    /// A new one, larger than every one that this instance made before.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that differs each time would surprise")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a UUID")
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        // With the braced, URN and bare forms too, a resource would have several URLs.
        let hyphenated = text.len() == 36;
        hyphenated.then(|| Uuid::parse_str(text).ok()).flatten().map(Self).ok_or(NotAnId)
    }
}

impl TryFrom<String> for Id {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl From<Id> for serde_json::Value {
    fn from(id: Id) -> Self {
        Self::String(id.to_string())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow() {
        let ids: Vec<_> = (0..1000).map(|_| Id::new()).collect();
        assert!(ids.is_sorted());
        assert!(ids.windows(2).all(|pair| pair[0].to_string() < pair[1].to_string()));
    }

    #[test]
    fn an_id_has_one_form() {
        let text = "0190a5e4-7b3a-7c5d-8e9f-0123456789ab";
        assert_eq!(text.parse::<Id>().map(|id| id.to_string()), Ok(text.into()));
        assert_eq!(text.to_uppercase().parse::<Id>().map(|id| id.to_string()), Ok(text.into()));
        for wrong in ["", "0190a5e47b3a7c5d8e9f0123456789ab", "{0190a5e4-7b3a-7c5d-8e9f-0123456789ab}", "x"] {
            assert_eq!(wrong.parse::<Id>(), Err(NotAnId), "{wrong}");
        }
    }
}
