//! Finds members that a JSON object has more than once. Parsers differ in which of them counts, so such an object means one
//! thing to whoever checked it and another to whoever acts on it (RFC 8259, section 4).

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

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
    let (mut path, mut found) = (Vec::new(), Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(json);
    Look { path: &mut path, found: &mut found }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(found)
}

/// One step from a value to one inside of it.
enum Step<'de> {
    Member(Cow<'de, str>),
    Item(usize),
}

/// Looks at one value.
struct Look<'a, 'de> {
    /// Where it stands. It becomes a text only where something is found: a body may have a value in every second byte.
    path: &'a mut Vec<Step<'de>>,
    found: &'a mut Vec<String>,
}

impl Look<'_, '_> {
    /// Keeps the path, unless it is kept already, or as many as are named are.
    fn keep(&mut self) {
        if self.found.len() < MAX_NAMED {
            let text = text(self.path);
            if !self.found.contains(&text) {
                self.found.push(text);
            }
        }
    }
}

fn text(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Member(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.extend(name.chars().take(MAX_NAME_CHARS));
            }
            Step::Item(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

impl<'de> DeserializeSeed<'de> for Look<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key_seed(Name)? {
            self.path.push(Step::Member(name.clone()));
            if !names.insert(name) {
                self.keep();
            }
            members.next_value_seed(Look { path: self.path, found: self.found })?;
            self.path.pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0.. {
            self.path.push(Step::Item(index));
            let item = items.next_element_seed(Look { path: self.path, found: self.found })?;
            self.path.pop();
            if item.is_none() {
                break;
            }
        }
        Ok(())
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
