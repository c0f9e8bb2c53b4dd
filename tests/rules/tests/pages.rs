//! What the pages name is there: files, folders, tests, links and the headings that they lead to. A reader who follows a name must not end in nothing.

#![allow(clippy::unwrap_used, reason = "a test that can't read its sources has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use towpath_rules::{files, none, root};

/// What recipes tell the reader to make, by the name that they give it as an example.
const MADE: [&str; 4] = ["shipping", "shipments", "V3__image_url", "migrations/parcel"];

/// Every page of the repository, by its path in it.
fn pages() -> Vec<(String, String)> {
    let found = files("", ".md");
    assert!(found.len() > 20, "{found:?}");
    found
}

/// The text without blocks of code, which show what a reader types and not what is there.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What stands between back quotes.
fn quoted(text: &str) -> Vec<String> {
    prose(text).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A name is a path from the repository's root, or from the folder of its page.
fn find(page: &str, name: &str) -> Option<PathBuf> {
    let root = root();
    [root.join(name), root.join(page).with_file_name("").join(name)].into_iter().find(|path| path.exists())
}

#[test]
fn every_test_that_a_page_names_exists() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for (page, text) in pages() {
        let names = quoted(&text);
        for (file, function) in names.iter().filter_map(|name| name.split_once(".rs::")) {
            seen += 1;
            let file = format!("{file}.rs");
            let code = find(&page, &file).and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
            // Fuzz targets are made by a macro that is given their name.
            if !code.contains(&format!("fn {function}(")) && !code.contains(&format!("{function}:")) {
                faults.push(format!("{page}: there is no {function} in {file}"));
            }
        }
    }
    assert!(seen > 40, "the pages name {seen} tests");
    none(&faults);
}

/// Recipes and tables name a test without its file.
#[test]
fn every_long_name_that_a_page_quotes_stands_in_the_code() {
    let is_name = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let is_long = |name: &str| name.matches('_').count() >= 3 && is_name(name);
    let code: Vec<String> =
        [".rs", ".sql", ".toml", ".json"].iter().flat_map(|end| files("", end)).map(|(_, text)| text).collect();
    let words = code.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let words: BTreeSet<&str> = words.filter(|word| is_long(word)).collect();
    let mut faults = Vec::new();
    let mut seen = 0;
    for (page, text) in pages() {
        for name in quoted(&text) {
            // Three dots stand for the rest of a name.
            let is_there = match name.strip_suffix("...") {
                Some(beginning) if is_long(beginning) => words.iter().any(|word| word.starts_with(beginning)),
                None if is_long(&name) => words.contains(&*name),
                _ => continue,
            };
            seen += 1;
            if !is_there {
                faults.push(format!("{page}: {name} is nowhere in the code"));
            }
        }
    }
    assert!(seen > 100, "the pages quote {seen} names");
    none(&faults);
}

#[test]
fn every_file_that_a_page_names_exists() {
    let folders =
        ["cli/", "components/", "docs/", "fuzz/", "host/", "infra/", "migrations/", "relay/", "tests/", ".ci/"];
    let mut faults = Vec::new();
    for (page, text) in pages() {
        for name in quoted(&text) {
            let path = name.split("::").next().unwrap_or_default();
            // A part in capitals, an angle bracket, a brace or a percent sign stands for whatever the reader puts there.
            let is_pattern = path.contains(['*', '<', '{', ' ', '$', '%'])
                || path.split(['/', '.']).any(|part| {
                    part.len() > 1 && part.bytes().all(|byte| byte.is_ascii_uppercase()) && part != "README"
                });
            let is_here = folders.iter().any(|folder| path.starts_with(folder));
            let is_made = MADE.iter().any(|made| path.contains(made));
            if is_here && !is_pattern && !is_made && find(&page, path).is_none() {
                faults.push(format!("{page}: {path} is not there"));
            }
        }
    }
    none(&faults);
}

#[test]
fn every_link_leads_somewhere() {
    let root = root();
    let mut faults = Vec::new();
    for (page, text) in pages() {
        let text = prose(&text);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            if !root.join(&page).with_file_name("").join(path).exists() {
                faults.push(format!("{page}: the link to {path} leads nowhere"));
            }
        }
    }
    none(&faults);
}

/// The names by which links lead to the headings of a page, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut times = BTreeMap::new();
    let text = prose(text);
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let name: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
        let before = times.entry(name.clone()).or_insert(0);
        *before += 1;
        if *before == 1 { name } else { format!("{name}-{}", *before - 1) }
    };
    headings.map(anchor).collect()
}

#[test]
fn every_heading_that_a_link_leads_to_exists() {
    let pages: BTreeMap<String, String> = pages().into_iter().collect();
    let root = root();
    let mut faults = Vec::new();
    let mut seen = 0;
    for (page, text) in &pages {
        let text = prose(text);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((path, anchor)) = link.split_once('#').filter(|_| !link.contains("://")) else { continue };
            seen += 1;
            let target = if path.is_empty() { root.join(page) } else { root.join(page).with_file_name("").join(path) };
            let target = target.canonicalize().unwrap_or_default();
            let target = target.strip_prefix(&root).unwrap_or(&target).to_string_lossy().into_owned();
            if !pages.get(&target).is_some_and(|text| anchors(text).contains(anchor)) {
                faults.push(format!("{page}: no heading is called {link}"));
            }
        }
    }
    assert!(seen > 5, "the pages have {seen} links to headings");
    none(&faults);
}
