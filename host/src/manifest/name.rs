//! The names of components and variables.

/// Checks the name of a component or a variable by Spin's rules: words that begin with a letter, all lower-case or
/// (between hyphens) all upper-case, joined by one delimiter.
pub(super) fn check_name(id: &str, delimiter: char, lower_only: bool) -> Result<(), String> {
    let word_ok = |word: &str| {
        let cased = |lower: bool| {
            word.chars()
                .all(|c| c.is_ascii_digit() || if lower { c.is_ascii_lowercase() } else { c.is_ascii_uppercase() })
        };
        word.starts_with(|c: char| c.is_ascii_alphabetic()) && (cased(true) || (!lower_only && cased(false)))
    };
    if id.split(delimiter).all(word_ok) {
        return Ok(());
    }
    let case = if lower_only { "lower-case letters" } else { "letters of one case" };
    Err(format!("`{id}` is no name: words of {case} and digits, beginning with a letter, joined by `{delimiter}`"))
}
