//! Puts the files of a new application where they belong: all of them, or none.
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A file by its path in the application's folder, with its content.
pub(super) type Files = Vec<(PathBuf, String)>;

/// Puts the files into a folder that is not there, or is empty. What a version control keeps there does not count.
///
/// They are written beside it first, so that a disk that is full or a folder that is closed leaves nothing half made.
pub(super) fn put(folder: &Path, files: &Files) -> Result<()> {
    let folder = std::path::absolute(folder).with_context(|| format!("no absolute path for {}", folder.display()))?;
    let exists = match fs::read_dir(&folder) {
        Ok(entries) => {
            let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
            names.retain(|name| name != ".git");
            if let Some(name) = names.first() {
                let (folder, name) = (folder.display(), name.display());
                bail!("{folder} is not empty (it has {name}): choose another name, or an empty folder with --dir");
            }
            true
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", folder.display())),
    };
    let parent = if exists { Some(&*folder) } else { folder.parent() };
    let parent = parent.with_context(|| format!("{} can be no folder of an application", folder.display()))?;
    if !parent.is_dir() {
        bail!("there is no folder {}: make it first", parent.display());
    }
    let new = parent.join(format!(".towpath-new-{}", std::process::id()));
    let result = write(&new, files).and_then(|()| if exists { fill(&new, &folder) } else { rename(&new, &folder) });
    if result.is_err() || exists {
        let _ = fs::remove_dir_all(&new);
    }
    result
}

fn write(new: &Path, files: &Files) -> Result<()> {
    for (path, content) in files {
        let file = new.join(path);
        let written = fs::create_dir_all(file.parent().unwrap_or(new)).and_then(|()| fs::write(&file, content));
        written.with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot make {}", to.display()))
}

/// Moves everything into the folder; where one can't be moved, those before it are taken out again.
fn fill(new: &Path, folder: &Path) -> Result<()> {
    let mut moved = Vec::new();
    for entry in fs::read_dir(new)? {
        let entry = entry?;
        let to = folder.join(entry.file_name());
        if let Err(error) = rename(&entry.path(), &to) {
            for (from, to) in moved {
                let _ = fs::rename(to, from);
            }
            return Err(error);
        }
        moved.push((entry.path(), to));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use towpath_stack::testing::TempDir;

    use super::*;

    fn files() -> Files {
        vec![("a".into(), "A".into()), ("b/c".into(), "C".into())]
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_made_or_filled() {
        let folder = TempDir::new();
        let (fresh, empty) = (folder.path().join("fresh"), folder.path().join("empty"));
        fs::create_dir_all(empty.join(".git")).unwrap();
        put(&fresh, &files()).unwrap();
        put(&empty, &files()).unwrap();
        assert_eq!(
            (names(&fresh), names(&empty)),
            (vec!["a".into(), "b".into()], vec![".git".into(), "a".into(), "b".into()])
        );
        assert_eq!(fs::read_to_string(fresh.join("b/c")).unwrap(), "C");
        assert_eq!(names(folder.path()), ["empty", "fresh"], "nothing is left beside them");
    }

    #[test]
    fn what_is_there_is_left_as_it_is() {
        let folder = TempDir::new();
        let (mine, file) = (folder.path().join("mine"), folder.path().join("file"));
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("a"), "mine").unwrap();
        fs::write(&file, "mine").unwrap();
        let said = |at: &Path| format!("{:#}", put(at, &files()).unwrap_err());
        assert!(said(&mine).contains("is not empty (it has a)"), "{}", said(&mine));
        assert!(said(&file).contains("cannot make"), "{}", said(&file));
        assert!(said(&folder.path().join("no/such")).contains("make it first"));
        assert_eq!(names(folder.path()), ["file", "mine"]);
        assert_eq!((names(&mine), fs::read_to_string(mine.join("a")).unwrap()), (vec!["a".into()], "mine".into()));
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let folder = TempDir::new();
        // A file where a folder should be: as when the disk is full, writing goes well at first and then fails.
        let impossible: Files = vec![("a".into(), "A".into()), ("a/b".into(), "B".into())];
        put(&folder.path().join("fresh"), &impossible).unwrap_err();
        put(folder.path(), &impossible).unwrap_err();
        assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
    }
}
