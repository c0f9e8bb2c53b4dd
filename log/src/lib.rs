#![doc = include_str!("../README.md")]

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// What is escaped beyond ASCII: the controls of ISO 6429, and Unicode's format characters (category Cf) and separators of
/// lines and paragraphs, by Unicode 16.
const UNSEEN: &[(u32, u32)] = &[
    (0x7F, 0x9F),
    (0xAD, 0xAD),
    (0x600, 0x605),
    (0x61C, 0x61C),
    (0x6DD, 0x6DD),
    (0x70F, 0x70F),
    (0x890, 0x891),
    (0x8E2, 0x8E2),
    (0x180E, 0x180E),
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE007F),
];

fn is_unseen(letter: char) -> bool {
    let number = u32::from(letter);
    UNSEEN.iter().any(|(first, last)| (*first..=*last).contains(&number))
}

/// The text with its unseen characters as JSON escapes them. The controls of ASCII stay: whoever formats the line escapes
/// those, and makes colours of them.
///
/// ```
/// assert_eq!(towpath_log::escaped("a\u{202e}b \u{9b}31m"), r"a\u202eb \u009b31m");
/// assert_eq!(towpath_log::escaped("Käse 🧀\n"), "Käse 🧀\n");
/// ```
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.contains('\x7f') || !text.chars().any(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_unseen(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

/// Writes whole lines with [`escaped`] characters.
#[derive(Debug)]
pub struct Lines<W>(pub W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(escaped(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_hides_is_shown_by_its_number() {
        for letter in
            ['\u{7f}', '\u{9b}', '\u{85}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{2028}', '\u{feff}', '\u{ad}']
        {
            assert_eq!(escaped(&format!("a{letter}b")), format!("a\\u{:04x}b", u32::from(letter)));
        }
        assert_eq!(escaped("\u{e0041}"), "\\udb40\\udc41", "beyond the first plane, as JSON writes it");
    }

    #[test]
    fn what_people_write_stays() {
        for text in ["plain", "Grüße, 東京, हिन्दी, עברית, é", "tab\tline\n", "\u{1b}[31mred\u{1b}[0m", "🧀"]
        {
            assert!(matches!(escaped(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn a_line_is_written_whole() {
        let mut out = Lines(Vec::new());
        out.write_all("{\"message\":\"\u{202e}\"}\n".as_bytes()).expect("a vector takes all");
        assert_eq!(String::from_utf8(out.0), Ok("{\"message\":\"\\u202e\"}\n".to_owned()));
    }
}
