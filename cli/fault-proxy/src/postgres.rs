//! PostgreSQL's [frontend protocol](https://www.postgresql.org/docs/current/protocol-message-formats.html), as far as a
//! statements can be recognised in it. Without TLS, in which nothing can be.

use std::io;

use crate::Protocol;
use crate::protocol::length;

/// PostgreSQL: every message of the client is a request.
#[derive(Debug)]
pub enum Postgres {}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The statement of a simple query; empty for every other message.
    pub sql: String,
    /// The statement that it has the server prepare; empty for every other message.
    pub prepares: String,
    /// Whether the transaction, if one is open, was begun as one that only reads.
    pub reads_only: bool,
}

impl Message {
    /// Whether it ends a transaction that may have written something.
    #[must_use]
    pub fn commits(&self) -> bool {
        self.sql.eq_ignore_ascii_case("COMMIT") && !self.reads_only
    }
}

/// Where a connection stands.
#[derive(Debug, Default)]
pub struct State {
    /// After the startup message every message begins with its type.
    started: bool,
    reads_only: bool,
}

/// The type of a simple query.
const QUERY: u8 = b'Q';
/// The type of a request to prepare a statement: its name, then its text.
const PARSE: u8 = b'P';
/// The major version in a startup message. Requests for encryption and to cancel have other numbers there.
const VERSION: &[u8] = &[0, 3];

impl Protocol for Postgres {
    type Request = Message;
    type State = State;

    fn request(state: &mut State, bytes: &[u8]) -> io::Result<Option<(usize, Message)>> {
        let kind = if state.started { 1 } else { 0 };
        let Some(length) = length(bytes.get(kind..).unwrap_or_default(), 4)? else { return Ok(None) };
        let Some(message) = bytes.get(..kind + length) else { return Ok(None) };
        let body = &message[kind + 4..];
        let text = |at: usize| {
            let text = body.split(|byte| *byte == 0).nth(at).unwrap_or_default();
            String::from_utf8_lossy(text).trim().trim_end_matches(';').to_owned()
        };
        let (mut sql, mut prepares) = (String::new(), String::new());
        if !state.started {
            state.started = body.starts_with(VERSION);
        } else if message[0] == QUERY {
            sql = text(0);
            if sql.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("BEGIN")) {
                state.reads_only = sql.to_ascii_uppercase().contains("READ ONLY");
            }
        } else if message[0] == PARSE {
            prepares = text(1);
        }
        Ok(Some((message.len(), Message { sql, prepares, reads_only: state.reads_only })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        kind.into_iter().chain(length).chain(body.iter().copied()).collect()
    }

    fn query(sql: &str) -> Vec<u8> {
        message(Some(QUERY), format!("{sql}\0").as_bytes())
    }

    /// All messages of a stream that arrives byte by byte.
    fn read(stream: &[u8]) -> Vec<Message> {
        let (mut state, mut from, mut messages) = (State::default(), 0, Vec::new());
        for to in 1..=stream.len() {
            if let Some((length, message)) = Postgres::request(&mut state, &stream[from..to]).unwrap() {
                messages.push(message);
                from += length;
            }
        }
        assert_eq!(from, stream.len(), "nothing is left over");
        messages
    }

    fn startup() -> Vec<u8> {
        message(None, b"\0\x03\0\0user\0a\0\0")
    }

    #[test]
    fn a_commit_is_told_from_what_only_looks_like_one() {
        let stream = [
            // May we encrypt? No.
            message(None, &80_877_103_u32.to_be_bytes()),
            startup(),
            query("BEGIN"),
            message(Some(b'P'), b"\0COMMIT\0\0\0"),
            query("SELECT 'COMMIT'"),
            query("commit;"),
        ];
        let commits: Vec<bool> = read(&stream.concat()).iter().map(Message::commits).collect();
        assert_eq!(commits, [false, false, false, false, false, true]);
    }

    #[test]
    fn a_statement_that_is_prepared_is_seen_and_never_a_commit() {
        let messages = read(&[startup(), message(Some(b'P'), b"s1\0SELECT 1;\0\0\0")].concat());
        assert_eq!((messages[1].prepares.as_str(), messages[1].sql.as_str()), ("SELECT 1", ""));
        assert!(messages[0].prepares.is_empty() && !messages[1].commits());
    }

    #[test]
    fn the_end_of_a_read_is_no_commit() {
        let stream = [startup(), query("BEGIN READ ONLY"), query("COMMIT"), query("BEGIN"), query("COMMIT")];
        let commits: Vec<bool> = read(&stream.concat()).iter().map(Message::commits).collect();
        assert_eq!(commits, [false, false, false, false, true]);
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error() {
        assert!(Postgres::request(&mut State::default(), &[0, 0, 0, 3]).is_err());
        assert!(Postgres::request(&mut State::default(), &[0xff; 4]).is_err());
    }
}
