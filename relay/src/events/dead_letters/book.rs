//! Which letters of a dead letter topic are open. Pure rules.
//!
//! A letter stays in the topic; another record behind it, which names its offset, says that it was settled. If a relay crashed
//! between writing a letter and committing its offset, the same event is there twice: it counts as one letter, and settling it
//! settles both.

use std::collections::{BTreeMap, HashMap};

use super::headers;
use super::letter::Letter;
use crate::events::number_ranges;
use crate::kafka::Record;

/// Names of the headers of a record that settles letters.
pub(super) const SETTLED: &str = "towpath-dlq-settled";
/// What was done with them: `replayed` or `dropped`.
pub(super) const ACTION: &str = "towpath-dlq-action";

/// One event, wherever it was written down.
pub(super) type Identity = (Option<String>, Option<String>, Option<String>, Option<String>);

/// What the record of an [`Identity`] and a record that settles letters say it by.
pub(super) const READ: [&str; 5] = [headers::TOPIC, headers::PARTITION, headers::OFFSET, "ce_id", SETTLED];

/// What a record of a dead letter topic is.
pub(super) enum Entry {
    /// A letter.
    Letter(Identity),
    /// Letters at these offsets are settled.
    Settles(Vec<i64>),
}

/// Tells a letter from a record that settles letters.
pub(super) fn entry(record: &Record) -> Entry {
    match record.header(SETTLED) {
        Some(settled) => Entry::Settles(number_ranges::decode(settled).unwrap_or_default()),
        None => Entry::Letter(identity(record)),
    }
}

/// The letters of one topic.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Open letters by the offset where they first stand.
    open: BTreeMap<i64, Letter>,
    /// Where each stands, all of it.
    places: BTreeMap<i64, Vec<i64>>,
    known: HashMap<Identity, i64>,
    /// The offset behind the last record that was read.
    end: i64,
}

impl Book {
    /// Reads the next record of the topic. Keeps a letter as `keep` leaves it.
    pub(super) fn read(&mut self, record: Record, keep: impl FnOnce(Letter) -> Letter) {
        let offset = record.offset;
        self.end = offset + 1;
        let identity = match entry(&record) {
            Entry::Settles(offsets) => return offsets.into_iter().for_each(|offset| self.close(offset)),
            Entry::Letter(identity) => identity,
        };
        match self.known.get(&identity) {
            Some(first) => self.places.entry(*first).or_default().push(offset),
            None => {
                self.known.insert(identity, offset);
                self.places.insert(offset, vec![offset]);
                self.open.insert(offset, keep(Letter::of(record)));
            }
        }
    }

    fn close(&mut self, offset: i64) {
        let Some(letter) = self.open.remove(&offset) else { return };
        self.places.remove(&offset);
        self.known.remove(&identity(&letter.record));
    }

    /// The open letters, in the order in which they were given up.
    pub(super) fn open(&self) -> impl Iterator<Item = &Letter> {
        self.open.values()
    }

    /// Where these letters stand, as a record that settles them says it.
    pub(super) fn places_of(&self, letters: &[Letter]) -> String {
        let places = letters.iter().filter_map(|letter| self.places.get(&letter.record.offset)).flatten();
        let mut all: Vec<i64> = places.copied().collect();
        all.sort_unstable();
        number_ranges::encode(&all)
    }

    /// The offset behind the last record that was read.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// Everything before this offset was read and is settled. What was written since the topic was read is behind it.
    pub(super) fn settled_before(&self) -> i64 {
        self.open.keys().next().copied().unwrap_or(self.end)
    }
}

fn identity(record: &Record) -> Identity {
    let header = |name| record.header(name).map(str::to_owned);
    (header(headers::TOPIC), header(headers::PARTITION), header(headers::OFFSET), header("ce_id"))
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;

    pub(in super::super) fn letter(offset: i64, origin: i64) -> Record {
        let header = |name: &str, value: String| (name.to_owned(), Some(Bytes::from(value)));
        record(offset, vec![header(headers::TOPIC, "t".into()), header(headers::OFFSET, origin.to_string())])
    }

    pub(in super::super) fn settles(offset: i64, letters: &str) -> Record {
        record(offset, vec![(SETTLED.into(), Some(Bytes::from(letters.to_owned())))])
    }

    fn record(offset: i64, headers: Vec<(String, Option<Bytes>)>) -> Record {
        Record { topic: "t.s.dlq".into(), partition: 0, offset, timestamp_ms: None, key: None, value: None, headers }
    }

    fn read(book: &mut Book, record: Record) {
        book.read(record, |letter| letter);
    }

    fn open(book: &Book) -> Vec<i64> {
        book.open().map(|letter| letter.record.offset).collect()
    }

    #[test]
    fn a_settled_letter_is_open_no_more() {
        let mut book = Book::default();
        [letter(0, 10), letter(1, 11), letter(2, 12), settles(3, "0,2"), letter(5, 13)]
            .into_iter()
            .for_each(|record| read(&mut book, record));
        assert_eq!((open(&book), book.settled_before()), (vec![1, 5], 1));
        [settles(6, "1-5"), settles(7, "nonsense"), settles(8, "99")]
            .into_iter()
            .for_each(|record| read(&mut book, record));
        assert_eq!(
            (open(&book), book.settled_before()),
            (vec![], 9),
            "a letter that lands at 9 meanwhile is not settled"
        );
    }

    #[test]
    fn an_event_that_was_written_twice_is_one_letter() {
        let mut book = Book::default();
        [letter(0, 10), letter(1, 11), letter(2, 10)].into_iter().for_each(|record| read(&mut book, record));
        assert_eq!(open(&book), [0, 1]);
        let first: Vec<Letter> = book.open().take(1).cloned().collect();
        assert_eq!(book.places_of(&first), "0,2");
        [settles(3, "0,2")].into_iter().for_each(|record| read(&mut book, record));
        assert_eq!(open(&book), [1]);
        // The same event may become a letter again, after it was replayed by hand.
        [letter(4, 10)].into_iter().for_each(|record| read(&mut book, record));
        assert_eq!(open(&book), [1, 4]);
    }
}
