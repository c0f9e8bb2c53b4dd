//! The rate limit of this instance alone, for the time in which the relay does not answer: clients are then held to it in each
//! instance, and not in all of them together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::MAX_CLIENTS;

/// What a client may take at once: as much as in this time.
const MAX_BURST: Duration = Duration::from_secs(1);

/// When each client's bucket is full again (GCRA, the generic cell rate algorithm).
#[derive(Debug)]
pub(super) struct Buckets(BTreeMap<String, Instant>);

impl Buckets {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Takes one of `rate` requests a second. Where there is none left: how long until there is.
    pub(super) fn take(&mut self, client: &str, rate: u32, now: Instant) -> Result<(), Duration> {
        if !self.0.contains_key(client) && self.0.len() >= MAX_CLIENTS {
            self.0.retain(|_, full_at| *full_at > now);
            if self.0.len() >= MAX_CLIENTS {
                return Ok(());
            }
        }
        let full_at = self.0.get(client).copied().unwrap_or(now).max(now) + MAX_BURST / rate.max(1);
        match full_at.saturating_duration_since(now + MAX_BURST) {
            Duration::ZERO => {
                self.0.insert(client.to_owned(), full_at);
                Ok(())
            }
            wait => Err(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_its_rate_and_no_more() {
        let (mut buckets, begin) = (Buckets::new(), Instant::now());
        let mut served = 0;
        for ms in 0..10_000 {
            served += u32::from(buckets.take("a", 5, begin + Duration::from_millis(ms)).is_ok());
        }
        assert!((5 * 10..=5 * 11).contains(&served), "{served}");
        assert_eq!(buckets.take("b", 5, begin), Ok(()), "others have their own");
        let (mut buckets, wait) = (Buckets::new(), Duration::from_millis(200));
        assert!((0..5).all(|_| buckets.take("a", 5, begin).is_ok()));
        assert_eq!(buckets.take("a", 5, begin), Err(wait));
        assert_eq!(buckets.take("a", 5, begin + wait), Ok(()));
    }

    #[test]
    fn the_number_of_clients_is_bounded_and_those_at_rest_make_room() {
        let (mut buckets, now) = (Buckets::new(), Instant::now());
        for client in 0..2 * MAX_CLIENTS {
            assert_eq!(buckets.take(&client.to_string(), 1, now), Ok(()));
        }
        assert_eq!(buckets.0.len(), MAX_CLIENTS);
        assert_eq!(buckets.take("new", 1, now + MAX_BURST), Ok(()));
        assert_eq!(buckets.0.len(), 1);
    }
}
