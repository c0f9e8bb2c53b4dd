//! The client's half of SCRAM-SHA-512, RFC 5802.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha512};

/// What a server may ask for, so that none makes its client work for minutes.
const MAX_ITERATIONS: u32 = 1_000_000;

/// An exchange that has begun.
pub(crate) struct Scram {
    nonce: String,
    first: String,
}

/// How the server shows that it knows the password too.
pub(crate) struct Signature([u8; 64]);

impl Scram {
    /// Begins, and answers the first message.
    pub(crate) fn begin(user: &str) -> (Self, String) {
        let nonce: [u8; 24] = rand::random();
        Self::with_nonce(user, STANDARD.encode(nonce))
    }

    fn with_nonce(user: &str, nonce: String) -> (Self, String) {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        let message = format!("n,,{first}");
        (Self { nonce, first }, message)
    }

    /// The answer to the server's challenge, and what the server must show then.
    pub(crate) fn answer(&self, password: &str, challenge: &str) -> Result<(String, Signature)> {
        let field = |name: &str| challenge.split(',').find_map(|field| field.strip_prefix(name));
        let nonce = field("r=").context("a challenge without a nonce")?;
        ensure!(nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len(), "a challenge to another client");
        let salt = STANDARD.decode(field("s=").context("a challenge without a salt")?)?;
        let iterations: u32 = field("i=").context("a challenge without iterations")?.parse()?;
        ensure!((1..=MAX_ITERATIONS).contains(&iterations), "{iterations} iterations");
        let salted = salted(password.as_bytes(), &salt, iterations);
        // "biws": the header "n,,", which says that no channel is bound.
        let last = format!("c=biws,r={nonce}");
        let all = format!("{},{challenge},{last}", self.first);
        let key = hmac(&salted, b"Client Key");
        let mut proof = hmac(&Sha512::digest(key), all.as_bytes());
        proof.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        let signature = hmac(&hmac(&salted, b"Server Key"), all.as_bytes());
        Ok((format!("{last},p={}", STANDARD.encode(proof)), Signature(signature)))
    }
}

impl Signature {
    /// Whether the server's last message shows it.
    pub(crate) fn is_shown_by(&self, message: &str) -> bool {
        let shown = message.split(',').find_map(|field| field.strip_prefix("v="));
        shown.and_then(|shown| STANDARD.decode(shown).ok()).is_some_and(|shown| shown == self.0)
    }
}

/// `Hi` of RFC 5802: PBKDF2 with one block.
pub(crate) fn salted(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 64] {
    let mut block = hmac(password, &[salt, &1_u32.to_be_bytes()].concat());
    let mut sum = block;
    for _ in 1..iterations {
        block = hmac(password, &block);
        sum.iter_mut().zip(block).for_each(|(byte, other)| *byte ^= other);
    }
    sum
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 64] {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("a key of any length will do");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A server as RFC 5802 describes it, which knows the password.
    fn server(password: &str, first: &str, last: impl FnOnce(&str) -> (String, Signature)) -> (bool, String) {
        let first = first.strip_prefix("n,,").unwrap();
        let nonce = first.split_once("r=").unwrap().1;
        let (salt, iterations) = (b"some salt", 10);
        let challenge = format!("r={nonce}more,s={},i={iterations}", STANDARD.encode(salt));
        let (answer, _) = last(&challenge);
        let (without, proof) = answer.rsplit_once(",p=").unwrap();
        let salted = salted(password.as_bytes(), salt, iterations);
        let key = hmac(&salted, b"Client Key");
        let all = format!("{first},{challenge},{without}");
        let mut shown: Vec<u8> = STANDARD.decode(proof).unwrap();
        shown.iter_mut().zip(hmac(&Sha512::digest(key), all.as_bytes())).for_each(|(byte, other)| *byte ^= other);
        let signature = hmac(&hmac(&salted, b"Server Key"), all.as_bytes());
        (Sha512::digest(&shown) == Sha512::digest(key), format!("v={}", STANDARD.encode(signature)))
    }

    fn exchange(mine: &str, theirs: &str) -> (bool, bool) {
        let (scram, first) = Scram::begin("order");
        let mut wanted = None;
        let (let_in, last) = server(theirs, &first, |challenge| {
            let (answer, signature) = scram.answer(mine, challenge).unwrap();
            wanted = Some(signature);
            (answer, Signature([0; 64]))
        });
        (let_in, wanted.unwrap().is_shown_by(&last))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn both_know_the_password_or_neither_is_convinced(mine in ".{1,20}", theirs in ".{1,20}") {
            prop_assert_eq!(exchange(&mine, &mine), (true, true));
            let same = mine == theirs;
            prop_assert_eq!(exchange(&mine, &theirs), (same, same));
        }

        #[test]
        fn no_challenge_of_a_stranger_makes_it_panic(challenge in ".{0,60}") {
            let (scram, _) = Scram::with_nonce("order", "abc".into());
            let _ = scram.answer("x", &challenge);
        }
    }

    /// As Python's `hashlib.pbkdf2_hmac("sha512", b"password", b"salt", 2)` has it.
    #[test]
    fn the_salted_password_is_pbkdf2() {
        let salted = salted(b"password", b"salt", 2);
        let hex: String = salted.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "e1d9c16aa681708a");
    }

    #[test]
    fn a_name_cannot_add_fields_and_a_server_cannot_ask_for_hours() {
        let (scram, first) = Scram::with_nonce("a,r=b", "abc".into());
        assert_eq!(first, "n,,n=a=2Cr=3Db,r=abc");
        let refused = |challenge: &str| scram.answer("x", challenge).map(|_| ()).unwrap_err().to_string();
        assert!(refused("r=abcd,s=AAAA,i=2000000000").contains("iterations"));
        assert!(refused("r=other,s=AAAA,i=4096").contains("another client"));
        assert!(refused("r=abc,s=AAAA,i=4096").contains("another client"), "the server adds to the nonce");
    }
}
