//! How much memory a process holds.

use std::fs;

use anyhow::{Context, Result};
use towpath_stack::process;

/// The resident memory, in MiB, of a process and of all that descend from it, as `spin trigger http` does from `spin up`; and
/// the most that each of them ever had.
pub(super) fn resident_mib_of_all(pid: u32) -> Result<(f64, f64)> {
    // One that ends in this moment has no memory any more.
    let descendants = process::descendants(pid).into_iter().filter_map(|child| resident_mib(child.pid).ok());
    let first = resident_mib(pid)?;
    Ok(descendants.fold(first, |(now, most), child| (now + child.0, most + child.1)))
}

fn resident_mib(pid: u32) -> Result<(f64, f64)> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let field = |name: &str| field_kib(&text, name).with_context(|| format!("{file} has no {name}"));
    Ok((field("VmRSS")? / 1024.0, field("VmHWM")? / 1024.0))
}

/// A field of `/proc/PID/status`, which is in kB (and means KiB).
fn field_kib(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_its_children_have_memory() {
        let mut sh = std::process::Command::new("sh").args(["-c", "sleep 300 & wait"]).spawn().unwrap();
        let child = loop {
            if let Some(child) = process::descendants(sh.id()).pop() {
                break child;
            }
            std::thread::yield_now();
        };
        let ((now, most), alone) = (resident_mib_of_all(sh.id()).unwrap(), resident_mib(sh.id()).unwrap().0);
        assert!(alone > 0.5 && now > alone && most >= now, "{alone} {now} {most}");
        let killed =
            std::process::Command::new("sh").args(["-c", &format!("kill -KILL {}", child.pid)]).status().unwrap();
        assert!(killed.success());
        sh.wait().unwrap();
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "VmRSSx:\t1 kB\nVmRSS:\t  2048 kB\nThreads:\t4\n";
        assert_eq!(field_kib(status, "VmRSS"), Some(2048.0));
        assert_eq!(field_kib(status, "Threads"), None);
    }
}
