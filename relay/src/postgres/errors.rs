//! What PostgreSQL's errors mean for the caller and for the relay.

use deadpool::managed::{PoolError, TimeoutType};
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, ErrorPosition, Severity, SqlState};
use towpath_wire::{Code, Fault};

use super::pool::NoConnection;
use crate::failure::Failure;

/// What stopped a statement or a transaction.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Contention: a serialization failure or a deadlock. A retry may succeed.
    Contention(Failure),
    /// A lock wasn't free within `lock_timeout`. It may be if more time is given.
    Locked(Failure),
    /// The connection broke, the server is no longer the primary, or it refused to begin: nothing was committed. The
    /// connection is closed. A retry on another one may succeed.
    Lost(Failure),
    /// The schema changed under a prepared statement. It works once prepared anew.
    Stale(Failure),
    /// The claim on the event id or the idempotency key failed.
    Claimed(Claim),
    /// Anything else: a retry doesn't help.
    Failed(Failure),
}

/// Why a claim failed, as the errors of the functions in the schema `towpath` say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A duplicate: a unit of work with this event id in its inbox has committed.
    EventDuplicate,
    /// A duplicate: a unit of work with this idempotency key and request hash has committed.
    RequestDuplicate,
    /// A unit of work with this idempotency key and another request hash has committed.
    KeyReused,
    /// A unit of work with this idempotency key has not ended yet.
    KeyInFlight,
}

impl Trouble {
    /// Reads an error of the driver.
    #[must_use]
    pub(crate) fn of(error: Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self::of_server(&db.clone(), error),
            // Parameters are encoded before they reach the driver, so what is left is the connection.
            None => Self::Lost(Failure::unavailable("PostgreSQL", error)),
        }
    }

    fn of_server(db: &DbError, error: Error) -> Self {
        if let Some(claim) = claim(db.code()) {
            return Self::Claimed(claim);
        }
        let code = db.code();
        if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
            let mut failure = Failure::unavailable("PostgreSQL's primary", error);
            failure.problem.sqlstate = Some(code.code().to_owned());
            return Self::Lost(failure);
        }
        if is_loss(db) {
            return Self::Lost(Failure::unavailable("PostgreSQL", error));
        }
        let failure = |kind, detail: &str| {
            let mut failure = Failure::new(kind, detail);
            failure.problem.sqlstate = Some(code.code().to_owned());
            failure
        };
        if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code) {
            let detail = "Others worked on the same rows at every try";
            return Self::Contention(failure(Code::Contention, detail).because(error));
        }
        if *code == SqlState::FEATURE_NOT_SUPPORTED && db.routine() == Some("RevalidateCachedQuery")
            || *code == SqlState::INVALID_SQL_STATEMENT_NAME
        {
            // Told only if the relay's own retries met one change after the other: a later request meets none.
            return Self::Stale(failure(Code::Contention, "The schema changed at every try").because(error));
        }
        if *code == SqlState::LOCK_NOT_AVAILABLE {
            let detail = "A lock wasn't free in time (limits.lock_timeout_ms)";
            // A statement with NOWAIT is refused elsewhere: its caller wants no more time.
            let is_timeout = db.routine() == Some("ProcessInterrupts");
            let failure = failure(Code::Contention, detail).because(error);
            return if is_timeout { Self::Locked(failure) } else { Self::Failed(failure) };
        }
        if *code == SqlState::QUERY_CANCELED {
            let detail = "The statement took longer than limits.statement_timeout_ms";
            return Self::Failed(failure(Code::StatementTimeout, detail).because(error));
        }
        Self::Failed(refused(db, failure))
    }

    /// What a read is told: one that tries to write is refused, whoever else could write on this connection.
    #[must_use]
    pub(crate) fn of_a_read(self) -> Self {
        match self {
            Self::Lost(failure)
                if failure.problem.sqlstate.as_deref() == Some(SqlState::READ_ONLY_SQL_TRANSACTION.code()) =>
            {
                let mut refused =
                    Failure::new(Code::StatementRefused, "A query can't write; send writes to /v1/transactions");
                refused.problem.sqlstate = Some(SqlState::READ_ONLY_SQL_TRANSACTION.code().to_owned());
                Self::Failed(refused.because(failure))
            }
            trouble => trouble,
        }
    }

    /// What BEGIN is told: whatever the server said to it, no transaction is open and the statements behind it ran in
    /// a session that can't write. So another connection may be tried.
    #[must_use]
    pub(crate) fn of_begin(self) -> Self {
        match self {
            Self::Lost(failure) => Self::Lost(failure),
            trouble => Self::Lost(Failure::unavailable("PostgreSQL", trouble.into_failure())),
        }
    }

    /// What one of the relay's own statements is told: that it is refused is never the caller's fault, who would
    /// give an event up for it.
    #[must_use]
    pub(crate) fn of_the_relay(self, detail: &str) -> Self {
        match self {
            Self::Failed(failure) if failure.code().fault() == Fault::Caller => {
                let mut unavailable = Failure::new(Code::Unavailable, detail);
                unavailable.problem.sqlstate.clone_from(&failure.problem.sqlstate);
                Self::Failed(unavailable.because(failure))
            }
            trouble => trouble,
        }
    }

    /// Whether the statement may work once it is prepared anew: what a change of the schema does to a statement that
    /// was prepared before it. PostgreSQL says so plainly only where the result changed; where a parameter's type
    /// doesn't fit any longer, or the type itself is gone, it says what it would say of a wrong statement (class 42), or
    /// that its catalogues disagree (XX000). Privileges (42501) are checked at each run, so they are told as they are.
    #[must_use]
    pub(crate) fn may_be_stale(&self) -> bool {
        match self {
            Self::Stale(_) => true,
            Self::Failed(failure) => failure.problem.sqlstate.as_deref().is_some_and(|code| {
                code.starts_with("42") && code != SqlState::INSUFFICIENT_PRIVILEGE.code()
                    || code == SqlState::INTERNAL_ERROR.code()
            }),
            _ => false,
        }
    }

    /// A statement that returns a type without a form in JSON.
    #[must_use]
    pub(crate) fn unsupported(what: String) -> Self {
        Self::Failed(Failure::new(Code::StatementRefused, what))
    }

    /// A state that can't occur.
    #[must_use]
    pub(crate) fn impossible() -> Self {
        Self::Failed(Failure::internal(anyhow::anyhow!("a statement was prepared and not found")))
    }

    /// The same, with its failure changed.
    #[must_use]
    pub(crate) fn map(self, change: impl FnOnce(Failure) -> Failure) -> Self {
        match self {
            Self::Contention(failure) => Self::Contention(change(failure)),
            Self::Locked(failure) => Self::Locked(change(failure)),
            Self::Lost(failure) => Self::Lost(change(failure)),
            Self::Stale(failure) => Self::Stale(change(failure)),
            Self::Failed(failure) => Self::Failed(change(failure)),
            Self::Claimed(claim) => Self::Claimed(claim),
        }
    }

    /// What the caller gets if the relay doesn't retry.
    #[must_use]
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Contention(failure)
            | Self::Locked(failure)
            | Self::Lost(failure)
            | Self::Stale(failure)
            | Self::Failed(failure) => failure,
            Self::Claimed(claim) => Failure::internal(anyhow::anyhow!("an unexpected claim: {claim:?}")),
        }
    }
}

fn claim(code: &SqlState) -> Option<Claim> {
    match code.code() {
        "TP001" => Some(Claim::EventDuplicate),
        "TP002" => Some(Claim::RequestDuplicate),
        "TP003" => Some(Claim::KeyReused),
        "TP004" => Some(Claim::KeyInFlight),
        _ => None,
    }
}

/// Whether an answer to COMMIT says that the transaction was rolled back. An error that ends the connection says
/// nothing of it.
#[must_use]
pub(crate) fn is_rolled_back(error: &Error) -> bool {
    error.as_db_error().is_some_and(|db| db.parsed_severity() == Some(Severity::Error))
}

/// Whether the server closed the connection with this error, or refused it.
fn is_loss(db: &DbError) -> bool {
    let code = db.code().code();
    matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        || code.starts_with("08")
        || matches!(code, "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "53300")
}

/// The server refused the statement or a value. The caller gets its message, which is about the caller's own statement; the
/// DETAIL, which can quote rows, goes to the log.
fn refused(db: &DbError, failure: impl Fn(Code, &str) -> Failure) -> Failure {
    let code = db.code().code();
    let at_parameter = db.where_().and_then(parameter_of);
    let kind = match code {
        _ if code.starts_with("23") => Code::ConstraintViolation,
        // The value was refused when it was read, before the statement ran; or it was too long for its column.
        _ if at_parameter.is_some() || code == "22001" => Code::InvalidParameter,
        _ if code.starts_with("53") || code.starts_with("58") || code.starts_with("XX") => Code::Unavailable,
        _ => Code::StatementFailed,
    };
    let detail = match kind {
        Code::Unavailable => "PostgreSQL failed; the relay's log says why".to_owned(),
        _ => sentence(db.message()),
    };
    let mut failure = failure(kind, &detail);
    failure.problem.parameter = at_parameter;
    failure.problem.constraint = db.constraint().map(ToOwned::to_owned);
    if kind.fault() == Fault::Caller {
        failure.problem.column = db.column().map(ToOwned::to_owned);
        failure.problem.hint = db.hint().map(ToOwned::to_owned);
        failure.problem.position = db.position().and_then(|position| match position {
            ErrorPosition::Original(position) => Some(*position),
            // In a function's text, which the caller hasn't sent.
            ErrorPosition::Internal { .. } => None,
        });
    }
    let more = db.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
    failure.because(anyhow::anyhow!("SQLSTATE {code}: {}{more}", db.message()))
}

/// PostgreSQL's message as a sentence.
fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// The parameter that a context such as `unnamed portal parameter $2 = '...'` names.
fn parameter_of(context: &str) -> Option<usize> {
    let line = context.lines().find(|line| line.contains("portal"))?;
    let digits = &line[line.find('$')? + 1..];
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// Why there is no connection.
#[must_use]
pub(super) fn no_connection(error: PoolError<NoConnection>) -> Failure {
    match error {
        PoolError::Timeout(TimeoutType::Wait) => {
            Failure::new(Code::Overloaded, "No connection to the database was free in time (limits.pool_wait_ms)")
        }
        PoolError::Closed => Failure::new(Code::ShuttingDown, "The relay is stopping"),
        PoolError::Backend(error @ NoConnection::Standby) => Failure::unavailable("PostgreSQL's primary", error),
        PoolError::Backend(error) => Failure::unavailable("PostgreSQL", error),
        error => Failure::unavailable("PostgreSQL", anyhow::anyhow!("no connection in time: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_read_from_the_context() {
        for (context, parameter) in [
            ("unnamed portal parameter $2 = 'x'", Some(2)),
            ("unnamed portal parameter $12", Some(12)),
            ("JSON data, line 1: {\nunnamed portal parameter $1", Some(1)),
            ("portal \"p\" parameter $3", Some(3)),
            ("PL/pgSQL function f(text) line 3 at RAISE", None),
            ("SQL statement \"SELECT $1\"", None),
        ] {
            assert_eq!(parameter_of(context), parameter, "{context}");
        }
    }
}
