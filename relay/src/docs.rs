//! Holds the pages in docs/ that are about the relay against the code.
//!
//! docs/metrics.md and a part of docs/relay-toml.md are generated:
//! `TOWPATH_WRITE_DOCS=1 cargo test -p towpath-relay --lib docs` writes them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::config::{Limits, keys};
use crate::telemetry::metrics;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap_or_default()
}

/// Compares a page with what it should be, or writes it.
fn is_up_to_date(name: &str, wanted: &str) {
    if std::env::var_os("TOWPATH_WRITE_DOCS").is_some() {
        std::fs::write(root().join("docs").join(name), wanted).expect("the page can be written");
    }
    let command = "TOWPATH_WRITE_DOCS=1 cargo test -p towpath-relay --lib docs";
    assert!(page(name) == wanted, "docs/{name} is out of date; write it anew with: {command}");
}

#[test]
fn limits_md_names_every_limit() {
    let page = page("limits.md");
    let missing: Vec<&str> =
        Limits::ALL.iter().map(|(name, ..)| *name).filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/limits.md doesn't name {}", missing.join(", "));
}

#[test]
fn metrics_md_is_generated_from_the_code() {
    let mut text = String::from(
        "# Metrics of the relay\n\n\
         Served in Prometheus' format at `/metrics` on `relay.admin_listen`. Generated from `relay/src/telemetry/metrics.rs`; \
         a test holds it.\n\n\
         Every label is bounded: `service`, `timer` and `dependency` are names from relay.toml, `call` is an `operationId` of \
         `relay/openapi.json`, `code` a code of its problems. Requests that name no service have the `service` `none`, and those \
         that no path or method of the interface takes the `call` `none`.\n",
    );
    let mut last = "";
    for (group, _, kind, name, unit, labels, meaning) in metrics::ALL {
        if *group != last {
            let _ =
                write!(text, "\n## {group}\n\n| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
            last = group;
        }
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let unit = if *unit == "Seconds" { "seconds" } else { "" };
        let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {} | {meaning} |", labels.join(", "));
    }
    is_up_to_date("metrics.md", &text);
}

/// The calls of a macro in the relay's sources: the file, and what stands between the parentheses.
fn calls(macros: &[&str]) -> Vec<(String, String)> {
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let (mut paths, mut found) = (Vec::new(), Vec::new());
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut paths);
    for path in paths.iter().filter(|path| !path.ends_with("docs.rs") && !path.ends_with("telemetry/metrics.rs")) {
        let text = std::fs::read_to_string(path).expect("a source");
        for name in macros {
            for (at, _) in text.match_indices(name) {
                found.push((path.display().to_string(), arguments(&text[at + name.len()..]).to_owned()));
            }
        }
    }
    assert!(found.len() > 20, "the calls of {macros:?} are found");
    found
}

/// What stands before the parenthesis that closes a call.
fn arguments(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

#[test]
fn every_metric_that_is_recorded_is_described_with_its_labels() {
    let mut recorded = BTreeSet::new();
    for (file, call) in calls(&["counter!(", "gauge!(", "histogram!("]) {
        let constant = call.split(',').next().unwrap_or_default().trim().trim_start_matches("names::");
        let described = metrics::ALL.iter().find(|(_, name, ..)| *name == constant);
        let (.., labels, _) = described.unwrap_or_else(|| panic!("{file}: {constant} is not described"));
        // What stands before an arrow ends with a label.
        let mut parts: Vec<&str> = call.split("=>").collect();
        parts.pop();
        for part in parts {
            let label = part.trim_end().trim_end_matches('"').rsplit('"').next().unwrap_or_default();
            assert!(labels.contains(&label), "{file}: {constant} is recorded with the label {label}");
        }
        recorded.insert(constant.to_owned());
    }
    let unused: Vec<&str> =
        metrics::ALL.iter().map(|(_, name, ..)| *name).filter(|name| !recorded.contains(*name)).collect();
    assert!(unused.is_empty(), "described and never recorded: {}", unused.join(", "));
}

#[test]
fn operations_md_explains_every_warning_and_error() {
    let page = page("operations.md");
    let mut messages = BTreeSet::new();
    for (file, call) in calls(&["warn!(", "error!("]) {
        let message = call.trim_end().trim_end_matches(',').trim_end();
        let message = message.strip_suffix('"').and_then(|text| text.rsplit('"').next());
        let message = message.unwrap_or_else(|| panic!("{file}: a log line doesn't end with a literal: {call}"));
        assert!(!message.contains('{'), "{file}: the text of a log line doesn't change: {message}");
        messages.insert(message.to_owned());
    }
    let rows: BTreeSet<String> =
        page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once("` |")?.0.to_owned())).collect();
    let missing: Vec<&String> = messages.difference(&rows).collect();
    assert!(missing.is_empty(), "docs/operations.md has no row for {missing:?}");
    let gone: Vec<&String> = rows.difference(&messages).collect();
    assert!(gone.is_empty(), "docs/operations.md has rows for log lines that the relay doesn't write: {gone:?}");
}

#[test]
fn relay_toml_md_names_every_key() {
    let page = page("relay-toml.md");
    let mut missing = Vec::new();
    for key in keys() {
        let path = key.replace("services.alpha", "services.NAME").replace("topics.\"a.events\"", "topics.NAME");
        // An array of tables is read table by table.
        let path = path.replace("[0]", "").replace("[1]", "");
        let (section, key) = path.rsplit_once('.').unwrap_or(("", path.as_str()));
        let limits = section == "limits" || section == "services.NAME.limits";
        let is_table = page.contains(&format!("`[{path}]`")) || page.contains(&format!("`[[{path}]]`"));
        // Tables whose keys are not the relay's: settings of librdkafka and of topics.
        let free = ["kafka.properties.", "kafka.topics.NAME.settings."].iter().any(|table| path.starts_with(table));
        // `services.NAME` and `kafka.topics.NAME` are names, not keys.
        if limits || is_table || free || key == "NAME" || key == "services" || key == "topics" && section == "kafka" {
            continue;
        }
        let rows = page
            .split("\n## ")
            .find(|part| part.starts_with(&format!("`[{section}]`")) || part.starts_with(&format!("`[[{section}]]`")));
        if !rows.is_some_and(|rows| rows.contains(&format!("\n| `{key}` |"))) {
            missing.push(path);
        }
    }
    assert!(missing.is_empty(), "docs/relay-toml.md has no row for {}", missing.join(", "));
}

#[test]
fn relay_toml_md_lists_the_limits() {
    let (begin, end) = ("<!-- generated: limits -->\n", "<!-- end -->\n");
    let page = page("relay-toml.md");
    let (before, rest) = page.split_once(begin).expect("the mark where the limits begin");
    let (_, after) = rest.split_once(end).expect("the mark where they end");
    let mut table = String::from("| key | default | from | to | meaning |\n|---|---|---|---|---|\n");
    for (name, default, min, max, meaning) in Limits::ALL {
        let _ = writeln!(table, "| `{name}` | {default} | {min} | {max} | {} |", meaning.trim());
    }
    is_up_to_date("relay-toml.md", &format!("{before}{begin}{table}{end}{after}"));
}
