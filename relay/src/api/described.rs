//! openapi.json states the limits that the code has. What the relay does at each of them, and beyond, the test program
//! `schemathesis` finds out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::OPENAPI;
use crate::config::Limits;
use crate::keys::MAX_ID_BYTES;
use crate::redis::rate_limit::MAX_PERIOD_MS;

/// The keywords that state a limit.
const KEYWORDS: [&str; 4] = ["maxLength", "maxItems", "maximum", "x-max-bytes"];

fn description() -> Value {
    serde_json::from_str(OPENAPI).expect("JSON")
}

/// A pattern for texts that have so many bytes at most: ASCII of that length, or a quarter of it of any character.
fn pattern(first: char, any: &str, bytes: u64) -> Value {
    let first = format!("\\u{:04x}", u32::from(first));
    format!("^([{first}-\\u007f]{{1,{bytes}}}|{any}{{1,{}}})$", bytes / 4).into()
}

/// Every object in a JSON value.
fn objects<'v>(value: &'v Value, found: &mut Vec<&'v serde_json::Map<String, Value>>) {
    match value {
        Value::Object(object) => {
            found.push(object);
            object.values().for_each(|value| objects(value, found));
        }
        Value::Array(array) => array.iter().for_each(|value| objects(value, found)),
        _ => {}
    }
}

#[test]
fn a_limit_of_the_configuration_stands_there_with_its_default() {
    let description = description();
    let mut found = Vec::new();
    objects(&description, &mut found);
    let mut seen = 0;
    for (object, name) in found.iter().filter_map(|object| Some((object, object.get("x-limit")?.as_str()?))) {
        let limit = Limits::ALL.iter().find(|(known, ..)| *known == name);
        let (_, default, ..) = limit.unwrap_or_else(|| panic!("there is no limits.{name}"));
        let stated: Vec<&Value> = KEYWORDS.iter().filter_map(|keyword| object.get(*keyword)).collect();
        assert!(!stated.is_empty(), "{name}: none of {KEYWORDS:?} states it");
        assert!(stated.iter().all(|stated| stated.as_u64() == Some(*default)), "{name} is {default}, not {stated:?}");
        if let Some(stated) = object.get("pattern") {
            assert_eq!(*stated, pattern('\0', "[\\s\\S]", *default), "{name}");
        }
        seen += 1;
    }
    assert!(seen > 15, "{seen}");
}

/// The names of limits in the calls that refuse what exceeds them.
fn refused() -> BTreeSet<String> {
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let mut paths = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut paths);
    let mut names = BTreeSet::new();
    for path in paths {
        let text = std::fs::read_to_string(path).expect("a source");
        for call in ["Failure::limit(", "at_most("] {
            let arguments = text.split(call).skip(1).map(str::trim_start);
            let first = arguments.filter_map(|arguments| Some(arguments.strip_prefix('"')?.split_once('"')?.0));
            let is_name = |text: &&str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            names.extend(first.filter(is_name).map(ToOwned::to_owned));
        }
    }
    names
}

#[test]
fn every_limit_by_which_a_request_is_refused_stands_there() {
    let description = description();
    let mut found = Vec::new();
    objects(&description, &mut found);
    let stated: BTreeSet<String> =
        found.iter().filter_map(|object| Some(object.get("x-limit")?.as_str()?.to_owned())).collect();
    let refused = refused();
    assert!(refused.len() > 8, "{refused:?}");
    let missing: Vec<&String> = refused.difference(&stated).collect();
    assert!(missing.is_empty(), "openapi.json doesn't state {missing:?}");
}

#[test]
fn the_limits_that_nobody_can_change_stand_there() {
    let schemas = &description()["components"]["schemas"];
    assert_eq!(schemas["Id"]["maxLength"], MAX_ID_BYTES);
    assert_eq!(schemas["Id"]["pattern"], pattern('\u{1}', "[^\\u0000]", MAX_ID_BYTES as u64));
    let bucket = &schemas["RateLimitRequest"]["properties"];
    assert_eq!(bucket["period_ms"]["maximum"], MAX_PERIOD_MS);
    for field in ["rate", "burst", "cost"] {
        assert_eq!(bucket[field]["maximum"], u32::MAX, "{field}");
    }
    let expect = &schemas["Expect"]["oneOf"];
    for (at, field) in ["exactly", "at_least"].into_iter().enumerate() {
        assert_eq!(expect[at]["properties"][field]["maximum"], u64::MAX, "{field}");
    }
}
