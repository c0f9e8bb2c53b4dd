//! Parsers of single, untrusted JSON values; [`Fields`](crate::Fields) applies them.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::Id;

/// Why a value is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The stable code.
    pub code: &'static str,
    /// For a person, as the end of a sentence that begins with the field: `must be an integer`.
    pub detail: String,
}

impl Invalid {
    /// Why a value is invalid.
    #[must_use]
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    fn wrong_type(wanted: &str) -> Self {
        Self::new("wrong_type", format!("must be {wanted}"))
    }
}

/// A string, unchanged.
///
/// # Errors
/// `wrong_type`.
pub fn string(value: &Value) -> Result<&str, Invalid> {
    value.as_str().ok_or_else(|| Invalid::wrong_type("a string"))
}

/// One line of text with this many characters. Removes the white space around it first. Refuses control characters, of
/// which PostgreSQL can't store U+0000.
///
/// ```
/// use serde_json::json;
/// use towpath_sdk::parse;
///
/// assert_eq!(parse::text(&json!(" Lamp "), 1..=200).as_deref(), Ok("Lamp"));
/// assert_eq!(parse::text(&json!(""), 1..=200).unwrap_err().code, "too_short");
/// ```
///
/// # Errors
/// `wrong_type`, `too_short`, `too_long`, `invalid_characters`.
pub fn text(value: &Value, chars: RangeInclusive<usize>) -> Result<String, Invalid> {
    bounded(string(value)?, chars, |letter| letter.is_control())
}

/// Text with line breaks and tabs; otherwise as [`text`].
///
/// # Errors
/// As [`text`].
pub fn prose(value: &Value, chars: RangeInclusive<usize>) -> Result<String, Invalid> {
    bounded(string(value)?, chars, |letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t'))
}

fn bounded(text: &str, chars: RangeInclusive<usize>, refused: impl Fn(char) -> bool) -> Result<String, Invalid> {
    let text = text.trim();
    let length = text.chars().count();
    if length < *chars.start() {
        return Err(Invalid::new("too_short", format!("must have at least {} characters", chars.start())));
    }
    if length > *chars.end() {
        return Err(Invalid::new("too_long", format!("may have {} characters at most", chars.end())));
    }
    if text.chars().any(refused) {
        return Err(Invalid::new("invalid_characters", "may not hold control characters"));
    }
    Ok(text.to_owned())
}

/// An identifier that can be part of a URL, such as a SKU: ASCII letters, digits and `- _ . : /`. It begins with a letter
/// or digit, so that none is `..`. In a path, a slash is percent-encoded.
///
/// ```
/// use serde_json::json;
/// use towpath_sdk::parse;
///
/// assert_eq!(parse::code(&json!("A-1/b"), 1..=64).as_deref(), Ok("A-1/b"));
/// assert_eq!(parse::code(&json!(".."), 1..=64).unwrap_err().code, "invalid_characters");
/// ```
///
/// # Errors
/// `wrong_type`, `too_short`, `too_long`, `invalid_characters`.
pub fn code(value: &Value, chars: RangeInclusive<usize>) -> Result<String, Invalid> {
    let text = string(value)?;
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.:/".contains(letter);
    if let Some(letter) = text.chars().find(|&letter| !allowed(letter)) {
        let detail = format!("may hold letters, digits and - _ . : / only, not {letter:?}");
        return Err(Invalid::new("invalid_characters", detail));
    }
    if text.starts_with(|first: char| !first.is_ascii_alphanumeric()) {
        return Err(Invalid::new("invalid_characters", "must begin with a letter or a digit"));
    }
    bounded(text, chars, |_| false)
}

/// An integer in this range. `1.0` and `1e3` aren't integers.
///
/// ```
/// use serde_json::json;
/// use towpath_sdk::parse;
///
/// assert_eq!(parse::integer(&json!(7), 1..=10), Ok(7));
/// assert_eq!(parse::integer(&json!(1.0), 1..=10).unwrap_err().code, "wrong_type");
/// ```
///
/// # Errors
/// `wrong_type`, `too_small`, `too_large`.
pub fn integer(value: &Value, range: RangeInclusive<i64>) -> Result<i64, Invalid> {
    match value.as_i64() {
        Some(number) => in_range(number, range),
        None if value.is_u64() => in_range(i64::MAX, range),
        None => Err(Invalid::wrong_type("an integer")),
    }
}

/// An integer in this range, written as text: a query parameter.
///
/// # Errors
/// `wrong_type`, `too_small`, `too_large`.
pub fn integer_text(value: &Value, range: RangeInclusive<i64>) -> Result<i64, Invalid> {
    let number = string(value)?.parse().map_err(|_| Invalid::wrong_type("an integer"))?;
    in_range(number, range)
}

fn in_range(number: i64, range: RangeInclusive<i64>) -> Result<i64, Invalid> {
    if number < *range.start() {
        return Err(Invalid::new("too_small", format!("must be {} or more", range.start())));
    }
    if number > *range.end() {
        return Err(Invalid::new("too_large", format!("must be {} or less", range.end())));
    }
    Ok(number)
}

/// `true` or `false`.
///
/// # Errors
/// `wrong_type`.
pub fn boolean(value: &Value) -> Result<bool, Invalid> {
    value.as_bool().ok_or_else(|| Invalid::wrong_type("true or false"))
}

/// An id.
///
/// # Errors
/// `wrong_type`, `invalid_id`.
pub fn id(value: &Value) -> Result<Id, Invalid> {
    string(value)?.parse().map_err(|_| Invalid::new("invalid_id", "must be a UUID"))
}

/// One of these words.
///
/// ```
/// use serde_json::json;
/// use towpath_sdk::parse;
///
/// assert_eq!(parse::one_of(&json!("red"), &["red", "blue"]), Ok("red"));
/// assert_eq!(parse::one_of(&json!("green"), &["red", "blue"]).unwrap_err().detail, "must be one of red, blue");
/// ```
///
/// # Errors
/// `wrong_type`, `unknown_value`.
pub fn one_of(value: &Value, words: &[&'static str]) -> Result<&'static str, Invalid> {
    let text = string(value)?;
    let known = words.iter().find(|&&word| word == text).copied();
    known.ok_or_else(|| Invalid::new("unknown_value", format!("must be one of {}", words.join(", "))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code_of<T: std::fmt::Debug>(result: Result<T, Invalid>) -> &'static str {
        result.expect_err("refused").code
    }

    #[test]
    fn text_is_bounded_in_characters_and_has_no_control_characters() {
        assert_eq!(text(&json!(" Käse "), 1..=4), Ok("Käse".into()));
        assert_eq!(code_of(text(&json!("  "), 1..=4)), "too_short");
        assert_eq!(code_of(text(&json!("abcde"), 1..=4)), "too_long");
        assert_eq!(code_of(text(&json!("a\0b"), 1..=4)), "invalid_characters");
        assert_eq!(code_of(text(&json!("a\nb"), 1..=4)), "invalid_characters");
        assert_eq!(code_of(text(&json!(7), 1..=4)), "wrong_type");
        assert_eq!(prose(&json!("a\nb"), 1..=4), Ok("a\nb".into()));
        assert_eq!(code_of(prose(&json!("a\0b"), 1..=4)), "invalid_characters");
    }

    #[test]
    fn codes_hold_what_a_url_can_show() {
        assert_eq!(code(&json!("AB-1_2.3:x/y"), 1..=64), Ok("AB-1_2.3:x/y".into()));
        for wrong in ["a b", "ä", "a?b", "/a", "a%b", "a\n", " a", "..", "-a"] {
            assert_eq!(code_of(code(&json!(wrong), 1..=64)), "invalid_characters", "{wrong:?}");
        }
        assert_eq!(code_of(code(&json!(""), 1..=64)), "too_short");
        assert_eq!(code_of(code(&json!("aaaa"), 1..=3)), "too_long");
    }

    #[test]
    fn integers_are_integers_in_range() {
        assert_eq!(integer(&json!(5), 1..=5), Ok(5));
        assert_eq!(code_of(integer(&json!(6), 1..=5)), "too_large");
        assert_eq!(code_of(integer(&json!(0), 1..=5)), "too_small");
        assert_eq!(code_of(integer(&json!(1.0), 1..=5)), "wrong_type");
        assert_eq!(code_of(integer(&json!("1"), 1..=5)), "wrong_type");
        assert_eq!(code_of(integer(&json!(u64::MAX), 1..=5)), "too_large");
        assert_eq!(integer_text(&json!("5"), 1..=5), Ok(5));
        assert_eq!(code_of(integer_text(&json!("5x"), 1..=5)), "wrong_type");
        assert_eq!(code_of(integer_text(&json!("99999999999999999999"), 1..=5)), "wrong_type");
    }

    #[test]
    fn words_and_ids_are_checked() {
        assert_eq!(one_of(&json!("b"), &["a", "b"]), Ok("b"));
        assert_eq!(code_of(one_of(&json!("c"), &["a", "b"])), "unknown_value");
        assert_eq!(code_of(id(&json!("c"))), "invalid_id");
        assert_eq!(code_of(boolean(&json!("true"))), "wrong_type");
    }
}
