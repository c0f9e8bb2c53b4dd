//! Whose tokens count: the issuers, as the variable `identity` lists them.

use std::collections::BTreeSet;

use http::Uri;
use serde_json::{Map, Value};
use towpath_sdk::{Fields, Invalid, Principal, Problem, parse, wire};

use crate::{Refusal, claims::ClaimMap};

/// The most issuers at once.
pub const MAX_ISSUERS: usize = 8;
const MAX_URL_BYTES: usize = 500;
const MAX_AUDIENCE_CHARS: usize = 200;

/// The issuers whose tokens count.
///
/// ```
/// use towpath_identity::Issuers;
///
/// assert!(Issuers::read("off").unwrap().is_none());
/// let issuers = Issuers::read(r#"{"issuers": [{"issuer": "https://id.example", "audience": "shop"}]}"#).unwrap().unwrap();
/// assert_eq!(issuers.each().len(), 1);
/// let faults = Issuers::read(r#"{"issuers": [{"issuer": "http://id.example", "audiences": "shop"}]}"#).unwrap_err();
/// assert_eq!(faults, "issuers[0].issuer must be an https URL (http on this machine alone) without user, query and fragment; \
///     issuers[0].audience is required; issuers[0].audiences is not known");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuers(Vec<Issuer>);

/// An issuer, with the audience that its tokens must name, and what their claims mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    name: String,
    audience: String,
    keys: Option<String>,
    claims: ClaimMap,
}

impl Issuers {
    /// Reads the configuration; `None` where it says `off`.
    ///
    /// # Errors
    /// Every fault of it.
    pub fn read(text: &str) -> Result<Option<Self>, String> {
        if text.trim() == "off" {
            return Ok(None);
        }
        let no_json = |error: serde_json::Error| format!("it is neither off nor JSON: {error}");
        let value: Value = serde_json::from_str(text).map_err(no_json)?;
        let repeated = wire::repeated_members(text.as_bytes()).map_err(no_json)?;
        let mut faults: Vec<_> = repeated.into_iter().map(|path| format!("{path} must not be repeated")).collect();
        match Fields::read(&value, |fields| fields.each("issuers", 1..=MAX_ISSUERS, Issuer::read)) {
            Ok(issuers) => {
                faults.extend(clashes(&issuers));
                if faults.is_empty() { Ok(Some(Self(issuers))) } else { Err(faults.join("; ")) }
            }
            Err(problem) => {
                faults.extend(said(&problem));
                Err(faults.join("; "))
            }
        }
    }

    /// Each of them.
    #[must_use]
    pub fn each(&self) -> &[Issuer] {
        &self.0
    }

    /// The one of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Issuer> {
        self.0.iter().find(|issuer| issuer.name == name)
    }
}

fn said(problem: &Problem) -> impl Iterator<Item = String> {
    problem.errors.iter().map(|error| match error.code {
        "unknown_field" => format!("{} is not known", error.field),
        _ => format!("{} {}", error.field, error.detail),
    })
}

/// What two issuers may not have in common. A customer of one must never have the name of a customer of another: whose tokens
/// the other issuer makes.
fn clashes(issuers: &[Issuer]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (i, issuer) in issuers.iter().enumerate() {
        if !names.insert(&issuer.name) {
            faults.push(format!("issuers[{i}].issuer is there twice"));
        }
        let prefix = &issuer.claims.customer_prefix;
        let other = issuers.iter().enumerate().find(|(other, begin)| {
            *other != i && (prefix.is_empty() || prefix.starts_with(&begin.claims.customer_prefix))
        });
        if let Some((other, _)) = other {
            faults.push(format!(
                "issuers[{i}].customer_prefix must tell its customers from those of issuers[{other}]: neither may begin with the other"
            ));
        }
    }
    faults
}

impl Issuer {
    fn read(fields: &Fields<'_>) -> Option<Self> {
        let name = fields.required("issuer", url);
        let audience = fields.required("audience", |value| parse::text(value, 1..=MAX_AUDIENCE_CHARS));
        let keys = fields.optional("keys", url);
        let claims = ClaimMap::read(fields);
        Some(Self { name: name?, audience: audience?, keys: keys?, claims: claims? })
    }

    /// Its name: the claim `iss` of its tokens, and the URL at which it is found.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The audience that its tokens must name.
    pub(crate) fn audience(&self) -> &str {
        &self.audience
    }

    /// The principal whom these claims describe.
    pub(crate) fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, Refusal> {
        self.claims.principal(&self.name, claims)
    }

    /// The URL of its keys, where the configuration names it.
    #[must_use]
    pub fn keys(&self) -> Option<&str> {
        self.keys.as_deref()
    }

    /// The URL of its description (OpenID Connect Discovery, 4).
    #[must_use]
    pub fn description(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.name.trim_end_matches('/'))
    }

    /// The URL of the keys that its description names.
    ///
    /// # Errors
    /// Where this is no description, or that of somebody else.
    pub fn described_keys(&self, description: &[u8]) -> Result<String, String> {
        let read: Value = serde_json::from_slice(description).map_err(|error| format!("it is no JSON: {error}"))?;
        if read.get("issuer").and_then(Value::as_str) != Some(&self.name) {
            return Err("it describes another issuer".into());
        }
        let keys = read.get("jwks_uri").ok_or("it has no jwks_uri")?;
        url(keys).map_err(|fault| format!("jwks_uri {}", fault.detail))
    }
}

/// A URL from which keys may come.
fn url(value: &Value) -> Result<String, Invalid> {
    let text = parse::string(value)?;
    let uri: Option<Uri> = text.parse().ok().filter(|_| text.len() <= MAX_URL_BYTES && text.is_ascii());
    let is_safe = |uri: &Uri| match uri.scheme_str() {
        Some("https") => true,
        Some("http") => uri.host().is_some_and(is_this_machine),
        _ => false,
    };
    let is_plain = |uri: &Uri| {
        let user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
        uri.query().is_none() && !text.contains('#') && !user
    };
    match uri.filter(is_safe).filter(is_plain) {
        Some(_) => Ok(text.to_owned()),
        None => Err(Invalid::new(
            "invalid_url",
            "must be an https URL (http on this machine alone) without user, query and fragment",
        )),
    }
}

/// Whether nobody else can have this name.
fn is_this_machine(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn faults(config: Value) -> String {
        Issuers::read(&config.to_string()).expect_err("refused")
    }

    fn issuer(config: Value) -> Issuer {
        let issuers = Issuers::read(&json!({ "issuers": [config] }).to_string()).expect("right").expect("not off");
        issuers.each()[0].clone()
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let said = faults(json!({"issuers": [
            {"issuer": "https://id.example?a=b", "audience": "", "scopes": 7, "roles": [], "may_grant": ["everything"]},
            {"issuer": "https://id.example", "audience": "shop", "keys": "ftp://id.example", "grants": {"a": "admin"},
             "customer": [""], "customer_prefix": "p".repeat(40), "alg": "none"},
        ]}));
        for named in [
            "issuers[0].issuer",
            "issuers[0].audience",
            "issuers[0].scopes",
            "issuers[0].roles",
            "issuers[0].may_grant",
            "issuers[1].keys",
            "issuers[1].grants",
            "issuers[1].customer",
            "issuers[1].customer_prefix",
            "issuers[1].alg",
        ] {
            assert!(said.contains(&format!("{named} ")), "{named}: {said}");
        }
        assert!(faults(json!({"issuers": [], "issuer": 1})).contains("issuers must have at least 1"));
        let twice = r#"{"issuers": [{"issuer": "https://id.example", "audience": "a", "audience": "b"}]}"#;
        assert_eq!(Issuers::read(twice), Err("issuers[0].audience must not be repeated".into()));
        for text in ["", "on", "OFF", "{", "[]", "null"] {
            assert!(Issuers::read(text).is_err(), "{text}");
        }
        assert_eq!(Issuers::read(" off\n"), Ok(None));
        let roles = json!({"issuer": "https://id.example", "audience": "a", "grants": {"a": ["admin"]}});
        assert!(faults(json!({"issuers": [roles]})).contains("issuers[0].grants says what roles grant"));
    }

    #[test]
    fn customers_of_two_issuers_never_have_one_name() {
        let two = |one: Value, other: Value| {
            let issuer =
                |name: &str, prefix: Value| json!({"issuer": name, "audience": "a", "customer_prefix": prefix});
            let issuers = json!({"issuers": [issuer("https://a.example", one), issuer("https://b.example", other)]});
            Issuers::read(&issuers.to_string())
        };
        assert!(two(json!("a:"), json!("b:")).is_ok());
        for (one, other) in [(json!(null), json!("b:")), (json!(null), json!(null)), (json!("a"), json!("ab"))] {
            let said = two(one, other).expect_err("refused");
            assert!(said.contains("customer_prefix must tell"), "{said}");
        }
        let same = json!({"issuer": "https://a.example", "audience": "a", "customer_prefix": "a:"});
        assert!(faults(json!({"issuers": [same, same]})).contains("issuers[1].issuer is there twice"));
    }

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for right in [
            "https://id.example",
            "https://id.example:8443/realms/shop",
            "http://localhost:3001",
            "http://127.0.0.1:3001/",
            "http://[::1]:1",
        ] {
            assert_eq!(url(&json!(right)), Ok(right.into()));
        }
        for wrong in [
            "",
            "id.example",
            "/keys",
            "http://id.example",
            "http://localhost.id.example",
            "http://192.0.2.1",
            "ftp://localhost",
            "https://alice@id.example",
            "http://localhost:x@id.example",
            "https://id.example/#a",
            "https://id.example/?a",
            "file:///etc/passwd",
            "https://",
            &format!("https://id.example/{}", "a".repeat(MAX_URL_BYTES)),
        ] {
            assert!(url(&json!(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_issuer_describes_itself_and_nobody_else() {
        let shop = issuer(json!({"issuer": "https://id.example/realms/shop", "audience": "a"}));
        assert_eq!(shop.description(), "https://id.example/realms/shop/.well-known/openid-configuration");
        let slash = issuer(json!({"issuer": "https://id.example/", "audience": "a"}));
        assert_eq!(slash.description(), "https://id.example/.well-known/openid-configuration");
        let described = |document: Value| shop.described_keys(document.to_string().as_bytes());
        let right = json!({"issuer": "https://id.example/realms/shop", "jwks_uri": "https://id.example/keys"});
        assert_eq!(described(right.clone()), Ok("https://id.example/keys".into()));
        for (name, value) in [
            ("issuer", json!("https://id.example/realms/other")),
            ("issuer", json!("https://id.example/realms/shop/")),
            ("jwks_uri", json!("http://id.example/keys")),
            ("jwks_uri", json!(null)),
        ] {
            let mut wrong = right.clone();
            wrong[name] = value;
            assert!(described(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(shop.described_keys(b"<html>").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_configured_nobody_panics(text in "\\PC{0,60}", name in "\\PC{0,20}") {
            let _ = Issuers::read(&text);
            let _ = Issuers::read(&json!({"issuers": [{"issuer": name, "audience": text, "scopes": [name]}]}).to_string());
        }
    }
}
