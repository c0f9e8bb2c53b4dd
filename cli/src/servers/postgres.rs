//! PostgreSQL: one server per service, each on a data folder of its own.
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::FutureExt;
use sha2::{Digest, Sha256};
use towpath_stack::home::Home;
use towpath_stack::programs::{self, Postgres};
use towpath_stack::state::StopSignal;

use super::{Place, run};
use crate::supervisor::probe::Probe;
use crate::supervisor::spec::{Launch, PartSpec, Tier};

/// Where data goes that PostgreSQL's user could not reach under the home.
const FALLBACK: &str = "/var/lib/towpath";
/// Says there whose data it is.
const HOME_NAME: &str = "home";

/// One server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) place: Place,
    /// The part's name, `postgres-order` for example.
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) password: String,
    /// Where it isn't what the configuration file says.
    pub(crate) max_connections: Option<u32>,
}

/// PostgreSQL refuses to run as root: then it runs as the user that Debian's package made for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RunAs {
    name: String,
    user: u32,
    group: u32,
}

impl Server {
    pub(crate) fn part(self) -> Result<PartSpec> {
        let data = data_folder(&self.place.home, &self.name)?;
        let programs = programs::postgres_for(&data)?;
        let run_as = run_as()?;
        let home = &self.place.home;
        let mut launch = launch(&programs, "postgres", run_as.as_ref()).args([
            "-D".into(),
            data.clone().into_os_string(),
            "-p".into(),
            self.port.to_string().into(),
        ]);
        if self.place.throw_away {
            for setting in ["fsync=off", "synchronous_commit=off", "full_page_writes=off"] {
                launch = launch.args(["-c", setting]);
            }
        }
        if let Some(connections) = self.max_connections {
            launch = launch.args(["-c".to_owned(), format!("max_connections={connections}")]);
        }
        let lock = data.join("postmaster.pid");
        let url = format!("postgres://postgres:{}@127.0.0.1:{}/postgres", self.password, self.port);
        Ok(PartSpec {
            name: self.name.clone(),
            address: format!("127.0.0.1:{}", self.port),
            tier: Tier::Server,
            after: Vec::new(),
            log: home.log(&self.name),
            prepare: Some(Arc::new(move || {
                let (server, data, programs, run_as) = (self.clone(), data.clone(), programs.clone(), run_as.clone());
                async move { server.prepare(&data, &programs, run_as.as_ref()).await }.boxed()
            })),
            launch,
            variables: None,
            probe: Probe::Postgres { url, lock: Some(lock) },
            ready_deadline: Duration::from_secs(90),
            // "Fast": sessions are ended, each with a fatal error in the log, then a checkpoint.
            stop_signal: StopSignal::Interrupt,
            // "Smart": waits for the sessions. When everything stops they have left, or are leaving.
            stop_gently: Some(Duration::from_secs(2)),
            stop_deadline: Duration::from_secs(30),
        })
    }

    /// Makes the data folder where there is none, and puts the configuration of the checkout into it.
    async fn prepare(&self, data: &Path, programs: &Postgres, run_as: Option<&RunAs>) -> Result<()> {
        if !data.join("PG_VERSION").exists() {
            self.initialise(data, programs, run_as).await?;
        }
        for file in ["postgresql.conf", "pg_hba.conf"] {
            let (from, to) = (self.place.native.join(file), data.join(file));
            fs::copy(&from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
            own(&to, run_as)?;
        }
        Ok(())
    }

    /// `initdb` beside the place where the data will be: a folder is there whole or not at all.
    async fn initialise(&self, data: &Path, programs: &Postgres, run_as: Option<&RunAs>) -> Result<()> {
        // An `up` that was killed may have left an initdb that still writes: into a folder of its own.
        remove_half_made(data, &self.name);
        let pid = std::process::id();
        let new = data.with_file_name(format!("{}.new-{pid}", self.name));
        let password = data.with_file_name(format!("{}.password-{pid}", self.name));
        remove(&new)?;
        // Whatever ends this, nothing half made stays, and no password.
        let _half = HalfMade { folder: new.clone(), password: password.clone() };
        fs::DirBuilder::new().mode(0o700).create(&new)?;
        own(&new, run_as)?;
        reachable(&new, run_as).await?;
        let _ = fs::remove_file(&password);
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&password)?;
        std::io::Write::write_all(&mut file, self.password.as_bytes())?;
        own(&password, run_as)?;
        let mut initdb = launch(programs, "initdb", run_as)
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"])
            .args(["--data-checksums", "-D"])
            .args([new.clone()])
            .args([format!("--pwfile={}", password.display())]);
        if self.place.throw_away {
            initdb = initdb.args(["--no-sync"]);
        }
        run(&initdb).await?;
        fs::rename(&new, data).with_context(|| format!("cannot put {} in its place", data.display()))
    }
}

/// Removes what others began beside these data, as far as it can be removed now.
fn remove_half_made(data: &Path, name: &str) {
    for entry in data.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        if [".new", ".password"].iter().any(|end| found.starts_with(&format!("{name}{end}"))) {
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}

/// What is removed at the end of its making: a folder that is whole has its place then.
struct HalfMade {
    folder: PathBuf,
    password: PathBuf,
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.password);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The program, run by the right user with nothing of our own environment.
fn launch(programs: &Postgres, program: &str, run_as: Option<&RunAs>) -> Launch {
    let mut launch = Launch::new(programs.programs.join(program)).env("LC_ALL", "C.UTF-8").env("HOME", "/tmp");
    launch.clean_environment = true;
    launch.user = run_as.map(|run_as| run_as.name.clone());
    // A folder that any user may stand in.
    launch.folder = Some(PathBuf::from("/"));
    launch
}

fn run_as() -> Result<Option<RunAs>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let postgres = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, user, group) = (fields.first()?, fields.get(2)?, fields.get(3)?);
        (*name == "postgres").then_some(RunAs {
            name: (*name).to_owned(),
            user: user.parse().ok()?,
            group: group.parse().ok()?,
        })
    });
    let missing =
        "PostgreSQL doesn't run as root, and there is no user `postgres`: `adduser --system postgres` makes it";
    postgres.context(missing).map(Some)
}

fn own(path: &Path, run_as: Option<&RunAs>) -> Result<()> {
    if let Some(run_as) = run_as {
        chown(path, Some(run_as.user), Some(run_as.group))
            .with_context(|| format!("cannot give {} to the user postgres", path.display()))?;
    }
    Ok(())
}

/// Fails with instructions where PostgreSQL's user can't reach its folder.
async fn reachable(folder: &Path, run_as: Option<&RunAs>) -> Result<()> {
    let Some(run_as) = run_as else { return Ok(()) };
    let mut test = Launch::new("test").args(["-w".into(), folder.as_os_str().to_owned()]);
    test.user = Some(run_as.name.clone());
    test.folder = Some(PathBuf::from("/"));
    if run(&test).await.is_err() {
        bail!("the user postgres can't reach {}: choose another place with --home", folder.display());
    }
    Ok(())
}

/// The data folder. Under a home that other users can't pass through (root's own folder, say), PostgreSQL's user could
/// not reach it: then it lies under /var/lib/towpath, and a link stands in its place.
fn data_folder(home: &Home, name: &str) -> Result<PathBuf> {
    let usual = home.data().join(name);
    if !rustix::process::geteuid().is_root() || passable(&home.data()) {
        return Ok(usual);
    }
    let other = fallback(home);
    remove_orphans();
    fs::create_dir_all(&other).with_context(|| format!("cannot make {}", other.display()))?;
    fs::set_permissions(&other, fs::Permissions::from_mode(0o711))?;
    fs::write(other.join(HOME_NAME), home.path().as_os_str().as_encoded_bytes())?;
    let folder = other.join(name);
    if usual.symlink_metadata().is_err() {
        // A deleted home had the link to this data. A new home in its place has other passwords.
        remove(&folder)?;
        std::os::unix::fs::symlink(&folder, &usual)?;
    }
    Ok(folder)
}

/// The folder of this home's data outside of it, should it need one.
pub(crate) fn fallback(home: &Home) -> PathBuf {
    let hash = Sha256::digest(home.path().as_os_str().as_encoded_bytes());
    let short: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Path::new(FALLBACK).join(short)
}

/// Removes data whose home was deleted.
fn remove_orphans() {
    for entry in fs::read_dir(FALLBACK).into_iter().flatten().flatten() {
        let home = fs::read(entry.path().join(HOME_NAME)).map(|home| PathBuf::from(OsString::from_vec(home)));
        if home.is_ok_and(|home| !home.exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn passable(folder: &Path) -> bool {
    const OTHERS_MAY_PASS: u32 = 0o001;
    folder
        .ancestors()
        .all(|folder| fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS_MAY_PASS != 0))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_stack::testing::TempDir;

    #[test]
    fn what_a_killed_one_left_half_made_goes_and_nothing_else() {
        let folder = TempDir::new();
        for name in ["postgres-order.new-7/base", "postgres-order.new", "postgres-order", "postgres-order-2.new-7"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("postgres-order.password-7"), "x").unwrap();
        remove_half_made(&folder.path().join("postgres-order"), "postgres-order");
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["postgres-order", "postgres-order-2.new-7"]);
    }

    #[test]
    fn a_closed_folder_on_the_way_is_noticed() {
        let folder = TempDir::new();
        let inner = folder.path().join("closed/data");
        fs::create_dir_all(&inner).unwrap();
        assert!(passable(&inner));
        fs::set_permissions(folder.path().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!passable(&inner));
        assert!(!passable(&folder.path().join("nothing")));
    }

    #[test]
    fn every_home_has_a_fallback_of_its_own() {
        let (one, two) = (TempDir::new(), TempDir::new());
        let home = |folder: &TempDir| Home::resolve(Some(folder.path())).unwrap();
        assert_eq!(fallback(&home(&one)), fallback(&home(&one)));
        assert_ne!(fallback(&home(&one)), fallback(&home(&two)));
        assert!(fallback(&home(&one)).starts_with(FALLBACK));
    }
}
