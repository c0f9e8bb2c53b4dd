//! `[variables]`: the application's variables.

use std::collections::BTreeMap;

use super::name::check_name;
use super::reader::{Field, Section};

/// One application variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its value if it is not set. A variable without a default is required.
    pub default: Option<String>,
    /// Spin never shows its value.
    pub secret: bool,
    /// Its line in the manifest.
    pub line: usize,
}

pub(super) fn read(root: &mut Section<'_>) -> BTreeMap<String, Variable> {
    let Some(section) = root.section("variables") else { return BTreeMap::new() };
    let faults = root.faults();
    let own = section.name.len() + 1;
    let mut variables = BTreeMap::new();
    for field in section.fields() {
        let name = field.name[own..].to_owned();
        if let Err(error) = check_name(&name, '_', true) {
            faults.add(field.line, format!("`variables`: {error}"));
        }
        if let Some(variable) = read_one(&field, root) {
            variables.insert(name, variable);
        }
    }
    variables
}

fn read_one<'a>(field: &Field<'a>, root: &Section<'a>) -> Option<Variable> {
    let faults = root.faults();
    let mut section = field.section(faults)?;
    section.string("description");
    let required = section.boolean("required").unwrap_or_default();
    let default = section.string("default").map(|default| default.value);
    let secret = section.boolean("secret").unwrap_or_default();
    section.finish();
    if required == default.is_some() {
        faults.add(field.line, format!("`{}` must be either `required = true` or have a `default`", field.name));
    }
    Some(Variable { default, secret, line: field.line })
}
