//! Reads a TOML document key by key and notes every fault, instead of stopping at the first.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Secret;

/// One thing that is wrong in a configuration, with the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The key, such as `services.a.token`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, and what would mend it. Holds no secret.
    pub message: String,
}

impl Fault {
    pub(super) fn whole(message: String) -> Self {
        Self { line: None, path: String::new(), message }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// What all sections share.
pub(super) struct Reader<'a> {
    text: &'a str,
    directory: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Fault>>,
    /// The path of every key that was asked for, for the test of docs/relay-toml.md.
    #[cfg(test)]
    pub(super) asked: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, directory: &'a Path, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            text,
            directory,
            environment,
            faults: RefCell::default(),
            warnings: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory
    }

    pub(super) fn environment(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// What was found: faults, and what works but is probably not meant.
    pub(super) fn into_found(self) -> (Vec<Fault>, Vec<Fault>) {
        let sorted = |found: RefCell<Vec<Fault>>| {
            let mut found = found.into_inner();
            found.sort_by_key(|fault| fault.line.unwrap_or(usize::MAX));
            found
        };
        (sorted(self.faults), sorted(self.warnings))
    }

    pub(super) fn line_at(&self, offset: usize) -> usize {
        self.text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
    }

    pub(super) fn fault(&self, line: Option<usize>, path: impl Into<String>, message: impl Into<String>) {
        self.faults.borrow_mut().push(Fault { line, path: path.into(), message: message.into() });
    }

    pub(super) fn warning(&self, line: Option<usize>, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.borrow_mut().push(Fault { line, path: path.into(), message: message.into() });
    }

    /// Puts variables in; `Err` is the first variable that isn't set, or what is wrong with the text.
    fn interpolate(&self, text: &str) -> Result<String, Missing> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            out.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}') else {
                return Err(Missing::Unclosed);
            };
            let name = &rest[at + 2..at + end];
            match (self.environment)(name) {
                Some(value) => out.push_str(&value),
                None => return Err(Missing::Variable(name.to_owned())),
            }
            rest = &rest[at + end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }
}

enum Missing {
    Variable(String),
    Unclosed,
}

/// A table of the document, or the absence of one. Remembers which keys were asked for, so that [`finish`] can refuse
/// the others.
///
/// [`finish`]: Section::finish
pub(super) struct Section<'r, 'a> {
    reader: &'r Reader<'a>,
    path: String,
    line: Option<usize>,
    table: Option<&'r DeTable<'a>>,
    known: RefCell<BTreeSet<String>>,
}

impl<'r, 'a> Section<'r, 'a> {
    pub(super) fn root(reader: &'r Reader<'a>, table: &'r DeTable<'a>) -> Self {
        Self::new(reader, String::new(), None, Some(table))
    }

    fn new(reader: &'r Reader<'a>, path: String, line: Option<usize>, table: Option<&'r DeTable<'a>>) -> Self {
        Self { reader, path, line, table, known: RefCell::default() }
    }

    pub(super) fn reader(&self) -> &'r Reader<'a> {
        self.reader
    }

    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.peek(key).is_some()
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let key = if plain { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    /// A fault of the section itself.
    pub(super) fn fault_here(&self, message: impl Into<String>) {
        self.reader.fault(self.line, self.path.clone(), message);
    }

    /// A fault of one of its keys.
    pub(super) fn fault(&self, key: &str, message: impl Into<String>) {
        let line = self.peek(key).map(|value| self.line_of(value)).or(self.line);
        self.reader.fault(line, self.path_of(key), message);
    }

    /// Something about one of its keys that works, and is probably not meant.
    pub(super) fn warning(&self, key: &str, message: impl Into<String>) {
        let line = self.peek(key).map(|value| self.line_of(value)).or(self.line);
        self.reader.warning(line, self.path_of(key), message);
    }

    fn peek(&self, key: &str) -> Option<&'r Spanned<DeValue<'a>>> {
        self.table?.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn take(&self, key: &str) -> Option<&'r Spanned<DeValue<'a>>> {
        self.known.borrow_mut().insert(key.to_owned());
        #[cfg(test)]
        self.reader.asked.borrow_mut().insert(self.path_of(key));
        self.peek(key)
    }

    fn line_of(&self, value: &Spanned<DeValue<'a>>) -> usize {
        self.reader.line_at(value.span().start)
    }

    fn wrong_type(&self, key: &str, wanted: &str, value: &Spanned<DeValue<'a>>) {
        self.fault(key, format!("must be {wanted}, not {} {}", article(value), value.get_ref().type_str()));
    }

    /// A table under a key; an absent one reads as empty.
    pub(super) fn section(&self, key: &str) -> Section<'r, 'a> {
        let value = self.take(key);
        let table = value.and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.wrong_type(key, "a table", value);
            }
            table
        });
        let line = value.map(|value| self.line_of(value)).or(self.line);
        Section::new(self.reader, self.path_of(key), line, table)
    }

    /// The tables of a table, by name.
    pub(super) fn named_sections(&self, key: &str) -> Vec<(String, Section<'r, 'a>)> {
        let outer = self.section(key);
        let Some(table) = outer.table else { return Vec::new() };
        table.iter().map(|(name, _)| (name.get_ref().to_string(), outer.section(name.get_ref()))).collect()
    }

    /// The tables of an array of tables.
    pub(super) fn sections(&self, key: &str) -> Vec<Section<'r, 'a>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, "an array of tables", value);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            let line = Some(self.line_of(item));
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section::new(self.reader, path, line, Some(table))),
                None => self.reader.fault(line, path, "must be a table"),
            }
        }
        sections
    }

    fn fill_in(&self, key: &str, text: &str) -> Option<String> {
        match self.reader.interpolate(text) {
            Ok(text) => Some(text),
            Err(Missing::Variable(name)) => {
                self.fault(key, format!("the environment variable {name} isn't set; set it, or write the value here"));
                None
            }
            Err(Missing::Unclosed) => {
                self.fault(key, "`${` without `}`");
                None
            }
        }
    }

    /// A string, with variables put in. `None` where it is absent or faulty.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let value = self.take(key)?;
        match value.get_ref().as_str() {
            Some(text) => self.fill_in(key, text),
            None => {
                self.wrong_type(key, "a string", value);
                None
            }
        }
    }

    /// A string that must be there and not empty. An empty one stands in where it isn't, beside the fault.
    pub(super) fn required(&self, key: &str, example: &str) -> String {
        if self.take(key).is_none() {
            self.fault(key, format!("is missing; for example {key} = {example}"));
        }
        let text = self.text(key);
        if text.as_deref() == Some("") {
            self.fault(key, "is empty");
        }
        text.unwrap_or_default()
    }

    /// A string or `{ file = "path" }`.
    pub(super) fn secret(&self, key: &str) -> Option<Secret> {
        let value = self.take(key)?;
        let secret = match value.get_ref() {
            DeValue::Table(_) => {
                let section = self.section(key);
                let path = section.required("file", "\"/run/secrets/name\"");
                section.finish();
                if path.is_empty() {
                    return None;
                }
                let path = self.reader.directory.join(path);
                match std::fs::read_to_string(&path) {
                    Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
                    Err(error) => {
                        self.fault(key, format!("the file {} can't be read: {error}", path.display()));
                        return None;
                    }
                }
            }
            DeValue::String(text) => self.fill_in(key, text)?,
            _ => {
                self.wrong_type(key, "a string or { file = \"path\" }", value);
                return None;
            }
        };
        if secret.is_empty() {
            self.fault(key, "is empty");
            return None;
        }
        Some(Secret::new(secret))
    }

    /// A secret that must be there. An empty one stands in where it isn't, beside the fault.
    pub(super) fn required_secret(&self, key: &str, example: &str) -> Secret {
        if self.take(key).is_none() {
            self.fault(key, format!("is missing; for example {key} = {example}"));
        }
        self.secret(key).unwrap_or_else(|| Secret::new(""))
    }

    /// Like [`secret`](Self::secret), but a variable that isn't set, or is empty, makes it absent instead of faulty.
    pub(super) fn optional_secret(&self, key: &str) -> Option<Secret> {
        let value = self.take(key)?;
        if let DeValue::String(text) = value.get_ref()
            && text.contains("${")
            && match self.reader.interpolate(text) {
                Ok(text) => text.is_empty(),
                Err(missing) => matches!(missing, Missing::Variable(_)),
            }
        {
            return None;
        }
        self.secret(key)
    }

    /// A value that is written as a string and read by its type.
    pub(super) fn parsed<T: FromStr>(&self, key: &str, default: T, wanted: &str) -> T {
        match self.text(key).map(|text| text.parse::<T>()) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(_)) => {
                self.fault(key, format!("must be {wanted}"));
                default
            }
        }
    }

    /// A whole number within a range.
    pub(super) fn integer(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(value) = self.take(key) else { return default };
        let wanted = format!("must be a whole number from {} to {}", range.start(), range.end());
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|integer| u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok());
        match number {
            Some(number) if range.contains(&number) => number,
            _ => {
                self.fault(key, wanted);
                default
            }
        }
    }

    /// A whole number that must be there.
    pub(super) fn required_integer(&self, key: &str, example: u64, range: RangeInclusive<u64>) -> u64 {
        if self.take(key).is_none() {
            self.fault(key, format!("is missing; for example {key} = {example}"));
        }
        self.integer(key, example, range)
    }

    /// An array of strings.
    pub(super) fn texts(&self, key: &str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, "an array of strings", value);
            return None;
        };
        let mut texts = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.extend(self.fill_in(key, text)),
                None => self.wrong_type(key, "an array of strings", item),
            }
        }
        Some(texts)
    }

    /// A table with arbitrary names.
    pub(super) fn map<T>(&self, key: &str, read: impl Fn(&Self, &str) -> Option<T>) -> BTreeMap<String, T> {
        let section = self.section(key);
        let Some(table) = section.table else { return BTreeMap::new() };
        table
            .iter()
            .filter_map(|(name, _)| Some((name.get_ref().to_string(), read(&section, name.get_ref())?)))
            .collect()
    }

    /// Refuses every key that wasn't asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        let known = self.known.borrow();
        for (name, _) in table {
            if !known.contains(name.get_ref().as_ref()) {
                let line = Some(self.reader.line_at(name.span().start));
                let list = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                let message = format!("is not a key that is known here; known are: {list}");
                self.reader.fault(line, self.path_of(name.get_ref()), message);
            }
        }
    }
}

fn article(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::Integer(_) | DeValue::Array(_) => "an",
        _ => "a",
    }
}
