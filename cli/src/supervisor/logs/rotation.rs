//! Keeps the logs of a home within a bound while their writers go on. A part appends to its log by itself, so what is in it is
//! copied to `NAME.log.1`, in the place of what was there, and then taken out of it. That asks nothing of the writers, which are
//! servers of many makers. A line that is written between the end of the copy and the cut, some microseconds, is lost.
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc;

use crate::supervisor::events::Event;

/// What a log may have, and the file beside it: a part has twice as much, and what it writes between two looks.
pub(crate) const MAX_BYTES: u64 = 10 << 20;
/// A log that is larger is emptied into the file beside it. What is written during the copy has room there too.
const LARGE: u64 = MAX_BYTES - (MAX_BYTES >> 3);
/// So much of its end is kept of a log that is larger than that may be.
const KEPT: u64 = MAX_BYTES - (MAX_BYTES >> 4);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks at all logs in a folder again and again. What can't be done is said once.
pub(crate) async fn keep(folder: PathBuf, events: mpsc::UnboundedSender<Event>) {
    let mut said = String::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let folder = folder.clone();
        let looked = tokio::task::spawn_blocking(move || look(&folder)).await;
        if let Ok(Err(error)) = looked {
            let error = format!("a log can't be kept small: {error:#}");
            if said != error {
                let _ = events.send(Event::Said(error.clone()));
                said = error;
            }
        }
    }
}

fn look(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            bound(&path)?;
        }
    }
    Ok(())
}

/// Where the older part of a log is.
pub(crate) fn older(log: &Path) -> PathBuf {
    with(log, ".1")
}

fn with(log: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = log.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Empties a log that is too large into the file beside it. A log that is larger than that may be keeps its end.
pub(crate) fn bound(log: &Path) -> Result<()> {
    let Ok(size) = fs::metadata(log).map(|metadata| metadata.len()) else { return Ok(()) };
    if size <= LARGE {
        return Ok(());
    }
    let new = with(log, ".new");
    let copied = copy_end(log, &new, size);
    if copied.is_err() {
        let _ = fs::remove_file(&new);
    }
    copied.with_context(|| format!("cannot copy {}", log.display()))?;
    fs::rename(&new, older(log)).with_context(|| format!("cannot move {} to its place", new.display()))?;
    let emptied = OpenOptions::new().write(true).open(log).and_then(|file| file.set_len(0));
    emptied.with_context(|| format!("cannot empty {}", log.display()))
}

fn copy_end(log: &Path, to: &Path, size: u64) -> std::io::Result<()> {
    let mut from = File::open(log)?;
    let mut new = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(to)?;
    let skipped = size.saturating_sub(KEPT);
    from.seek(SeekFrom::Start(skipped))?;
    if skipped > 0 {
        // From the next line on.
        skip_line(&mut from)?;
    }
    // To its end, wherever that is meanwhile: but a writer that is faster than this must not keep it going.
    std::io::copy(&mut from.take(MAX_BYTES), &mut new)?;
    new.flush()
}

/// Reads up to the end of the line, as long as lines are.
fn skip_line(from: &mut File) -> std::io::Result<()> {
    const MAX_LINE_BYTES: usize = 64 << 10;
    let at = from.stream_position()?;
    let mut start = Vec::with_capacity(MAX_LINE_BYTES);
    from.take(MAX_LINE_BYTES as u64).read_to_end(&mut start)?;
    let skipped = start.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    from.seek(SeekFrom::Start(at + skipped as u64)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use towpath_stack::testing::TempDir;

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    /// So many lines of 64 bytes that have numbers.
    fn numbered(from: u64, count: u64) -> String {
        (from..from + count).map(|number| format!("{number:063}\n")).collect()
    }

    #[test]
    fn a_log_within_its_bound_is_left_alone() {
        let folder = TempDir::new();
        let log = folder.path().join("x.log");
        bound(&log).unwrap();
        fs::write(&log, "a line\n").unwrap();
        bound(&log).unwrap();
        assert_eq!(lines(&log), ["a line"]);
        assert!(!older(&log).exists());
    }

    #[test]
    fn a_writer_goes_on_in_the_emptied_log() {
        let folder = TempDir::new();
        let log = folder.path().join("x.log");
        let count = LARGE / 64 + 1;
        fs::write(&log, numbered(0, count)).unwrap();
        let mut writer = OpenOptions::new().append(true).open(&log).unwrap();
        bound(&log).unwrap();
        writer.write_all(numbered(count, 1).as_bytes()).unwrap();
        assert_eq!(lines(&log), [format!("{count:063}")]);
        let old = lines(&older(&log));
        assert_eq!(old.last().unwrap(), &format!("{:063}", count - 1), "no line is missing between them");
        assert!(old.iter().all(|line| line.len() == 63), "lines are whole");
        assert_eq!(fs::metadata(older(&log)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_came_at_once_keeps_its_end() {
        let folder = TempDir::new();
        let log = folder.path().join("x.log");
        let count = MAX_BYTES / 64 * 3;
        fs::write(&log, numbered(0, count)).unwrap();
        fs::write(older(&log), "of long ago\n").unwrap();
        look(folder.path()).unwrap();
        assert_eq!(fs::metadata(&log).unwrap().len(), 0);
        let old = lines(&older(&log));
        assert!(fs::metadata(older(&log)).unwrap().len() <= MAX_BYTES);
        assert_eq!(old.last().unwrap(), &format!("{:063}", count - 1));
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2, "nothing else stays");
    }

    #[test]
    fn a_log_that_can_not_be_copied_stays_and_is_told() {
        let folder = TempDir::new();
        let log = folder.path().join("x.log");
        File::create(&log).unwrap().set_len(MAX_BYTES + 1).unwrap();
        // A folder stands where the copy would be.
        fs::create_dir(with(&log, ".new")).unwrap();
        let error = format!("{:#}", look(folder.path()).unwrap_err());
        assert!(error.contains("cannot copy") && error.contains("x.log"), "{error}");
        assert_eq!(fs::metadata(&log).unwrap().len(), MAX_BYTES + 1);
    }
}
