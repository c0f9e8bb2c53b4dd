//! What stands in which file.

#![allow(clippy::unwrap_used, reason = "a test that can't read its sources has failed")]

use std::fs;
use std::path::PathBuf;

use towpath_rules::{files, none, root};

/// A file that is longer asks to be two.
const MAX_LINES: usize = 500;
/// Words of the one application that this repository brings: the relay carries any. "Order" is told from the order of things by
/// [`names_an_order`].
const BUSINESS: &[&str] = &[
    "basket",
    "baskets",
    "checkout",
    "customer",
    "customers",
    "inventory",
    "orders",
    "payment",
    "payments",
    "product",
    "products",
    "refund",
    "refunds",
    "sku",
    "skus",
    "stock",
    "stripe",
];
/// What the relay's folder has beside Rust that people read.
const TEXTS: &[&str] = &[".rs", ".md", ".json", ".toml", ".sql", ".lua"];

/// All Rust files below a folder of the repository, by their path in it.
fn sources(below: &str) -> Vec<(String, String)> {
    files(below, ".rs")
}

#[test]
fn a_module_is_laid_out_as_a_file_beside_its_folder() {
    let wrong = |path: &String| path.ends_with("/mod.rs") && path.contains("/src/");
    let faults: Vec<String> = sources("").into_iter().map(|(path, _)| path).filter(wrong).collect();
    none(&faults);
}

#[test]
fn no_file_is_longer_than_a_reader_likes() {
    let long = sources("").into_iter().filter(|(_, text)| text.lines().count() > MAX_LINES);
    none(
        &long
            .map(|(path, text)| format!("{path}: {} lines, {MAX_LINES} at most", text.lines().count()))
            .collect::<Vec<_>>(),
    );
}

/// In code, comments, names of things in quotes, paths and topics: `order_id` and `/v1/orders` count too.
#[test]
fn the_relay_has_no_word_of_the_application() {
    let mut faults = Vec::new();
    for (path, text) in TEXTS.iter().flat_map(|end| files("relay", end)) {
        for (number, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric());
            let mut found: Vec<&str> =
                words.filter(|word| BUSINESS.contains(&word.to_ascii_lowercase().as_str())).collect();
            found.extend(names_an_order(line).then_some("order"));
            faults.extend(found.iter().map(|word| format!("{path}:{}: {word}: {}", number + 1, line.trim())));
        }
    }
    none(&faults);
}

/// Whether "order" is what somebody buys, not a sequence: it stands for itself in quotes, begins a text as the name of
/// somebody who says something, is a part of a name with dots, slashes or hyphens, has an id, or is decided or placed.
fn names_an_order(line: &str) -> bool {
    let quote = |c: char| matches!(c, '"' | '\'' | '`' | '\\');
    let joint = |c: char| matches!(c, '.' | '/' | '-' | '@');
    let lower = line.to_ascii_lowercase();
    lower.match_indices("order").any(|(at, word)| {
        let before = lower[..at].chars().next_back();
        let after = &lower[at + word.len()..];
        let mut next = after.chars();
        let (first, second) = (next.next(), next.next());
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') || first.is_some_and(char::is_alphanumeric) {
            return false;
        }
        let begins = before.is_some_and(|c| quote(c) || joint(c));
        let goes_on = first.is_some_and(joint) && second.is_some_and(char::is_alphanumeric);
        let ends = first.is_some_and(quote) || after.starts_with(": ");
        let happens =
            ["_id", "'s", " is placed", " is decided", " is paid", " is confirmed", " is shipped", " is cancelled"];
        begins && ends || goes_on || before.is_some_and(joint) || happens.iter().any(|what| after.starts_with(what))
    })
}

#[test]
fn an_order_that_is_bought_is_told_from_one_that_is_kept() {
    for bought in [
        "such as `order.outbox`",
        r#"section.required("user", "\"order\"")"#,
        r#"["component.order", "kafka"]"#,
        r#"context("order: connection refused")"#,
        "// as soon as the order is decided",
        "GET /v1/order",
        "topic = 'order-events'",
        "WHERE order_id = $1",
        "What an order's history says",
        "Order.events",
    ] {
        assert!(names_an_order(bought), "{bought}");
    }
    for kept in [
        "commit order per key.",
        "In this order: consumers and timers begin nothing new",
        "SELECT 1 ORDER BY key",
        r#""description": "The parameters, in order.""#,
        r#"assert!(sorted, "not in order")"#,
        "in_order(KEYS, 3)",
        "mod order;",
        "the order is kept",
        "fn order_per_key_is_the_commit_order()",
        "// No border.",
    ] {
        assert!(!names_an_order(kept), "{kept}");
    }
}

/// The pure rules of a service can be read, and tested, without anything that reaches the world.
#[test]
fn rules_of_a_domain_do_no_io() {
    let rules = |path: &str| path.ends_with("/domain.rs") || path.contains("/domain/");
    let mut faults = Vec::new();
    for (path, text) in sources("components").into_iter().filter(|(path, _)| rules(path)) {
        if path.ends_with("/tests.rs") {
            continue;
        }
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let io = [
            "spin_sdk",
            "std::fs",
            "std::net::Tcp",
            "std::net::Udp",
            "std::env",
            "std::io",
            "std::process",
            "std::thread",
            "SystemTime",
            "Instant",
            "Time::now",
            "Id::new",
            "rand::",
            ".await",
            "sdk::relay",
            "sdk::outbound::send",
            "sdk::serve",
        ];
        faults.extend(io.iter().filter(|word| text.contains(**word)).map(|word| format!("{path}: {word}")));
    }
    none(&faults);
}

/// Whoever looks for a bound looks for `MAX_` and `MIN_`: no other word of a name says so, and a constant whose doc begins as a
/// bound's is called as one.
#[test]
fn bounds_are_called_so() {
    let mut faults = Vec::new();
    for (path, text) in sources("") {
        let mut doc = String::new();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if let Some(more) = line.strip_prefix("///") {
                doc.push_str(more);
                continue;
            }
            if let Some((name, kind)) = constant(line)
                && !is_called_as_a_bound(name, kind, &doc)
            {
                faults.push(format!("{path}:{}: {name}: a bound is called MAX_... or MIN_...", number + 1));
            }
            if !line.starts_with("#[") {
                doc.clear();
            }
        }
    }
    none(&faults);
}

/// The name of a constant, and its type with what follows.
fn constant(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.split_once("const ")?;
    let (name, kind) = after.split_once(": ")?;
    let is_visibility = before.is_empty() || before.starts_with("pub");
    (is_visibility && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .then_some((name, kind))
}

fn is_called_as_a_bound(name: &str, kind: &str, doc: &str) -> bool {
    const WORDS: &[&str] = &[
        "MOST", "LEAST", "LARGEST", "LONGEST", "SHORTEST", "SMALLEST", "FEWEST", "BOUND", "CAP", "CEILING", "MAX",
        "MIN",
    ];
    if name.starts_with("MAX_") || name.starts_with("MIN_") {
        return true;
    }
    let is_number = ["usize", "u64", "u32", "u16", "u8", "i64", "i32", "f64"].iter().any(|of| kind.starts_with(of));
    if !is_number && !kind.starts_with("Duration") {
        return true;
    }
    let says = ["The most", "The largest", "The longest", "At most", "The least", "The fewest", "The shortest"];
    let doc = doc.trim_start();
    let is_bound = name.split('_').any(|word| WORDS.contains(&word))
        || ["LIMIT", "BATCH", "BURST"].contains(&name)
        || says.iter().any(|begin| doc.starts_with(begin))
        || is_number && doc.contains("at most");
    !is_bound
}

#[test]
fn a_bound_is_told_from_other_constants() {
    let is = |line: &str, doc: &str| {
        let (name, kind) = constant(line).expect("a constant");
        is_called_as_a_bound(name, kind, doc)
    };
    assert!(is("pub(crate) const MAX_TRIES: u32 = 3;", "The most tries."));
    assert!(is("const PATIENCE: Duration = Duration::from_secs(8);", "How long a server may take to answer."));
    assert!(is("const LEAST: &str = \"[relay]\";", "The least that a configuration has."));
    for line in ["const LARGEST: usize = 1;", "pub const WAIT_MAX: Duration = WEEK;", "const BATCH: usize = 256;"] {
        assert!(!is(line, ""), "{line}");
    }
    assert!(!is("const TRIES: u32 = 3;", "The most tries if the relay is not reachable."));
    assert!(!is("const ADDED_BYTES: usize = 64;", "What a dead letter adds to its event, at most."));
    assert_eq!(constant("pub(crate) const fn new(first: Duration) -> Self {"), None);
}

/// Waits that double have a place on each side that may not depend on another: the relay, the SDK, the command.
#[test]
fn nobody_doubles_a_wait_by_hand() {
    const PLACES: &[&str] = &["cli/stack/src/backoff.rs", "components/sdk/src/relay/retry.rs", "relay/src/backoff.rs"];
    let doubles = |line: &str| ["*= 2;", "mul(1 <<", "* 2).min("].iter().any(|by| line.contains(by));
    let mut faults = Vec::new();
    for (path, text) in sources("") {
        let found: Vec<usize> =
            text.lines().enumerate().filter(|(_, line)| doubles(line)).map(|(number, _)| number + 1).collect();
        if PLACES.contains(&&*path) == found.is_empty() && path != "tests/rules/tests/sources.rs" {
            faults.push(format!("{path}: lines {found:?}: waits double in {PLACES:?}, and only there"));
        }
    }
    none(&faults);
}

/// Somebody who knows one service finds the same thing in the next.
#[test]
fn every_service_has_the_same_rooms() {
    let root = root();
    let mut faults = Vec::new();
    let services: Vec<PathBuf> =
        fs::read_dir(root.join("components")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let is_service = |path: &&PathBuf| !["identity", "sdk", "testing"].iter().any(|library| path.ends_with(library));
    for service in services.iter().filter(is_service) {
        let name = service.file_name().unwrap().to_string_lossy();
        let mut rooms = vec!["README.md", "src/lib.rs", "src/domain.rs", "tests/refusals.rs"];
        if root.join("migrations").join(&*name).exists() {
            rooms.extend(["src/store.rs", "src/events.rs", "src/read.rs"]);
        }
        let missing = rooms.iter().filter(|room| !service.join(room).exists());
        faults.extend(missing.map(|room| format!("components/{name}/{room} is missing")));
        let wiring = fs::read_to_string(service.join("src/lib.rs")).unwrap();
        let work = ["Response::", "json!", "Problem::unavailable", "UnitOfWork", "Query::", "SELECT "];
        let found = work.iter().filter(|word| wiring.contains(**word));
        faults
            .extend(found.map(|word| format!("components/{name}/src/lib.rs: {word}: lib.rs only routes to handlers")));
    }
    let hears = fs::read_to_string(root.join("relay.toml")).unwrap();
    let hears: toml::Table = hears.parse().unwrap();
    for (name, service) in hears["services"].as_table().unwrap() {
        let subscribes = service.get("subscriptions").is_some();
        if subscribes != root.join("components").join(name).join("src/hear.rs").exists() {
            faults.push(format!(
                "components/{name}/src/hear.rs stands where relay.toml has subscriptions, and only there"
            ));
        }
    }
    none(&faults);
}

/// Where a README lists the modules of its crate, it lists all of them.
#[test]
fn a_readme_that_lists_modules_names_every_one() {
    let root = root();
    let mut faults = Vec::new();
    for krate in ["cli/stack", "components/gateway", "relay"] {
        let readme = fs::read_to_string(root.join(krate).join("README.md")).unwrap();
        for entry in fs::read_dir(root.join(krate).join("src")).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            let Some(module) = name.strip_suffix(".rs") else { continue };
            if !["lib", "main", "docs"].contains(&module) && !readme.contains(&format!("`{module}`")) {
                faults.push(format!("{krate}/README.md doesn't name {module}"));
            }
        }
    }
    none(&faults);
}
