//! The folder of a stack. One home is one stack: its data, logs, secrets and the socket of its supervisor, so that two stacks
//! (a developer's and a test's) share nothing.
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::checkout;
use crate::formats::shell;

/// PostgreSQL takes no path of more than 1023 bytes; the rest is for what lies under the home.
const MAX_PATH_BYTES: usize = 900;

/// The folder of one stack, absolute: text without control characters, so that it can stand in a line of any file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The home that the user named, or `.towpath` in the application's folder.
    ///
    /// # Errors
    /// Where its path could not be written into the files of the servers.
    pub fn resolve(named: Option<&Path>) -> Result<Self> {
        let path = match named {
            Some(path) => path.to_path_buf(),
            None => checkout::application()?.join(".towpath"),
        };
        let path = std::path::absolute(&path).with_context(|| format!("no absolute path for {}", path.display()))?;
        let Some(text) = path.to_str() else {
            bail!("the path of a home is UTF-8, and this one isn't: {path:?}: choose another one with --home")
        };
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            bail!("the path of a home can't have the character {control:?}: {text:?}: choose another one with --home");
        }
        let long = text.len();
        ensure!(
            long <= MAX_PATH_BYTES,
            "the path of a home has at most {MAX_PATH_BYTES} bytes, and this one has {long}: PostgreSQL takes no longer \
             one: choose another one with --home"
        );
        Ok(Self(path))
    }

    /// A command of ours for this stack, as one pastes it into a shell: `./towpath down --home '/tmp/my shop'`.
    #[must_use]
    pub fn command(&self, command: &str) -> String {
        let usual = checkout::application().ok().map(|application| application.join(".towpath"));
        // As it was called: the script says how.
        let towpath = std::env::var("TOWPATH_COMMAND").map_or_else(|_| "./towpath".to_owned(), |path| shell(&path));
        match usual.as_deref() == Some(self.path()) {
            true => format!("{towpath} {command}"),
            false => format!("{towpath} {command} --home {}", shell(&self.0.display().to_string())),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What the servers keep.
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// The folder of the log files.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The log file of a part.
    pub fn log(&self, part: &str) -> PathBuf {
        self.logs().join(format!("{part}.log"))
    }

    /// What belongs to one run: state, ports, lock, socket.
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Where [`State`](crate::state::State) is written.
    pub fn state_file(&self) -> PathBuf {
        self.run().join("state.json")
    }

    /// Where automatic ports are remembered.
    pub fn ports_file(&self) -> PathBuf {
        self.run().join("ports.json")
    }

    /// Where [`Secrets`](crate::secrets::Secrets) are kept.
    pub fn secrets_file(&self) -> PathBuf {
        self.0.join("secrets.env")
    }

    /// Set once the catalogue was seeded; it goes with the data.
    pub fn seeded_file(&self) -> PathBuf {
        self.data().join("seeded")
    }

    /// Makes the folders. All is for this user alone; the home and `data` can be passed through, since PostgreSQL may run as
    /// another user than the caller (its own folder is closed to all others).
    pub fn create(&self) -> Result<()> {
        for (folder, mode) in [(self.0.clone(), 0o711), (self.data(), 0o711), (self.logs(), 0o700), (self.run(), 0o700)]
        {
            fs::create_dir_all(&folder)
                .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)))
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        Ok(())
    }

    /// The supervisor's lock: its holder owns the stack. It ends with the process, however that ends.
    pub fn lock(&self) -> Result<Option<Lock>> {
        let path = self.lock_file();
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(Some(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// The lock that the program which started this one has handed over as this one's stdin; none where it did not.
    pub fn lock_of_starter(&self) -> Result<Option<Lock>> {
        let file = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        let (here, there) = (file.metadata()?, fs::metadata(self.lock_file())?);
        if (here.dev(), here.ino()) != (there.dev(), there.ino()) {
            return Ok(None);
        }
        // A lock belongs to what open(2) made, which both descriptors share.
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(Some(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock what the starter has handed over"),
        }
    }

    fn lock_file(&self) -> PathBuf {
        self.run().join("lock")
    }

    /// Whether some supervisor holds this home.
    pub fn is_held(&self) -> Result<bool> {
        Ok(self.run().is_dir() && self.lock()?.is_none())
    }
}

/// Held as long as the supervisor lives.
#[derive(Debug)]
pub struct Lock(Option<File>);

impl Lock {
    /// As the stdin of the program that shall hold it from now on. At no moment it is free for others.
    #[must_use]
    pub fn hand_over(mut self) -> Stdio {
        // Closing this process's descriptor leaves the lock to the other one's; unlocking would end it for both.
        self.0.take().map_or_else(Stdio::null, Stdio::from)
    }
}

impl Drop for Lock {
    /// Closing the file is not enough: a child that is being started has it too until it has become its program, and with
    /// it the lock (flock(2)).
    fn drop(&mut self) {
        let _ = self.0.as_ref().map(File::unlock);
    }
}

/// Replaces a file in one step, so that no reader sees half of it; `mode` holds from its first byte on.
pub fn write_atomically(path: &Path, content: &str, mode: u32) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".new-{}", std::process::id()));
    let new = path.with_file_name(name);
    let _ = fs::remove_file(&new);
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(&new)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn only_one_supervisor_holds_a_home() {
        let folder = TempDir::new();
        let home = Home::resolve(Some(folder.path())).unwrap();
        home.create().unwrap();
        let held = home.lock().unwrap();
        assert!(held.is_some());
        assert!(home.is_held().unwrap());
        drop(held);
        assert!(!home.is_held().unwrap());
    }

    #[test]
    fn nobody_else_looks_into_a_home() {
        let folder = TempDir::new();
        let home = Home::resolve(Some(&folder.path().join("home"))).unwrap();
        fs::create_dir(home.path()).unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        home.create().unwrap();
        for (folder, passed) in [(home.path(), 0o011), (&home.data(), 0o011), (&home.logs(), 0), (&home.run(), 0)] {
            let mode = fs::metadata(folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, passed, "{}: {mode:o}", folder.display());
        }
    }

    #[test]
    fn a_path_that_no_file_could_hold_is_refused_by_name() {
        let refused = |path: &std::ffi::OsStr| Home::resolve(Some(Path::new(path))).unwrap_err().to_string();
        assert!(refused("/tmp/a\nb".as_ref()).contains(r"'\n'"));
        assert!(refused("/tmp/a\tb".as_ref()).contains("--home"));
        let latin = std::os::unix::ffi::OsStrExt::from_bytes(b"/tmp/\xfc");
        assert!(refused(latin).contains("UTF-8"));
        assert!(refused("/x".repeat(500).as_ref()).contains("900 bytes"));
    }

    #[test]
    fn a_command_for_a_home_can_be_pasted() {
        let home = |path: &str| Home::resolve(Some(Path::new(path))).unwrap();
        assert_eq!(home("/tmp/shop").command("down"), "./towpath down --home /tmp/shop");
        assert_eq!(home("/tmp/my shop").command("down"), "./towpath down --home '/tmp/my shop'");
        let usual = checkout::application().unwrap().join(".towpath");
        assert_eq!(Home::resolve(Some(&usual)).unwrap().command("logs -f"), "./towpath logs -f");
    }

    #[test]
    fn a_home_that_does_not_exist_is_not_held() {
        let folder = TempDir::new();
        let home = Home::resolve(Some(&folder.path().join("nothing"))).unwrap();
        assert!(!home.is_held().unwrap());
    }

    #[test]
    fn files_are_replaced_with_their_mode() {
        let folder = TempDir::new();
        let file = folder.path().join("secrets.env");
        write_atomically(&file, "one", 0o600).unwrap();
        write_atomically(&file, "two", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
