//! The file `.env` of the application's folder: what `spin up` that somebody types there reads its variables from.
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use towpath_stack::home::{Home, write_atomically};
use towpath_stack::surroundings::Surroundings;
use towpath_stack::terminal::say;

/// What a plain `spin up` in the application's folder reads its variables from.
#[derive(Debug)]
pub(crate) struct DotEnv {
    file: PathBuf,
    /// Its first lines: who made it, and for which stack.
    title: String,
}

/// How it begins, whichever stack it is for.
const TITLE: &str = "# Made by `towpath up --no-host` for `spin up`";

impl DotEnv {
    /// That of the stack under this home.
    pub(crate) fn new(application: &Path, home: &Home) -> Self {
        let title = format!("{TITLE}, with the tokens of the stack under\n# {}\n", home.path().display());
        Self { file: application.join(".env"), title }
    }

    /// As the state file names it.
    pub(crate) fn at(file: PathBuf, home: &Home) -> Self {
        Self { file: file.clone(), ..Self::new(&file, home) }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Refuses to replace a file that Towpath has not made.
    pub(crate) fn check(&self) -> Result<()> {
        match std::fs::read_to_string(&self.file) {
            Ok(present) if !present.starts_with(TITLE) => bail!(
                "{} is not one that Towpath made: move it away, `up --no-host` writes its own",
                self.file.display()
            ),
            _ => Ok(()),
        }
    }

    /// Writes it, for its owner alone.
    pub(crate) fn write(&self, surroundings: &Surroundings<'_>) -> Result<()> {
        self.check()?;
        let mut text = self.title.clone();
        for (name, value) in surroundings.spin(1)? {
            text.push_str(&format!("{name}={value}\n"));
        }
        write_atomically(&self.file, &text, 0o600)
    }

    /// Removes it, where it is of this stack.
    pub(crate) fn remove(&self) {
        let ours = std::fs::read_to_string(&self.file).is_ok_and(|text| text.starts_with(&self.title));
        if ours && let Err(error) = std::fs::remove_file(&self.file) {
            say(&format!("cannot remove {}: {error}", self.file.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use towpath_stack::testing::{TempDir, with_surroundings};

    #[test]
    fn dot_env_is_closed_to_others_and_never_overwrites_a_strangers() {
        let folder = TempDir::new();
        with_surroundings(|surroundings, secrets| {
            let dot_env = DotEnv::new(folder.path(), &folder.home());
            dot_env.write(surroundings).unwrap();
            let file = dot_env.file();
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.contains(&format!("\nSPIN_VARIABLE_ORDER_TOKEN={}\n", secrets.token("order"))), "{text}");
            dot_env.write(surroundings).unwrap();
            let other = Home::resolve(Some(&folder.path().join("other"))).unwrap();
            DotEnv::new(folder.path(), &other).remove();
            assert!(file.exists(), "it is another stack's");
            DotEnv::at(file.to_path_buf(), &folder.home()).remove();
            assert!(!file.exists());

            std::fs::write(file, "MINE=1\n").unwrap();
            assert!(dot_env.check().is_err() && dot_env.write(surroundings).is_err());
            dot_env.remove();
            assert_eq!(std::fs::read_to_string(file).unwrap(), "MINE=1\n");
        });
    }
}
