//! Which statements are allowed: one SELECT, INSERT, UPDATE, DELETE, MERGE or VALUES, with or without WITH.
//!
//! The decision is made on the text, before anything reaches PostgreSQL, so the text is taken apart exactly as
//! PostgreSQL's scanner does it: nested comments, dollar quotes and escape strings can hide nothing from it. It is the
//! first of two walls. The second is the role: it owns nothing, may create nothing, and can't execute what changes
//! settings, so that even a statement that slipped through could do no more than read and write its own tables. What a
//! function that the service's owner made does inside is the owner's affair.

mod assignment;
pub(crate) mod functions;
mod scan;

use towpath_wire::Code;

use crate::config::Limits;
use crate::failure::{Failure, at_most};
use scan::{Scanner, Token};

pub use assignment::{Assignment, Column};

/// What a statement is, by its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// SELECT or VALUES.
    Select,
    /// INSERT, UPDATE, DELETE or MERGE.
    Write,
    /// WITH: may read or write.
    With,
}

/// Why a statement is refused, for the caller that sent it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::new(Code::StatementRefused, refused.to_string())
    }
}

const ALLOWED: &str = "allowed are SELECT, INSERT, UPDATE, DELETE, MERGE and VALUES, with or without WITH";

/// Refuses what isn't allowed.
///
/// # Errors
/// Why it is refused.
pub fn check(sql: &str) -> Result<Verb, Refused> {
    let tokens = tokens(sql)?;
    let verb = verb(&tokens)?;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Word("into") if !into_is_harmless(&tokens[..at]) => {
                return Err(Refused("SELECT INTO creates a table; write INSERT INTO ... SELECT".into()));
            }
            Token::Word("towpath") => return Err(foreign_schema()),
            Token::Quoted(name) if name == "towpath" => return Err(foreign_schema()),
            Token::Unicode => {
                return Err(Refused(
                    "identifiers and strings with U& escapes aren't allowed; write them plainly".into(),
                ));
            }
            _ => {}
        }
    }
    if let Some(name) = functions::find(&tokens) {
        return Err(Refused(format!(
            "{name}() isn't for statements: what it does outlives the unit of work, or is out of the relay's sight"
        )));
    }
    if functions::writes_settings(&tokens) {
        return Err(Refused("a change of pg_settings outlives the unit of work".into()));
    }
    Ok(verb)
}

/// Refuses a statement that is too long or has too many parameters.
///
/// # Errors
/// `limit_exceeded`, with the name of the limit.
pub(crate) fn check_size(limits: &Limits, sql: &str, parameters: usize) -> Result<(), Failure> {
    if sql.len() > limits.statement_bytes {
        let detail = format_args!("The statement has {} bytes", sql.len());
        return Err(Failure::limit("statement_bytes", limits.statement_bytes, detail));
    }
    at_most("parameters", limits.parameters, parameters)
}

/// The parameters that a statement stores unchanged, each with its column.
#[must_use]
pub fn assignments(sql: &str) -> Vec<Assignment> {
    tokens(sql).map(|tokens| assignment::find(&tokens)).unwrap_or_default()
}

/// Refuses what isn't a read by its first word. A data-modifying WITH is left to the read-only transaction.
///
/// # Errors
/// Why it is refused.
pub fn check_read(sql: &str) -> Result<Verb, Refused> {
    let verb = check(sql)?;
    if verb == Verb::Write {
        return Err(Refused(
            "a query is one SELECT or VALUES, with or without WITH; writes go to /v1/transactions".into(),
        ));
    }
    Ok(verb)
}

fn foreign_schema() -> Refused {
    Refused("the schema towpath is the relay's own; its functions aren't for statements".into())
}

/// All tokens of the one statement, without the semicolons that may end it.
fn tokens(sql: &str) -> Result<Vec<Token<'_>>, Refused> {
    if sql.contains('\0') {
        return Err(Refused("the text holds a NUL".into()));
    }
    let mut tokens = Vec::new();
    let mut ended = false;
    for token in Scanner::new(sql) {
        match token.map_err(|what| Refused(format!("the text ends inside {what}")))? {
            Token::Punct(b';') => ended = true,
            _ if ended => return Err(Refused("more than one statement; give each a step of its own".into())),
            token => tokens.push(token),
        }
    }
    Ok(tokens)
}

fn verb(tokens: &[Token<'_>]) -> Result<Verb, Refused> {
    match tokens.iter().find(|token| **token != Token::Punct(b'(')) {
        None => Err(Refused(format!("the statement is empty; {ALLOWED}"))),
        Some(Token::Word("select" | "values")) => Ok(Verb::Select),
        Some(Token::Word("with")) => Ok(Verb::With),
        Some(Token::Word("insert" | "update" | "delete" | "merge")) if !matches!(tokens[0], Token::Punct(_)) => {
            Ok(Verb::Write)
        }
        Some(token) => Err(Refused(match token {
            Token::Word(word) => format!("{} isn't allowed; {ALLOWED}", word.to_uppercase()),
            Token::Name(word) => format!("{} isn't allowed; {ALLOWED}", word.to_uppercase()),
            _ => format!("it doesn't begin as a statement does; {ALLOWED}"),
        })),
    }
}

/// Whether INTO after these tokens belongs to INSERT or MERGE, or is a column's name (`AS into`, `t.into`).
fn into_is_harmless(before: &[Token<'_>]) -> bool {
    matches!(before.last(), Some(Token::Word("insert" | "merge" | "as") | Token::Punct(b'.')))
}

#[cfg(test)]
mod tests;
