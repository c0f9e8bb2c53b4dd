//! What this crate's own tests share.
use std::path::{Path, PathBuf};

use crate::home::Home;

/// A folder that goes with the test.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("towpath-cli-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// It as the folder of a stack.
    pub(crate) fn home(&self) -> Home {
        let home = Home::resolve(Some(self.path())).unwrap();
        home.create().unwrap();
        home
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
