//! Tokens, as an issuer signs them: with keys of each kind, which exist for tests alone.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::signature::Signer as _;
use rsa::{BoxedUint, traits::PublicKeyParts};
use serde_json::{Value, json};
use sha2::Sha256;

/// The primes of the one RSA key: to look for new ones takes seconds.
const PRIMES: [&str; 2] = [
    "e96bacc57bc8a9df16135a984086799849c69e1fe3d66768f5757632f259cda5332ce41a99afe1fc647264c67e87c309dc58b8278fda36ee6c9dde29\
     50e5cace13f887c04bfec4e3613304556ffbfba29d8db59ae365e2a347215584dc65585eb48c169869ba5025835a145fc835daf54e016f7babe9428b\
     2b82657bc34bbfa9",
    "d6f2de090b18ac04b6bdea58dc1c6220a7bc684dd72cec7591a2b5bfe08614db6b52bd5ea3659f58f90a676c1c8549353cbb09fa7e1855aac6e2629a\
     00b511b97a8330b62dc74a0b2bc2c6eb80d08db3cc6feb74472c88c9b9fca3ca6cd963749078a30a526960991c5666a9e6ad9ac71b3eec3197bf443d\
     3f52cf4c5915bf57",
];

/// A private key.
pub enum Signer {
    /// For RS256.
    Rs256(Box<rsa::PrivateKey>),
    /// For ES256.
    Es256(Box<p256::ecdsa::SigningKey>),
    /// For EdDSA.
    EdDsa(Box<ed25519_dalek::SigningKey>),
}

impl Signer {
    /// The key of RSA.
    ///
    /// # Panics
    /// Never: the primes are right.
    #[must_use]
    pub fn rs256() -> Self {
        let number = |hex: &str| BoxedUint::from_be_hex(hex, 1024).into_option().expect("a number");
        let [p, q] = PRIMES.map(number);
        Self::Rs256(Box::new(rsa::PrivateKey::from_p_q(p, q, BoxedUint::from(65_537_u64)).expect("a key")))
    }

    /// A key on P-256; another one for each number from 1.
    ///
    /// # Panics
    /// For 0.
    #[must_use]
    pub fn es256(number: u8) -> Self {
        Self::Es256(Box::new(p256::ecdsa::SigningKey::from_slice(&[number; 32]).expect("a key")))
    }

    /// A key of Ed25519; another one for each number.
    #[must_use]
    pub fn ed_dsa(number: u8) -> Self {
        Self::EdDsa(Box::new(ed25519_dalek::SigningKey::from_bytes(&[number; 32])))
    }

    /// The algorithm, as a header names it.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    /// The public key, by this name.
    ///
    /// # Panics
    /// Never: the keys are right.
    #[must_use]
    pub fn jwk(&self, name: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rs256(key) => json!({"kty": "RSA", "kid": name, "n": text(&key.n().to_be_bytes()), "e": "AQAB"}),
            Self::Es256(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                let (x, y) = point.as_bytes()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": name, "x": text(x), "y": text(y)})
            }
            Self::EdDsa(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": name, "x": text(key.verifying_key().as_bytes())})
            }
        }
    }

    /// A token with this header and these claims.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A token whose header and claims are these texts, whatever they are.
    ///
    /// # Panics
    /// Never: the keys are right.
    #[must_use]
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = unsigned(header, claims);
        let signature = match self {
            Self::Rs256(key) => key.pkcs1v15_sign::<Sha256>(signed.as_bytes()).expect("a signature"),
            Self::Es256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(signed.as_bytes());
                signature.to_bytes().to_vec()
            }
            Self::EdDsa(key) => key.sign(signed.as_bytes()).to_bytes().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token with a header that says what this key is for, and by which name it is known.
    #[must_use]
    pub fn token(&self, name: &str, claims: &Value) -> String {
        self.sign(&json!({"alg": self.algorithm(), "kid": name, "typ": "JWT"}), claims)
    }
}

/// What is signed of a token: header and claims.
#[must_use]
pub fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}
