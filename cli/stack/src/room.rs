//! Room on a disk.
use std::path::Path;

/// How many bytes this user may still write under a folder, which may not be there yet; none where nobody can tell.
#[must_use]
pub fn left(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_its_disk() {
        let folder = TempDir::new();
        let (there, inner) = (left(folder.path()), left(&folder.path().join("a/b")));
        assert!(there.is_some_and(|bytes| bytes > 0) && inner.is_some(), "{there:?} {inner:?}");
    }
}
