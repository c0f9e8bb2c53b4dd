//! Why a token is not taken.

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is wrong, for good. The reason is for whoever sent it, and repeats nothing of the token.
    Invalid(&'static str),
    /// It names a key that its issuer did not have when the keys were read: it may have one now.
    UnknownKey,
}
