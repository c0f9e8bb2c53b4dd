//! How many of its tests each program runs at once.
//!
//! cargo starts all test programs with one environment. So it starts them by a line of shell, which knows whose turn it is.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZero;
use std::thread::available_parallelism;

use toml::Value;

/// What cargo is told, by package and program.
pub(super) fn config(threads: &BTreeMap<(String, String), NonZero<usize>>) -> Vec<String> {
    if threads.is_empty() {
        return Vec::new();
    }
    let runner = Value::from(runner(threads));
    vec!["--config".to_owned(), format!("target.'cfg(all())'.runner = {runner}")]
}

/// A command that runs the test program whose path and arguments follow it. `RUST_TEST_THREADS`, where it is set, and
/// `--test-threads` are stronger.
fn runner(threads: &BTreeMap<(String, String), NonZero<usize>>) -> Vec<String> {
    let processors = available_parallelism().map_or(1, NonZero::get);
    let mut script = r#"case "$CARGO_PKG_NAME/${1##*/}" in "#.to_owned();
    for ((package, program), threads) in threads {
        let threads = threads.get().max(processors);
        let told = format!("${{RUST_TEST_THREADS:-{threads}}}");
        let _ = write!(script, r#"{package}/{program}-*) export RUST_TEST_THREADS="{told}" ;; "#);
    }
    script.push_str(r#"esac; exec "$@""#);
    ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use towpath_stack::testing::TempDir;

    /// What a test program sees, and its argument.
    fn seen(package: &str, program: &str, own: Option<&str>) -> String {
        let folder = TempDir::new();
        let path = folder.path().join(program);
        std::os::unix::fs::symlink("/bin/sh", &path).unwrap();
        let threads = BTreeMap::from([(("relay".to_owned(), "events".to_owned()), NonZero::new(600).unwrap())]);
        let runner = runner(&threads);
        let mut command = Command::new(&runner[0]);
        let tell = r#"printf '%s %s' "${RUST_TEST_THREADS-unset}" "$1""#;
        command.args(&runner[1..]).arg(path).args(["-c", tell, "sh", "a name"]).env("CARGO_PKG_NAME", package);
        command.env_remove("RUST_TEST_THREADS").envs(own.map(|own| ("RUST_TEST_THREADS", own)));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }

    #[test]
    fn a_program_is_told_its_own_number_alone() {
        assert_eq!(seen("relay", "events-0a1b", None), "600 a name");
        assert_eq!(seen("relay", "api-0a1b", None), "unset a name");
        assert_eq!(seen("order", "events-0a1b", None), "unset a name");
        assert_eq!(seen("relay", "events-0a1b", Some("1")), "1 a name");
    }

    #[test]
    fn cargo_is_told_only_where_there_is_something_to_say() {
        assert!(config(&BTreeMap::new()).is_empty());
        let threads = BTreeMap::from([(("relay".to_owned(), "events".to_owned()), NonZero::new(600).unwrap())]);
        let told: toml::Table = config(&threads)[1].parse().unwrap();
        assert_eq!(told["target"]["cfg(all())"]["runner"][3].as_str(), Some("sh"));
    }
}
