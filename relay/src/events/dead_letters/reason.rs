//! Why an event became a dead letter.

/// Why an event became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The component answered with a status that no repetition changes.
    Refused,
    /// The component failed on it each time.
    Failed,
    /// It isn't an event.
    Malformed,
    /// It is larger than what the relay delivers.
    TooLarge,
    /// It was replayed, and Kafka had deleted its record, to which the letter referred.
    Deleted,
    /// Kafka's client can't read its record, such as one that is compressed by a codec that it doesn't know.
    Unreadable,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Refused, Self::Failed, Self::Malformed, Self::TooLarge, Self::Deleted, Self::Unreadable];

    /// As the header says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Deleted => "deleted",
            Self::Unreadable => "unreadable",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_names() {
        for reason in Reason::ALL {
            assert_eq!(Reason::of(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::of("x"), None);
    }
}
