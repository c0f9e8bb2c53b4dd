//! Reads a file of TOML, and says what is wrong with it in the words of TOML: with its line and its key, and without a value, for
//! that may be a secret.
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

pub(crate) fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    toml::from_str(&text).map_err(|error| anyhow!("{}{}", file.display(), fault(&text, &error)))
}

/// `, line 7: kafka.user must be a string, not a number`
fn fault(text: &str, error: &toml::de::Error) -> String {
    let span = error.span().unwrap_or_default();
    let line = 1 + text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count();
    let said = match DeTable::parse(text) {
        Err(_) => format!("this is not TOML: {}", error.message()),
        Ok(table) => {
            let key = key_at(table.get_ref(), &span);
            let inner = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
            let message = error.message();
            match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
                Some(name) => format!("{} is missing", inner(name)),
                None => format!("{key} {}", in_words(message)),
            }
        }
    };
    format!(", line {line}: {said}")
}

/// The key whose value stands there; empty for the document itself.
fn key_at(table: &DeTable<'_>, span: &Range<usize>) -> String {
    let found = table.iter().find_map(|(name, value)| {
        if value.span() == *span {
            return Some(name.get_ref().to_string());
        }
        let inner = key_in(value.get_ref(), span);
        (!inner.is_empty()).then(|| format!("{}{inner}", name.get_ref()))
    });
    found.unwrap_or_default()
}

/// The rest of the key, with what divides it from its beginning.
fn key_in(value: &DeValue<'_>, span: &Range<usize>) -> String {
    match value {
        DeValue::Table(table) => match key_at(table, span) {
            key if key.is_empty() => key,
            key => format!(".{key}"),
        },
        DeValue::Array(items) => {
            let mut items = items.iter().enumerate();
            let found = items.find_map(|(place, item)| {
                let inner = key_in(item.get_ref(), span);
                (item.span() == *span || !inner.is_empty()).then(|| format!("[{place}]{inner}"))
            });
            found.unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// What serde says, without its types.
fn in_words(message: &str) -> String {
    let Some((found, wanted)) = message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return format!("is wrong: {message}");
    };
    let wanted = match wanted {
        "a sequence" => "an array",
        "path string" => "a string",
        _ if wanted == "a map" || wanted.starts_with("struct ") => "a table",
        _ => wanted,
    };
    let found = match found.split([' ', '`']).next().unwrap_or_default() {
        "string" => "a string",
        "integer" | "floating" => "a number",
        "boolean" => "true or false",
        "sequence" => "an array",
        "map" => "a table",
        _ => "this",
    };
    format!("must be {wanted}, not {found}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "it is read, and no more")]
    struct File {
        user: Option<String>,
        #[serde(default)]
        services: BTreeMap<String, Service>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "it is read, and no more")]
    struct Service {
        source: PathBuf,
        #[serde(default)]
        topics: Vec<Topic>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "it is read, and no more")]
    struct Topic {
        name: String,
    }

    fn said(text: &str) -> String {
        fault(text, &toml::from_str::<File>(text).unwrap_err())
    }

    #[test]
    fn a_fault_has_its_line_and_its_key() {
        for (text, wanted) in [
            ("\nuser = 7", ", line 2: user must be a string, not a number"),
            ("user = [1]", ", line 1: user must be a string, not an array"),
            ("user.name = true", ", line 1: user must be a string, not a table"),
            ("services = \"secret\"", ", line 1: services must be a table, not a string"),
            ("[services]\na = true", ", line 2: services.a must be a table, not true or false"),
            ("[services.a]\nsource = 1.5", ", line 2: services.a.source must be a string, not a number"),
            ("user = \"x\"\n[services.a]\n", ", line 2: services.a.source is missing"),
            ("[services.a]\nsource = \"x\"\ntopics = {}", ", line 3: services.a.topics must be an array, not a table"),
            (
                "[services.a]\nsource = \"x\"\n[[services.a.topics]]\nname = \"n\"\n[[services.a.topics]]\nnam = 1",
                ", line 5: services.a.topics[1].name is missing",
            ),
            (
                "[services.a]\nsource = \"x\"\n[[services.a.topics]]\nname = false",
                ", line 4: services.a.topics[0].name must be a string, not true or false",
            ),
        ] {
            assert_eq!(said(text), wanted, "{text}");
        }
        assert!(said("user = ").starts_with(", line 1: this is not TOML: "), "{}", said("user = "));
        assert!(said("user = \"a\"\nuser = \"b\"").starts_with(", line 2: this is not TOML: duplicate key"));
    }
}
