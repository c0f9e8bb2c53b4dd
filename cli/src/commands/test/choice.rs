//! Which tests were asked for, and what those need.
//!
//! A package says in its Cargo.toml what its test programs need, by the name of the program:
//!
//! ```toml
//! [package.metadata.needs]
//! events = ["postgres", "kafka", "redis"]
//! ```
//!
//! One that isn't named there needs nothing. `[package.metadata.threads]` says the same way how many of its tests a program runs
//! at once, where they wait most of the time: `events = 6`. Fewer than the machine has processors are as many as those.
//!
//! Which programs have a test with a certain name is read from their sources,
//! so that nothing is built and no server started for those that have none.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::process::Command;

/// What a test program can need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Need {
    /// A PostgreSQL server.
    Postgres,
    /// A Kafka broker.
    Kafka,
    /// A Redis server.
    Redis,
    /// Stripe's own stand-in.
    StripeMock,
    /// The program that tests an HTTP interface by its description.
    Schemathesis,
    /// The proxy that stands before Spin.
    Nginx,
    /// The component that the host's own tests run.
    Guest,
    /// A whole stack, which all tests of the run share.
    Stack,
    /// What stacks are made of: the tests start some of their own.
    OwnStacks,
}

impl Need {
    /// Whether the components must be built.
    pub(super) fn components(self) -> bool {
        matches!(self, Self::Stack | Self::OwnStacks)
    }

    /// Whether a program of Debian's must be there.
    pub(super) fn programs(self) -> bool {
        self.components() || matches!(self, Self::Postgres | Self::Kafka | Self::Redis)
    }

    /// Whether Kafka's jars must be there.
    pub(super) fn kafka(self) -> bool {
        self.components() || self == Self::Kafka
    }
}

/// The workspace, as `cargo metadata` tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Workspace {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
    metadata: Option<Metadata>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    src_path: PathBuf,
    /// Whether it belongs to "everything". What doesn't runs only where it is named.
    test: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    needs: BTreeMap<String, BTreeSet<Need>>,
    #[serde(default)]
    threads: BTreeMap<String, NonZero<usize>>,
}

/// The tests that were chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// What cargo is told before `--`.
    pub(super) cargo: Vec<String>,
    /// Parts of the names of the tests to run; all where it is empty.
    pub(super) names: Vec<String>,
    /// What these tests need.
    pub(super) needs: BTreeSet<Need>,
    /// How many of its tests a program runs at once, by package and program. The others decide themselves.
    pub(super) threads: BTreeMap<(String, String), NonZero<usize>>,
}

/// What of cargo's arguments decides which tests run.
#[derive(Debug, Default)]
struct Asked<'a> {
    packages: BTreeSet<&'a str>,
    /// `--lib`, `--bins`, `--test NAME`, ...; empty for all.
    targets: Vec<(&'a str, Option<&'a str>)>,
    /// Parts of names. A test runs that has one of them.
    names: Vec<&'a str>,
    others: Vec<&'a str>,
}

impl Workspace {
    /// Asks cargo.
    pub(super) async fn load(root: &Path) -> Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(root).stdin(Stdio::null());
        let output = cargo.output().await.context("cannot run cargo: is rustup's folder in PATH?")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("cannot understand `cargo metadata`")
    }

    /// What these arguments (those of `cargo test` before `--`) choose.
    pub(super) fn choose(&self, arguments: &[String]) -> Result<Choice> {
        let asked = Asked::parse(arguments);
        if let Some(unknown) = asked.packages.iter().find(|name| !self.packages.iter().any(|p| p.name == **name)) {
            let known: Vec<&str> = self.packages.iter().map(|package| package.name.as_str()).collect();
            bail!("no package is called {unknown}: there are {}", known.join(", "));
        }
        let mut chosen: Vec<(&Package, &Target)> = Vec::new();
        for package in self.packages.iter().filter(|p| asked.packages.is_empty() || asked.packages.contains(&*p.name)) {
            chosen.extend(package.targets.iter().filter(|target| asked.wants(target)).map(|target| (package, target)));
        }
        let mut narrowed = false;
        if !asked.names.is_empty() {
            let has = |name: &str| chosen.iter().any(|(_, target)| has_test(target, name));
            let unknown: Vec<String> =
                asked.names.iter().filter(|name| !has(name)).map(|name| format!("{name:?}")).collect();
            if !unknown.is_empty() {
                bail!("no test has {} in its name, nor in its module's", unknown.join(" or "));
            }
            let before = chosen.len();
            chosen.retain(|(_, target)| asked.names.iter().any(|name| has_test(target, name)));
            narrowed = chosen.len() < before;
        }
        let needs = chosen.iter().flat_map(|(package, target)| package.needs(target)).collect();
        let threads = chosen.iter().filter_map(|(package, target)| package.threads(target)).collect();
        let cargo = asked.cargo(&chosen, narrowed, |target| self.is_alone(target));
        Ok(Choice { cargo, names: asked.names.iter().map(|name| (*name).to_owned()).collect(), needs, threads })
    }

    /// Whether these are test programs whose name no other package's have.
    fn is_alone(&self, (flag, name): (&str, Option<&str>)) -> bool {
        let targets = self.packages.iter().flat_map(|package| &package.targets);
        flag == "--test" && targets.filter(|target| target.is("test") && Some(&*target.name) == name).count() == 1
    }
}

impl Package {
    fn needs(&self, target: &Target) -> impl Iterator<Item = Need> {
        let needs = self.metadata.as_ref().and_then(|metadata| metadata.needs.get(&target.name));
        needs.into_iter().flatten().copied()
    }

    fn threads(&self, target: &Target) -> Option<((String, String), NonZero<usize>)> {
        let threads = self.metadata.as_ref().filter(|_| target.is("test"))?.threads.get(&target.name)?;
        Some(((self.name.clone(), target.name.clone()), *threads))
    }
}

impl Target {
    fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|known| known == kind)
    }
}

impl<'a> Asked<'a> {
    fn parse(arguments: &'a [String]) -> Self {
        let mut asked = Self::default();
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            match argument {
                "--workspace" | "--all" => {}
                "-p" | "--package" => asked.packages.extend(arguments.next()),
                "--lib" | "--bins" | "--tests" | "--doc" => asked.targets.push((argument, None)),
                "--test" | "--bin" => asked.targets.push((argument, arguments.next())),
                "--features" | "-F" | "-j" | "--jobs" | "--profile" | "--target" | "--config" => {
                    asked.others.push(argument);
                    asked.others.extend(arguments.next());
                }
                _ if argument.starts_with("--package=") || (argument.starts_with("-p") && argument.len() > 2) => {
                    asked.packages.insert(argument.trim_start_matches("--package=").trim_start_matches("-p"));
                }
                _ if argument.starts_with('-') => asked.others.push(argument),
                _ => asked.names.push(argument),
            }
        }
        asked
    }

    fn wants(&self, target: &Target) -> bool {
        let kinds = ["test", "lib", "bin", "cdylib"];
        let all = |target: &Target| target.test && kinds.iter().any(|kind| target.is(kind));
        let one = |(flag, name): &(&str, Option<&str>)| match *flag {
            "--lib" | "--doc" => target.is("lib"),
            "--bins" => target.is("bin"),
            "--bin" => target.is("bin") && name.is_some_and(|name| name == target.name),
            "--tests" => all(target),
            _ => target.is("test") && name.is_some_and(|name| name == target.name),
        };
        if self.targets.is_empty() { all(target) } else { self.targets.iter().any(one) }
    }

    /// Where a name has narrowed the choice, cargo is told exactly which programs to build. It is told the workspace instead
    /// of packages where that means the same programs: with `-p` it gives dependencies other features than the workspace has,
    /// and compiles them again.
    fn cargo(
        &self,
        chosen: &[(&Package, &Target)],
        narrowed: bool,
        is_alone: impl Fn((&str, Option<&str>)) -> bool,
    ) -> Vec<String> {
        let mut packages: BTreeSet<&str> = self.packages.clone();
        let mut targets: Vec<(&str, Option<&str>)> = self.targets.clone();
        if narrowed {
            packages = chosen.iter().map(|(package, _)| package.name.as_str()).collect();
            targets = chosen.iter().map(|(_, target)| flag(target)).collect();
            targets.sort_unstable();
            targets.dedup();
        }
        if !targets.is_empty() && targets.iter().copied().all(is_alone) {
            packages.clear();
        }
        let mut cargo = Vec::new();
        if packages.is_empty() {
            cargo.push("--workspace");
        }
        cargo.extend(packages.iter().flat_map(|name| ["-p", name]));
        cargo.extend(targets.iter().flat_map(|(flag, name)| [Some(*flag), *name]).flatten());
        cargo.extend(self.others.iter().copied());
        cargo.into_iter().map(str::to_owned).collect()
    }
}

fn flag(target: &Target) -> (&str, Option<&str>) {
    match target {
        target if target.is("test") => ("--test", Some(&target.name)),
        target if target.is("bin") => ("--bin", Some(&target.name)),
        _ => ("--lib", None),
    }
}

/// Whether a test of this program may be meant: each part of `module::name` is in a function's name or in a file's path.
/// Too many are no harm: cargo looks at the names again.
fn has_test(target: &Target, filter: &str) -> bool {
    let entry = &target.src_path;
    let folder = entry.parent().unwrap_or(Path::new("."));
    // A program of one file beside others: `tests/expiry.rs`.
    let single = target.is("test") && entry.file_stem().is_some_and(|stem| stem != "main");
    let files = if single { vec![entry.clone()] } else { rust_files(folder) };
    files.iter().any(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let path = file.strip_prefix(folder).unwrap_or(file).with_extension("").to_string_lossy().into_owned();
        filter.split("::").filter(|part| !part.is_empty()).all(|part| path.contains(part) || names(&text, part))
    })
}

/// Whether a function or module has this in its name.
fn names(text: &str, part: &str) -> bool {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    let mut before = "";
    for word in words {
        if matches!(before, "fn" | "mod") && word.contains(part) {
            return true;
        }
        before = word;
    }
    false
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_stack::testing::TempDir;

    const SOURCES: [(&str, &str); 6] = [
        ("relay/src/lib.rs", "mod outbox;"),
        ("relay/src/outbox.rs", "#[test] fn a_batch_is_bounded() {}"),
        ("relay/tests/events/main.rs", "mod dead_letters;"),
        ("relay/tests/events/dead_letters.rs", "#[tokio::test]\nasync fn a_replay_goes_to_one_service() {}"),
        ("relay/tests/contract.rs", "#[test] fn a_replay_is_as_described() {}"),
        ("order/src/lib.rs", "#[test] fn an_order_expires() {}"),
    ];

    fn workspace(root: &Path) -> Workspace {
        for (file, text) in SOURCES {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let target = |name: &str, kind: &str, file: &str| Target {
            name: name.to_owned(),
            kind: vec![kind.to_owned()],
            src_path: root.join(file),
            test: name != "contract",
        };
        let needs = BTreeMap::from([
            ("events".to_owned(), BTreeSet::from([Need::Postgres, Need::Kafka])),
            ("contract".to_owned(), BTreeSet::from([Need::Schemathesis])),
        ]);
        let threads = BTreeMap::from([("events".to_owned(), NonZero::new(6).unwrap())]);
        let relay = Package {
            name: "towpath-relay".to_owned(),
            targets: vec![
                target("towpath_relay", "lib", "relay/src/lib.rs"),
                target("events", "test", "relay/tests/events/main.rs"),
                target("refusals", "test", "relay/tests/refusals.rs"),
                target("contract", "test", "relay/tests/contract.rs"),
            ],
            metadata: Some(Metadata { needs, threads }),
        };
        let order = Package {
            name: "towpath-order".to_owned(),
            targets: vec![
                target("towpath_order", "lib", "order/src/lib.rs"),
                target("refusals", "test", "order/tests/refusals.rs"),
            ],
            metadata: None,
        };
        Workspace { packages: vec![relay, order] }
    }

    fn choose(arguments: &[&str]) -> Result<Choice> {
        let folder = TempDir::new();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        workspace(folder.path()).choose(&arguments)
    }

    #[test]
    fn without_a_name_it_is_everything_with_all_that_needs() {
        let all = choose(&[]).unwrap();
        assert_eq!(all.cargo, ["--workspace"]);
        assert_eq!(all.needs, BTreeSet::from([Need::Postgres, Need::Kafka]));
    }

    #[test]
    fn a_name_chooses_the_programs_that_have_it() {
        let replay = choose(&["a_replay"]).unwrap();
        assert_eq!(replay.cargo, ["--workspace", "--test", "events"]);
        assert_eq!(replay.names, ["a_replay"]);
        assert_eq!(replay.needs.len(), 2);
        let module = choose(&["dead_letters::a_replay"]).unwrap();
        assert_eq!(module.cargo[..3], ["--workspace", "--test", "events"]);
        let pure = choose(&["outbox"]).unwrap();
        assert_eq!((pure.cargo[2].as_str(), pure.needs.len()), ("--lib", 0));
    }

    #[test]
    fn several_names_choose_the_programs_that_have_any() {
        let both = choose(&["a_replay", "an_order_expires"]).unwrap();
        assert_eq!(both.cargo, ["-p", "towpath-order", "-p", "towpath-relay", "--lib", "--test", "events"]);
        assert_eq!(both.names, ["a_replay", "an_order_expires"]);
        let error = choose(&["a_replay", "no_such", "nor_this"]).unwrap_err().to_string();
        assert!(error.contains("\"no_such\" or \"nor_this\""), "{error}");
    }

    #[test]
    fn a_program_that_is_no_part_of_everything_runs_where_it_is_named() {
        let contract = choose(&["--test", "contract"]).unwrap();
        assert_eq!(contract.cargo, ["--workspace", "--test", "contract"]);
        assert_eq!(contract.needs, BTreeSet::from([Need::Schemathesis]));
        for everything in [&[][..], &["--tests"], &["a_replay"]] {
            assert!(!choose(everything).unwrap().needs.contains(&Need::Schemathesis), "{everything:?}");
        }
    }

    #[test]
    fn a_package_chooses_its_own_programs() {
        let order = choose(&["-p", "towpath-order"]).unwrap();
        assert_eq!((order.cargo, order.needs.len()), (vec!["-p".to_owned(), "towpath-order".to_owned()], 0));
        let lib = choose(&["-ptowpath-relay", "--lib"]).unwrap();
        assert_eq!((lib.cargo, lib.needs.len()), (["-p", "towpath-relay", "--lib"].map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn a_program_of_one_package_is_built_with_the_workspaces_features() {
        let events = choose(&["-p", "towpath-relay", "--test", "events"]).unwrap();
        assert_eq!(events.cargo, ["--workspace", "--test", "events"]);
        let shared = choose(&["-p", "towpath-order", "--test", "refusals"]).unwrap();
        assert_eq!(shared.cargo, ["-p", "towpath-order", "--test", "refusals"]);
    }

    #[test]
    fn a_program_that_waits_runs_more_tests_at_once() {
        let events = ("towpath-relay".to_owned(), "events".to_owned());
        for chosen in [&[][..], &["a_replay"], &["--test", "events"]] {
            let threads = choose(chosen).unwrap().threads;
            assert_eq!(threads, BTreeMap::from([(events.clone(), NonZero::new(6).unwrap())]), "{chosen:?}");
        }
        assert!(choose(&["--test", "refusals"]).unwrap().threads.is_empty());
    }

    #[test]
    fn what_no_test_has_is_said_before_anything_is_built() {
        let error = choose(&["no_such_rule"]).unwrap_err().to_string();
        assert!(error.contains("no test has \"no_such_rule\""), "{error}");
        let error = choose(&["-p", "towpath-nothing"]).unwrap_err().to_string();
        assert!(error.contains("there are towpath-relay, towpath-order"), "{error}");
    }
}
