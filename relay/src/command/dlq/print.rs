//! Letters as lines and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::command::print::{cut, line, shown, table};
use crate::events::dead_letters::{Letter, Reason};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

/// `list` shows this much of a key, a type or a detail; `show` shows all.
const MAX_CELL_CHARS: usize = 80;

/// One letter without its event.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    service: &'a str,
    event_id: Option<&'a str>,
    key: Option<&'a str>,
    r#type: Option<&'a str>,
    reason: Option<&'static str>,
    detail: &'a str,
    attempts: u32,
    status: Option<u16>,
    time: Option<String>,
    origin: &'a str,
    replays: u32,
    /// Where the whole event stands, if the letter refers to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    /// How many bytes it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

impl<'a> Line<'a> {
    fn of(letter: &'a Letter) -> Self {
        Self {
            id: &letter.id,
            service: &letter.service,
            event_id: letter.event_id.as_deref(),
            key: letter.key.as_deref(),
            r#type: letter.event_type.as_deref(),
            reason: letter.reason.map(Reason::as_str),
            detail: &letter.detail,
            attempts: letter.attempts,
            status: letter.status,
            time: letter.time.map(|time| time.to_string()),
            origin: &letter.origin,
            replays: letter.replays,
            record: letter.refers_to.as_ref().map(ToString::to_string),
            bytes: letter.bytes,
        }
    }
}

/// All of a letter.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    line: Line<'a>,
    headers: BTreeMap<&'a str, Option<String>>,
    #[serde(flatten)]
    data: BTreeMap<&'static str, Value>,
}

/// A table, or a JSON object per line.
pub(super) fn list(letters: &[Letter], json: bool) -> anyhow::Result<String> {
    if json {
        return letters.iter().map(|letter| line(&Line::of(letter))).collect();
    }
    if letters.is_empty() {
        return Ok(String::new());
    }
    let mut rows = vec![["ID", "REASON", "TRIES", "TIME", "KEY", "TYPE", "DETAIL"].map(str::to_owned)];
    rows.extend(letters.iter().map(row));
    table(&rows)
}

fn row(letter: &Letter) -> [String; 7] {
    let or_dash = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), short);
    let tries = match letter.replays {
        0 => letter.attempts.to_string(),
        replays => format!("{} (replay {replays})", letter.attempts),
    };
    let detail = match letter.bytes {
        Some(bytes) => format!("[{bytes} bytes] {}", letter.detail),
        None => letter.detail.clone(),
    };
    [
        shown(&letter.id),
        letter.reason.map_or("-", Reason::as_str).to_owned(),
        tries,
        letter.time.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}")),
        or_dash(letter.key.as_deref()),
        or_dash(letter.event_type.as_deref()),
        short(&detail),
    ]
}

/// As much of a text as a table has room for.
fn short(text: &str) -> String {
    cut(text, MAX_CELL_CHARS)
}

/// All of each letter, for a person or as a JSON object per line.
pub(super) fn whole(letters: &[Letter], json: bool) -> anyhow::Result<String> {
    if json {
        return letters.iter().map(|letter| line(&whole_of(letter))).collect();
    }
    let mut text = String::new();
    for (number, letter) in letters.iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        writeln!(text, "{}", shown(&letter.id))?;
        let reason = letter.reason.map_or("-", Reason::as_str);
        writeln!(text, "  {:8} {reason}: {}", "reason", shown(&letter.detail))?;
        let time = letter.time.map_or_else(|| "-".to_owned(), |time| time.to_string());
        writeln!(text, "  {:8} {} at {time}, replayed {} before", "tries", letter.attempts, letter.replays)?;
        writeln!(text, "  {:8} {}", "origin", shown(&letter.origin))?;
        writeln!(text, "  {:8} {}", "key", letter.key.as_deref().map_or_else(|| "-".to_owned(), shown))?;
        for (name, value) in headers(letter) {
            writeln!(text, "  {}: {}", shown(name), value.as_deref().map_or_else(|| "-".to_owned(), shown))?;
        }
        if let Some(record) = &letter.refers_to {
            let bytes = letter.bytes.unwrap_or_default();
            writeln!(
                text,
                "  {:8} not in the letter: {bytes} bytes, in the record {}",
                "data",
                shown(&record.to_string())
            )?;
        }
        for value in data(letter).values() {
            let pretty = match value {
                Value::String(text) => text.lines().map(shown).collect::<Vec<_>>().join("\n"),
                value => serde_json::to_string_pretty(value)?,
            };
            writeln!(text, "{pretty}")?;
        }
    }
    Ok(text)
}

fn whole_of(letter: &Letter) -> Whole<'_> {
    Whole { line: Line::of(letter), headers: headers(letter), data: data(letter) }
}

fn headers(letter: &Letter) -> BTreeMap<&str, Option<String>> {
    let owned = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    letter.record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref().map(owned))).collect()
}

/// As a CloudEvent in JSON has it: `data` where it is JSON or text, else `data_base64`.
fn data(letter: &Letter) -> BTreeMap<&'static str, Value> {
    let Some(value) = letter.record.value.as_deref() else { return BTreeMap::new() };
    let data = match (serde_json::from_slice(value), std::str::from_utf8(value)) {
        (Ok(json), _) => ("data", json),
        (Err(_), Ok(text)) => ("data", Value::String(text.to_owned())),
        (Err(_), Err(_)) => ("data_base64", Value::String(STANDARD.encode(value))),
    };
    BTreeMap::from([data])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Record;
    use bytes::Bytes;

    fn letter(value: &'static [u8]) -> Letter {
        let record = Record {
            topic: "t.s.dlq".into(),
            partition: 0,
            offset: 7,
            timestamp_ms: None,
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(value)),
            headers: vec![("ce_id".into(), Some(Bytes::from_static(b"e-1"))), ("empty".into(), None)],
        };
        Letter {
            id: "t.s.dlq/7".into(),
            service: "s".into(),
            reason: Some(Reason::Failed),
            detail: format!("500: \x1b[31m{}", "x".repeat(200)),
            attempts: 5,
            status: Some(500),
            time: "2026-08-23T10:00:00.5Z".parse().ok(),
            origin: "t/0/3".into(),
            replays: 1,
            key: Some("k".into()),
            event_id: Some("e-1".into()),
            event_type: None,
            refers_to: None,
            bytes: None,
            record,
        }
    }

    #[test]
    fn the_table_is_one_line_per_letter_and_steers_no_terminal() {
        let text = list(&[letter(b"{}")], false).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[1].starts_with("t.s.dlq/7  failed  5 (replay 1)  2026-08-23T10:00:00Z  k    -     500: "),
            "{text}"
        );
        assert!(lines[1].ends_with('…') && !text.contains('\x1b'), "{text:?}");
        assert_eq!(list(&[], false).unwrap(), "");
    }

    #[test]
    fn the_json_has_what_is_documented() {
        let json: Value = serde_json::from_str(&list(&[letter(b"{}")], true).unwrap()).unwrap();
        let names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut wanted = [
            "id", "service", "event_id", "key", "type", "reason", "detail", "attempts", "status", "time", "origin",
            "replays",
        ];
        let mut names = names.clone();
        names.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        assert_eq!((&json["reason"], &json["status"]), (&"failed".into(), &500.into()));
    }

    #[test]
    fn a_letter_that_refers_to_its_record_says_where_it_is_and_how_large() {
        let mut letter = letter(b"");
        letter.record.value = None;
        (letter.refers_to, letter.bytes) = ("t/0/3".parse().ok(), Some(5_242_880));
        let table = list(&[letter.clone()], false).unwrap();
        assert!(table.contains("[5242880 bytes] 500: "), "{table}");
        let text = whole(&[letter.clone()], false).unwrap();
        assert!(text.contains("data     not in the letter: 5242880 bytes, in the record t/0/3"), "{text}");
        let json: Value = serde_json::from_str(&whole(&[letter], true).unwrap()).unwrap();
        assert_eq!((&json["record"], &json["bytes"]), (&"t/0/3".into(), &5_242_880.into()));
        assert!(json.get("data").is_none(), "{json}");
    }

    #[test]
    fn a_whole_letter_has_its_data_as_it_is() {
        let json = |value| serde_json::from_str::<Value>(&whole(&[letter(value)], true).unwrap()).unwrap();
        assert_eq!(json(b"{\"n\": 12345678901234567890}")["data"]["n"].to_string(), "12345678901234567890");
        assert_eq!(json(b"plain")["data"], "plain");
        assert_eq!(json(b"\xff")["data_base64"], "/w==");
        assert_eq!(json(b"{}")["headers"], serde_json::json!({"ce_id": "e-1", "empty": null}));
        let text = whole(&[letter(b"{\"n\":1}")], false).unwrap();
        for part in ["reason   failed: 500", "replayed 1 before", "origin   t/0/3", "  ce_id: e-1", "  \"n\": 1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
