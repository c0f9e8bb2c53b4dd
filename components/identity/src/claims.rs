//! From the claims of a token to a principal: each issuer has names of its own for customers and for what they may do.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use towpath_sdk::{
    Fields, Invalid, Principal, parse,
    principal::{Role, Scope},
};

use crate::Refusal;

/// The longest name of a customer, with its prefix: what an order takes as `customer_id`.
const MAX_CUSTOMER_CHARS: usize = 128;
/// The longest subject (OpenID Connect Core, 2).
const MAX_SUBJECT_CHARS: usize = 255;
const MAX_PREFIX_CHARS: usize = 32;
const MAX_GRANTS: usize = 100;

/// Which claims of an issuer's tokens say what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimMap {
    scopes: Path,
    roles: Option<Path>,
    grants: BTreeMap<String, BTreeSet<Scope>>,
    may_grant: BTreeSet<Scope>,
    customer: Path,
    pub(crate) customer_prefix: String,
}

/// Where a claim stands: its name, or the names on the way to one in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path(Vec<String>);

impl Path {
    fn read(value: &Value) -> Result<Self, Invalid> {
        let names = match value {
            Value::Array(names) => names.iter().map(|name| parse::string(name).map(str::to_owned)).collect(),
            name => parse::string(name).map(|name| vec![name.to_owned()]),
        };
        match names {
            Ok(names) if (1..=8).contains(&names.len()) && names.iter().all(|name| !name.is_empty()) => Ok(Self(names)),
            _ => Err(Invalid::new("wrong_type", "must be the name of a claim, or the names on the way to it")),
        }
    }

    fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(claims.get(first)?, |value, name| value.get(name))
    }
}

impl ClaimMap {
    pub(crate) fn read(fields: &Fields<'_>) -> Option<Self> {
        let one = |name: &str| Path(vec![name.to_owned()]);
        let scopes = fields.optional("scopes", Path::read);
        let roles = fields.optional("roles", Path::read);
        let grants = fields.optional("grants", read_grants);
        let may_grant = fields.optional("may_grant", read_scopes);
        let customer = fields.optional("customer", Path::read);
        let prefix = fields.optional("customer_prefix", |value| parse::text(value, 1..=MAX_PREFIX_CHARS));
        if roles == Some(None) && grants.as_ref().is_some_and(Option::is_some) {
            fields.refuse::<()>(
                "grants",
                Invalid::new("required", "says what roles grant, so roles is required beside it"),
            );
        }
        let by_name = || Role::ALL.iter().map(|role| (role.name().to_owned(), role.scopes().iter().copied().collect()));
        Some(Self {
            scopes: scopes?.unwrap_or_else(|| one("scope")),
            roles: roles?,
            grants: grants?.unwrap_or_else(|| by_name().collect()),
            may_grant: may_grant?.unwrap_or_else(|| Scope::ALL.iter().copied().collect()),
            customer: customer?.unwrap_or_else(|| one("sub")),
            customer_prefix: prefix?.unwrap_or_default(),
        })
    }

    /// The principal whom these claims of this issuer describe.
    pub(crate) fn principal(&self, issuer: &str, claims: &Map<String, Value>) -> Result<Principal, Refusal> {
        let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| is_name(subject, MAX_SUBJECT_CHARS));
        let subject = subject.ok_or(Refusal::Invalid("The token has no subject, or one that is no name."))?;
        Ok(Principal {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            customer: self.customer(claims)?,
            scopes: self.scopes(claims),
        })
    }

    fn customer(&self, claims: &Map<String, Value>) -> Result<Option<String>, Refusal> {
        let max = MAX_CUSTOMER_CHARS - self.customer_prefix.chars().count();
        match self.customer.find(claims) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(name)) if is_name(name, max) => Ok(Some(format!("{}{name}", self.customer_prefix))),
            Some(_) => Err(Refusal::Invalid("The claim that names the customer has no name.")),
        }
    }

    fn scopes(&self, claims: &Map<String, Value>) -> BTreeSet<Scope> {
        let named = words(self.scopes.find(claims)).filter_map(Scope::named);
        let roles = words(self.roles.as_ref().and_then(|roles| roles.find(claims)));
        let granted = roles.filter_map(|role| self.grants.get(role)).flatten().copied();
        named.chain(granted).filter(|scope| self.may_grant.contains(scope)).collect()
    }
}

/// The words of a claim: a text with blanks between them, or an array. What is neither has none.
fn words(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    let array = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    text.split(' ').chain(array.iter().filter_map(Value::as_str)).filter(|word| !word.is_empty())
}

/// Whether this can name somebody, in a log and in a column too.
fn is_name(name: &str, max: usize) -> bool {
    (1..=max).contains(&name.chars().count()) && name.trim() == name && !name.chars().any(char::is_control)
}

/// The scopes that each value of the claim with the roles grants; a value may name one of our roles instead.
fn read_grants(value: &Value) -> Result<BTreeMap<String, BTreeSet<Scope>>, Invalid> {
    let grants = value.as_object().ok_or_else(|| Invalid::new("wrong_type", "must be an object"))?;
    if grants.len() > MAX_GRANTS {
        return Err(Invalid::new("too_long", format!("may have {MAX_GRANTS} roles at most")));
    }
    grants.iter().map(|(role, scopes)| Ok((role.clone(), read_scopes(scopes)?))).collect()
}

/// Names of scopes, and of roles for all that they may do.
fn read_scopes(value: &Value) -> Result<BTreeSet<Scope>, Invalid> {
    let names = value.as_array().ok_or_else(|| Invalid::new("wrong_type", "must be an array of scopes and roles"))?;
    let mut scopes = BTreeSet::new();
    for name in names.iter().map(parse::string) {
        let name = name?;
        match (Scope::named(name), Role::named(name)) {
            (Some(scope), _) => scopes.extend([scope]),
            (None, Some(role)) => scopes.extend(role.scopes()),
            (None, None) => {
                return Err(Invalid::new(
                    "unknown_value",
                    format!("names {name:?}, which is neither a scope nor a role"),
                ));
            }
        }
    }
    Ok(scopes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn map(config: Value) -> ClaimMap {
        Fields::read(&config, ClaimMap::read).expect("a right configuration")
    }

    fn principal(config: Value, claims: Value) -> Result<Principal, Refusal> {
        map(config).principal("https://id.example", claims.as_object().expect("claims"))
    }

    fn scopes(config: Value, claims: Value) -> Vec<&'static str> {
        let mut with_subject = claims;
        with_subject["sub"] = "s".into();
        principal(config, with_subject).expect("a principal").scopes.into_iter().map(Scope::name).collect()
    }

    #[test]
    fn scopes_come_from_their_claim_and_from_roles() {
        assert_eq!(
            scopes(json!({}), json!({"scope": "openid orders:read  orders:write email"})),
            ["orders:read", "orders:write"]
        );
        assert_eq!(scopes(json!({}), json!({"roles": ["admin"]})), [""; 0], "nobody said that roles count");
        let nested = json!({"scopes": "scp", "roles": ["realm_access", "roles"]});
        let claims = json!({"scp": ["ops:read"], "realm_access": {"roles": ["customer", "offline_access"]}});
        assert_eq!(scopes(nested.clone(), claims), ["orders:read", "orders:write", "payments:read", "ops:read"]);
        let own = json!({"roles": "groups", "grants": {"/sellers": ["catalog:write"], "/all": ["customer"]}});
        assert_eq!(scopes(own.clone(), json!({"groups": ["/sellers"]})), ["catalog:write"]);
        assert_eq!(scopes(own, json!({"groups": ["admin"]})), [""; 0], "the issuer's names are the issuer's");
        for odd in [json!(7), json!(null), json!({"roles": {"admin": true}}), json!([7, ["admin"]]), json!("")] {
            assert_eq!(scopes(nested.clone(), json!({"scp": odd, "realm_access": odd})), [""; 0], "{odd}");
        }
    }

    #[test]
    fn an_issuer_grants_no_more_than_it_may() {
        let partner = json!({"roles": "roles", "may_grant": ["customer"]});
        let claims = json!({"scope": "ops:write payments:refund orders:read", "roles": ["admin"]});
        assert_eq!(scopes(partner, claims), ["orders:read", "orders:write", "payments:read"]);
    }

    #[test]
    fn a_customer_is_the_subject_or_what_the_issuer_calls_them() {
        let customer = |config: Value, claims: Value| principal(config, claims).map(|principal| principal.customer);
        assert_eq!(customer(json!({}), json!({"sub": "alice"})), Ok(Some("alice".into())));
        let partner = json!({"customer": ["shop", "number"], "customer_prefix": "partner:"});
        assert_eq!(
            customer(partner.clone(), json!({"sub": "s", "shop": {"number": "7"}})),
            Ok(Some("partner:7".into()))
        );
        assert_eq!(customer(partner.clone(), json!({"sub": "machine"})), Ok(None), "a machine is none");
        for wrong in
            [json!(7), json!(""), json!(" 7"), json!("7\n"), json!(["7"]), json!("7".repeat(MAX_CUSTOMER_CHARS))]
        {
            assert!(customer(partner.clone(), json!({"sub": "s", "shop": {"number": wrong}})).is_err(), "{wrong}");
        }
        for wrong in [json!(null), json!(7), json!(""), json!("a\u{0}b"), json!("s".repeat(MAX_SUBJECT_CHARS + 1))] {
            assert!(customer(partner.clone(), json!({"sub": wrong})).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_claim_grants_what_its_words_do_not_say(scope in "[a-z: ]{0,30}", may in proptest::sample::subsequence(Scope::ALL, 0..5)) {
            let names: Vec<_> = may.iter().map(|scope| scope.name()).collect();
            let granted = scopes(json!({"may_grant": names}), json!({"scope": scope}));
            for one in granted {
                prop_assert!(names.contains(&one) && scope.split(' ').any(|word| word == one));
            }
        }
    }
}
