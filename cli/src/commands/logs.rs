//! `towpath logs`: the logs of the parts.
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use towpath_stack::home::Home;
use towpath_stack::terminal::print;

use crate::supervisor::logs::rotation::older;

const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  towpath logs                 the last lines of every part
  towpath logs relay -f        follow the relay
  towpath logs kafka -n 200    the last 200 lines of Kafka
  towpath logs -f              follow everything
  towpath logs relay-2         the second replica's relay
Names: the parts, `migrate`, and `up` for the supervisor of a stack in the background")]
pub(crate) struct Args {
    /// The part; all of them without it
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Follow new lines until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines to show first
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    lines: usize,
}

pub(crate) async fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    let names = names(home, args.name.as_deref())?;
    let prefixed = names.len() > 1;
    let mut followed: Vec<Followed> = Vec::new();
    for name in names {
        let prefix = if prefixed { format!("{name} | ") } else { String::new() };
        let path = home.log(&name);
        let end = path.metadata().map_or(0, |metadata| metadata.len());
        for line in last_lines(&path, end, args.lines) {
            print(&format!("{prefix}{line}"))?;
        }
        followed.push(Followed { prefix, path, file: None, position: end, partial: Vec::new() });
    }
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        for log in &mut followed {
            for line in log.new_lines()? {
                print(&format!("{}{line}", log.prefix))?;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn names(home: &Home, wanted: Option<&str>) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(home.logs()).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut known: Vec<String> = files.filter_map(|file| file.strip_suffix(".log").map(ToOwned::to_owned)).collect();
    known.sort();
    if known.is_empty() {
        bail!("there are no logs under {} yet: `towpath up` makes them", home.logs().display());
    }
    match wanted {
        None => Ok(known),
        Some(wanted) if known.iter().any(|name| name == wanted) => Ok(vec![wanted.to_owned()]),
        Some(wanted) => bail!("there is no log of {wanted:?}: there are {}", known.join(", ")),
    }
}

/// So many lines before this place, whole, and as many of the log's older file as these are fewer. Both files are bounded.
fn last_lines(path: &Path, end: u64, count: usize) -> Vec<String> {
    let read = |path: &Path, end: u64| {
        let mut bytes = Vec::new();
        // A log that is gone has no lines.
        let _ = File::open(path).and_then(|file| file.take(end).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let last = |text: &str, count: usize| {
        let lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        lines[lines.len().saturating_sub(count)..].to_vec()
    };
    let lines = last(&read(path, end), count);
    let before = count - lines.len();
    let older = if before > 0 { last(&read(&older(path), u64::MAX), before) } else { Vec::new() };
    older.into_iter().chain(lines).collect()
}

/// A log that is being read to its end again and again.
struct Followed {
    prefix: String,
    path: PathBuf,
    file: Option<File>,
    position: u64,
    /// The beginning of a line whose end isn't written yet.
    partial: Vec<u8>,
}

impl Followed {
    fn new_lines(&mut self) -> Result<Vec<String>> {
        self.open_anew_if_moved();
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        if file.metadata()?.len() < self.position {
            // It was emptied. What came before that and wasn't read stands in the copy.
            if let Ok(mut older) = File::open(older(&self.path)) {
                read_from(&mut older, self.position, &mut self.partial)?;
            }
            self.position = 0;
        }
        self.position += read_from(file, self.position, &mut self.partial)?;
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let rest = self.partial.split_off(end + 1);
        let text = String::from_utf8_lossy(&std::mem::replace(&mut self.partial, rest)).into_owned();
        Ok(text.lines().map(ToOwned::to_owned).collect())
    }

    /// A log that was moved aside goes on in a new file.
    fn open_anew_if_moved(&mut self) {
        let there = self.path.metadata().map(|metadata| metadata.ino()).ok();
        let open = self.file.as_ref().and_then(|file| file.metadata().ok()).map(|metadata| metadata.ino());
        if there.is_some() && there != open {
            if open.is_some() {
                self.position = 0;
            }
            self.file = File::open(&self.path).ok();
        }
    }
}

/// Reads a file from there to its end. Returns how much that was.
fn read_from(file: &mut File, position: u64, bytes: &mut Vec<u8>) -> Result<u64> {
    file.seek(SeekFrom::Start(position))?;
    Ok(file.read_to_end(bytes)? as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use towpath_stack::testing::TempDir;

    #[test]
    fn following_goes_on_in_a_new_file_and_waits_for_whole_lines() {
        let folder = TempDir::new();
        let path = folder.path().join("x.log");
        let mut file = File::create(&path).unwrap();
        let mut log =
            Followed { prefix: String::new(), path: path.clone(), file: None, position: 0, partial: Vec::new() };
        write!(file, "one\ntw").unwrap();
        assert_eq!(log.new_lines().unwrap(), ["one"]);
        writeln!(file, "o").unwrap();
        assert_eq!(log.new_lines().unwrap(), ["two"]);
        std::fs::rename(&path, folder.path().join("x.log.1")).unwrap();
        assert_eq!(log.new_lines().unwrap(), Vec::<String>::new());
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(log.new_lines().unwrap(), ["three"]);
        // It is emptied into the file beside it, with a line that nobody has read yet.
        std::fs::write(older(&path), "three\nfour\n").unwrap();
        std::fs::write(&path, "5\n").unwrap();
        assert_eq!(log.new_lines().unwrap(), ["four", "5"]);
    }

    #[test]
    fn the_last_lines_are_as_many_as_asked_for_and_whole() {
        let folder = TempDir::new();
        let path = folder.path().join("x.log");
        assert_eq!(last_lines(&path, 0, 3), Vec::<String>::new());
        let long = "x".repeat(10_000);
        let text: String = (0..100).map(|n| format!("{n} {long}\n")).collect();
        std::fs::write(older(&path), "one\ntwo\n").unwrap();
        std::fs::write(&path, &text).unwrap();
        let end = text.len() as u64;
        assert_eq!(last_lines(&path, end, 100), text.lines().collect::<Vec<_>>());
        assert_eq!(last_lines(&path, end, 101)[0], "two");
        assert_eq!(last_lines(&path, end, usize::MAX).len(), 102);
        // What comes after is the first that is followed.
        std::fs::write(&path, text + "new\n").unwrap();
        assert_eq!(last_lines(&path, end, 1), [format!("99 {long}")]);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let folder = TempDir::new();
        let home = Home::resolve(Some(folder.path())).unwrap();
        home.create().unwrap();
        assert!(names(&home, None).unwrap_err().to_string().contains("no logs"));
        std::fs::write(home.log("relay"), "").unwrap();
        let error = names(&home, Some("relais")).unwrap_err().to_string();
        assert!(error.contains("relay"), "{error}");
        assert_eq!(names(&home, Some("relay")).unwrap(), ["relay"]);
    }
}
