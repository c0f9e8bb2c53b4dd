//! JSON as it came, looked at without being made into a tree: a tree of `[1,1,...]` takes fifty times the memory of its text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::errors::{Unfit, unfit};

/// A value, one level deep.
#[derive(Clone, Debug)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// Its text.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(&'a RawValue),
    Object,
}

impl<'a> Json<'a> {
    /// Looks at a value.
    ///
    /// # Errors
    /// A string has half a surrogate pair.
    pub(super) fn of(value: &'a RawValue) -> Result<Self, Unfit> {
        let text = value.get();
        Ok(match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => Self::String(string(text)?),
            Some(b'[') => Self::Array(value),
            Some(b'{') => Self::Object,
            _ => Self::Number(text),
        })
    }

    /// What it is, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object => "an object",
        }
    }
}

fn string(text: &str) -> Result<Cow<'_, str>, Unfit> {
    match text.get(1..text.len().saturating_sub(1)) {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        _ => match serde_json::from_str(text) {
            Ok(text) => Ok(Cow::Owned(text)),
            Err(_) => unfit("the string can't be read"),
        },
    }
}

/// Whether a value is null.
pub(super) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// Calls `take` with each element of an array, and its number.
///
/// # Errors
/// The first of `take`.
pub(super) fn each(array: &RawValue, take: impl FnMut(usize, &RawValue) -> Result<(), Unfit>) -> Result<(), Unfit> {
    let mut failed = None;
    let elements = Elements { take, failed: &mut failed };
    match (serde_json::Deserializer::from_str(array.get()).deserialize_seq(elements), failed) {
        (_, Some(unfit)) => Err(unfit),
        (Err(_), None) => unfit("the array can't be read"),
        (Ok(()), None) => Ok(()),
    }
}

struct Elements<'f, F> {
    take: F,
    failed: &'f mut Option<Unfit>,
}

impl<'de, F: FnMut(usize, &RawValue) -> Result<(), Unfit>> Visitor<'de> for Elements<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(element) = elements.next_element::<&RawValue>()? {
            if let Err(unfit) = (self.take)(index, element) {
                *self.failed = Some(unfit);
                return Err(A::Error::custom("refused"));
            }
            index += 1;
        }
        Ok(())
    }
}
