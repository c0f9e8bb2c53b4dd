//! Apache Kafka's jars: fetched once per user with Maven, and never run unless every one has the checksum that stands in
//! the repository.
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use towpath_stack::checkout;
use towpath_stack::programs;

use crate::group;

const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// A checked folder of jars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jars {
    pub(crate) folder: PathBuf,
    names: Vec<String>,
}

impl Jars {
    /// The jars of the list in a stable order, and no other file that may lie there.
    pub(crate) fn class_path(&self) -> String {
        let paths: Vec<String> = self.names.iter().map(|name| self.folder.join(name).display().to_string()).collect();
        paths.join(":")
    }
}

/// Where the jars of this list are kept: another list (another version) is another folder.
fn folder(list: &str) -> Result<PathBuf> {
    let hash = Sha256::digest(list.as_bytes());
    let short: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let folder = checkout::cache()?.join(format!("kafka-{short}"));
    ensure!(
        folder.to_str().is_some_and(|path| !path.contains([':', '*'])),
        "Java can't find Kafka in {folder:?}, for `:` and `*` mean something else in its class path: set TOWPATH_CACHE to \
         another folder"
    );
    Ok(folder)
}

/// The jars, where they are there already.
pub(crate) fn present(native: &Path) -> Result<Option<Jars>> {
    let list = read_list(native)?;
    let folder = folder(&list)?;
    if !folder.is_dir() {
        return Ok(None);
    }
    check(&folder, &list).map(Some).with_context(|| {
        format!("{} is not what it was when it was fetched: remove that folder and try again", folder.display())
    })
}

/// Fetches and checks them.
pub(crate) async fn fetch(native: &Path) -> Result<Jars> {
    let list = read_list(native)?;
    let folder = folder(&list)?;
    let new = folder.with_extension(format!("new-{}", std::process::id()));
    remove_half_fetched(&folder);
    // Maven looks for a Java too.
    let java = programs::java()?;
    let mut mvn = Command::new("mvn");
    mvn.env("JAVA_HOME", java.home())
        .args(["--quiet", "--batch-mode", "-Dstyle.color=never", "--file"])
        .arg(native.join("kafka/pom.xml"))
        .args([COPY, "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", new.display()))
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let output = group::output(&mut mvn).await.context("cannot run mvn")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let cause = text.lines().find(|line| line.contains("ERROR")).unwrap_or("it says nothing");
        let cause = cause.trim_start_matches("[ERROR] ").trim_end_matches(" -> [Help 1]");
        let _ = fs::remove_dir_all(&new);
        bail!(
            "Kafka's jars could not be fetched from Maven Central: {cause}. Try again once the network is there; behind a \
             proxy, name it in ~/.m2/settings.xml (https://maven.apache.org/guides/mini/guide-proxies.html)"
        );
    }
    if let Err(error) = check(&new, &list) {
        let _ = fs::remove_dir_all(&new);
        return Err(error.context("what Maven fetched is not Kafka as infra/native/kafka/sha256sums knows it: remove ~/.m2/repository/org/apache/kafka and try again"));
    }
    if let Err(error) = fs::rename(&new, &folder) {
        // Another process was faster: use its jars, after the same check.
        let _ = fs::remove_dir_all(&new);
        ensure!(folder.is_dir(), "cannot put {} in its place: {error}", folder.display());
    }
    check(&folder, &list)
}

/// What an `up` that was killed has left of its own.
fn remove_half_fetched(folder: &Path) {
    let begin = folder.file_name().map(|name| format!("{}.new-", name.to_string_lossy()));
    for entry in folder.parent().and_then(|cache| fs::read_dir(cache).ok()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = begin.as_ref().and_then(|begin| name.strip_prefix(begin.as_str())?.parse().ok());
        if pid.is_some_and(|pid: u32| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn read_list(native: &Path) -> Result<String> {
    let file = native.join("kafka/sha256sums");
    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// Compares every jar of the list (lines as `sha256sum` writes them).
fn check(folder: &Path, list: &str) -> Result<Jars> {
    let mut names = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty()) {
        let (wanted, name) = line.split_once("  ").with_context(|| format!("not a checksum line: {line}"))?;
        let found = sha256(&folder.join(name)).with_context(|| format!("cannot read {name}"))?;
        ensure!(found == wanted, "{name} has the checksum {found} instead of {wanted}");
        names.push(name.to_owned());
    }
    ensure!(!names.is_empty(), "the list of checksums is empty");
    Ok(Jars { folder: folder.to_path_buf(), names })
}

fn sha256(file: &Path) -> Result<String> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_stack::testing::TempDir;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn only_jars_of_the_list_with_its_checksums_are_used() {
        let folder = TempDir::new();
        fs::write(folder.path().join("a.jar"), "abc").unwrap();
        fs::write(folder.path().join("stranger.jar"), "x").unwrap();
        let list = format!("{ABC}  a.jar\n");
        let jars = check(folder.path(), &list).unwrap();
        assert_eq!(jars.class_path(), folder.path().join("a.jar").display().to_string());

        fs::write(folder.path().join("a.jar"), "abd").unwrap();
        let error = check(folder.path(), &list).unwrap_err().to_string();
        assert!(error.contains("a.jar has the checksum"), "{error}");
        assert!(check(folder.path(), &format!("{ABC}  missing.jar\n")).is_err());
        assert!(check(folder.path(), "").is_err());
    }

    #[test]
    fn what_a_killed_fetch_has_left_goes_and_what_is_being_fetched_stays() {
        let folder = TempDir::new();
        let place = |pid: u32| folder.path().join(format!("kafka-abc.new-{pid}"));
        // No process has the largest number.
        let (dead, alive, other) = (place(u32::MAX), place(std::process::id()), folder.path().join("kafka-abd.new-1"));
        for folder in [&dead, &alive, &other] {
            fs::create_dir(folder).unwrap();
        }
        remove_half_fetched(&folder.path().join("kafka-abc"));
        assert_eq!([dead, alive, other].map(|folder| folder.exists()), [false, true, true]);
    }
}
