//! What is said of a command line that is wrong. The words of clap and of Rust's own readers of numbers become those of a person.
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::ErrorKind;

/// Prints it, and answers with its exit status. Help and versions that were asked for are no errors, and go to stdout.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return ExitCode::from(u8::from(error.print().is_err()));
    }
    let rendered = error.render();
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let text = if coloured { rendered.ansi().to_string() } else { rendered.to_string() };
    let text = if error.kind() == ErrorKind::ValueValidation { in_words(&text) } else { text };
    eprint!("{text}");
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// What is wrong with a value, without the notation of Rust.
fn in_words(text: &str) -> String {
    let words = [
        ("invalid digit found in string", "a whole number is wanted"),
        ("cannot parse integer from empty string", "a whole number is wanted"),
        ("number too large to fit in target type", "the number is too large"),
        ("number too small to fit in target type", "the number is too small"),
        ("invalid float literal", "a number is wanted"),
        ("cannot parse float from empty string", "a number is wanted"),
    ];
    let mut text = text.to_owned();
    for (rust, plain) in words {
        text = text.replace(rust, plain);
    }
    // `9 is not in 1..=8`, and `1..` or `1..9` for ranges without a last number.
    let Some((head, rest)) = text.split_once(" is not in ") else { return text };
    let end = rest.find(|c: char| !c.is_ascii_digit() && !".=-".contains(c)).unwrap_or(rest.len());
    let Some((first, last)) = rest[..end].split_once("..") else { return text };
    let range = match (last.strip_prefix('='), last) {
        (Some(last), _) => format!("from {first} to {last}"),
        (None, "") => format!("of {first} or more"),
        (None, last) => format!("from {first} to below {last}"),
    };
    format!("{head} is not a number {range}{}", &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    /// Every option and argument that takes a value, with values that no number is read from.
    #[test]
    fn no_notation_of_rust_is_shown() {
        for command in crate::Cli::command().get_subcommands() {
            for argument in command.get_arguments().filter_map(|argument| argument.get_long()) {
                for value in ["x", "", "-1", "99999999999999999999999", "1.5", "0"] {
                    let line = ["towpath", command.get_name(), &format!("--{argument}={value}")].map(ToOwned::to_owned);
                    let Err(error) = crate::Cli::try_parse_from(&line) else { continue };
                    let text = in_words(&error.render().to_string());
                    let rust = ["..", "digit", "target type", "literal", "integer", "Error", "u16", "u64", "usize"];
                    for word in rust {
                        assert!(!text.lines().next().unwrap().contains(word), "{line:?}: {word}: {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_range_is_in_words() {
        let said = |text: &str| in_words(text);
        assert_eq!(said("'9': 9 is not in 1..=8\n"), "'9': 9 is not a number from 1 to 8\n");
        assert_eq!(said("0 is not in 1000.."), "0 is not a number of 1000 or more");
    }
}
