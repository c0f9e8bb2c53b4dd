//! Why a value can't be written or read.

/// Why a value doesn't fit, for the caller that sent it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

pub(super) fn unfit<T>(why: impl Into<String>) -> Result<T, Unfit> {
    Err(Unfit(why.into()))
}

/// A value that can't be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undecodable {
    /// Its bytes aren't what the type's binary format says: a fault of the relay or of the server.
    #[error("not the binary format of {0}")]
    Format(&'static str),
    /// PostgreSQL took it as JSON, but it can't become a value here.
    #[error("JSON that is nested deeper than 128 levels, or has half a surrogate pair")]
    Json,
}
