//! The list of events in `docs/events.md`, and the comparison of an event with its row.

use std::collections::BTreeSet;

use serde_json::Value;
use towpath_sdk::wire::Event;

const PAGE: &str = include_str!("../../../docs/events.md");
/// The columns of the list.
const COLUMNS: usize = 7;

/// A row of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documented {
    /// Its type.
    pub kind: String,
    /// Its topic.
    pub topic: String,
    /// The field of the data that is the record's key.
    pub key: String,
    /// The fields of its data; those of a list's items as `lines[].sku`.
    pub data: BTreeSet<String>,
    /// The service that publishes it.
    pub publisher: String,
    /// The services that subscribe to it.
    pub hearers: BTreeSet<String>,
}

/// Every row.
///
/// # Panics
/// Where a row can't be read.
#[must_use]
pub fn documented() -> Vec<Documented> {
    let rows = PAGE.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').collect();
        (cells.len() == COLUMNS && cells[0].contains('`')).then_some(cells)
    });
    rows.map(|cells| {
        let one = |at: usize| match names(cells[at]).as_slice() {
            [name] => name.clone(),
            names => panic!("docs/events.md: {:?} has {} names, not one", cells[at], names.len()),
        };
        assert!(!cells[COLUMNS - 1].trim().is_empty(), "docs/events.md: {} has no meaning", cells[0]);
        Documented {
            kind: one(0),
            topic: one(1),
            key: one(2),
            data: names(cells[3]).into_iter().collect(),
            publisher: one(4),
            hearers: names(cells[5]).into_iter().collect(),
        }
    })
    .collect()
}

/// The names in back quotes.
fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Compares an event with its row: topic, key and every field of the data.
///
/// # Panics
/// Where it differs, or has no row.
pub fn assert_documented(event: &Event) {
    let rows = documented();
    let row = rows.iter().find(|row| row.kind == event.kind);
    let row = row.unwrap_or_else(|| panic!("docs/events.md has no row for {}", event.kind));
    assert_eq!(event.topic, row.topic, "the topic of {}", event.kind);
    assert_eq!(event.data[&row.key], event.key.as_str(), "the key of {} is its {}", event.kind, row.key);
    assert_eq!(fields(&event.data), row.data, "the data of {}", event.kind);
}

/// The names of all fields; those of a list's items as `lines[].sku`.
fn fields(data: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, value) in data.as_object().expect("an event's data is an object") {
        match value.as_array() {
            Some(items) => {
                let of_items = items.iter().flat_map(fields);
                found.extend(of_items.map(|field| format!("{name}[].{field}")));
            }
            None => drop(found.insert(name.clone())),
        }
    }
    found
}
