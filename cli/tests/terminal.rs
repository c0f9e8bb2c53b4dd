//! What people see: the command on a pseudo-terminal, with its keys.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

mod support;

use std::fs;

use support::Home;
use support::terminal::{CTRL_C, Terminal};

const ESCAPE: char = '\u{1b}';
/// What terminals have, if nobody makes them larger.
const USUAL: (u16, u16) = (24, 80);

/// The lines of the table that are about this part.
fn rows<'a>(screen: &'a str, part: &str) -> Vec<&'a str> {
    let is_row = |line: &&str| line.starts_with("  ") && line.split_whitespace().next() == Some(part);
    screen.lines().filter(is_row).collect()
}

#[test]
fn up_redraws_one_table_on_a_terminal_until_ctrl_c() {
    let home = Home::new();
    let mut up = Terminal::run(&home, "up --no-build --ports auto", USUAL, &[]);
    up.until_said("Towpath is starting.");
    up.until("a part that is ready, while others still start", |screen| {
        screen.contains("  starting  ") && screen.contains("  ready  ")
    });
    let screen = up.until_said("Towpath is up: http://127.0.0.1:");
    assert!(screen.contains("Stop: Ctrl-C (the data stays)"), "{screen}");
    // It is drawn in one place, and follows what happens.
    home.towpath(&["stop", "redis"]).expect(0, &["redis is stopped"]);
    up.until("redis is stopped", |screen| rows(screen, "redis").iter().any(|row| row.contains("  stopped  ")));
    home.towpath(&["start", "redis"]).expect(0, &["redis is ready"]);
    let ready = |screen: &str| rows(screen, "redis").iter().any(|row| row.contains("  ready  "));
    let screen = up.until("redis is ready", ready);
    for part in ["postgres-order", "kafka", "redis", "relay", "host"] {
        assert_eq!(rows(&screen, part).len(), 1, "{part}: {screen}");
    }
    assert_eq!(screen.matches("Towpath is up").count(), 1, "{screen}");

    // The other commands, beside it.
    let other = |line: &str| Terminal::run(&home, line, (24, 100), &[]).end();
    let (status, screen, raw) = other("status");
    assert_eq!((status, rows(&screen, "postgres-order").len()), (Some(0), 1), "{screen}");
    assert!(screen.contains("http://127.0.0.1:") && !raw.contains(ESCAPE), "{raw}");
    let (status, screen, raw) = other("dlq list");
    assert!(status == Some(0) && screen.contains("No dead letters.") && !raw.contains(ESCAPE), "{status:?} {raw}");

    let pids = ["kafka", "redis", "host"].map(|part| home.pid(part).unwrap());
    up.press(CTRL_C);
    up.until_said("Towpath has stopped.");
    let (status, screen, _) = up.end();
    assert_eq!(status, Some(0), "{screen}");
    for pid in pids {
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "{pid} is left");
    }
    let (status, screen, _) = other("down");
    assert!(status == Some(0) && screen.contains("No stack runs under"), "{screen}");
}

#[test]
fn ctrl_c_ends_what_still_starts_and_a_plain_terminal_gets_plain_lines() {
    let home = Home::new();
    let mut up = Terminal::run(&home, "up --no-build --ports auto", USUAL, &[("TERM", "dumb"), ("NO_COLOR", "1")]);
    up.until_said("Towpath is starting.");
    up.press(CTRL_C);
    let (status, screen, raw) = up.end();
    assert_eq!(status, Some(130), "{screen}");
    assert!(raw.contains("Towpath has stopped.") && !raw.contains(ESCAPE), "{raw}");
    home.towpath(&["status"]).expect(3, &["No stack runs under"]);

    // In the background it is the same.
    let mut up = Terminal::run(&home, "up --detach --no-build", USUAL, &[]);
    up.until_said("Towpath is starting.");
    up.press(CTRL_C);
    let (status, screen, _) = up.end();
    assert_eq!(status, Some(130), "{screen}");
    home.towpath(&["status"]).expect(3, &["No stack runs under"]);
}

#[test]
fn reset_asks_on_a_terminal() {
    let home = Home::new();
    let data = home.path().join("data/postgres-order");
    fs::create_dir_all(&data).unwrap();
    let answered = |answer: &str| {
        let mut reset = Terminal::run(&home, "reset", (24, 120), &[]);
        reset.until_said("Type yes: ");
        reset.press(answer);
        let (status, screen, _) = reset.end();
        (status, screen)
    };
    for no in ["y\n", "\n"] {
        let (status, screen) = answered(no);
        assert!(status == Some(1) && screen.contains("Nothing was deleted.") && data.exists(), "{screen}");
    }
    let mut reset = Terminal::run(&home, "reset", USUAL, &[]);
    reset.until("the question", |screen| screen.contains("Type"));
    reset.press(CTRL_C);
    let (status, screen, _) = reset.end();
    assert!(status == Some(130) && data.exists(), "{status:?} {screen}");
    let (status, screen) = answered("yes\n");
    assert!(status == Some(0) && screen.contains("is deleted") && !data.exists(), "{screen}");
}
