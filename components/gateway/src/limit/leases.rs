//! Tokens that this instance has taken of a client's bucket ahead of the client's requests: whoever asks often costs a call to the
//! relay now and then, and not with each request.
//!
//! A token is taken of the bucket before it is spent, so in the long run all instances together let nobody through more often
//! than the limit says; within a second it may be a twentieth more for each instance. A token that nobody spends in time is lost to its client. A lease begins with one token, which is the same as none, and
//! doubles as long as it is used up in time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::MAX_CLIENTS;

/// How long a token may be spent.
const MAX_AGE: Duration = Duration::from_secs(1);
/// A lease is at most this part of what a client may take in a second: so much of it may be lost in each instance.
const MAX_PART: u32 = 20;

/// The tokens of each client.
#[derive(Debug)]
pub(super) struct Leases(BTreeMap<String, Lease>);

#[derive(Debug)]
struct Lease {
    left: u32,
    /// How many were taken at once.
    taken: u32,
    at: Instant,
}

impl Lease {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= MAX_AGE
    }
}

impl Leases {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Spends a token, if there is one.
    pub(super) fn spend(&mut self, client: &str, now: Instant) -> bool {
        match self.0.get_mut(client).filter(|lease| !lease.is_over(now) && lease.left > 0) {
            Some(lease) => {
                lease.left -= 1;
                true
            }
            None => false,
        }
    }

    /// How many tokens to take now: one for the request that asks, and the others for those that follow.
    pub(super) fn next(&self, client: &str, rate: u32, now: Instant) -> u32 {
        let before = self.0.get(client).filter(|lease| !lease.is_over(now));
        before.map_or(1, |lease| lease.taken.saturating_mul(2)).min(rate / MAX_PART).max(1)
    }

    /// So many tokens were taken, one of them for the request that asked.
    pub(super) fn took(&mut self, client: &str, tokens: u32, now: Instant) {
        if !self.0.contains_key(client) && self.0.len() >= MAX_CLIENTS {
            self.0.retain(|_, lease| !lease.is_over(now));
            if self.0.len() >= MAX_CLIENTS {
                return;
            }
        }
        let left = tokens.saturating_sub(1);
        self.0.insert(client.to_owned(), Lease { left, taken: tokens, at: now });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A request that the bucket has a token for. Answers how many tokens it took of it.
    fn request(leases: &mut Leases, client: &str, rate: u32, now: Instant) -> u32 {
        if leases.spend(client, now) {
            return 0;
        }
        let tokens = leases.next(client, rate, now);
        leases.took(client, tokens, now);
        tokens
    }

    #[test]
    fn who_asks_often_asks_the_relay_seldom() {
        let (mut leases, now) = (Leases::new(), Instant::now());
        let calls = (0..1_000).filter(|_| request(&mut leases, "a", 2_000, now) > 0).count();
        assert_eq!(calls, 16, "1, 2, 4, ... 64, and then 100 each time");
        assert_eq!(request(&mut leases, "b", 2_000, now), 1, "others begin with one");
    }

    #[test]
    fn a_small_limit_is_counted_one_by_one() {
        let (mut leases, now) = (Leases::new(), Instant::now());
        assert!((0..100).all(|_| request(&mut leases, "a", 39, now) == 1));
    }

    #[test]
    fn a_token_ends_with_its_second() {
        let (mut leases, now) = (Leases::new(), Instant::now());
        leases.took("a", 8, now);
        assert!(leases.spend("a", now + MAX_AGE / 2));
        assert!(!leases.spend("a", now + MAX_AGE));
        assert_eq!(leases.next("a", 2_000, now + MAX_AGE), 1, "and the next lease begins anew");
    }

    #[test]
    fn the_number_of_clients_is_bounded() {
        let (mut leases, now) = (Leases::new(), Instant::now());
        for client in 0..2 * MAX_CLIENTS {
            leases.took(&client.to_string(), 2, now);
        }
        assert_eq!(leases.0.len(), MAX_CLIENTS);
        assert!(!leases.spend(&MAX_CLIENTS.to_string(), now));
        leases.took("new", 2, now + MAX_AGE);
        assert_eq!(leases.0.len(), 1);
    }

    proptest! {
        #[test]
        fn no_more_is_spent_than_was_taken(
            steps in proptest::collection::vec((0..3u8, 0..400u64), 1..300),
            rate in 1..5_000u32,
        ) {
            let (mut leases, mut now) = (Leases::new(), Instant::now());
            let (mut taken, mut served) = ([0; 3], [0; 3]);
            for (client, ms) in steps {
                now += Duration::from_millis(ms);
                let tokens = request(&mut leases, &client.to_string(), rate, now);
                prop_assert!(tokens <= (rate / MAX_PART).max(1));
                taken[usize::from(client)] += tokens;
                served[usize::from(client)] += 1;
            }
            prop_assert!((0..3).all(|client| served[client] <= taken[client]));
        }
    }
}
