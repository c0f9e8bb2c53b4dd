//! `numeric`: decimal numbers of any length.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::errors::{Undecodable, Unfit, unfit};

/// Checks that a text is a number as PostgreSQL reads it.
pub(super) fn check(text: &str) -> Result<Cow<'_, str>, Unfit> {
    if !matches!(text, "NaN" | "Infinity" | "-Infinity") {
        split(text)?;
    }
    Ok(Cow::Borrowed(text))
}

/// Mantissa and exponent of a decimal number: `[+-]digits[.digits][e[+-]digits]`.
pub(super) fn split(text: &str) -> Result<(&str, i64), Unfit> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return unfit("expected a number, such as 7.10");
    }
    let exponent = match exponent {
        None => 0,
        Some(text) if !all_digits(text.strip_prefix(['-', '+']).unwrap_or(text)) => {
            return unfit("expected a number, such as 7.10e3");
        }
        Some(text) => text.parse().map_err(|_| Unfit("the exponent of the number is out of range".into()))?,
    };
    Ok((mantissa, exponent))
}

/// How many digits a number needs before and behind the decimal point, without the zeros that say nothing. Before the
/// point the count may be negative: 0.001 needs none, and had room for two more. Zero needs none anywhere.
pub(super) fn digits(text: &str) -> Result<(i64, i64), Unfit> {
    let (mantissa, exponent) = split(text)?;
    let digits = mantissa.trim_start_matches(['-', '+']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = || whole.bytes().chain(fraction.bytes());
    let Some(leading) = all().position(|digit| digit != b'0') else { return Ok((i64::MIN, i64::MIN)) };
    let trailing = all().rev().position(|digit| digit != b'0').unwrap_or(0);
    let length = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let before = length(whole.len()).saturating_sub(length(leading)).saturating_add(exponent);
    let behind = length(fraction.len()).saturating_sub(length(trailing)).saturating_sub(exponent);
    Ok((before, behind))
}

/// The decimal text of the binary format: groups of four digits, of which the first has the weight 10000^weight.
pub(super) fn decode(bytes: &[u8]) -> Result<String, Undecodable> {
    let word = |at: usize| -> Result<u16, Undecodable> {
        let pair = bytes.get(at..at + 2).ok_or(Undecodable::Format("numeric"))?;
        Ok(u16::from_be_bytes([pair[0], pair[1]]))
    };
    let count = usize::from(word(0)?);
    let weight = i32::from(word(2)?.cast_signed());
    let sign = word(4)?;
    let scale = usize::from(word(6)?);
    match sign {
        0x0000 | 0x4000 => {}
        0xC000 => return Ok("NaN".into()),
        0xD000 => return Ok("Infinity".into()),
        0xF000 => return Ok("-Infinity".into()),
        _ => return Err(Undecodable::Format("numeric")),
    }
    let group = |index: i32| -> Result<u16, Undecodable> {
        match usize::try_from(index) {
            Ok(index) if index < count => word(8 + index * 2),
            _ => Ok(0),
        }
    };
    let mut text = String::with_capacity(count * 4 + 8);
    if sign == 0x4000 {
        text.push('-');
    }
    if weight < 0 {
        text.push('0');
    }
    for index in 0..=weight {
        let group = group(index)?;
        let _ = if index == 0 { write!(text, "{group}") } else { write!(text, "{group:04}") };
    }
    if scale > 0 {
        text.push('.');
        let end = text.len() + scale;
        let mut index = weight + 1;
        while text.len() < end {
            let _ = write!(text, "{:04}", group(index)?);
            index += 1;
        }
        text.truncate(end);
    }
    Ok(text)
}
