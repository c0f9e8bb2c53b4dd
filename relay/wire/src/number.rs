//! Reads integers as JSON Schema has them: `2.0` is the integer 2 (its specification, section 4.2.3 of the core). Some
//! languages write every number like that.
//!
//! For `#[serde(deserialize_with = "...")]` on the numbers of requests.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

/// An integer of 64 bits, not negative.
pub(crate) fn u64<'de, D: Deserializer<'de>>(reader: D) -> Result<u64, D::Error> {
    reader.deserialize_u64(Whole)
}

/// An integer of 32 bits, not negative.
pub(crate) fn u32<'de, D: Deserializer<'de>>(reader: D) -> Result<u32, D::Error> {
    let number = reader.deserialize_u64(Whole)?;
    number.try_into().map_err(|_| D::Error::invalid_value(Unexpected::Unsigned(number), &"at most 4294967295"))
}

struct Whole;

impl Visitor<'_> for Whole {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer from 0 on")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        number.try_into().map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
        // 2^64 is the first that doesn't fit. Below it every double without a fraction is an integer, exactly.
        if number.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(&number) {
            return Ok(number as u64);
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Expect, RateLimitRequest};

    #[test]
    fn an_integer_may_be_written_with_a_fraction_of_nothing() {
        for (text, number) in [("2", 2), ("2.0", 2), ("2e3", 2000), ("0.0", 0), ("18446744073709551615", u64::MAX)] {
            let expect: Expect = serde_json::from_str(&format!("{{\"exactly\": {text}}}")).expect(text);
            assert_eq!(expect, Expect::Exactly(number));
        }
        for text in ["2.5", "-1", "-1.0", "18446744073709551616", "1e30", "\"2\"", "null", "true", "[2]"] {
            let wrong = serde_json::from_str::<Expect>(&format!("{{\"at_least\": {text}}}"));
            assert!(wrong.is_err(), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn a_number_of_32_bits_has_no_more() {
        let read = |rate: &str| {
            serde_json::from_str::<RateLimitRequest>(&format!("{{\"rate\": {rate}, \"period_ms\": 1.0, \"burst\": 1}}"))
        };
        assert_eq!(read("4294967295").map(|request| request.rate).ok(), Some(u32::MAX));
        assert_eq!(read("4294967295.0").map(|request| request.rate).ok(), Some(u32::MAX));
        let error = read("4294967296").expect_err("it has 33 bits").to_string();
        assert!(error.contains("invalid value: integer `4294967296`, expected at most 4294967295"), "{error}");
    }
}
