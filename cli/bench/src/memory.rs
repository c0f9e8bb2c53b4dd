//! How much memory a process holds.

use std::fs;

use anyhow::{Context, Result};

/// The resident memory of a process in MiB, and the most that it ever was.
pub(super) fn resident_mib(pid: u32) -> Result<(f64, f64)> {
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
    fn this_process_has_memory() {
        let (now, most) = resident_mib(std::process::id()).unwrap();
        assert!(now > 0.5 && most >= now, "{now} {most}");
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "VmRSSx:\t1 kB\nVmRSS:\t  2048 kB\nThreads:\t4\n";
        assert_eq!(field_kib(status, "VmRSS"), Some(2048.0));
        assert_eq!(field_kib(status, "Threads"), None);
    }
}
