//! Resolves the application's variables and those of each component. A value comes from `SPIN_VARIABLE_<NAME>` in the
//! environment, else from that name in the file `.env` beside the manifest, else from the manifest's default. The host
//! resolves values once, when it starts, and never writes one to a log or an error.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::manifest::{Component, Fault, Faults, Manifest};
use crate::template;

/// Why a component gets no value for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The name is not a valid name of a variable.
    InvalidName(String),
    /// The component has no variable of this name.
    Undefined(String),
}

/// The values of the application's variables.
pub struct Variables {
    values: BTreeMap<String, String>,
}

impl Variables {
    /// Resolves all variables from the environment, which `environment` reads, and from `.env` in `folder`. The error names
    /// every variable without a value.
    pub fn resolve(
        manifest: &Manifest,
        folder: &Path,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let file = read_env_file(&folder.join(".env")).unwrap_or_else(|fault| {
            faults.push(fault);
            HashMap::new()
        });
        let mut values = BTreeMap::new();
        for (name, variable) in &manifest.variables {
            let source = env_name(name);
            let given = environment(&source).or_else(|| file.get(&source).cloned());
            match given.or_else(|| variable.default.clone()) {
                Some(value) => drop(values.insert(name.clone(), value)),
                None => faults.push(Fault {
                    line: variable.line,
                    message: format!(
                        "`variables.{name}` is required: set {source} in the environment or in .env beside the manifest"
                    ),
                }),
            }
        }
        if faults.is_empty() { Ok(Self { values }) } else { Err(Faults(faults)) }
    }

    /// The variables whose values are for loopback alone, by the manifest.
    pub(crate) fn loopback_only<'a>(&'a self, manifest: &'a Manifest) -> impl Iterator<Item = (&'a str, usize)> {
        let for_loopback = manifest.loopback_only.iter();
        for_loopback
            .filter(|(name, of)| self.values.get(*name).is_some_and(|value| value.trim() == of.value))
            .map(|(name, of)| (name.as_str(), of.line))
    }

    /// Fills a template with the values.
    pub fn fill(&self, text: &str) -> Result<String, String> {
        template::fill(text, |name| self.values.get(name).map(String::as_str))
    }

    /// The variables of one component.
    pub(crate) fn of_component(&self, component: &Component) -> Result<ComponentVariables, String> {
        let filled = component.variables.iter().map(|(name, text)| Ok((name.clone(), self.fill(&text.value)?)));
        Ok(ComponentVariables(filled.collect::<Result<_, String>>()?))
    }
}

/// The variables of one component, by the names that it uses.
#[derive(Debug, Default)]
pub(crate) struct ComponentVariables(HashMap<String, String>);

impl ComponentVariables {
    /// The value of `name`.
    pub(crate) fn get(&self, name: &str) -> Result<String, Missing> {
        if let Some(value) = self.0.get(name) {
            return Ok(value.clone());
        }
        let well_formed = name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('_')
            && !name.contains("__")
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let name = name.to_owned();
        Err(if well_formed { Missing::Undefined(name) } else { Missing::InvalidName(name) })
    }
}

/// The environment variable that sets a variable.
fn env_name(variable: &str) -> String {
    format!("SPIN_VARIABLE_{}", variable.to_ascii_uppercase())
}

/// Reads `.env` if it exists.
fn read_env_file(path: &Path) -> Result<HashMap<String, String>, Fault> {
    if !path.exists() {
        return Ok(HashMap::new());
    }
    // The error contains the malformed line, which may hold a secret: the fault names only the place.
    dotenvy::from_path_iter(path).and_then(Iterator::collect).map_err(|error| {
        let reason = match error {
            dotenvy::Error::LineParse(_, at) => format!("a line of it is not NAME=value (near its character {at})"),
            other => other.to_string(),
        };
        Fault { line: 0, message: format!("{}: {reason}", path.display()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(variables: &str) -> Manifest {
        let text = format!(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\n[variables]\n{variables}\n[[trigger.http]]\n\
             route = \"/\"\ncomponent = \"c\"\n[component.c]\nsource = \"c.wasm\"\n\
             [component.c.variables]\nurl = \"http://{{{{ host }}}}/{{{{ path }}}}\"\n"
        );
        Manifest::parse(&text).unwrap()
    }

    #[test]
    fn environment_goes_before_env_file_and_that_before_the_default() {
        let manifest = manifest("host = { default = \"d\" }\npath = { default = \"d\" }\nthird = { default = \"d\" }");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "SPIN_VARIABLE_HOST=file\nSPIN_VARIABLE_PATH='fi$le'\n").unwrap();
        let environment = |name: &str| (name == "SPIN_VARIABLE_HOST").then(|| "environment".to_owned());
        let variables = Variables::resolve(&manifest, folder.path(), environment).unwrap();
        assert_eq!(variables.fill("{{ host }} {{ path }} {{ third }}").unwrap(), "environment fi$le d");
        let component = variables.of_component(&manifest.components["c"]).unwrap();
        assert_eq!(component.get("url"), Ok("http://environment/fi$le".to_owned()));
        assert_eq!(component.get("host"), Err(Missing::Undefined("host".into())), "application variables stay outside");
        for name in ["", "Host", "1a", "_a", "a_", "a__b", "a-b", "a.b"] {
            assert_eq!(component.get(name), Err(Missing::InvalidName(name.into())));
        }
    }

    #[test]
    fn every_required_variable_without_a_value_is_named() {
        let manifest = manifest("host = { required = true }\npath = { required = true, secret = true }");
        let folder = tempfile::tempdir().unwrap();
        let faults = Variables::resolve(&manifest, folder.path(), |_| None).err().unwrap().to_string();
        assert!(faults.contains("line 5: `variables.host` is required: set SPIN_VARIABLE_HOST"), "{faults}");
        assert!(faults.contains("line 6: `variables.path` is required: set SPIN_VARIABLE_PATH"), "{faults}");
    }

    #[test]
    fn a_malformed_env_file_is_reported_without_its_content() {
        let manifest = manifest("host = { default = \"d\" }\npath = { default = \"d\" }");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "SPIN_VARIABLE_HOST='s3cret\n").unwrap();
        let faults = Variables::resolve(&manifest, folder.path(), |_| None).err().unwrap().to_string();
        assert!(faults.contains(".env") && !faults.contains("s3cret"), "{faults}");
    }
}
