//! The log files of parts. Each child appends to its file itself, so nothing is lost when the supervisor dies.
pub(crate) mod rotation;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::clock;

/// How much of the end is read to find the last lines.
const MAX_TAIL_BYTES: u64 = 64 * 1024;

/// Opens a part's log for its next run, and tells where that run begins in it.
pub(crate) fn open(path: &Path, name: &str) -> Result<(File, u64)> {
    rotation::bound(path)?;
    let mut file = append(path)?;
    writeln!(file, "--- towpath starts {name} at {}", clock::now())?;
    let from = file.seek(SeekFrom::End(0))?;
    Ok((file, from))
}

/// Opens a log to write to its end, wherever that is when something is written: it may be emptied meanwhile.
pub(crate) fn append(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    opened.with_context(|| format!("cannot open {}", path.display()))
}

/// The end of what was written after `from`. A log that is shorter was emptied since then, and all of it came after.
fn tail(path: &Path, from: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let from = if from > length { 0 } else { from };
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(MAX_TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(MAX_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// The last lines that were written after `from`, each with its beginning alone where it is long.
pub(crate) fn last_lines(path: &Path, from: u64, count: usize) -> Vec<String> {
    let text = tail(path, from);
    let mut lines: Vec<String> =
        text.lines().rev().filter(|line| !line.trim().is_empty()).take(count).map(shortened).collect();
    lines.reverse();
    lines
}

/// What was said last after `from`, for a person.
pub(crate) fn last_said(path: &Path, from: u64) -> Option<String> {
    tail(path, from).lines().rfind(|line| !line.trim().is_empty()).map(|line| shortened(&in_words(line)))
}

/// A line of relay or host without what is for programs: when, how grave, where in the code. Lines of others stay as they are.
fn in_words(line: &str) -> String {
    const FOR_PROGRAMS: [&str; 6] = ["timestamp", "level", "message", "target", "span", "spans"];
    const LEVELS: [&str; 4] = ["ERROR", "WARN", "INFO", "DEBUG"];
    if let Ok(Value::Object(fields)) = serde_json::from_str(line)
        && let Some(message) = fields.get("message").and_then(Value::as_str)
    {
        let others = fields.iter().filter(|(name, _)| !FOR_PROGRAMS.contains(&name.as_str()));
        let others = others.map(|(name, value)| format!("{name}={value}"));
        return [message.to_owned()].into_iter().chain(others).collect::<Vec<_>>().join(" ");
    }
    let mut words = line.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(time), Some(level), Some(target))
            if time.ends_with('Z') && LEVELS.contains(&level) && target.ends_with(':') =>
        {
            line.split_once(target).map_or(line, |(_, said)| said.trim()).to_owned()
        }
        _ => line.to_owned(),
    }
}

/// The last lines, without those of a Java stack trace: what went wrong stands above them.
pub(crate) fn last_words(path: &Path, from: u64, count: usize) -> Vec<String> {
    const MAX_FRAMES: usize = 200;
    let is_frame = |line: &String| line.trim_start().starts_with("at ") && line.starts_with([' ', '\t']);
    let mut lines = last_lines(path, from, count + MAX_FRAMES);
    lines.retain(|line| !is_frame(line));
    lines.split_off(lines.len().saturating_sub(count))
}

fn shortened(line: &str) -> String {
    const MAX_LINE_CHARS: usize = 300;
    match line.char_indices().nth(MAX_LINE_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use towpath_stack::testing::TempDir;

    #[test]
    fn the_last_words_of_java_are_no_stack_trace() {
        let folder = TempDir::new();
        let path = folder.path().join("kafka.log");
        let frames = "\tat org.apache.kafka.X.y(X.java:1)\n".repeat(40);
        fs::write(&path, format!("starting\njava.lang.RuntimeException: no room\n{frames}\n")).unwrap();
        assert_eq!(last_words(&path, 0, 6), ["starting", "java.lang.RuntimeException: no room"]);
        assert_eq!(last_words(&path, 0, 1), ["java.lang.RuntimeException: no room"]);
    }

    #[test]
    fn only_the_last_lines_of_the_last_run_are_shown() {
        let folder = TempDir::new();
        let path = folder.path().join("x.log");
        fs::write(&path, "an old run\n").unwrap();
        let (mut file, from) = open(&path, "x").unwrap();
        assert_eq!(last_lines(&path, from, 5), Vec::<String>::new());
        let other = folder.path().join("other.log");
        open(&other, "other").unwrap();
        assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o077, 0, "a log is its owner's");
        for number in 1..=7 {
            writeln!(file, "line {number}\n").unwrap();
        }
        assert_eq!(last_lines(&path, from, 2), ["line 6", "line 7"]);
        assert!(fs::read_to_string(&path).unwrap().starts_with("an old run\n--- towpath starts x at "));
    }

    #[test]
    fn a_log_that_was_emptied_meanwhile_still_has_its_last_lines() {
        let folder = TempDir::new();
        let path = folder.path().join("x.log");
        fs::write(&path, "x".repeat(1000)).unwrap();
        let (mut file, from) = open(&path, "x").unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        writeln!(file, "the last word").unwrap();
        assert_eq!(last_lines(&path, from, 5), ["the last word"]);
    }

    #[test]
    fn what_relay_and_host_say_is_told_in_words() {
        let relay = r#"{"timestamp":"2026-11-30T19:02:29Z","level":"INFO","message":"created the topic","topic":"a","target":"x::y"}"#;
        let host = "2026-11-30T19:02:16.002968Z  INFO towpath_host::engine: compiling a component bytes=7";
        let folder = TempDir::new();
        let path = folder.path().join("x.log");
        for (line, said) in [
            (relay, "created the topic topic=\"a\""),
            (host, "compiling a component bytes=7"),
            ("LOG:  database system is ready", "LOG:  database system is ready"),
            ("{\"no\": \"message\"}", "{\"no\": \"message\"}"),
        ] {
            fs::write(&path, format!("before\n{line}\n\n")).unwrap();
            assert_eq!(last_said(&path, 0).unwrap(), said);
        }
    }

    #[test]
    fn a_missing_log_has_no_lines_and_long_lines_are_cut() {
        let folder = TempDir::new();
        assert_eq!(last_lines(&folder.path().join("none"), 0, 5), Vec::<String>::new());
        assert_eq!(shortened(&"é".repeat(400)).chars().count(), 301);
    }
}
