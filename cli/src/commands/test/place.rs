//! Where the servers of one test run live: `test/ID` under the home, beside those of other runs.
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use towpath_stack::home::{Home, Lock};
use towpath_stack::terminal::say;
use uuid::Uuid;

use crate::commands::down;
use crate::servers::postgres;

/// The folder of one run. Whoever made it holds its lock.
#[derive(Debug)]
pub(super) struct TestPlace {
    home: Home,
    lock: RefCell<Option<Lock>>,
}

impl TestPlace {
    /// A new one. What earlier runs that were killed, or failed, have left is cleaned away first.
    pub(super) async fn new(home: &Home) -> Result<Self> {
        let all = home.path().join("test");
        for old in folders(&all) {
            let old = Home::resolve(Some(&old))?;
            // A run that holds its lock is under way.
            if !old.is_held()? {
                clean(&old).await?;
            }
        }
        let path = all.join(Uuid::now_v7().simple().to_string());
        let home = Home::resolve(Some(&path))?;
        home.create()?;
        fs::create_dir(path.join("tmp"))?;
        let lock = home.lock()?.context("somebody else has taken the new test folder")?;
        Ok(Self { home, lock: RefCell::new(Some(lock)) })
    }

    pub(super) fn path(&self) -> &Path {
        self.home.path()
    }

    /// The home of the servers.
    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// The home of the whole stack.
    pub(super) fn stack(&self) -> PathBuf {
        self.path().join("stack")
    }

    /// What tests get as `TMPDIR`: stacks that a test starts itself are found there, should the test be killed.
    pub(super) fn temporary(&self) -> PathBuf {
        self.path().join("tmp")
    }

    /// The lock goes to the supervisor, once.
    pub(super) fn lock(&self) -> Result<Lock> {
        self.lock.borrow_mut().take().context("the lock is taken")
    }

    /// Stops what still runs. After a success everything is removed, else the logs stay.
    pub(super) async fn clean(&self, success: bool) -> Result<()> {
        self.lock.borrow_mut().take();
        if success {
            return clean(&self.home).await;
        }
        stop(&self.home).await
    }
}

async fn clean(home: &Home) -> Result<()> {
    stop(home).await?;
    for home in homes(home)? {
        let _ = fs::remove_dir_all(postgres::fallback(&home));
    }
    match fs::remove_dir_all(home.path()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", home.path().display()))
        }
        _ => Ok(()),
    }
}

/// Stops the stacks first, and then the servers.
async fn stop(home: &Home) -> Result<()> {
    for home in homes(home)?.into_iter().rev() {
        if let Err(error) = down::stop(&home).await {
            say(&format!("{}: {error:#}", home.path().display()));
        }
    }
    Ok(())
}

/// The servers' own home, the shared stack's, and those that tests have made.
fn homes(home: &Home) -> Result<Vec<Home>> {
    let own = [home.path().to_path_buf(), home.path().join("stack")];
    own.into_iter().chain(folders(&home.path().join("tmp"))).map(|path| Home::resolve(Some(&path))).collect()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use towpath_stack::process::Identity;
    use towpath_stack::testing::TempDir;
    use towpath_stack::testing::{example, part};

    #[tokio::test]
    async fn what_a_killed_run_left_is_stopped_and_removed() {
        let folder = TempDir::new();
        let home = Home::resolve(Some(folder.path())).unwrap();
        home.create().unwrap();
        let killed = TestPlace::new(&home).await.unwrap();
        let own = Home::resolve(Some(&killed.temporary().join("a-tests-own-stack"))).unwrap();
        own.create().unwrap();
        let mut sleep = Command::new("sleep").arg("300").stdin(Stdio::null()).spawn().unwrap();
        let identity = Identity::of(sleep.id()).unwrap();
        let gone = Identity { start_time: 1, ..identity.clone() };
        example(gone, vec![part("relay", Some(identity))]).save(&own).unwrap();
        let path = killed.path().to_path_buf();
        drop(killed);

        let running = TestPlace::new(&home).await.unwrap();
        assert!(sleep.wait().unwrap().code().is_none(), "killed by a signal");
        assert!(!path.exists());
        let beside = TestPlace::new(&home).await.unwrap();
        assert!(running.path().exists(), "a run that is under way is left alone");
        beside.clean(true).await.unwrap();
        assert!(!beside.path().exists());
        running.clean(false).await.unwrap();
        assert!(running.path().exists(), "after a failure the logs stay");
    }
}
