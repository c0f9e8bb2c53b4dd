//! Dates and times over PostgreSQL's whole range, which is far larger than RFC 3339's: 4713 BC to 294276, and both
//! infinities.
//!
//! Outside the years 0001 to 9999 the text is ISO 8601's expanded form: a sign and six digits or more, where the year 0
//! is 1 BC (`-004712-01-01`, `+294276-12-31`). The same texts are read back.

use std::fmt::Write as _;

use super::errors::{Unfit, unfit};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// Days from 0000-03-01, where the calendar of `civil` begins, to 2000-01-01, where PostgreSQL's begins.
const EPOCH_DAYS: i64 = 730_425;
/// The Julian day 0, PostgreSQL's first, counted from 2000-01-01.
const FIRST_DAY: i64 = -2_451_545;
/// The first day that a `date` can't hold.
const DATE_END: i64 = 2_147_483_494 - 2_451_545;
/// The first microsecond that a `timestamp` can't hold: 294277-01-01.
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;

/// Year (0 is 1 BC), month and day of a day counted from 2000-01-01.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + EPOCH_DAYS;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// The inverse of [`civil`].
fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    year.div_euclid(400) * 146_097 + of_era - EPOCH_DAYS
}

// Results

/// A `date`, from its days since 2000-01-01.
pub(super) fn write_date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".into(),
        i32::MIN => "-infinity".into(),
        days => iso_date(days.into()),
    }
}

fn iso_date(days: i64) -> String {
    let (year, month, day) = civil(days);
    if (1..=9999).contains(&year) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:+07}-{month:02}-{day:02}")
    }
}

/// A `timestamp` or a `timestamptz`, from its microseconds since 2000-01-01; `zone` ends it.
pub(super) fn write_timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".into(),
        i64::MIN => "-infinity".into(),
        micros => {
            let mut text = iso_date(micros.div_euclid(MICROS_PER_DAY));
            text.push('T');
            text.push_str(&write_time(micros.rem_euclid(MICROS_PER_DAY)));
            text.push_str(zone);
            text
        }
    }
}

/// A `time`, from its microseconds.
pub(super) fn write_time(micros: i64) -> String {
    let seconds = micros / MICROS_PER_SECOND;
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = micros % MICROS_PER_SECOND;
    if fraction > 0 {
        let _ = write!(text, ".{fraction:06}");
    }
    text
}

/// A `timetz`, from its microseconds and its seconds west of Greenwich.
pub(super) fn write_timetz(micros: i64, west: i32) -> String {
    let east = west.unsigned_abs();
    let mut text = write_time(micros);
    text.push(if west > 0 { '-' } else { '+' });
    let _ = write!(text, "{:02}:{:02}", east / 3600, east / 60 % 60);
    if !east.is_multiple_of(60) {
        let _ = write!(text, ":{:02}", east % 60);
    }
    text
}

/// An `interval` as an ISO 8601 duration, as PostgreSQL writes it under `intervalstyle = iso_8601`.
pub(super) fn write_interval(micros: i64, days: i32, months: i32) -> String {
    let mut text = String::from("P");
    for (count, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if count != 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    if micros != 0 {
        text.push('T');
    }
    let seconds = micros / MICROS_PER_SECOND;
    for (count, unit) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')] {
        if count != 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    let (seconds, fraction) = (seconds % 60, micros % MICROS_PER_SECOND);
    if seconds != 0 || fraction != 0 {
        let sign = if seconds < 0 || fraction < 0 { "-" } else { "" };
        let _ = write!(text, "{sign}{}", seconds.abs());
        if fraction != 0 {
            let _ = write!(text, ".{:06}", fraction.abs());
        }
        text.push('S');
    }
    if text == "P" { "PT0S".into() } else { text }
}

// Parameters

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, wanted: &[char]) -> Option<char> {
        let first = self.rest.chars().next().filter(|c| wanted.contains(c))?;
        self.rest = &self.rest[first.len_utf8()..];
        Some(first)
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<&'a str> {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(least..=most).contains(&length) {
            return None;
        }
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(digits)
    }

    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        self.digits(least, most)?.parse().ok()
    }

    /// A date, as days since 2000-01-01.
    fn date(&mut self) -> Option<i64> {
        let year = match self.take(&['+', '-']) {
            Some('-') => -self.number(4, 7)?,
            Some(_) => self.number(4, 7)?,
            None => self.number(4, 4)?,
        };
        self.take(&['-'])?;
        let month = self.number(2, 2).filter(|month| (1..=12).contains(month))?;
        self.take(&['-'])?;
        let day = self.number(2, 2)?;
        let days = day_of(year, month, day);
        (civil(days) == (year, month, day)).then_some(days)
    }

    /// A time of day in microseconds; `Err` where it is one but has more digits than those.
    fn time(&mut self) -> Option<Result<i64, Unfit>> {
        let hour = self.number(2, 2).filter(|hour| *hour <= 24)?;
        self.take(&[':'])?;
        let minute = self.number(2, 2).filter(|minute| *minute <= 59)?;
        let mut second = 0;
        let mut micros = 0;
        if self.take(&[':']).is_some() {
            second = self.number(2, 2).filter(|second| *second <= 59)?;
            if self.take(&['.']).is_some() {
                let fraction = self.digits(1, 64)?;
                let (kept, lost) = fraction.split_at(fraction.len().min(6));
                if lost.bytes().any(|digit| digit != b'0') {
                    return Some(unfit("PostgreSQL keeps microseconds; the value has more digits"));
                }
                micros = format!("{kept:0<6}").parse().ok()?;
            }
        }
        let time = ((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + micros;
        (time <= MICROS_PER_DAY).then_some(Ok(time))
    }

    /// An offset from UTC in seconds east.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.take(&['Z', 'z', '+', '-'])? {
            '+' => 1,
            '-' => -1,
            _ => return Some(0),
        };
        let hour = self.number(2, 2).filter(|hour| *hour <= 23)?;
        self.take(&[':'])?;
        let minute = self.number(2, 2).filter(|minute| *minute <= 59)?;
        let second = if self.take(&[':']).is_some() { self.number(2, 2).filter(|second| *second <= 59)? } else { 0 };
        Some(sign * ((hour * 60 + minute) * 60 + second))
    }

    fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}

fn is_infinite(text: &str) -> bool {
    matches!(text, "infinity" | "-infinity")
}

/// A day as PostgreSQL reads it, and what goes behind the time of day.
fn pg_date(days: i64) -> (String, &'static str) {
    let (year, month, day) = civil(days);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

fn pg_timestamp(micros: i64, zone: &str) -> Result<String, Unfit> {
    if !(FIRST_DAY * MICROS_PER_DAY..TIMESTAMP_END).contains(&micros) {
        return unfit("the time is out of range: 4713 BC to 294276");
    }
    let (date, era) = pg_date(micros.div_euclid(MICROS_PER_DAY));
    Ok(format!("{date} {}{zone}{era}", write_time(micros.rem_euclid(MICROS_PER_DAY))))
}

/// Checks a `date`.
pub(super) fn date(text: &str) -> Result<String, Unfit> {
    if is_infinite(text) {
        return Ok(text.into());
    }
    let mut cursor = Cursor { rest: text };
    match cursor.date().filter(|_| cursor.end().is_some()) {
        None => unfit("expected a date that exists, as ISO 8601 writes it: 2026-01-31"),
        Some(days) if !(FIRST_DAY..DATE_END).contains(&days) => unfit("the date is out of range: 4713 BC to 5874897"),
        Some(days) => {
            let (date, era) = pg_date(days);
            Ok(date + era)
        }
    }
}

/// Checks a `time`.
pub(super) fn time(text: &str) -> Result<String, Unfit> {
    let mut cursor = Cursor { rest: text };
    match cursor.time().filter(|_| cursor.end().is_some()) {
        Some(micros) => micros.map(write_time),
        None => unfit("expected a time of day without offset: 23:59:59.999999"),
    }
}

/// Checks a `timetz`.
pub(super) fn timetz(text: &str) -> Result<String, Unfit> {
    let mut cursor = Cursor { rest: text };
    let read = (|| {
        let micros = cursor.time()?;
        let offset = cursor.offset()?;
        cursor.end().map(|()| (micros, offset))
    })();
    match read {
        Some((_, offset)) if offset.abs() >= 16 * 3600 => unfit("the offset is out of range: 16 hours"),
        Some((micros, offset)) => Ok(write_timetz(micros?, i32::try_from(-offset).unwrap_or_default())),
        None => unfit("expected a time of day with offset: 23:59:59+02:00"),
    }
}

/// Reads date, separator, time and, where it is there, the offset.
fn instant(text: &str) -> Option<(i64, Result<i64, Unfit>, Option<i64>)> {
    let mut cursor = Cursor { rest: text };
    let days = cursor.date()?;
    cursor.take(&['T', 't', ' '])?;
    let micros = cursor.time()?;
    let offset = if cursor.rest.is_empty() { None } else { Some(cursor.offset()?) };
    cursor.end().map(|()| (days, micros, offset))
}

/// Microseconds since 2000-01-01; the ends of the range are far outside PostgreSQL's.
fn moment(days: i64, micros: i64) -> i64 {
    days.saturating_mul(MICROS_PER_DAY).saturating_add(micros)
}

/// Checks a `timestamptz`.
pub(super) fn timestamptz(text: &str) -> Result<String, Unfit> {
    if is_infinite(text) {
        return Ok(text.into());
    }
    match instant(text) {
        Some((days, micros, Some(offset))) => pg_timestamp(moment(days, micros? - offset * MICROS_PER_SECOND), "+00"),
        Some((_, _, None)) => unfit("the time has no offset; add Z or one such as +02:00"),
        None => unfit("expected a time that exists, as RFC 3339 writes it: 2026-01-31T23:59:59.999999Z"),
    }
}

/// Checks a `timestamp`.
pub(super) fn timestamp(text: &str) -> Result<String, Unfit> {
    if is_infinite(text) {
        return Ok(text.into());
    }
    match instant(text) {
        Some((days, micros, None)) => pg_timestamp(moment(days, micros?), ""),
        Some((_, _, Some(_))) => unfit("the column keeps no offset; send the time without one, or use timestamptz"),
        None => unfit("expected a time that exists, as ISO 8601 writes it, without offset: 2026-01-31T23:59:59.999999"),
    }
}
