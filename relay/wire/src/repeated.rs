//! Finds members that a JSON object has more than once. Parsers differ in which of them counts, so such an object means one
//! thing to whoever checked it and another to whoever acts on it (RFC 8259, section 4).

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// As many are named: an answer must not be larger than the input.
const MAX_NAMED: usize = 100;
/// As much of a member's name is told.
const MAX_NAME_CHARS: usize = 64;

/// The paths of the members that come more than once, such as `rows[1].name`, a hundred at most.
///
/// ```
/// let paths = towpath_wire::repeated_members(br#"{"a": 1, "rows": [{"name": "A", "\u006eame": "B"}]}"#)?;
/// assert_eq!(paths, ["rows[0].name"]);
/// # Ok::<_, serde_json::Error>(())
/// ```
///
/// # Errors
/// Where the text isn't JSON.
pub fn repeated_members(json: &[u8]) -> serde_json::Result<Vec<String>> {
    let (mut path, mut found) = (String::new(), Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(json);
    Look { path: &mut path, found: &mut found }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(found)
}

/// Looks at one value.
struct Look<'a> {
    /// Where it stands.
    path: &'a mut String,
    found: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        let outside = self.path.len();
        while let Some(name) = members.next_key_seed(Name)? {
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.extend(name.chars().take(MAX_NAME_CHARS));
            if !names.insert(name) && self.found.len() < MAX_NAMED && !self.found.contains(self.path) {
                self.found.push(self.path.clone());
            }
            members.next_value_seed(Look { path: self.path, found: self.found })?;
            self.path.truncate(outside);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let (outside, mut index) = (self.path.len(), 0_usize);
        loop {
            let _ = write!(self.path, "[{index}]");
            let item = items.next_element_seed(Look { path: self.path, found: self.found })?;
            self.path.truncate(outside);
            if item.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// The name of a member, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Cow<'de, str>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(json: &str) -> Vec<String> {
        repeated_members(json.as_bytes()).expect("JSON")
    }

    #[test]
    fn each_is_named_once_with_its_path() {
        assert_eq!(repeated(r#"{"a": 1, "b": {"a": 1}, "c": [{"a": 1}, {"a": 1}]}"#), [""; 0]);
        assert_eq!(repeated(r#"{"a": 1, "a": 2, "a": {"b": 1, "b": null}}"#), ["a", "a.b"]);
        assert_eq!(repeated(r#"[[{"a": [], "\u0061": 1}], 1.5, -1, 1e999, "x", true, null]"#), ["[0][0].a"]);
        let many: String = (0..500).map(|n| format!("\"{n}\":1,\"{n}\":2,")).collect();
        assert_eq!(repeated(&format!("{{{}}}", many.trim_end_matches(','))).len(), MAX_NAMED);
        let long = "x".repeat(1000);
        assert_eq!(repeated(&format!("{{\"{long}\":1,\"{long}\":2}}")), ["x".repeat(MAX_NAME_CHARS)]);
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for wrong in ["", "{", "{} {}", "\"\\ud800\"", "[1,]", &"[".repeat(1000)] {
            assert!(repeated_members(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
