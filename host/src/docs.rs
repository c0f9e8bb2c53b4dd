//! Checks that the documentation names every limit and every warning of the host.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::Options;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A default value as the documentation writes it: `64KiB` is `64 KiB`, `2m` is `2 min`.
fn readable(default: &str) -> String {
    let digits = default.len() - default.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    match default.split_at(digits) {
        (number, "") => number.to_owned(),
        (number, "m") => format!("{number} min"),
        (number, unit) => format!("{number} {unit}"),
    }
}

#[test]
fn every_option_that_is_a_limit_is_in_the_table_of_limits_with_its_default() {
    let page = read(&repository().join("docs/limits.md"));
    let own = page.split_once("\n## Clients, at the edge").and_then(|(_, rest)| rest.split_once("\n## Services"));
    let (own, _) = own.expect("docs/limits.md has the host's tables, and the relay's after them");
    let mut checked = 0;
    for option in Options::command().get_arguments() {
        let Some(name) = option.get_long() else { continue };
        if !(name.starts_with("max-") || name.ends_with("-timeout") || name == "target-latency") {
            continue;
        }
        let default = option.get_default_values().first().expect("a limit has a default").to_string_lossy();
        let expected = format!("`--{name}`, {}", readable(&default));
        assert!(own.contains(&expected), "docs/limits.md does not say {expected}");
        checked += 1;
    }
    assert!(checked > 15, "only {checked} options are limits");
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The messages of the `warn!` and `error!` lines in a source text. A message is the last string literal of its macro.
fn messages(source: &str) -> Vec<String> {
    let calls = ["tracing::warn!(", "tracing::error!("];
    let calls = calls.iter().flat_map(|call| source.match_indices(call).map(|(at, call)| &source[at + call.len()..]));
    calls.map(message).collect()
}

/// The last string literal before the parenthesis that closes a call.
fn message(arguments: &str) -> String {
    let (mut message, mut depth, mut rest) = (None, 1, arguments);
    while let Some(at) = rest.find(['"', '(', ')']) {
        let (found, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = after;
        match found {
            b'(' => depth += 1,
            b')' if depth == 1 => break,
            b')' => depth -= 1,
            _ => {
                let (text, after) = rest.split_once('"').expect("a string literal ends");
                (message, rest) = (Some(text), after);
            }
        }
    }
    message.expect("a log line has a message").to_owned()
}

#[test]
fn every_warning_and_error_is_in_the_operations_page() {
    let page = read(&repository().join("docs/operations-host.md"));
    let documented: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).collect();
    let sources = sources(&repository().join("host/src"));
    let files = sources.iter().filter(|path| !path.ends_with("docs.rs"));
    let logged: Vec<_> = files.flat_map(|path| messages(&read(path))).collect();
    assert!(logged.len() > 10, "only {logged:?}");
    for message in &logged {
        assert!(!message.contains(['{', '\\']), "a message is stable, and fields hold what varies: {message}");
        assert!(
            documented.iter().any(|(documented, _)| documented == message),
            "docs/operations-host.md has no row for the log line {message:?}"
        );
    }
    for (documented, _) in documented {
        assert!(logged.iter().any(|message| message == documented), "nothing logs {documented:?}");
    }
}

#[test]
fn a_message_is_the_last_literal_of_its_macro() {
    let source = r#"tracing::warn!(a = f("x"), %b, "one"); tracing::error!("two (--flag)"); tracing::info!("three");"#;
    assert_eq!(messages(source), ["one", "two (--flag)"]);
}
