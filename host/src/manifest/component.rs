//! `[component.<id>]`: the file of a component, its variables, and the hosts that it may call.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::de::DeValue;

use super::name::check_name;
use super::reader::{Field, Located, Section};
use crate::outbound::AllowedHost;

/// One component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its WebAssembly file, relative to the manifest's folder.
    pub source: PathBuf,
    /// The variables that it can read by `spin:variables`: templates over the application's variables.
    pub variables: BTreeMap<String, Located<String>>,
    /// Its environment variables.
    pub environment: BTreeMap<String, String>,
    /// The hosts that it may call; templates too.
    pub allowed_outbound_hosts: Vec<Located<String>>,
    /// The command that builds its file, for the message that the file is missing.
    pub build_command: Option<String>,
    /// Its line in the manifest.
    pub line: usize,
}

pub(super) fn read(root: &mut Section<'_>) -> BTreeMap<String, Component> {
    let Some(section) = root.section("component") else { return BTreeMap::new() };
    let faults = root.faults();
    let own = section.name.len() + 1;
    let mut components = BTreeMap::new();
    for field in section.fields() {
        let id = field.name[own..].to_owned();
        if let Err(error) = check_name(&id, '-', false) {
            faults.add(field.line, format!("`component`: {error}"));
        }
        if let Some(component) = read_one(&field, root) {
            components.insert(id, component);
        }
    }
    components
}

fn read_one<'a>(field: &Field<'a>, root: &Section<'a>) -> Option<Component> {
    let mut section = field.section(root.faults())?;
    let source = section.required("source").and_then(|source| read_source(&source, root)).unwrap_or_default();
    section.string("description");
    let variables = read_variables(&mut section);
    let environment = section.string_map("environment").into_iter().map(|(name, text)| (name, text.value)).collect();
    let allowed_outbound_hosts = read_hosts(&mut section);
    let build_command = section.section("build").and_then(read_build);
    refuse_unsupported(&mut section);
    section.ignore("targets");
    section.ignore("tool");
    if let Some(profiles) = section.section("profile") {
        profiles.fields().iter().for_each(|profile| check_profile(profile, root));
    }
    section.finish();
    Some(Component { source, variables, environment, allowed_outbound_hosts, build_command, line: field.line })
}

/// Refuses what Spin gives to components and this host does not.
fn refuse_unsupported(section: &mut Section<'_>) {
    const ELSEWHERE: &str = "run this application with `spin up`";
    for (field, what) in [
        ("files", "this host gives components no files"),
        ("exclude_files", "this host gives components no files"),
        ("key_value_stores", "this host has no key-value stores"),
        ("sqlite_databases", "this host has no SQLite databases"),
        ("ai_models", "this host has no models"),
        ("dependencies", "this host does not compose components"),
        ("dependencies_inherit_configuration", "this host does not compose components"),
    ] {
        section.refuse(field, &format!("{what}; {ELSEWHERE}"));
    }
    section.refuse("allowed_http_hosts", "Spin no longer reads it; write `allowed_outbound_hosts`");
}

fn read_source<'a>(field: &Field<'a>, root: &Section<'a>) -> Option<PathBuf> {
    match field.value.get_ref() {
        DeValue::String(path) => Some(PathBuf::from(path.as_ref())),
        DeValue::Table(_) => {
            let message = "this host takes a component from a file, not from a URL or a registry; run this application with `spin up`";
            root.faults().add(field.line, format!("`{}`: {message}", field.name));
            None
        }
        _ => field.wrong_type(root.faults(), "the path of a file"),
    }
}

fn read_variables(section: &mut Section<'_>) -> BTreeMap<String, Located<String>> {
    let variables = section.string_map("variables");
    for (name, text) in &variables {
        if let Err(error) = check_name(name, '_', true) {
            section.faults().add(text.line, format!("`{}.variables`: {error}", section.name));
        }
    }
    variables
}

fn read_hosts(section: &mut Section<'_>) -> Vec<Located<String>> {
    let hosts = section.strings("allowed_outbound_hosts");
    for host in hosts.iter().filter(|host| !host.value.contains("{{")) {
        if let Err(error) = host.value.parse::<AllowedHost>() {
            section.faults().add(host.line, format!("`{}.allowed_outbound_hosts`: {error}", section.name));
        }
    }
    hosts
}

fn read_build(mut section: Section<'_>) -> Option<String> {
    let field = section.required("command");
    section.string("workdir");
    section.strings("watch");
    let command = field.and_then(|field| read_command(&field, &section));
    section.finish();
    command
}

fn read_command<'a>(field: &Field<'a>, section: &Section<'a>) -> Option<String> {
    let faults = section.faults();
    match field.value.get_ref() {
        DeValue::Array(_) => {
            let commands = field.items(faults);
            let commands: Vec<_> = commands.iter().filter_map(|command| command.string(faults)).collect();
            Some(commands.into_iter().map(|command| command.value).collect::<Vec<_>>().join(" && "))
        }
        _ => field.string(faults).map(|command| command.value),
    }
}

/// Checks that a profile is well-formed, and ignores it: it changes only what `spin build` and `spin up --profile` do.
fn check_profile<'a>(field: &Field<'a>, root: &Section<'a>) {
    let Some(mut section) = field.section(root.faults()) else { return };
    section.ignore("source");
    section.string_map("environment");
    section.ignore("dependencies");
    if let Some(mut build) = section.section("build") {
        build.required("command");
        build.finish();
    }
    section.finish();
}
