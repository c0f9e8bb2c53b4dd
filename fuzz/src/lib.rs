#![doc = include_str!("../README.md")]

use std::path::Path;

/// The files in the corpus of a target, by the name of its folder.
///
/// # Panics
/// If there are none: a target without real input tests little.
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

/// Edits of one input. A parser mostly refuses an input for its first fault, so more edits test nothing more.
const MAX_EDITS: usize = 8;

/// Edits one of the seeds as `program` says. Random bytes alone never get past the first line of a parser; this keeps the
/// shape of real input and breaks it in a few places. It also inserts `words`, which have a meaning in the format.
#[must_use]
pub fn mutate(seeds: &[Vec<u8>], words: &[&str], program: &[u8]) -> Vec<u8> {
    let mut program = Program(program);
    let mut text = program.choose(seeds).cloned().unwrap_or_default();
    for _ in 0..program.below(MAX_EDITS) + 1 {
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

/// Random bytes, read as decisions. After the last byte, every decision is 0.
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
