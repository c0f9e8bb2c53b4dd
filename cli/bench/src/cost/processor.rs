//! Processor time of processes, by `/proc/PID/stat` (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use towpath_stack::process;

/// Linux counts in hundredths of a second, whatever the kernel's own tick is (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// What a process has spent, and those of its children that have ended.
pub(super) fn of(pid: u32) -> Result<Duration> {
    let file = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    spent(&text).with_context(|| format!("{file} can't be understood: {text}"))
}

/// What a process and all that descend from it have spent.
pub(super) fn of_all(pid: u32) -> Result<Duration> {
    // One that ends in this moment is counted by its parent.
    let descendants = process::descendants(pid).into_iter().filter_map(|child| of(child.pid).ok());
    Ok(of(pid)? + descendants.sum::<Duration>())
}

/// utime, stime, cutime and cstime: the 14th to the 17th field. The second may hold anything, in brackets.
fn spent(stat: &str) -> Option<Duration> {
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
    let ticks: Vec<u32> = fields.map_while(|field| field.parse().ok()).collect();
    (ticks.len() == 4).then(|| TICK * ticks.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_fields_count() {
        let stat = "12 (a b) c) S 1 12 12 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7";
        assert_eq!(spent(stat), Some(Duration::from_secs(1)));
        assert_eq!(spent("12 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_a_time() {
        assert!(of(std::process::id()).is_ok() && of_all(std::process::id()).is_ok());
    }
}
