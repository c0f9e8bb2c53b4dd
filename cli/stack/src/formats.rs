//! Values as other programs' formats write them: one function for each format. A value that a format can't hold is refused
//! before it gets here: see [`Home::resolve`](crate::home::Home::resolve) and [`Secrets`](crate::secrets::Secrets).
use std::path::Path;

/// A word of a POSIX shell: what a hint says can be pasted. It has no NUL character.
#[must_use]
pub fn shell(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

/// A value of a Java properties file, as `Properties.load(InputStream)` reads it: that takes bytes as ISO 8859-1, so
/// everything beyond ASCII is written as UTF-16 escapes.
#[must_use]
pub fn properties(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (place, character) in value.chars().enumerate() {
        match character {
            '\\' => text.push_str("\\\\"),
            // Only leading ones would be lost.
            ' ' if place > 0 => text.push(' '),
            '!'..='~' => text.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    text
}

/// A value of redis.conf, in double quotes.
#[must_use]
pub fn redis(value: &str) -> String {
    let mut text = String::from('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            _ if character.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(character))),
            _ => text.push(character),
        }
    }
    text.push('"');
    text
}

/// The argument that has redis-server read this file. Redis takes an argument with `*`, `?` or `[` for a pattern, and
/// where no file fits that, it starts without any configuration.
#[must_use]
pub fn redis_file(path: &Path) -> String {
    let path = path.display().to_string();
    if !path.contains(['*', '?', '[']) {
        return path;
    }
    let mut pattern = String::with_capacity(path.len());
    for character in path.chars() {
        if matches!(character, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// Whether a value stands for itself in every format that Towpath writes secrets into: URLs, env files, properties,
/// redis.conf, SQL, HTTP headers. These are the unreserved characters of RFC 3986.
#[must_use]
pub fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Characters that mean something to some format, and others.
    fn values() -> impl Strategy<Value = String> {
        let special = prop::sample::select(
            "\\\"'`$#!=: \t\n\r\u{c},;*?[]{}()<>|&~%-üß€🦆\u{1}\u{7f}".chars().collect::<Vec<_>>(),
        );
        let any = prop_oneof![3 => special, 1 => any::<char>().prop_filter("no NUL", |c| *c != '\0')];
        prop::collection::vec(any, 0..40).prop_map(|characters| characters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn java_properties_read_back_what_was_written(value in values()) {
            let written = properties(&value);
            prop_assert!(written.is_ascii() && !written.contains('\n'));
            prop_assert_eq!(loaded(&written), value);
        }

        #[test]
        fn redis_reads_back_what_was_written(value in values()) {
            let written = redis(&value);
            prop_assert!(!written.contains('\n'));
            prop_assert_eq!(unquoted(&written), value);
        }

        #[test]
        fn a_shell_reads_back_what_was_written(value in values()) {
            let script = format!("printf %s {}", shell(&value));
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
        }

        /// As glob(3) takes the pattern apart: a backslash stands for the character behind it.
        #[test]
        fn the_pattern_of_a_file_is_that_file(value in values()) {
            let argument = redis_file(Path::new(&value));
            let mut characters = argument.chars();
            let mut meant = String::new();
            while let Some(character) = characters.next() {
                let escaped = character == '\\' && argument.contains(['*', '?', '[']);
                meant.push(if escaped { characters.next().unwrap() } else { character });
                prop_assert!(escaped || !matches!(character, '*' | '?' | '['));
            }
            prop_assert_eq!(meant, value);
        }
    }

    /// As `java.util.Properties.load` reads what stands behind `=`: leading blanks go, `\u` and four digits are a unit of
    /// UTF-16, and what else stands behind a backslash is itself.
    fn loaded(text: &str) -> String {
        let mut characters = text.trim_start_matches([' ', '\t', '\u{c}']).chars();
        let mut units = Vec::new();
        while let Some(character) = characters.next() {
            let escaped = if character == '\\' { characters.next() } else { None };
            match escaped {
                Some('u') => {
                    let digits: String = characters.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).unwrap());
                }
                Some('\\') => units.push(u16::from(b'\\')),
                Some(other) => panic!("no escape of ours: {other:?}"),
                None => units.extend(character.encode_utf16(&mut [0; 2]).iter()),
            }
        }
        String::from_utf16(&units).unwrap()
    }

    /// As `sdssplitargs` of Redis's sds.c reads what stands in double quotes.
    fn unquoted(text: &str) -> String {
        let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
        let mut characters = inner.chars();
        let mut value = String::new();
        while let Some(character) = characters.next() {
            if character != '\\' {
                assert_ne!(character, '"', "the value ends here");
                value.push(character);
                continue;
            }
            match characters.next().unwrap() {
                'x' => {
                    let digits: String = characters.by_ref().take(2).collect();
                    value.push(char::from(u8::from_str_radix(&digits, 16).unwrap()));
                }
                escaped @ ('"' | '\\') => value.push(escaped),
                other => panic!("no escape of ours: {other:?}"),
            }
        }
        value
    }

    #[test]
    fn what_is_plain_needs_no_escape_anywhere() {
        assert!(is_plain("0aZ-._~"));
        for other in ["", "a b", "a@b", "a/b", "a\"", "a'", "a$", "a%41", "ü", "a\n"] {
            assert!(!is_plain(other), "{other:?}");
        }
    }
}
