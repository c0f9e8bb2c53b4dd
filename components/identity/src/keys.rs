//! The public keys of an issuer: a JWK set (RFC 7517). A key is for one algorithm, which follows from its kind: no token
//! chooses how it is verified.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::signature::Verifier;
use rsa::BoxedUint;
use serde_json::{Map, Value};
use sha2::Sha256;

/// The largest JWK set.
pub const MAX_KEYS_BYTES: usize = 64 << 10;
/// The most keys of a set; the ones behind them are left out.
pub const MAX_KEYS: usize = 64;
/// The longest name of a key.
pub const MAX_KID_BYTES: usize = 256;
/// The sizes of an RSA modulus, in bits. Less is not safe, and more takes a request too long.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The least public exponent of RSA.
const MIN_RSA_EXPONENT: u64 = 65_537;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The one that the header of a token names, or a key; RFC 9864 calls the last one `Ed25519`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// The keys of an issuer.
#[derive(Clone, Debug)]
pub struct Keys(Vec<Key>);

#[derive(Clone, Debug)]
pub(crate) struct Key {
    id: Option<String>,
    public: Public,
}

#[derive(Clone, Debug)]
enum Public {
    Rs256(Box<rsa::PublicKey>),
    Es256(Box<p256::ecdsa::VerifyingKey>),
    EdDsa(Box<ed25519_dalek::VerifyingKey>),
}

/// What is known of the key that a token names.
pub(crate) enum Found<'a> {
    Key(&'a Key),
    /// The keys have none of this name.
    Unknown,
    /// The key of this name is for another algorithm.
    OtherAlgorithm,
    /// The token names no key, and there is more than one that it may be, or none.
    Unnamed,
}

impl Keys {
    /// Reads a JWK set. A set may have keys for other uses and of other kinds, so those are left out.
    ///
    /// ```
    /// let set = br#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a",
    ///                          "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    /// assert!(towpath_identity::Keys::read(set).is_ok());
    /// assert!(towpath_identity::Keys::read(br#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#).is_err());
    /// ```
    ///
    /// # Errors
    /// Where it is no JWK set, is too large, or has no key that verifies tokens.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        if json.len() > MAX_KEYS_BYTES {
            return Err(format!("a JWK set may have {MAX_KEYS_BYTES} bytes at most, and this has {}", json.len()));
        }
        let set: Value = serde_json::from_slice(json).map_err(|error| format!("the JWK set is no JSON: {error}"))?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or("the JWK set has no array of keys")?;
        let keys: Vec<Key> = keys.iter().take(MAX_KEYS).filter_map(|key| Key::read(key.as_object()?)).collect();
        if keys.is_empty() {
            return Err("the JWK set has no key that verifies RS256, ES256 or EdDSA".into());
        }
        Ok(Self(keys))
    }

    /// The key that a token names, if it is for the token's algorithm. Without a name, the only one of that algorithm.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let fits = |key: &&Key| key.algorithm() == algorithm;
        let Some(id) = id else {
            let mut fitting = self.0.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => Found::Key(key),
                _ => Found::Unnamed,
            };
        };
        let named = || self.0.iter().filter(|key| key.id.as_deref() == Some(id));
        match (named().find(fits), named().next()) {
            (Some(key), _) => Found::Key(key),
            (None, Some(_)) => Found::OtherAlgorithm,
            (None, None) => Found::Unknown,
        }
    }
}

impl Key {
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let id = text("kid").map(str::to_owned);
        let verifies = match (jwk.get("use"), jwk.get("key_ops")) {
            (Some(purpose), _) if purpose != "sig" => false,
            (_, Some(operations)) => operations.as_array()?.iter().any(|operation| operation == "verify"),
            _ => true,
        };
        // Whoever publishes the private part of a key has lost it.
        if !verifies || jwk.contains_key("d") || id.as_ref().is_some_and(|id| id.len() > MAX_KID_BYTES) {
            return None;
        }
        let public = match (text("kty")?, text("crv")) {
            ("RSA", _) => Public::rs256(&bytes(text("n")?)?, &bytes(text("e")?)?)?,
            ("EC", Some("P-256")) => Public::es256(&bytes(text("x")?)?, &bytes(text("y")?)?)?,
            ("OKP", Some("Ed25519")) => Public::ed_dsa(&bytes(text("x")?)?)?,
            _ => return None,
        };
        let key = Self { id, public };
        let is_for = |name: &Value| name.as_str().and_then(Algorithm::named) == Some(key.algorithm());
        jwk.get("alg").is_none_or(is_for).then_some(key)
    }

    fn algorithm(&self) -> Algorithm {
        match self.public {
            Public::Rs256(_) => Algorithm::Rs256,
            Public::Es256(_) => Algorithm::Es256,
            Public::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// Whether the holder of the key signed this.
    pub(crate) fn has_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Rs256(key) => key.pkcs1v15_verify::<Sha256>(signed, signature).is_ok(),
            Public::Es256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            Public::EdDsa(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(signed, &signature).is_ok()),
        }
    }
}

impl Public {
    fn rs256(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        // As long as the largest exponent that the library takes.
        if exponent.len() > 5 || modulus.len() > RSA_BITS.end() / 8 + 1 {
            return None;
        }
        let number = exponent.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
        if number < MIN_RSA_EXPONENT {
            return None;
        }
        let (modulus, exponent) = (BoxedUint::from_be_slice_vartime(modulus), BoxedUint::from(number));
        let key = rsa::PublicKey::new_with_size_limits(modulus, exponent, RSA_BITS);
        key.ok().map(|key| Self::Rs256(Box::new(key)))
    }

    fn es256(x: &[u8], y: &[u8]) -> Option<Self> {
        if (x.len(), y.len()) != (32, 32) {
            return None;
        }
        // An uncompressed point (SEC 1, 2.3.4).
        let point = [&[4], x, y].concat();
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok().map(|key| Self::Es256(Box::new(key)))
    }

    fn ed_dsa(x: &[u8]) -> Option<Self> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(x.try_into().ok()?).ok()?;
        (!key.is_weak()).then(|| Self::EdDsa(Box::new(key)))
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    /// The generator of the curve.
    const EC: (&str, &str) =
        ("axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU");

    fn read(keys: Value) -> Result<usize, String> {
        Keys::read(json!({ "keys": keys }).to_string().as_bytes()).map(|keys| keys.0.len())
    }

    /// A JWK of RSA with a modulus of so many bits, all of them ones.
    fn rsa(bits: usize, exponent: &[u8]) -> Value {
        let modulus = vec![0xff; bits / 8];
        json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent)})
    }

    #[test]
    fn keys_for_signatures_are_kept_and_the_others_left_out() {
        let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": ED});
        assert_eq!(
            read(json!([ed, {"kty": "EC", "crv": "P-256", "x": EC.0, "y": EC.1}, rsa(2048, &[1, 0, 1])])),
            Ok(3)
        );
        for (name, value) in [
            ("use", json!("enc")),
            ("key_ops", json!(["encrypt"])),
            ("key_ops", json!("verify")),
            ("alg", json!("ES256")),
            ("alg", json!("none")),
            ("alg", json!(7)),
            ("crv", json!("Ed448")),
            ("kty", json!("EC")),
            ("kty", json!("oct")),
            ("d", json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")),
            ("kid", json!("k".repeat(MAX_KID_BYTES + 1))),
            ("x", json!("AAAA")),
            ("x", json!("")),
            ("x", json!(format!("{ED}AA"))),
            ("x", json!(format!("{ED}="))),
            // The neutral element: a key for which anybody can make signatures.
            ("x", json!("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        ] {
            let mut other = ed.clone();
            other[name] = value;
            assert_eq!(read(json!([other, ed])), Ok(1), "{other}");
        }
        for (name, value) in [("use", json!("sig")), ("key_ops", json!(["verify"])), ("alg", json!("EdDSA"))] {
            let mut same = ed.clone();
            same[name] = value;
            assert_eq!(read(json!([same])), Ok(1), "{same}");
        }
    }

    #[test]
    fn a_weak_key_is_none() {
        for weak in [rsa(1024, &[1, 0, 1]), rsa(8192, &[1, 0, 1]), rsa(2048, &[3]), rsa(2048, &[1, 0, 0, 0, 0, 1])] {
            assert!(read(json!([weak])).is_err(), "{weak}");
        }
        assert!(read(json!([rsa(2048, &[])])).is_err());
        let off_the_curve = json!({"kty": "EC", "crv": "P-256", "x": EC.0, "y": EC.0});
        assert!(read(json!([off_the_curve])).is_err());
    }

    #[test]
    fn what_is_no_set_says_so() {
        for (json, fault) in [
            ("", "no JSON"),
            ("[]", "no array of keys"),
            (r#"{"keys": {}}"#, "no array of keys"),
            (r#"{"keys": []}"#, "no key"),
            (r#"{"keys": [1, "a", null]}"#, "no key"),
            (&" ".repeat(MAX_KEYS_BYTES + 1), "bytes at most"),
        ] {
            let said = Keys::read(json.as_bytes()).expect_err("refused");
            assert!(said.contains(fault), "{said}");
        }
        let many: Vec<_> =
            (0..200).map(|i| json!({"kty": "OKP", "crv": "Ed25519", "x": ED, "kid": format!("{i}")})).collect();
        assert_eq!(read(json!(many)), Ok(MAX_KEYS));
    }

    #[test]
    fn a_name_is_looked_up_and_means_nothing_else() {
        let ed = |kid: &str| json!({"kty": "OKP", "crv": "Ed25519", "x": ED, "kid": kid});
        let set =
            json!({"keys": [ed("a"), ed("../../b"), {"kty": "EC", "crv": "P-256", "x": EC.0, "y": EC.1, "kid": "c"}]});
        let keys = Keys::read(set.to_string().as_bytes()).expect("keys");
        let found = |id: Option<&str>, algorithm| match keys.find(id, algorithm) {
            Found::Key(key) => key.id.as_deref().unwrap_or_default().to_owned(),
            Found::Unknown => "unknown".into(),
            Found::OtherAlgorithm => "other".into(),
            Found::Unnamed => "unnamed".into(),
        };
        assert_eq!(found(Some("a"), Algorithm::EdDsa), "a");
        assert_eq!(found(Some("../../b"), Algorithm::EdDsa), "../../b");
        assert_eq!(found(Some("a"), Algorithm::Rs256), "other");
        assert_eq!(found(Some("' OR 1=1 --"), Algorithm::EdDsa), "unknown");
        assert_eq!(found(None, Algorithm::EdDsa), "unnamed", "there are two");
        assert_eq!(found(None, Algorithm::Es256), "c");
        assert_eq!(found(None, Algorithm::Rs256), "unnamed");
    }

    proptest! {
        #[test]
        fn whatever_an_issuer_publishes_nobody_panics(
            kty in "RSA|EC|OKP|oct", crv in "P-256|Ed25519|X25519", x in "[A-Za-z0-9_=-]{0,50}", y in "[A-Za-z0-9_-]{0,50}",
            signature in "\\PC{0,80}",
        ) {
            let set = json!({"keys": [{"kty": kty, "crv": crv, "x": x, "y": y, "n": x, "e": y}]});
            if let Ok(keys) = Keys::read(set.to_string().as_bytes()) {
                for key in &keys.0 {
                    prop_assert!(!key.has_signed(b"signed", signature.as_bytes()));
                }
            }
        }
    }
}
