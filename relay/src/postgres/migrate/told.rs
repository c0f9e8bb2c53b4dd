//! What PostgreSQL says of a statement that failed: all that helps a person, once.

use std::error::Error as _;
use std::fmt::Write as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, ErrorPosition};

/// PostgreSQL's own words where it has some, otherwise the driver's.
pub(super) fn cause(error: &Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{}{}", message(db), more(db)),
        None => match error.source() {
            // The driver's texts have their cause in them, or not.
            Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
            _ => error.to_string(),
        },
    }
}

/// The same of a statement in a file, with the place there. `end` is what became of it.
pub(super) fn in_file(error: &Error, file: &str, text: &str, end: &str) -> String {
    let Some(db) = error.as_db_error() else { return format!("{file}: {}{end}", cause(error)) };
    let place = match db.position() {
        Some(ErrorPosition::Original(position)) => Place::of(text, *position as usize),
        _ => None,
    };
    let Some(Place { line, column, text }) = place else {
        return format!("{file}: {}{end}{}", message(db), more(db));
    };
    let (head, number) = (format!("{file}:{line}:{column}: {}{end}", message(db)), line.to_string());
    let (margin, indent) = (" ".repeat(number.len()), " ".repeat(column - 1));
    format!("{head}\n{margin} |\n{number} | {text}\n{margin} | {indent}^{}", more(db))
}

fn message(db: &DbError) -> String {
    format!("{} (SQLSTATE {})", db.message(), db.code().code())
}

/// What it says beside its message, one line each.
fn more(db: &DbError) -> String {
    let internal = match db.position() {
        Some(ErrorPosition::Internal { query, .. }) => Some(query.as_str()),
        _ => None,
    };
    let said = [
        ("detail", db.detail()),
        ("hint", db.hint()),
        ("table", db.table()),
        ("column", db.column()),
        ("data type", db.datatype()),
        ("constraint", db.constraint()),
        ("in", internal),
        ("where", db.where_()),
    ];
    let mut text = String::new();
    for (name, said) in said {
        if let Some(said) = said {
            let _ = write!(text, "\n  {name}: {}", said.replace('\n', "\n    "));
        }
    }
    text
}

/// A place in a text.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    /// The line, without tabs, which nobody knows the width of.
    text: std::borrow::Cow<'a, str>,
}

impl<'a> Place<'a> {
    /// PostgreSQL counts characters, from 1.
    fn of(text: &'a str, position: usize) -> Option<Self> {
        let before = text.char_indices().nth(position.checked_sub(1)?).map_or(text.len(), |(index, _)| index);
        let start = text[..before].rfind('\n').map_or(0, |end| end + 1);
        let line = text[start..].lines().next().unwrap_or_default();
        Some(Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[start..before].chars().count() + 1,
            text: if line.contains('\t') { line.replace('\t', " ").into() } else { line.into() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_line_and_a_column() {
        let text = "SELECT 1;\n\tSELECT 'ü', x;\r\nSELECT y";
        let place =
            |position| Place::of(text, position).map(|place| (place.line, place.column, place.text.into_owned()));
        assert_eq!(place(1), Some((1, 1, "SELECT 1;".to_owned())));
        assert_eq!(place(23), Some((2, 13, " SELECT 'ü', x;".to_owned())));
        assert_eq!(place(35), Some((3, 8, "SELECT y".to_owned())));
        assert_eq!(place(10_000).map(|(line, ..)| line), Some(3), "the end, where it lacks something");
        assert_eq!(place(0), None);
    }
}
