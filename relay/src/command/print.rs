//! What the subcommands print.
//!
//! Keys, types and data come from others: control characters, which could steer a terminal, are replaced.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

/// Writes data to stdout. A reader that closes the pipe (`| head`) is no error.
pub(super) fn out(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Rows in columns as wide as they must be; the first row has their names.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> anyhow::Result<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(text, "{}", cells.join("  ").trim_end())?;
    }
    Ok(text)
}

/// One line of JSON.
pub(super) fn line(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string(value)? + "\n")
}

/// Text of others, on one line.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The same, cut after so many characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    let text = shown(text);
    let cut = text.char_indices().nth(most).map(|(end, _)| format!("{}…", &text[..end]));
    cut.unwrap_or(text)
}
