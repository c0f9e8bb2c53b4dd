//! An event is in Kafka if and only if its unit of work committed, once, and in the order of commits within its key.

use std::collections::{BTreeMap, HashMap};

use super::Promise;
use crate::evidence::{Evidence, Record, Said};

/// By topic and id.
type Index<'a, T> = HashMap<(&'a str, &'a str), Vec<&'a T>>;

fn rows(evidence: &Evidence) -> Index<'_, Said> {
    let mut index: Index<'_, Said> = HashMap::new();
    for row in evidence.said.values().flatten() {
        index.entry((&row.topic, &row.id)).or_default().push(row);
    }
    index
}

fn place(record: &Record) -> String {
    format!("{}/{}/{}", record.topic, record.partition, record.offset)
}

/// Every row of the outbox is in Kafka once, and nothing else is.
pub(super) fn published(evidence: &Evidence) -> Promise {
    let rows = rows(evidence);
    let mut records: Index<'_, Record> = HashMap::new();
    for record in &evidence.records {
        records.entry((&record.topic, &record.id)).or_default().push(record);
    }
    let checked = rows.values().flatten().filter(|row| row.of_the_run).count();
    let mut promise =
        Promise::new("every committed event is in Kafka exactly once, and no other is", checked, "events");
    for (event, rows) in &rows {
        let found = records.get(event).map_or(0, Vec::len);
        for row in rows.iter().filter(|row| row.of_the_run && found == 0) {
            let marked = if row.published { "not there, though its row is marked" } else { "not there" };
            promise.broken_by([&row.id, &row.key], format!("in {}", row.topic), marked);
        }
    }
    for (event, found) in &records {
        if found.len() > 1 {
            let places: Vec<String> = found.iter().map(|record| place(record)).collect();
            promise.broken_by(
                [event.1],
                "in Kafka once",
                format!("there {} times: {}", found.len(), places.join(", ")),
            );
        }
        if !rows.contains_key(event) {
            let seen = format!("{} holds it without one", place(found[0]));
            promise.broken_by([event.1, found[0].key.as_str()], "a row of the outbox", seen);
        }
    }
    promise.broken.sort_by(|one, other| one.ids.cmp(&other.ids));
    promise
}

/// Where order holds: topic, partition, key.
type Lane<'a> = (&'a str, i32, &'a str);

/// Within a key and a partition Kafka's order is that of the commits. (A key changes its partition only when somebody
/// adds partitions to its topic.)
pub(super) fn ordered(evidence: &Evidence) -> Promise {
    let rows = rows(evidence);
    let mut lanes: BTreeMap<Lane<'_>, Vec<(&Record, &Said)>> = BTreeMap::new();
    for record in &evidence.records {
        if let Some(row) = rows.get(&(record.topic.as_str(), record.id.as_str())).and_then(|rows| rows.first().copied())
        {
            lanes.entry((&record.topic, record.partition, &record.key)).or_default().push((record, row));
        }
    }
    let mut promise = Promise::new("the events of every key stand in the order of their commits", lanes.len(), "keys");
    for ((_, _, key), mut lane) in lanes {
        lane.sort_by_key(|(record, _)| record.offset);
        for pair in lane.windows(2) {
            let [(one, first), (two, second)] = pair else { continue };
            if first.seq > second.seq {
                promise.broken_by(
                    [key, one.id.as_str(), two.id.as_str()],
                    format!("{} ({}) before {} ({})", two.kind, second.seq, one.kind, first.seq),
                    format!("the other way round: {}, {}", place(one), place(two)),
                );
            }
        }
        if let Some((record, row)) = lane.iter().find(|(record, row)| record.key != row.key) {
            promise.broken_by([&record.id], format!("the key {}", row.key), format!("the key {}", record.key));
        }
    }
    promise
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Service;

    fn said(seq: i64, key: &str, id: &str) -> Said {
        let (topic, key, id) = ("order.events".into(), key.into(), id.into());
        Said { seq, topic, key, id, published: true, of_the_run: true }
    }

    fn record(offset: i64, key: &str, id: &str) -> Record {
        let (topic, key, id) = ("order.events".into(), key.into(), id.into());
        Record { topic, partition: 3, offset, key, id, ..Record::default() }
    }

    fn evidence(said: Vec<Said>, records: Vec<Record>) -> Evidence {
        Evidence { said: [(Service::Order, said)].into(), records, ..Evidence::default() }
    }

    fn all_is_well(evidence: &Evidence) -> bool {
        published(evidence).broken.is_empty() && ordered(evidence).broken.is_empty()
    }

    #[test]
    fn the_same_events_in_the_same_order_are_well() {
        let said = vec![said(1, "k", "a"), said(2, "l", "b"), said(3, "k", "c")];
        // Between keys there is no order.
        let records = vec![record(4, "l", "b"), record(5, "k", "a"), record(9, "k", "c")];
        let evidence = evidence(said, records);
        assert!(all_is_well(&evidence));
        assert_eq!((published(&evidence).checked, ordered(&evidence).checked), (3, 2));
    }

    #[test]
    fn an_event_that_is_missing_is_found_out() {
        let evidence = evidence(vec![said(1, "k", "a")], vec![]);
        assert_eq!(published(&evidence).broken[0].ids, ["a", "k"]);
    }

    #[test]
    fn an_event_that_is_there_twice_is_found_out() {
        let evidence = evidence(vec![said(1, "k", "a")], vec![record(1, "k", "a"), record(2, "k", "a")]);
        let promise = published(&evidence);
        assert_eq!(promise.broken[0].seen, "there 2 times: order.events/3/1, order.events/3/2");
    }

    #[test]
    fn an_event_that_nobody_committed_is_found_out() {
        let evidence = evidence(vec![], vec![record(1, "k", "a")]);
        assert_eq!(published(&evidence).broken[0].expected, "a row of the outbox");
    }

    #[test]
    fn events_of_one_key_in_the_wrong_order_are_found_out() {
        let evidence =
            evidence(vec![said(1, "k", "a"), said(2, "k", "b")], vec![record(1, "k", "b"), record(2, "k", "a")]);
        assert_eq!(published(&evidence).broken, []);
        assert_eq!(ordered(&evidence).broken[0].ids, ["k", "b", "a"]);
    }

    #[test]
    fn what_was_there_before_the_run_need_not_be_among_its_records() {
        let before = Said { of_the_run: false, ..said(1, "k", "a") };
        assert!(all_is_well(&evidence(vec![before.clone()], vec![])));
        assert!(all_is_well(&evidence(vec![before], vec![record(1, "k", "a")])));
    }

    #[test]
    fn an_event_under_another_key_is_found_out() {
        let evidence = evidence(vec![said(1, "k", "a")], vec![record(1, "l", "a")]);
        assert_eq!(ordered(&evidence).broken[0].expected, "the key k");
    }
}
