//! What `up` shows while it runs, on stderr: on a terminal one block that is redrawn in place when something changes,
//! elsewhere plain lines.
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::Instant;

use towpath_stack::state::{PartState, Phase};
use unicode_width::UnicodeWidthChar;

/// Happenings that stay visible under the table.
const MAX_REMEMBERED: usize = 5;

/// One part in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) state: PartState,
    pub(crate) address: String,
    pub(crate) pid: Option<u32>,
    pub(crate) note: Option<String>,
}

/// Where the stack's parts and happenings are shown.
#[derive(Debug)]
pub(crate) struct Screen {
    mode: Mode,
    began: Instant,
    /// What stands above the table once everything is up, and below it.
    head: Vec<String>,
    foot: Vec<String>,
    happened: VecDeque<String>,
    phase: Option<Phase>,
}

#[derive(Debug)]
enum Mode {
    /// The lines that the block has now, to be moved over.
    Live(Vec<String>),
    Plain,
    #[cfg(test)]
    Silent,
}

impl Screen {
    /// A screen for this terminal or file.
    pub(crate) fn new(head: Vec<String>, foot: Vec<String>) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let live = std::io::stderr().is_terminal() && !dumb;
        let mode = if live { Mode::Live(Vec::new()) } else { Mode::Plain };
        Self { mode, began: Instant::now(), head, foot, happened: VecDeque::new(), phase: None }
    }

    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self { mode: Mode::Silent, ..Self::lines() }
    }

    /// Lines alone, also on a terminal: for what is not there to be watched.
    pub(crate) fn lines() -> Self {
        let (head, foot, happened) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { mode: Mode::Plain, began: Instant::now(), head, foot, happened, phase: None }
    }

    /// Something happened that a person should read.
    pub(crate) fn say(&mut self, text: &str) {
        if matches!(self.mode, Mode::Plain) {
            let line = match self.phase {
                Some(Phase::Up) => format!("{} {text}", jiff::Zoned::now().strftime("%T")),
                _ => format!("[{:5.1} s] {text}", self.began.elapsed().as_secs_f64()),
            };
            emit(&format!("{line}\n"));
            return;
        }
        self.happened.push_back(format!("{} {text}", jiff::Zoned::now().strftime("%T")));
        if self.happened.len() > MAX_REMEMBERED {
            self.happened.pop_front();
        }
    }

    /// Shows where everything is.
    pub(crate) fn show(&mut self, phase: Phase, rows: &[Row]) {
        let entered = self.phase != Some(phase);
        if entered && phase == Phase::Up {
            // What happened on the way is of no interest any more.
            self.happened.clear();
        }
        self.phase = Some(phase);
        match &mut self.mode {
            Mode::Plain => {
                if entered {
                    emit(&plain(phase, &self.head, &self.foot, rows));
                }
            }
            #[cfg(test)]
            Mode::Silent => {}
            Mode::Live(shown) => {
                let (width, height) = size();
                // The last line of the terminal is where the cursor stands.
                let lines = block(phase, &self.head, &self.foot, rows, &self.happened, height - 1);
                let lines: Vec<String> = lines.iter().map(|line| fitting(line, width)).collect();
                if *shown != lines {
                    emit(&redrawn(shown.len(), &lines));
                    *shown = lines;
                }
            }
        }
    }
}

fn emit(text: &str) {
    // A terminal that is gone is no reason to stop the stack.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn title(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Starting => Some("Towpath is starting."),
        Phase::Up => None,
        Phase::Stopping => Some("Towpath is stopping. Ctrl-C once more kills what is left."),
        Phase::Stopped => Some("Towpath has stopped."),
    }
}

fn plain(phase: Phase, head: &[String], foot: &[String], rows: &[Row]) -> String {
    let mut lines: Vec<String> = Vec::new();
    match title(phase) {
        Some(title) => lines.push(title.to_owned()),
        None => {
            lines.extend(head.iter().cloned());
            lines.extend(table(rows));
            lines.extend(foot.iter().cloned());
        }
    }
    lines.join("\n") + "\n"
}

/// How many columns and lines the terminal has. One that doesn't say so has what terminals usually have.
fn size() -> (usize, usize) {
    let told = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let or =
        |told: Option<u16>, usual: u16, least: u16| usize::from(told.filter(|n| *n > 0).unwrap_or(usual).max(least));
    (or(told.map(|size| size.ws_col), 80, 20), or(told.map(|size| size.ws_row), 24, 2))
}

/// What is drawn, `height` lines at most: what has scrolled out of sight could not be drawn anew. What stands under the table gives
/// way first, then what is longest ago.
fn block(
    phase: Phase,
    head: &[String],
    foot: &[String],
    rows: &[Row],
    happened: &VecDeque<String>,
    height: usize,
) -> Vec<String> {
    let mut lines: Vec<String> = match title(phase) {
        Some(title) => vec![title.to_owned()],
        None => head.to_vec(),
    };
    if phase == Phase::Stopped {
        return lines;
    }
    lines.extend(table(rows));
    let news = if happened.is_empty() { 0 } else { 1 + happened.len() };
    if phase == Phase::Up && lines.len() + foot.len() + news <= height {
        lines.extend(foot.iter().cloned());
    }
    let room = height.saturating_sub(lines.len() + 1).min(happened.len());
    if room > 0 {
        lines.push(String::new());
        let newest = happened.iter().skip(happened.len() - room);
        lines.extend(newest.map(|line| format!("  {}", line.replace('\n', " "))));
    }
    lines.truncate(height);
    lines
}

/// The parts as lines, for `up` and for `status`.
pub(crate) fn table(rows: &[Row]) -> Vec<String> {
    let name = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    let address = rows.iter().map(|row| row.address.len()).max().unwrap_or_default();
    let lines = rows.iter().map(|row| {
        let pid = row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let line = format!("  {:name$}  {:10}  {:address$}  pid {pid:8}", row.name, row.state.word(), row.address);
        match (&row.note, row.state) {
            (Some(note), PartState::Starting | PartState::Restarting) => format!("{line}  {}", note.replace('\n', " ")),
            _ => line.trim_end().to_owned(),
        }
    });
    lines.collect()
}

/// The beginning of a line, as far as it has place: some characters take two columns, and some none.
fn fitting(line: &str, width: usize) -> String {
    let mut taken = 0;
    let fits = |char: &char| {
        taken += char.width().unwrap_or_default();
        taken <= width
    };
    line.chars().take_while(fits).collect()
}

/// Moves to the first line of the block, clears to the end of the screen and writes it anew.
fn redrawn(lines_before: usize, lines: &[String]) -> String {
    let up = if lines_before > 0 { format!("\x1b[{lines_before}A\r\x1b[J") } else { String::new() };
    format!("{up}{}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: PartState, note: Option<&str>) -> Row {
        Row {
            name: "postgres-order".to_owned(),
            state,
            address: "127.0.0.1:5434".to_owned(),
            pid: Some(42),
            note: note.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn the_table_says_why_a_part_is_not_ready() {
        let lines = table(&[row(PartState::Ready, Some("old")), row(PartState::Restarting, Some("died (signal 9)"))]);
        assert_eq!(lines[0], "  postgres-order  ready       127.0.0.1:5434  pid 42");
        assert!(lines[1].contains("restarting") && lines[1].ends_with("died (signal 9)"), "{}", lines[1]);
    }

    #[test]
    fn the_block_holds_what_happened_and_is_cut_to_the_terminal() {
        let happened = VecDeque::from(["12:00:00 relay died".to_owned()]);
        let of = |height| block(Phase::Up, &["Towpath is up".to_owned()], &["logs".to_owned()], &[], &happened, height);
        assert_eq!(of(4), ["Towpath is up", "logs", "", "  12:00:00 relay died"]);
        assert_eq!(fitting("äöü", 2), "äö");
        assert_eq!(fitting("家に帰る", 5), "家に", "these take two columns each");
        // On a terminal that is lower, what is drawn anew must not have scrolled away.
        assert_eq!(of(3), ["Towpath is up", "", "  12:00:00 relay died"]);
        assert_eq!(of(2), ["Towpath is up"]);
    }

    #[test]
    fn of_what_happened_the_newest_stays_in_sight() {
        let happened = VecDeque::from(["one".to_owned(), "two".to_owned()]);
        let rows = [row(PartState::Ready, None)];
        let lines = block(Phase::Stopping, &[], &[], &rows, &happened, 4);
        assert_eq!((lines.len(), lines[3].as_str()), (4, "  two"));
        let high = usize::from(u16::MAX);
        assert_eq!(block(Phase::Stopped, &[], &[], &rows, &happened, high).len(), 1);
    }

    #[test]
    fn redrawing_starts_at_the_first_line_of_the_block() {
        assert_eq!(redrawn(0, &["a".to_owned()]), "a\n");
        assert_eq!(redrawn(2, &["a".to_owned(), "b".to_owned()]), "\x1b[2A\r\x1b[Ja\nb\n");
    }
}
