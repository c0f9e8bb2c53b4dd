//! What the subcommands print.
//!
//! Keys, types and data come from others: control characters, which could steer a terminal, are replaced.

use std::collections::{BTreeMap, BTreeSet};
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

/// So many of something: `1 letter`, `2 letters`.
pub(super) fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// What was done in each service, to those with these ids. `one` names one of them.
pub(super) fn done(ids: &[(&str, &str)], done: &str, one: &str, json: bool) -> anyhow::Result<String> {
    let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (service, id) in ids {
        services.entry(service).or_default().push(id);
    }
    let mut text = String::new();
    for (service, ids) in services {
        if json {
            let said = serde_json::json!({"service": service, "action": done, "count": ids.len(), "ids": ids});
            text.push_str(&line(&said)?);
        } else {
            writeln!(text, "{service}: {} {done}", count(ids.len(), one))?;
        }
    }
    Ok(text)
}

/// Of the ids that were asked for, those that aren't there, as a list in words; `None` if all are.
pub(super) fn missing<'a>(
    wanted: impl IntoIterator<Item = &'a String>,
    there: impl IntoIterator<Item = &'a String>,
) -> Option<String> {
    let there: BTreeSet<&String> = there.into_iter().collect();
    let missing: Vec<&str> = wanted.into_iter().filter(|id| !there.contains(id)).map(String::as_str).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}
