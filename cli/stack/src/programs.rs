//! Where the programs are that Towpath needs and doesn't build. `towpath-cli` installs those that are missing.
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::checkout;

const MIN_POSTGRES: u32 = 15;
const MIN_JAVA: u32 = 17;

/// PostgreSQL's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// The folder with `initdb`, `postgres` and `psql`.
    pub programs: PathBuf,
    /// Its major version.
    pub major: u32,
}

/// A Java that is new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Java(
    /// The program.
    pub PathBuf,
);

impl Java {
    /// What `JAVA_HOME` means: the folder with `bin/java`.
    pub fn home(&self) -> PathBuf {
        let program = self.0.canonicalize().unwrap_or_else(|_| self.0.clone());
        program.ancestors().nth(2).unwrap_or(&program).to_path_buf()
    }
}

/// An executable file by its name, as a shell would find it.
pub fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The newest PostgreSQL here.
pub fn postgres() -> Result<Postgres> {
    let newest = all_postgres().into_iter().max_by_key(|found| found.major);
    newest
        .filter(|found| found.major >= MIN_POSTGRES)
        .with_context(|| format!("PostgreSQL {MIN_POSTGRES} or newer is not installed"))
}

/// The PostgreSQL that can open this data folder: another major version can't.
pub fn postgres_for(data: &Path) -> Result<Postgres> {
    let Ok(version) = std::fs::read_to_string(data.join("PG_VERSION")) else { return postgres() };
    let version = version.trim();
    all_postgres().into_iter().find(|found| found.major.to_string() == version).with_context(|| {
        format!(
            "{} was made by PostgreSQL {version}, which is not installed: install it, or start anew with \
             `towpath reset`",
            data.display()
        )
    })
}

fn all_postgres() -> Vec<Postgres> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = debian.map(|entry| entry.path().join("bin"));
    let elsewhere = in_path("initdb").and_then(|file| file.canonicalize().ok());
    folders
        .chain(elsewhere.and_then(|file| file.parent().map(Path::to_path_buf)))
        .filter(|folder| ["initdb", "postgres"].iter().all(|program| is_executable(&folder.join(program))))
        .filter_map(|programs| Some(Postgres { major: postgres_major(&programs)?, programs }))
        .collect()
}

fn postgres_major(programs: &Path) -> Option<u32> {
    let output = Command::new(programs.join("postgres")).arg("--version").output().ok()?;
    // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
    first_number(String::from_utf8_lossy(&output.stdout).split("(PostgreSQL)").nth(1)?)
}

/// The Redis server's program. Debian's redis-tools has it without the package that starts a service: the same file is
/// server or checking tool by the name that it is called by.
pub fn redis() -> Result<PathBuf> {
    if let Some(server) = in_path("redis-server") {
        return Ok(server);
    }
    let checker = in_path("redis-check-rdb").context("Redis is not installed")?;
    let folder = checkout::cache()?.join("bin");
    let server = folder.join("redis-server");
    if !is_executable(&server) {
        std::fs::create_dir_all(&folder)?;
        let _ = std::fs::remove_file(&server);
        std::os::unix::fs::symlink(&checker, &server)?;
    }
    Ok(server)
}

/// A Java of at least the version that Kafka 4 needs.
pub fn java() -> Result<Java> {
    let named = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    let debian = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let candidates = named.into_iter().chain(in_path("java")).chain(debian.map(|entry| entry.path().join("bin/java")));
    let mut oldest = None;
    for candidate in candidates.filter(|file| is_executable(file)) {
        match java_major(&candidate) {
            Some(major) if major >= MIN_JAVA => return Ok(Java(candidate)),
            found => oldest = oldest.or(found),
        }
    }
    match oldest {
        Some(major) => bail!("Java {major} is too old: Kafka 4 needs {MIN_JAVA}"),
        None => bail!("Java {MIN_JAVA} or newer is not installed"),
    }
}

fn java_major(java: &Path) -> Option<u32> {
    let output = Command::new(java).arg("-version").output().ok()?;
    // `openjdk version "17.0.15" 2025-04-15`; before 9 it was "1.8.0".
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = text.split('"').nth(1)?;
    first_number(version.strip_prefix("1.").unwrap_or(version))
}

fn first_number(text: &str) -> Option<u32> {
    let digits: String = text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    /// Written by a process of its own. What this one writes, a child that another test starts at this moment has open
    /// too, and what somebody has open for writing can't be executed (ETXTBSY of execve(2)).
    fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
        let file = folder.join(name);
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#;
        assert!(Command::new("sh").args(["-c", write, "sh"]).arg(&file).arg(body).status().unwrap().success());
        file
    }

    #[test]
    fn versions_are_read_from_what_the_programs_say() {
        let folder = TempDir::new();
        script(folder.path(), "postgres", "echo 'postgres (PostgreSQL) 16.4 (Debian 16.4-1)'");
        assert_eq!(postgres_major(folder.path()), Some(16));
        let java = script(folder.path(), "java", "echo 'openjdk version \"21.0.2\" 2024-01-16' >&2");
        assert_eq!(java_major(&java), Some(21));
        let java = script(folder.path(), "java8", "echo 'java version \"1.8.0_392\"' >&2");
        assert_eq!(java_major(&java), Some(8));
    }

    #[test]
    fn data_of_another_major_version_is_an_error_with_a_way_out() {
        let folder = TempDir::new();
        std::fs::write(folder.path().join("PG_VERSION"), "9\n").unwrap();
        let error = postgres_for(folder.path()).unwrap_err().to_string();
        assert!(error.contains("PostgreSQL 9") && error.contains("towpath reset"), "{error}");
    }

    #[test]
    fn what_is_not_executable_is_not_found() {
        assert!(in_path("sh").is_some());
        assert!(in_path("towpath-has-no-such-program").is_none());
    }
}
