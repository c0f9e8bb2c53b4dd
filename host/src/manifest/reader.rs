//! Reads TOML tables field by field. A field that no caller reads is an unknown field, and a fault; so is a value of
//! another type than the caller expects.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::fault::Collector;

/// A value and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its line in the manifest, counted from 1.
    pub line: usize,
}

/// One value of the document, with a name for messages: `component.order.source`.
pub(crate) struct Field<'a> {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) value: &'a Spanned<DeValue<'a>>,
}

/// One table of the document.
pub(crate) struct Section<'a> {
    pub(crate) name: String,
    pub(crate) line: usize,
    table: &'a DeTable<'a>,
    faults: &'a Collector,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The document itself.
    pub(crate) fn root(table: &'a Spanned<DeTable<'a>>, faults: &'a Collector) -> Self {
        Self { name: String::new(), line: 0, table: table.get_ref(), faults, known: Vec::new() }
    }

    pub(crate) fn faults(&self) -> &'a Collector {
        self.faults
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn field_of(&self, key: &Spanned<DeString<'a>>, value: &'a Spanned<DeValue<'a>>) -> Field<'a> {
        Field { name: self.path(key.get_ref()), line: self.faults.line(&key.span()), value }
    }

    /// A field, whatever its type.
    pub(crate) fn field(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(self.field_of(name, value))
    }

    /// All fields of a table whose keys are free to choose.
    pub(crate) fn fields(self) -> Vec<Field<'a>> {
        self.table.iter().map(|(name, value)| self.field_of(name, value)).collect()
    }

    /// A field that must be there.
    pub(crate) fn required(&mut self, key: &'static str) -> Option<Field<'a>> {
        let field = self.field(key);
        if field.is_none() {
            self.faults.add(self.line, format!("`{}` is missing", self.path(key)));
        }
        field
    }

    pub(crate) fn string(&mut self, key: &'static str) -> Option<Located<String>> {
        let field = self.field(key)?;
        field.string(self.faults)
    }

    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let field = self.field(key)?;
        match field.value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => field.wrong_type(self.faults, "true or false"),
        }
    }

    pub(crate) fn strings(&mut self, key: &'static str) -> Vec<Located<String>> {
        let Some(field) = self.field(key) else { return Vec::new() };
        field.items(self.faults).iter().filter_map(|item| item.string(self.faults)).collect()
    }

    pub(crate) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let field = self.field(key)?;
        field.section(self.faults)
    }

    /// A table of strings with free keys.
    pub(crate) fn string_map(&mut self, key: &'static str) -> BTreeMap<String, Located<String>> {
        let Some(section) = self.section(key) else { return BTreeMap::new() };
        let faults = self.faults;
        let own = section.name.len() + 1;
        section
            .fields()
            .iter()
            .filter_map(|field| Some((field.name[own..].to_owned(), field.string(faults)?)))
            .collect()
    }

    /// Accepts a field that Spin knows and that does not concern this host.
    pub(crate) fn ignore(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// Refuses a field that Spin knows and this host does not support, unless its value asks for nothing.
    pub(crate) fn refuse(&mut self, key: &'static str, reason: &str) {
        let Some(field) = self.field(key) else { return };
        let asks_for_nothing = match field.value.get_ref() {
            DeValue::Array(items) => items.is_empty(),
            DeValue::Table(table) => table.is_empty(),
            DeValue::Boolean(value) => !*value,
            _ => false,
        };
        if !asks_for_nothing {
            self.faults.add(field.line, format!("`{}`: {reason}", field.name));
        }
    }

    /// Reports the unknown fields. The last call on every table with fixed keys.
    pub(crate) fn finish(self) {
        for (name, value) in self.table.iter().filter(|(name, _)| !self.known.contains(&name.get_ref().as_ref())) {
            let field = self.field_of(name, value);
            let message = format!("`{}`: Spin knows no such field here, only {}", field.name, self.known.join(", "));
            self.faults.add(field.line, message);
        }
    }
}

impl<'a> Field<'a> {
    pub(crate) fn wrong_type<T>(&self, faults: &Collector, expected: &str) -> Option<T> {
        let found = self.value.get_ref().type_str();
        faults.add(self.line, format!("`{}` must be {expected}, not {found}", self.name));
        None
    }

    pub(crate) fn string(&self, faults: &Collector) -> Option<Located<String>> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(Located { value: text.to_string(), line: self.line }),
            _ => self.wrong_type(faults, "a string"),
        }
    }

    pub(crate) fn section(&self, faults: &'a Collector) -> Option<Section<'a>> {
        match self.value.get_ref() {
            DeValue::Table(table) => {
                Some(Section { name: self.name.clone(), line: self.line, table, faults, known: Vec::new() })
            }
            _ => self.wrong_type(faults, "a table"),
        }
    }

    /// The items of an array, each on its own line.
    pub(crate) fn items(&self, faults: &Collector) -> Vec<Field<'a>> {
        match self.value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, value)| Field {
                    name: format!("{}[{index}]", self.name),
                    line: faults.line(&value.span()),
                    value,
                })
                .collect(),
            _ => self.wrong_type(faults, "an array").unwrap_or_default(),
        }
    }
}
