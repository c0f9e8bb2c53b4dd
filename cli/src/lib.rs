#![doc = include_str!("../README.md")]

mod arguments;
mod clock;
mod commands;
mod dot_env;
mod edge;
mod group;
mod plan;
mod progress;
mod readiness;
mod screen;
mod seed;
mod servers;
mod spin;
mod supervisor;
mod tools;
mod version;
mod wasm;
mod way_out;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{CommandFactory, Parser, Subcommand};
use towpath_stack::checkout;
use towpath_stack::home::Home;
use towpath_stack::terminal::{say, told};

use crate::commands::{
    completions, dlq, down, logs, migrate, new, outbox, part, psql, reset, rotate_passwords, rotate_tokens, status,
    test, up,
};

/// An order platform at the edge: everything that it needs, by one command.
#[derive(Debug, Parser)]
#[command(name = "towpath", version, long_version = version::LONG, after_help = EXAMPLES, max_term_width = 120)]
struct Cli {
    /// The folder of the stack: its data, logs and secrets
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "TOWPATH_HOME",
        hide_env_values = true,
        help_heading = "Which stack"
    )]
    #[arg(long_help = "The folder of the stack: its data, logs and secrets [default: .towpath in the checkout]")]
    home: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  towpath up                   start everything, and stay: Ctrl-C stops it
  towpath up --detach          start everything in the background
  towpath status               every part: state, process, address
  towpath logs relay -f        follow the relay's log
  towpath psql order           open psql on the order service's database
  towpath dlq list             list the events that a component did not take
  towpath down                 stop the stack that runs in the background
  towpath new shop-reviews     make another application behind a relay of its own
  towpath chaos                break it on purpose, and count what was lost or duplicated
  towpath test                 run every test on servers of its own";

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing, build, and start everything
    Up(up::Args),
    /// Stop a stack that runs in the background
    Down(down::Args),
    /// Show every part: state, process, address
    Status(status::Args),
    /// Show the logs of the parts
    Logs(logs::Args),
    /// Stop one part and leave it stopped
    Stop(part::StopArgs),
    /// Start one part and wait until it is ready
    Start(part::StartArgs),
    /// Stop one part and start it again
    Restart(part::RestartArgs),
    /// List, show, replay and drop dead letters: events that a component did not take
    Dlq(dlq::Args),
    /// List, show, retry and drop events that Kafka does not accept
    Outbox(outbox::Args),
    /// Open psql on the database of a service
    Psql(psql::Args),
    /// Bring the databases of a running stack to the newest schema
    Migrate(migrate::Args),
    /// Replace the tokens between relay and components of a running stack
    RotateTokens(rotate_tokens::Args),
    /// Replace the passwords that the relays of a running stack show to Kafka
    RotatePasswords(rotate_passwords::Args),
    /// Check the invariants in the databases of a running stack
    Audit(towpath_audit::Args),
    /// Measure throughput and latency beside the same work without Towpath
    Bench(towpath_bench::Args),
    /// Break a running stack on purpose, and count what was lost or duplicated
    Chaos(towpath_chaos::Args),
    /// Run the tests on servers of their own
    Test(test::Args),
    /// Make another Spin application behind a relay of its own
    New(new::Args),
    /// Delete all data of the stack
    Reset(reset::Args),
    /// Print what makes a shell complete this command's words
    Completions(completions::Args),
}

impl Command {
    /// Refuses what knows the shop's data or the checkout's tests where the command works for another application.
    fn is_possible_here(&self) -> Result<()> {
        let name = match self {
            Self::Audit(_) => "audit",
            Self::Bench(_) => "bench",
            Self::Chaos(_) => "chaos",
            Self::Test(_) => "test",
            _ => return Ok(()),
        };
        if checkout::works_for_another()? {
            let (here, root) = (checkout::application()?, checkout::repository()?);
            bail!(
                "`towpath {name}` knows Towpath's own shop, and {} is another application: call it in {}",
                here.display(),
                root.display()
            );
        }
        Ok(())
    }
}

/// Runs the command line.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return arguments::refuse(&error),
    };
    let home = Home::resolve(cli.home.as_deref());
    match execute(cli) {
        Ok(code) => code,
        Err(error) => {
            let failure = told(&error);
            say(&format!("towpath: {failure}"));
            if let Some(way_out) = home.ok().and_then(|home| way_out::of(&failure, &home)) {
                say(&way_out);
            }
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> Result<ExitCode> {
    let home = Home::resolve(cli.home.as_deref())?;
    cli.command.is_possible_here()?;
    match cli.command {
        Command::New(args) => new::command(&args),
        Command::Completions(args) => completions::command(&args, Cli::command()),
        Command::Up(args) => supervising()?.block_on(up::command(&args, &home)),
        Command::Test(args) => supervising()?.block_on(test::command(&args, &home)),
        Command::Down(args) => supervising()?.block_on(down::command(&args, &home)),
        Command::Reset(args) => supervising()?.block_on(reset::command(&args, &home)),
        Command::Logs(args) => supervising()?.block_on(logs::command(&args, &home)),
        Command::Migrate(args) => supervising()?.block_on(migrate::command(&args, &home)),
        Command::Audit(args) => Ok(measuring()?.block_on(towpath_audit::command(&args, &home))),
        Command::Bench(args) => measuring()?.block_on(towpath_bench::command(&args)),
        Command::Chaos(args) => Ok(measuring()?.block_on(towpath_chaos::command(&args, &home))),
        Command::Status(args) => supervising()?.block_on(status::command(&args, &home)),
        Command::RotateTokens(args) => rotate_tokens::command(&args, &home),
        Command::RotatePasswords(args) => supervising()?.block_on(rotate_passwords::command(&args, &home)),
        Command::Stop(args) => part::stop(&args, &home),
        Command::Start(args) => part::start(&args, &home),
        Command::Restart(args) => part::restart(&args, &home),
        Command::Dlq(args) => dlq::command(&args, &home),
        Command::Outbox(args) => outbox::command(&args, &home),
        Command::Psql(args) => supervising()?.block_on(psql::command(&args, &home)),
    }
}

/// Children are tied to the thread that starts them, so there is one thread, and it lives as long as the program.
fn supervising() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn measuring() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_teaches_by_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().or(command.get_after_long_help());
            let help = help.map(ToString::to_string).unwrap_or_default();
            let example = format!("towpath {}", command.get_name());
            assert!(help.contains(&example), "`{example} --help` has no example");
        }
    }

    /// `./towpath` prints this file where the program is not built yet.
    #[test]
    fn the_short_help_is_the_file_that_the_script_prints() {
        let help = Cli::command().term_width(100).render_help().to_string();
        let file = include_str!("help.txt");
        assert!(help == file, "cli/src/help.txt differs from `towpath -h`. Make it this:\n{help}");
    }

    #[test]
    fn the_help_names_every_database_and_its_port() {
        let services = towpath_stack::testing::services();
        let help = |command: &str| {
            let cli = Cli::command();
            let command = cli.find_subcommand(command).unwrap_or_else(|| panic!("no command {command}"));
            command.get_after_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ")
        };
        for (part, port) in towpath_stack::ports::usual(&services, 1).filter(|(part, _)| part.starts_with("postgres-"))
        {
            assert!(help("up").contains(&format!("{part} {port}")), "`towpath up --help` lacks {part} {port}");
            for command in ["stop", "start", "restart"] {
                assert!(help(command).contains(&part), "`towpath {command} --help` lacks {part}");
            }
        }
        let names: Vec<&str> = services.databases().collect();
        let line = format!("Services: {}", names.join(", "));
        assert!(help("psql").contains(&line), "`towpath psql --help` lacks {line:?}");
    }

    #[test]
    fn a_home_can_stand_before_and_after_the_command() {
        for line in [["towpath", "--home", "/x", "status"], ["towpath", "status", "--home", "/x"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap().home, Some(PathBuf::from("/x")));
        }
    }

    #[test]
    fn what_cargo_and_what_the_tests_are_told_is_kept_apart() {
        let lines: [&[&str]; 3] = [
            &["replay", "-p", "towpath-relay", "--lib", "other", "--", "--nocapture", "x"],
            &["--", "--nocapture", "x"],
            &["-j1"],
        ];
        let told: [(&[&str], &[&str]); 3] = [(&lines[0][..5], &lines[0][6..]), (&[], &lines[1][1..]), (lines[2], &[])];
        for (line, (cargo, tests)) in lines.into_iter().zip(told) {
            let cli = Cli::try_parse_from(["towpath", "test"].iter().chain(line)).unwrap();
            let Command::Test(args) = cli.command else { panic!("another command") };
            assert_eq!(args.divided(), (&*strings(cargo), strings(tests)));
        }
    }

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}
