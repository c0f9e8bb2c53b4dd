//! What `/proc` says about processes: whether a process is still the one that was started, what it has started in turn, and
//! which one holds a port.
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::{fs, iter};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// The variable by which everything that a part has started is known, also when the part itself is gone. Its value is the
/// part's log file, which no other part of any stack has.
pub const MARK: &str = "TOWPATH_PART_LOG";

/// A process that can't be mistaken for a later one with the same number: its start time and the boot belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// In clock ticks since boot, as `/proc/PID/stat` has it.
    pub start_time: u64,
    /// Linux makes a new one with each boot.
    pub boot_id: String,
}

impl Identity {
    /// The identity of a process that runs now; none where it is gone or a zombie.
    pub fn of(pid: u32) -> Option<Self> {
        let Stat { state, start_time, .. } = stat(pid)?;
        (state != 'Z' && state != 'X').then(|| Self { pid, start_time, boot_id: boot_id() })
    }

    /// The identity of this process.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Whether exactly this process still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Sends a signal to exactly this process. Tells whether it was there to get it.
    pub fn signal(&self, signal: Signal) -> bool {
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()) else { return false };
        // The descriptor stays with one process. If that is still this one, whoever takes its number later gets nothing.
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => self.is_alive() && pidfd_send_signal(process, signal).is_ok(),
            Err(Errno::NOSYS) => self.is_alive() && kill_process(pid, signal).is_ok(),
            Err(_) => false,
        }
    }

    /// The process as people know it: `spin (pid 12)`.
    #[must_use]
    pub fn name(&self) -> String {
        describe(self.pid)
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// What this program wants to know of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    group: u32,
    start_time: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name (in parentheses) may itself contain spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Stat> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    // The state is field 3, the parent field 4, the process group field 5, the start time field 22.
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let start_time = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, parent, group, start_time })
}

/// The state of a process, `T` for one that stands still; none where it is gone.
pub fn state(pid: u32) -> Option<char> {
    stat(pid).map(|stat| stat.state)
}

/// All that a process has started and that still runs, and what those have started.
pub fn descendants(pid: u32) -> Vec<Identity> {
    let parents: BTreeMap<u32, u32> = pids().filter_map(|child| Some((child, stat(child)?.parent))).collect();
    let descends = |child: &u32| iter::successors(Some(child), |child| parents.get(child)).skip(1).any(|up| *up == pid);
    parents.keys().filter(|child| descends(child)).filter_map(|child| Identity::of(*child)).collect()
}

/// Who belongs to the process group that this process leads, or led as long as somebody belongs to it.
pub fn group(leader: u32) -> Vec<Identity> {
    pids().filter(|pid| stat(*pid).is_some_and(|stat| stat.group == leader)).filter_map(Identity::of).collect()
}

/// All that parts have started whose logs are in this folder, each with its part's name. Who has overwritten his environment is
/// not among them, as the processes of PostgreSQL do: these end when their first one has.
pub fn marked(logs: &Path) -> Vec<(String, Identity)> {
    let begin = [MARK.as_bytes(), b"=", logs.as_os_str().as_bytes(), b"/"].concat();
    let part = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mark = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(&begin[..]))?;
        Some(std::str::from_utf8(mark).ok()?.strip_suffix(".log")?.to_owned())
    };
    pids().filter_map(|pid| Some((part(pid)?, Identity::of(pid)?))).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The process that listens on a TCP port of this machine, as `name (pid 12)`; none where there is none or `/proc` hides it.
pub fn holder_of_port(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        holds(&entry.path(), &sockets).then(|| describe(pid))
    })
}

fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let wanted = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&wanted) && *fields.get(3)? == LISTEN;
            listens.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
        })
        .collect()
}

fn holds(process: &Path, sockets: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .any(|target| target.to_str().is_some_and(|target| sockets.iter().any(|socket| socket == target)))
}

fn describe(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} (pid {pid})", name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        assert_eq!(parse_stat(stat), Some(Stat { state: 'S', parent: 1, group: 7, start_time: 4242 }));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn a_process_is_itself_until_it_ends() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        assert!(identity.is_alive());
        let other = Identity { start_time: identity.start_time + 1, ..identity.clone() };
        assert!(!other.is_alive(), "a later process with the same number is another one");
        let before_reboot = Identity { boot_id: "another".to_owned(), ..identity.clone() };
        assert!(!before_reboot.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }

    #[test]
    fn descendants_are_those_of_a_process_and_of_its_children() {
        let mut child = Command::new("sh").args(["-c", "sh -c 'sleep 300 & wait' & wait"]).spawn().unwrap();
        let found = loop {
            let found = descendants(child.id());
            if found.len() == 2 {
                break found;
            }
            std::thread::yield_now();
        };
        assert!(descendants(std::process::id()).iter().any(|process| process.pid == child.id()));
        assert!(found.iter().all(|process| process.signal(Signal::KILL)));
        child.wait().unwrap();
    }

    #[test]
    fn who_has_left_the_group_is_known_by_its_mark_and_who_only_has_a_like_one_is_not() {
        let logs = std::env::temp_dir().join(format!("towpath-{}", std::process::id()));
        let start = |log: &str| {
            let mut sh = Command::new("sh");
            sh.args(["-c", "setsid sleep 300 & wait"]).env(MARK, log).process_group(0);
            sh.spawn().unwrap()
        };
        let mut ours = start(logs.join("host.log").to_str().unwrap());
        let mut other = start(&format!("{}-other/host.log", logs.display()));
        let known = loop {
            let known: Vec<_> = marked(&logs).into_iter().filter(|(_, process)| process.pid != ours.id()).collect();
            // Between fork and setsid it is still in the group.
            if known.iter().any(|(_, process)| !group(ours.id()).contains(process)) {
                break known;
            }
            std::thread::yield_now();
        };
        let [(name, child)] = &known[..] else { panic!("{known:?}") };
        assert_eq!(name, "host");
        assert_eq!(group(ours.id()), [Identity::of(ours.id()).unwrap()]);
        assert!(child.signal(Signal::KILL));
        ours.wait().unwrap();
        let grandchild = loop {
            if let Some(grandchild) = descendants(other.id()).pop() {
                break grandchild;
            }
            std::thread::yield_now();
        };
        grandchild.signal(Signal::KILL);
        other.wait().unwrap();
    }

    #[test]
    fn a_signal_reaches_the_process_that_is_meant_alone() {
        let mut child = Command::new("sleep").arg("300").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        let other = Identity { start_time: 1, ..identity.clone() };
        assert!(!other.signal(Signal::KILL) && child.try_wait().unwrap().is_none());
        assert!(identity.signal(Signal::KILL));
        child.wait().unwrap();
        assert!(!identity.signal(Signal::KILL));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = Command::new("true").stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        std::io::Read::read_to_end(&mut output, &mut Vec::new()).unwrap();
        while Identity::of(child.id()).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = holder_of_port(listener.local_addr().unwrap().port()).unwrap();
        assert!(holder.contains(&format!("(pid {})", std::process::id())), "{holder}");
    }
}
