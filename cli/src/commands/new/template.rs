//! The files of a new application. In a template, `%NAME%` and its like stand for what the place decides.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::name::Name;
use super::place::Files;

/// What the component is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// With Towpath's SDK
    Rust,
    /// With Spin's SDK, fetched from PyPI when it is built
    Python,
    /// With Spin's build tools, fetched from npm when it is built
    #[value(name = "javascript")]
    JavaScript,
}

impl Language {
    /// What runs the tests of a new application.
    pub(super) fn tests(self) -> &'static str {
        match self {
            Self::Rust => "cargo test",
            Self::Python => "python3 -m unittest",
            Self::JavaScript => "node --test",
        }
    }

    /// What makes the component.
    fn build(self) -> &'static str {
        match self {
            Self::Rust => "cargo build --release --target wasm32-wasip2",
            Self::Python | Self::JavaScript => "sh build.sh",
        }
    }

    /// Where the component is then.
    fn source(self) -> &'static str {
        match self {
            Self::Rust => "target/wasm32-wasip2/release/component.wasm",
            Self::Python | Self::JavaScript => "app.wasm",
        }
    }

    /// What it is made from, as an array of TOML.
    fn watch(self) -> &'static str {
        match self {
            Self::Rust => r#"["src/**/*.rs", "Cargo.toml"]"#,
            Self::Python => r#"["*.py", "requirements.txt"]"#,
            Self::JavaScript => r#"["*.js", "package.json", "wit/*.wit"]"#,
        }
    }

    /// Its files, beside those that are the same in every language.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rust => RUST,
            Self::Python => PYTHON,
            Self::JavaScript => JAVASCRIPT,
        }
    }
}

/// What the content of the files depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Towpath's checkout.
    pub(super) root: &'a Path,
    pub(super) name: &'a Name,
}

macro_rules! template {
    ($($path:literal: $file:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../templates/", $file)))),*]
    };
}

/// What is the same in every language.
const SHARED: &[(&str, &str)] = template! {
    "relay.toml": "relay.toml",
    "migrations/%NAME%/V1__notes.sql": "V1__notes.sql",
    "spin.toml": "spin.toml",
};

const RUST: &[(&str, &str)] = template! {
    ".gitignore": "gitignore",
    "Cargo.toml": "rust/Cargo.toml",
    "README.md": "rust/README.md",
    "src/domain.rs": "rust/src/domain.rs",
    "src/events.rs": "rust/src/events.rs",
    "src/hear.rs": "rust/src/hear.rs",
    "src/lib.rs": "rust/src/lib.rs",
    "src/notes.rs": "rust/src/notes.rs",
    "src/store.rs": "rust/src/store.rs",
    "tests/refusals.rs": "rust/tests/refusals.rs",
};

const PYTHON: &[(&str, &str)] = template! {
    ".gitignore": "python/gitignore",
    "README.md": "python/README.md",
    "app.py": "python/app.py",
    "build.sh": "python/build.sh",
    "notes.py": "python/notes.py",
    "relay.py": "python/relay.py",
    "requirements.txt": "python/requirements.txt",
    "test_notes.py": "python/test_notes.py",
};

const JAVASCRIPT: &[(&str, &str)] = template! {
    ".gitignore": "javascript/gitignore",
    "README.md": "javascript/README.md",
    "app.js": "javascript/app.js",
    "build.sh": "javascript/build.sh",
    "notes.js": "javascript/notes.js",
    "notes.test.js": "javascript/notes.test.js",
    "package.json": "javascript/package.json",
    "relay.js": "javascript/relay.js",
    "wit/spin.wit": "javascript/wit/spin.wit",
};

/// The versions of crates and compiler that Towpath is tested with, and its form, so that an application begins with those.
const TESTED: [&str; 3] = ["Cargo.lock", "rust-toolchain.toml", "rustfmt.toml"];

/// All files of a new application.
pub(super) fn files(language: Language, place: &Place<'_>) -> Result<Files> {
    let values = values(language, place)?;
    let filled = |text: &str| values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    let mut files: Files =
        SHARED.iter().chain(language.files()).map(|(path, text)| (PathBuf::from(filled(path)), filled(text))).collect();
    if language == Language::Rust {
        for name in TESTED {
            let file = place.root.join(name);
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            files.push((name.into(), text));
        }
    }
    Ok(files)
}

fn values(language: Language, place: &Place<'_>) -> Result<[(&'static str, String); 9]> {
    let folder = |path: &str| -> Result<String> { Ok(toml::Value::from(text(&place.root.join(path))?).to_string()) };
    Ok([
        ("%NAME%", place.name.as_str().to_owned()),
        ("%SNAKE%", place.name.snake()),
        ("%UPPER%", place.name.snake().to_uppercase()),
        ("%SDK%", folder("components/sdk")?),
        ("%TESTING%", folder("components/testing")?),
        ("%TOWPATH%", shell_word(&text(place.root)?)),
        ("%BUILD%", language.build().to_owned()),
        ("%SOURCE%", language.source().to_owned()),
        ("%WATCH%", language.watch().to_owned()),
    ])
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is no text, as files of TOML are", path.display()))?;
    Ok(text.to_owned())
}

/// How the command is called from the new folder: `../towpath` where that stands in the checkout.
pub(super) fn towpath(root: &Path, folder: &Path) -> Result<String> {
    let folder = std::path::absolute(folder)?;
    let beside = folder.parent().is_some_and(|parent| parent == root);
    if beside { Ok("../towpath".to_owned()) } else { text(&root.join("towpath")) }
}

/// As one word of a shell.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "/._-+,:@%=".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use towpath_stack::services::Services;
    use towpath_stack::testing::{TempDir, root};

    use super::*;

    fn made(language: Language, root: &Path, name: &str) -> Files {
        files(language, &Place { root, name: &name.parse().unwrap() }).unwrap()
    }

    #[test]
    fn every_place_is_filled_and_the_files_name_one_service() {
        for language in Language::value_variants() {
            is_one_service(*language);
        }
    }

    fn is_one_service(language: Language) {
        let folder = TempDir::new();
        let files = made(language, &root(), "shop-reviews");
        for (path, text) in &files {
            let left: Vec<&str> =
                text.split('%').skip(1).step_by(2).filter(|word| word.chars().all(char::is_uppercase)).collect();
            assert!(left.iter().all(|word| word.is_empty()), "{}: {left:?}", path.display());
        }
        super::super::place::put(&folder.path().join("app"), &files).unwrap();
        let app = folder.path().join("app");
        let services = Services::read(&app.join("relay.toml"), &app.join("spin.toml")).unwrap();
        for mut names in
            [services.callers().collect::<Vec<_>>(), services.databases().collect(), services.receivers().collect()]
        {
            assert_eq!(names.pop(), Some("shop-reviews"));
            assert!(names.is_empty());
        }
        assert_eq!(services.components()[0].build.as_deref(), Some(language.build()));
        assert!(services.spin_variables().any(|name| name == "SPIN_VARIABLE_SHOP_REVIEWS_TOKEN"));
        assert!(app.join("migrations/shop-reviews/V1__notes.sql").is_file());
    }

    /// Paths are written by the rules of the format that they stand in.
    #[test]
    fn a_checkout_may_stand_anywhere() {
        let folder = TempDir::new();
        let strange = folder.path().join("it's \"mine\", \\ ü # $HOME");
        std::fs::create_dir(&strange).unwrap();
        for name in TESTED {
            std::fs::copy(root().join(name), strange.join(name)).unwrap();
        }
        let files = made(Language::Rust, &strange, "a");
        let content = |name: &str| files.iter().find(|(path, _)| path == Path::new(name)).unwrap().1.clone();
        let manifest: toml::Table = content("Cargo.toml").parse().unwrap();
        let path = manifest["dependencies"]["towpath-sdk"]["path"].as_str().unwrap();
        assert_eq!(Path::new(path), strange.join("components/sdk"));
        let line = content("README.md").lines().find(|line| line.starts_with("PATH=")).unwrap().to_owned();
        let script = format!("{line}\nprintf %s \"$PATH\"");
        let output = std::process::Command::new("/bin/sh").args(["-c", &script]).env("PATH", "/bin").output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}:/bin", strange.display()));
    }
}
