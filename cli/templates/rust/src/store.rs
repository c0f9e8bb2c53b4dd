//! All SQL.

use serde_json::json;
use towpath_sdk::{Id, Query, RelayError, Row, UnitOfWork};

use crate::domain::Note;

/// Adds the step that inserts a note.
pub(crate) fn insert(unit: UnitOfWork, note: &Note) -> UnitOfWork {
    const SQL: &str = "INSERT INTO notes (id, text, written_at) VALUES ($1, $2, $3)";
    unit.step(SQL, [json!(note.id), json!(note.text), json!(note.written_at)])
}

/// Adds the step that writes down how many words a note has.
pub(crate) fn count(unit: UnitOfWork, id: Id, words: i64) -> UnitOfWork {
    unit.step("UPDATE notes SET words = $2 WHERE id = $1", [json!(id), json!(words)])
}

/// The note with this id.
pub(crate) fn by_id(id: Id) -> Query {
    Query::new("SELECT id, text, written_at, words FROM notes WHERE id = $1", [json!(id)])
}

/// The note with this id, once its words are counted.
pub(crate) fn counted(id: Id) -> Query {
    Query::new("SELECT id, text, written_at, words FROM notes WHERE id = $1 AND words IS NOT NULL", [json!(id)])
}

/// The note of a row.
pub(crate) fn note(row: Row<'_>) -> Result<Note, RelayError> {
    Ok(Note {
        id: row.get("id")?,
        text: row.get("text")?,
        written_at: row.get("written_at")?,
        words: row.get("words")?,
    })
}
