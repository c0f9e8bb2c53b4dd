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
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Refused, Self::Failed, Self::Malformed];

    /// As the header says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
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
