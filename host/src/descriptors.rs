//! File descriptors: every connection needs one, and the kernel gives a process a limited number.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::server::MAX_SPARE_CONNECTIONS;

/// Descriptors that are no connections of clients: files, and connections of components to other hosts.
const OTHERS: u64 = 256;

/// Raises the soft limit of this process to the hard one, and returns how many connections each listener may have: the
/// number that is wanted, or what fits.
pub(crate) fn max_connections(wanted: usize) -> usize {
    let limit = raise();
    let fit = limit.map_or(wanted, |limit| fitting(wanted, limit));
    if fit < wanted {
        tracing::warn!(
            descriptors = limit,
            max_connections = fit,
            "--max-connections is lowered: the hard limit of open files does not allow more"
        );
    }
    fit
}

/// The soft limit after it was raised as far as it goes; `None` where there is none.
fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

/// How many of the wanted connections each of two listeners may have with this many descriptors.
fn fitting(wanted: usize, limit: u64) -> usize {
    let spare = 2 * MAX_SPARE_CONNECTIONS as u64;
    let each = (limit.saturating_sub(OTHERS + spare) / 2).max(limit / 8);
    wanted.min(usize::try_from(each).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_stay_below_the_descriptors() {
        assert_eq!(fitting(4096, 1 << 20), 4096);
        assert_eq!(fitting(4096, 4096), 1664);
        assert_eq!(fitting(4096, 1024), 128);
        assert_eq!(fitting(100, 1024), 100);
        assert_eq!(fitting(4096, 0), 1);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise();
        assert_eq!(getrlimit(Resource::Nofile).current, limit);
    }
}
