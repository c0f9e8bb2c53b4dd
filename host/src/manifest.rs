//! Reads `spin.toml`, version 2, as Spin 4.1 does. A field that this host does not support (key-value stores, SQLite, files,
//! ...) is an error that names it, and so is a field that Spin does not know: the host ignores nothing that would change
//! what an application does.

mod component;
mod fault;
mod name;
mod reader;
mod trigger;
mod variable;

use std::collections::BTreeMap;

pub use component::Component;
pub use fault::{Fault, Faults};
pub use reader::Located;
pub use trigger::{HttpTrigger, RouteConfig, StaticResponse, Target};
pub use variable::Variable;

use fault::Collector;
use reader::Section;
use toml::de::{DeTable, DeValue};

use crate::template::{self, Part};

/// Where a manifest says with which values of variables the host listens on loopback alone.
pub(crate) const LOOPBACK_ONLY: &str = "application.tool.towpath-host.loopback_only";

/// An application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `application.name`.
    pub name: String,
    /// `application.version`.
    pub version: Option<String>,
    /// The application's variables by name.
    pub variables: BTreeMap<String, Variable>,
    /// `application.tool.towpath-host.loopback_only`: values of variables with which the host listens on loopback alone.
    pub loopback_only: BTreeMap<String, Located<String>>,
    /// Routes, in the order of the manifest.
    pub triggers: Vec<HttpTrigger>,
    /// Components by their id.
    pub components: BTreeMap<String, Component>,
}

impl Manifest {
    /// Reads a manifest. The error lists every fault.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        let faults = Collector::new(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let line = error.span().map_or(0, |span| faults.line(&span));
            faults.add(line, format!("not TOML: {}", error.message()));
        }
        if !errors.is_empty() {
            // The rest of a document that is not TOML says little about what its author meant.
            return faults.finish().map(|()| unreachable!("there are faults"));
        }
        let mut root = Section::root(&document, &faults);
        version(&mut root);
        let (name, version, loopback_only) = application(&mut root);
        let variables = variable::read(&mut root);
        let triggers = trigger::read(&mut root);
        let components = component::read(&mut root);
        root.finish();
        let manifest = Self { name, version, variables, loopback_only, triggers, components };
        manifest.check_references(&faults);
        faults.finish()?;
        Ok(manifest)
    }

    /// Checks what one part of the manifest says about another.
    fn check_references(&self, faults: &Collector) {
        for trigger in &self.triggers {
            if let Target::Component(id) = &trigger.target
                && !self.components.contains_key(id)
            {
                faults.add(trigger.line, format!("`trigger.http.component`: there is no [component.{id}]"));
            }
        }
        for (name, value) in &self.loopback_only {
            if !self.variables.contains_key(name) {
                faults
                    .add(value.line, format!("`{LOOPBACK_ONLY}.{name}`: there is no variable `{name}` in [variables]"));
            }
        }
        for (id, component) in &self.components {
            let texts = component.variables.iter().map(|(name, text)| (format!("variables.{name}"), text));
            let hosts = component.allowed_outbound_hosts.iter();
            for (field, text) in texts.chain(hosts.map(|text| ("allowed_outbound_hosts".to_owned(), text))) {
                if let Err(error) = self.check_template(&text.value) {
                    faults.add(text.line, format!("`component.{id}.{field}`: {error}"));
                }
            }
        }
    }

    /// Checks that a template is well-formed and names variables of the manifest.
    fn check_template(&self, text: &str) -> Result<(), String> {
        for part in template::parts(text)? {
            if let Part::Variable(name) = part
                && !self.variables.contains_key(name)
            {
                return Err(format!("there is no variable `{name}` in [variables]"));
            }
        }
        Ok(())
    }
}

fn version(root: &mut Section<'_>) {
    let Some(field) = root.required("spin_manifest_version") else { return };
    match field.value.get_ref() {
        DeValue::Integer(number) if number.as_str() == "2" && number.radix() == 10 => {}
        DeValue::String(text) if text == "1" => {
            root.faults().add(
                field.line,
                "`spin_manifest_version`: this host reads version 2 only; `spin doctor` upgrades a manifest",
            );
        }
        _ => field.wrong_type(root.faults(), "the number 2").unwrap_or_default(),
    }
}

/// What the application says of itself: name, version, and what is for loopback alone.
fn application(root: &mut Section<'_>) -> (String, Option<String>, BTreeMap<String, Located<String>>) {
    let Some(field) = root.required("application") else { return Default::default() };
    let Some(mut section) = field.section(root.faults()) else { return Default::default() };
    let name = section.required("name").and_then(|field| field.string(section.faults()));
    let version = section.string("version").filter(|version| !version.value.is_empty());
    section.string("description");
    section.strings("authors");
    section.ignore("targets");
    section.refuse("trigger", "this host takes no settings for a trigger; the routes stand in [[trigger.http]]");
    let loopback_only = section.section("tool").map(loopback_only).unwrap_or_default();
    section.finish();
    (name.map(|name| name.value).unwrap_or_default(), version.map(|version| version.value), loopback_only)
}

/// Spin leaves the tables below `application.tool` to other tools. This one is the host's; the others don't concern it.
fn loopback_only(mut tools: Section<'_>) -> BTreeMap<String, Located<String>> {
    let Some(mut own) = tools.section("towpath-host") else { return BTreeMap::new() };
    let values = own.string_map("loopback_only");
    own.finish();
    values
}

#[cfg(test)]
mod tests;
