//! A token: read, and verified by its issuer's keys.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use towpath_sdk::{Principal, wire};

use crate::{
    Issuer, Issuers, Keys, MAX_KID_BYTES, Refusal,
    keys::{Algorithm, Found},
};

/// The longest token.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// How far the clocks of issuer and gateway may be apart.
pub const LEEWAY_SECONDS: u64 = 60;
/// The largest time that a claim may name: the largest integer that a number of JSON holds exactly.
const MAX_TIME: f64 = 9_007_199_254_740_992.0;

/// What the header of a token may not have: keys of its own, or words that change what is signed (RFC 7515, 4.1; RFC 7797).
const REFUSED_HEADERS: [&str; 9] = ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty"];
/// Claims of an ID token alone (OpenID Connect Core, 2 and 3.3): it says who signed in, and allows nothing.
const ID_TOKEN_CLAIMS: [&str; 3] = ["nonce", "at_hash", "c_hash"];
/// What a token of the profile for access tokens has (RFC 9068, 2.2), beside what every token must have.
const PROFILE_CLAIMS: [&str; 3] = ["iat", "jti", "client_id"];

/// A token as it was sent: nothing of it is known to be true.
#[derive(Clone, Debug)]
pub struct Token<'a> {
    algorithm: Algorithm,
    key: Option<String>,
    is_profiled: bool,
    claims: Map<String, Value>,
    signed: &'a [u8],
    signature: Vec<u8>,
}

/// What a token says that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whom it describes.
    pub principal: Principal,
    /// When it ends, with the leeway, in seconds since 1970: from then on it is refused.
    pub until: u64,
}

impl<'a> Token<'a> {
    /// Reads a token in the compact form (RFC 7515, 7.1).
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where it is none, or asks to be verified in another way than by its issuer's keys.
    pub fn read(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::Invalid("The token is too long."));
        }
        const NONE: Refusal = Refusal::Invalid("The token is no signed JSON Web Token.");
        let (signed, signature) = text.rsplit_once('.').ok_or(NONE)?;
        let (header, claims) = signed.split_once('.').ok_or(NONE)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| NONE);
        let (header, claims) = (object(&decode(header)?)?, object(&decode(claims)?)?);
        if REFUSED_HEADERS.iter().any(|name| header.contains_key(*name)) {
            return Err(Refusal::Invalid("The header of the token has a key, or a condition, of its own."));
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::named);
        let algorithm = algorithm.ok_or(Refusal::Invalid("The token is signed by none of RS256, ES256 and EdDSA."))?;
        let key = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= MAX_KID_BYTES => Some(kid.clone()),
            Some(_) => return Err(Refusal::Invalid("The token names no key.")),
        };
        let is_profiled = is_profiled(header.get("typ"))?;
        let signature = decode(signature)?;
        Ok(Self { algorithm, key, is_profiled, claims, signed: signed.as_bytes(), signature })
    }

    /// Verifies the token by the keys of its issuer: at this time, in seconds since 1970.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify(&self, issuer: &Issuer, keys: &Keys, now: u64) -> Result<Verified, Refusal> {
        match keys.find(self.key.as_deref(), self.algorithm) {
            Found::Key(key) if key.has_signed(self.signed, &self.signature) => {}
            Found::Key(_) => return Err(Refusal::Invalid("The signature of the token is wrong.")),
            Found::OtherAlgorithm => return Err(Refusal::Invalid("The key of the token is for another algorithm.")),
            Found::Unnamed => return Err(Refusal::Invalid("The token names no key.")),
            Found::Unknown => return Err(Refusal::UnknownKey),
        }
        self.check(issuer, now)
    }

    /// What the claims say, now that the issuer is known to have said it.
    fn check(&self, issuer: &Issuer, now: u64) -> Result<Verified, Refusal> {
        if self.text("iss") != Some(issuer.name()) {
            return Err(Refusal::Invalid("The token is of another issuer."));
        }
        if !self.is_for(issuer.audience()) {
            return Err(Refusal::Invalid("The token is for another audience."));
        }
        let until = self.time("exp")?.ok_or(Refusal::Invalid("The token has no end."))?.saturating_add(LEEWAY_SECONDS);
        if now >= until {
            return Err(Refusal::Invalid("The token has expired."));
        }
        if self.time("nbf")?.is_some_and(|begin| begin > now.saturating_add(LEEWAY_SECONDS)) {
            return Err(Refusal::Invalid("The token is not valid yet."));
        }
        // Keycloak says of what kind a token is by a claim too.
        let is_access =
            self.claims.get("typ").is_none_or(|kind| is_one_of(kind.as_str(), &["Bearer", "at+jwt", "JWT"]));
        if !is_access || ID_TOKEN_CLAIMS.iter().any(|name| self.claims.contains_key(*name)) {
            return Err(Refusal::Invalid("The token is no access token."));
        }
        if self.is_profiled && PROFILE_CLAIMS.iter().any(|name| !self.claims.contains_key(*name)) {
            return Err(Refusal::Invalid("The token lacks a claim that its type has."));
        }
        if self.claims.contains_key("cnf") {
            return Err(Refusal::Invalid(
                "The token is bound to a key of its holder, which this server does not ask for.",
            ));
        }
        Ok(Verified { principal: issuer.principal(&self.claims)?, until })
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(many)) => many.iter().all(Value::is_string) && many.iter().any(|one| one == audience),
            _ => false,
        }
    }

    /// A time; a fraction of a second (RFC 7519, 2) is dropped.
    fn time(&self, claim: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.claims.get(claim) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| (0.0..=MAX_TIME).contains(seconds));
        let seconds = seconds.ok_or(Refusal::Invalid("A time in the token is no time."))?;
        Ok(Some(seconds as u64))
    }
}

impl Issuers {
    /// The issuer that a token names; nothing is known to be true yet.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where it names none of these.
    pub fn of(&self, token: &Token<'_>) -> Result<&Issuer, Refusal> {
        let named = token.text("iss").and_then(|name| self.named(name));
        named.ok_or(Refusal::Invalid("The token is of no issuer whose tokens count here."))
    }
}

/// Whether the header says that the token is of the profile for access tokens. A token of another kind is refused, whatever it
/// says: an issuer signs others with the same key.
fn is_profiled(kind: Option<&Value>) -> Result<bool, Refusal> {
    let Some(kind) = kind else { return Ok(false) };
    match kind.as_str() {
        kind if is_one_of(kind, &["at+jwt", "application/at+jwt"]) => Ok(true),
        kind if is_one_of(kind, &["JWT", "application/jwt"]) => Ok(false),
        _ => Err(Refusal::Invalid("The token is no access token.")),
    }
}

/// Names of types are the same in large and small letters.
fn is_one_of(kind: Option<&str>, kinds: &[&str]) -> bool {
    kind.is_some_and(|kind| kinds.iter().any(|one| one.eq_ignore_ascii_case(kind)))
}

/// A JSON object without a member that comes twice: which of two would count depends on who reads it.
fn object(json: &[u8]) -> Result<Map<String, Value>, Refusal> {
    const NONE: Refusal = Refusal::Invalid("The token is no JSON Web Token: a part of it is no JSON object.");
    let read = serde_json::from_slice(json).map_err(|_| NONE)?;
    match wire::repeated_members(json) {
        Ok(repeated) if repeated.is_empty() => Ok(read),
        _ => Err(Refusal::Invalid("The token has a member twice.")),
    }
}
