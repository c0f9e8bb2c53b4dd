//! Fuzzing: every place that reads what somebody else wrote is tried with input that nobody thought of, and must keep its
//! promise: it refuses with a reason, or what it read reads back the same.
//!
//! The targets stand in `tests/fuzz/`, one function each; their corpora beside them, in
//! `tests/fuzz/__fuzz__/<module>__<target>/corpus/`: real requests, one a file. `cargo test -p towpath-fuzz` runs each
//! for half a second on any stable Rust: every file of the corpus as it is, then mutations of them ([`mutate`]).
//!
//! Longer, still on stable:
//!
//! ```text
//! BOLERO_RANDOM_TEST_TIME_MS=600000 cargo test --release -p towpath-fuzz relay::statement
//! ```
//!
//! Guided by coverage, with `cargo install cargo-bolero` and a nightly toolchain:
//!
//! ```text
//! cargo +nightly bolero test -p towpath-fuzz relay::statement
//! ```
//!
//! A failure prints `BOLERO_RANDOM_SEED=...`, which runs the one input again. What was found and mended stays: put the
//! input into the corpus.

use std::path::Path;

/// What stands in the corpus of a target, named as its folder.
///
/// # Panics
/// Where there is none: a target without real input tries little.
#[must_use]
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/__fuzz__").join(target).join("corpus");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.sort();
    let read = |file| std::fs::read(file).ok();
    let seeds: Vec<_> = files.into_iter().filter_map(read).collect();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    seeds
}

/// The most edits of one input: what is wrong in more places than this is mostly refused for the first.
const MOST_EDITS: usize = 8;

/// One of the seeds, changed as `program` says. Random bytes alone never get past a parser's first line; this keeps the
/// shape of real input and breaks it in a few places. `words` are what the format gives a meaning to.
#[must_use]
pub fn mutate(seeds: &[Vec<u8>], words: &[&str], program: &[u8]) -> Vec<u8> {
    let mut program = Program(program);
    let mut text = program.choose(seeds).cloned().unwrap_or_default();
    for _ in 0..program.below(MOST_EDITS) + 1 {
        let at = program.below(text.len() + 1);
        let until = (at + program.below(24)).min(text.len());
        match program.below(8) {
            0 if at < text.len() => text[at] = program.byte(),
            1 => text.insert(at, program.byte()),
            2 => drop(text.drain(at..until)),
            3 => {
                let piece = text[at..until].to_vec();
                let to = program.below(text.len() + 1);
                text.splice(to..to, piece);
            }
            4 => text.truncate(until),
            5 => {
                let other = program.choose(seeds).cloned().unwrap_or_default();
                let from = program.below(other.len() + 1);
                let to = (from + program.below(64)).min(other.len());
                text.splice(at..until, other[from..to].iter().copied());
            }
            _ => {
                let word = program.choose(words).copied().unwrap_or_default();
                text.splice(at..until, word.bytes());
            }
        }
    }
    text
}

/// Random bytes, read as decisions. Once they are used up every decision is the first.
struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, count: usize) -> usize {
        let number = usize::from(self.byte()) | usize::from(self.byte()) << 8;
        number % count.max(1)
    }

    fn choose<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        let at = self.below(from.len());
        from.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_followed() {
        let seeds = [b"abc".to_vec(), b"xyz".to_vec()];
        // Seed 1, one edit, at 1, until 1, an insertion, of a Q.
        assert_eq!(mutate(&seeds, &[], &[1, 0, 0, 0, 1, 0, 0, 0, 1, 0, b'Q']), b"xQyz");
        // Seed 0, one edit, at 0, until 2, a word, the second.
        assert_eq!(mutate(&seeds, &["!", "??"], &[0, 0, 0, 0, 0, 0, 2, 0, 7, 0, 1, 0]), b"??c");
        assert!(!mutate(&seeds, &[], &[]).is_empty());
    }
}
