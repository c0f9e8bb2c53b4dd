//! The texts in a component's sources, for tests that compare them with a list.

use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// Every string literal in the Rust files below a folder, each with its file. Tests are left out: files called `tests.rs`,
/// and what follows `#[cfg(test)]`.
///
/// # Panics
/// Where a file can't be read, or is not Rust.
#[must_use]
pub fn texts(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for path in folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            found.extend(texts(&path));
        } else if !path.ends_with("tests.rs") {
            let source = std::fs::read_to_string(&path).expect("a source");
            let code = source.split("\n#[cfg(test)]").next().unwrap_or_default();
            let tokens: TokenStream = code.parse().unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
            found.extend(literals(tokens).into_iter().map(|text| (path.clone(), text)));
        }
    }
    found
}

/// Also those inside of groups and of macros' arguments. Docs are attributes here, and no texts of the program.
fn literals(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_attribute = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) if !is_attribute => found.extend(literals(group.stream())),
            TokenTree::Literal(literal) => {
                found.extend(syn::parse_str::<syn::LitStr>(&literal.to_string()).map(|text| text.value()));
            }
            TokenTree::Punct(punct) if matches!(punct.as_char(), '#' | '!') => {
                is_attribute = punct.as_char() == '#' || is_attribute;
                continue;
            }
            _ => {}
        }
        is_attribute = false;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_wherever_they_stand() {
        let code = r##"
            //! "not a text"
            #![doc = "nor this"]
            const A: &str = concat!("a", b!("b\n"), r#"c"#);
            fn f() { if !x("d") { y(['"', '\'']) } }
        "##;
        assert_eq!(literals(code.parse().expect("Rust")), ["a", "b\n", "c", "d"]);
    }
}
