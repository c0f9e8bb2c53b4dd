//! A second `up` on a running stack: it starts nothing, and refuses what it would have to change.
use std::process::ExitCode;

use anyhow::{Result, bail};
use towpath_stack::home::Home;
use towpath_stack::ports::Ports;
use towpath_stack::state::{Phase, Servers, State};
use towpath_stack::terminal::say;

use super::args::{Args, PortChoice};
use crate::commands::status;
use crate::screen::table;

/// Says what runs. That is no failure, where it is what was asked for.
pub(super) fn already_runs(args: &Args, home: &Home) -> Result<ExitCode> {
    let place = home.path().display();
    let Some(state) = State::current(home)?.filter(|state| state.phase != Phase::Stopped) else {
        say(&format!(
            "Another `towpath up` is preparing the stack under {place}; nothing to do here. `{}` shows how far it is.",
            home.command("status")
        ));
        return Ok(ExitCode::SUCCESS);
    };
    let pid = state.supervisor.pid;
    let differing = differing(args, home, &state);
    if !differing.is_empty() {
        bail!(
            "a stack already runs under {place} (pid {pid}), and otherwise than asked for: {}. Stop it with `{}`, and call \
             this again; the data stays",
            differing.join("; "),
            home.command("down")
        );
    }
    let urls = if state.urls.is_empty() { "without a host".to_owned() } else { state.urls.join(", ") };
    say(&format!("Towpath already runs under {place} (pid {pid}): {urls}"));
    for line in table(&status::rows(&state)) {
        say(&line);
    }
    say(&format!("`{}` stops it.", home.command("down")));
    Ok(ExitCode::SUCCESS)
}

/// What the command line asks for and the running stack has not, each with what it has.
fn differing(args: &Args, home: &Home, state: &State) -> Vec<String> {
    let mut all = Vec::new();
    let mut compare = |same: bool, asked: String, runs: String| {
        if !same {
            all.push(format!("{asked} is asked for, and {runs}"));
        }
    };
    let replicas = state.parts.iter().filter(|part| part.name == "relay" || part.name.starts_with("relay-")).count();
    if let Some(asked) = args.replicas {
        compare(usize::from(asked) == replicas, format!("--replicas {asked}"), format!("{replicas} run"));
    }
    let runtime = state.runtime.as_deref().unwrap_or("no host");
    if let Some(asked) = args.runtime {
        compare(asked.word() == runtime, format!("--runtime {}", asked.word()), format!("{runtime} runs"));
    }
    if args.no_host {
        compare(state.runtime.is_none(), "--no-host".to_owned(), format!("a host runs ({runtime})"));
    }
    if args.servers.is_some() {
        let word = |servers| if servers == Servers::Native { "native" } else { "compose" };
        let (asked, runs) = (args.servers(), state.servers);
        compare(asked == runs, format!("--servers {}", word(asked)), format!("{} run", word(runs)));
    }
    let automatic = Ports::are_remembered(home);
    match args.ports {
        Some(PortChoice::Auto) => compare(automatic, "--ports auto".to_owned(), "it has the default ports".to_owned()),
        Some(PortChoice::Default) => {
            compare(!automatic, "--ports default".to_owned(), "it has automatic ports".to_owned());
        }
        None => {}
    }
    for (name, port) in &args.port {
        let runs = state.ports.get(name).unwrap_or_default();
        compare(runs == *port, format!("--port {name}={port}"), format!("{name} has {runs}"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use towpath_stack::process::Identity;
    use towpath_stack::testing::{TempDir, example, part};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: Args,
    }

    /// What a stack of one pair, embedded, native, on its usual ports has not of this command line.
    fn of(line: &str) -> String {
        let folder = TempDir::new();
        let mut state = example(Identity::of_this_process().unwrap(), vec![part("relay", None), part("host", None)]);
        state.runtime = Some("embedded".to_owned());
        let args = Line::try_parse_from(line.split(' ')).unwrap().up;
        differing(&args, &folder.home(), &state).join("\n")
    }

    #[test]
    fn what_runs_as_asked_is_left_alone() {
        assert_eq!(of("up"), "");
        let asked =
            "up -d --replicas 1 --runtime embedded --servers native --ports default --port host=3000 --no-build";
        assert_eq!(of(asked), "");
    }

    #[test]
    fn each_thing_that_runs_otherwise_is_named_with_what_runs() {
        let cases = [
            ("up --replicas 2", "--replicas 2 is asked for, and 1 run"),
            ("up --runtime spin", "--runtime spin is asked for, and embedded runs"),
            ("up --no-host", "--no-host is asked for, and a host runs (embedded)"),
            ("up --servers compose", "--servers compose is asked for, and native run"),
            ("up --ports auto", "--ports auto is asked for, and it has the default ports"),
            ("up --port redis=7000", "--port redis=7000 is asked for, and redis has 6379"),
        ];
        for (line, said) in cases {
            assert_eq!(of(line), said, "{line}");
        }
        assert_eq!(of("up --replicas 2 --port redis=7000 --ports auto").lines().count(), 3, "all at once");
    }
}
