//! `towpath completions`: what makes a shell complete the words of this command.
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Command;
use clap_complete::{Shell, generate};

#[derive(Debug, clap::Args)]
#[command(after_help = "Shells look commands up by the last part of their path, so this is for ./towpath too.

Examples:
  source <(towpath completions bash)                                            bash, for this session
  towpath completions bash > ~/.local/share/bash-completion/completions/towpath bash, for good
  towpath completions zsh > \"${fpath[1]}/_towpath\"                              zsh, for good
  towpath completions fish > ~/.config/fish/completions/towpath.fish            fish, for good")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn command(args: &Args, mut towpath: Command) -> Result<ExitCode> {
    // The relay's program reads what follows these two.
    for (name, verbs) in [("dlq", ["list", "show", "replay", "drop"]), ("outbox", ["list", "show", "retry", "drop"])] {
        let about = towpath.find_subcommand(name).and_then(Command::get_about).cloned().unwrap_or_default();
        let with_verbs = Command::new(name).about(about).subcommands(verbs.map(Command::new));
        towpath = towpath.mut_subcommand(name, |_| with_verbs);
    }
    let mut script = Vec::new();
    generate(args.shell, &mut towpath, "towpath", &mut script);
    match std::io::stdout().lock().write_all(&script) {
        // `towpath completions bash | head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    Ok(ExitCode::SUCCESS)
}
