//! The tokens that this instance has verified: the next request with one of them costs a hash.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use towpath_sdk::Principal;

/// The most tokens that an instance remembers. Further ones take the place of others.
pub(super) const MAX_REMEMBERED: usize = 1_000;

/// A token's hash: whoever reads this memory reads no token.
pub(super) type TokenDigest = [u8; 32];

static TOKENS: Mutex<Tokens> = Mutex::new(Tokens(BTreeMap::new()));

/// Whom each token describes, and when it ends.
struct Tokens(BTreeMap<TokenDigest, (Principal, u64)>);

pub(super) fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token).into()
}

/// The principal of a token that was verified and has not ended.
pub(super) fn find(digest: &TokenDigest, now: u64) -> Option<Principal> {
    TOKENS.lock().unwrap_or_else(PoisonError::into_inner).find(digest, now)
}

/// Remembers a token until it ends, or its keys have to be read again.
pub(super) fn keep(digest: TokenDigest, principal: &Principal, until: u64, now: u64) {
    TOKENS.lock().unwrap_or_else(PoisonError::into_inner).keep(digest, principal, until, now);
}

/// Forgets all: a key may be gone that some of them were verified with.
pub(super) fn forget() {
    TOKENS.lock().unwrap_or_else(PoisonError::into_inner).0.clear();
}

impl Tokens {
    fn find(&self, digest: &TokenDigest, now: u64) -> Option<Principal> {
        self.0.get(digest).filter(|(_, until)| now < *until).map(|(principal, _)| principal.clone())
    }

    fn keep(&mut self, digest: TokenDigest, principal: &Principal, until: u64, now: u64) {
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, (_, until)| now < *until);
        }
        if self.0.len() >= MAX_REMEMBERED {
            self.0.pop_first();
        }
        self.0.insert(digest, (principal.clone(), until));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn nobody(subject: &str) -> Principal {
        Principal { issuer: "i".into(), subject: subject.into(), customer: None, scopes: BTreeSet::new() }
    }

    #[test]
    fn a_token_is_remembered_until_it_ends() {
        let mut tokens = Tokens(BTreeMap::new());
        let (one, other) = (digest("a.b.c"), digest("a.b.d"));
        tokens.keep(one, &nobody("alice"), 100, 0);
        assert_eq!(tokens.find(&one, 99), Some(nobody("alice")));
        assert_eq!((tokens.find(&one, 100), tokens.find(&other, 0)), (None, None));
    }

    #[test]
    fn the_number_of_tokens_is_bounded_and_those_that_ended_make_room() {
        let mut tokens = Tokens(BTreeMap::new());
        for i in 0..2 * MAX_REMEMBERED {
            let token = digest(&i.to_string());
            tokens.keep(token, &nobody("alice"), 100, 0);
            assert!(tokens.find(&token, 0).is_some() && tokens.0.len() <= MAX_REMEMBERED);
        }
        tokens.keep(digest("new"), &nobody("bob"), 200, 100);
        assert_eq!(tokens.0.len(), 1);
    }
}
