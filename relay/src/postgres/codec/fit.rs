//! Declared columns: `varchar(3)`, `numeric(10,2)`.
//!
//! PostgreSQL rounds a number to its column's scale silently. The relay refuses such a value.

use serde_json::value::RawValue;

use super::errors::{Unfit, unfit};
use super::form::Form;
use super::json::{Json, each};
use super::numeric;

/// What a column takes beyond what its type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    /// `varchar(n)`, `char(n)`
    Characters(usize),
    /// `numeric(precision, scale)`
    Digits {
        /// All digits.
        precision: i64,
        /// Those behind the decimal point; a negative scale rounds before it.
        scale: i64,
    },
}

impl Declared {
    /// What the catalogue's `atttypmod` says of a column whose values have this form.
    #[must_use]
    pub(crate) fn of(form: &Form, modifier: i32) -> Option<Self> {
        // The modifier counts the four bytes of a length word, which is long gone.
        let modifier = modifier.checked_sub(4).filter(|m| *m >= 0)?;
        match form {
            Form::Text => usize::try_from(modifier).ok().map(Self::Characters),
            Form::Numeric => {
                let scale = i64::from(((modifier & 0x7ff) ^ 1024) - 1024);
                Some(Self::Digits { precision: i64::from((modifier >> 16) & 0xffff), scale })
            }
            Form::Array(element) => Self::of(element, modifier + 4),
            _ => None,
        }
    }

    /// Refuses a value that the column would cut, round or refuse.
    ///
    /// # Errors
    /// Why it doesn't fit.
    pub(crate) fn check(self, value: &RawValue) -> Result<(), Unfit> {
        match (self, Json::of(value)?) {
            (_, Json::Array(elements)) => each(elements, |_, element| self.check(element)),
            (Self::Characters(most), Json::String(text)) => {
                // Every character has a byte at least.
                if text.len() > most && text.chars().count() > most {
                    return unfit(format!(
                        "the column takes {most} characters, the value has {}",
                        text.chars().count()
                    ));
                }
                Ok(())
            }
            (Self::Digits { precision, scale }, Json::Number(text)) => digits(text, precision, scale),
            (Self::Digits { precision, scale }, Json::String(text)) => digits(&text, precision, scale),
            _ => Ok(()),
        }
    }
}

fn digits(text: &str, precision: i64, scale: i64) -> Result<(), Unfit> {
    if text == "NaN" {
        return Ok(());
    }
    if matches!(text, "Infinity" | "-Infinity") {
        return unfit(format!("the column is numeric({precision},{scale}) and can't hold an infinite number"));
    }
    let (before, behind) = numeric::digits(text)?;
    if before > precision - scale {
        return unfit(format!(
            "the column is numeric({precision},{scale}): {} digits before the decimal point at most, the value needs {before}",
            (precision - scale).max(0)
        ));
    }
    if behind > scale {
        return unfit(format!(
            "the column is numeric({precision},{scale}) and would round the value, which needs {behind} digits behind the decimal point"
        ));
    }
    Ok(())
}
