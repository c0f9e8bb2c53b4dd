//! Who makes a request, and what they may do: what the gateway found in the token, and hands on to the services.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Problem, Request};

/// The header in which the gateway hands the principal on. It removes what clients send under a name that begins like this.
pub const PRINCIPAL: &str = "towpath-principal";

macro_rules! names {
    ($(#[$doc:meta])* $kind:ident { $($(#[$said:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $kind {
            $($(#[$said])* #[serde(rename = $name)] $variant,)*
        }

        impl $kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name, as tokens and configuration say it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The one of this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

names! {
    /// What a principal may do.
    Scope {
        /// Make and change products. Everybody may read them.
        CatalogWrite = "catalog:write",
        /// See stock.
        InventoryRead = "inventory:read",
        /// Change stock.
        InventoryWrite = "inventory:write",
        /// See orders: their own.
        OrdersRead = "orders:read",
        /// Place, pay and cancel orders: their own.
        OrdersWrite = "orders:write",
        /// Do with the orders of all what the other scopes of orders and payments allow with one's own; ship and deliver.
        OrdersManage = "orders:manage",
        /// See payments: those of their own orders.
        PaymentsRead = "payments:read",
        /// Give money back.
        PaymentsRefund = "payments:refund",
        /// See how the platform is.
        OpsRead = "ops:read",
        /// Change how the platform is: keys, dead letters.
        OpsWrite = "ops:write",
    }
}

names! {
    /// What a person is to the shop: scopes that belong together.
    Role {
        /// Buys.
        Customer = "customer",
        /// Sells, keeps the catalogue and the stock, sends orders.
        Clerk = "clerk",
        /// Keeps the platform going, and gives money back.
        Operator = "operator",
        /// May do everything.
        Admin = "admin",
    }
}

impl Role {
    /// What the role may do.
    #[must_use]
    pub const fn scopes(self) -> &'static [Scope] {
        use Scope::*;
        match self {
            Self::Customer => &[OrdersRead, OrdersWrite, PaymentsRead],
            Self::Clerk => {
                &[CatalogWrite, InventoryRead, InventoryWrite, OrdersRead, OrdersWrite, OrdersManage, PaymentsRead]
            }
            Self::Operator => {
                &[InventoryRead, OrdersRead, OrdersManage, PaymentsRead, PaymentsRefund, OpsRead, OpsWrite]
            }
            Self::Admin => Scope::ALL,
        }
    }
}

/// Who makes a request, and what they may do.
///
/// ```
/// use towpath_sdk::principal::{Principal, Role, Scope};
///
/// let alice = Principal {
///     issuer: "https://id.example".into(),
///     subject: "248289761001".into(),
///     customer: Some("alice".into()),
///     scopes: Role::Customer.scopes().iter().copied().collect(),
/// };
/// assert!(alice.may(Scope::OrdersRead) && !alice.may(Scope::OrdersManage));
/// let problem = alice.check(Scope::CatalogWrite).unwrap_err();
/// assert_eq!((problem.status, problem.code), (403, "insufficient_scope"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// Who says so: the issuer of the token.
    pub issuer: String,
    /// Who it is, by the issuer's name for them.
    pub subject: String,
    /// The customer that they are; a machine may be none.
    pub customer: Option<String>,
    /// What they may do.
    pub scopes: BTreeSet<Scope>,
}

impl Principal {
    /// Whether they may do this.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Refuses who may not do this.
    ///
    /// # Errors
    /// 403 `insufficient_scope`, with the scope that is missing.
    pub fn check(&self, scope: Scope) -> Result<(), Problem> {
        if self.may(scope) { Ok(()) } else { Err(Problem::insufficient_scope(scope.name())) }
    }

    /// Whose rows they may see and change.
    ///
    /// # Errors
    /// 403 for who is no customer and may not manage the rows of others.
    pub fn whose(&self) -> Result<Whose, Problem> {
        match &self.customer {
            _ if self.may(Scope::OrdersManage) => Ok(Whose::Everybody),
            Some(customer) => Ok(Whose::Customer(customer.clone())),
            None => Err(Problem::insufficient_scope(Scope::OrdersManage.name())),
        }
    }

    /// The value of the header [`PRINCIPAL`].
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        let json = serde_json::to_vec(self).unwrap_or_default();
        // Letters of base64 are letters of headers; an empty value is no principal, and is refused.
        HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(json)).unwrap_or(HeaderValue::from_static(""))
    }

    /// The principal that the gateway handed on.
    ///
    /// # Errors
    /// 401 `unauthorized` where there is none, or more than one, or what nobody but a stranger writes.
    pub fn of(request: &Request) -> Result<Self, Problem> {
        let mut values = request.headers().get_all(PRINCIPAL).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(Problem::unauthorized()) };
        let json = URL_SAFE_NO_PAD.decode(value.as_bytes()).map_err(|_| Problem::unauthorized())?;
        serde_json::from_slice(&json).map_err(|_| Problem::unauthorized())
    }
}

/// Whose rows a request may see and change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    Everybody,
    /// This customer's.
    Customer(String),
}

impl Whose {
    /// The parameter of a statement that finds no row of anybody else: the customer, or null for everybody's.
    #[must_use]
    pub fn parameter(&self) -> Value {
        match self {
            Self::Everybody => Value::Null,
            Self::Customer(customer) => customer.as_str().into(),
        }
    }

    /// Refuses a request that names another customer.
    ///
    /// # Errors
    /// 403 `foreign_customer`.
    pub fn check(&self, customer: &str) -> Result<(), Problem> {
        match self {
            Self::Customer(own) if own != customer => {
                Err(Problem::new(403, "foreign_customer", "The token is of another customer than the request names."))
            }
            _ => Ok(()),
        }
    }

    /// The customer of a list: the one that the request names, or whose it may see.
    ///
    /// # Errors
    /// 403 `foreign_customer`.
    pub fn narrow(self, named: Option<String>) -> Result<Option<String>, Problem> {
        named.iter().try_for_each(|customer| self.check(customer))?;
        match self {
            Self::Everybody => Ok(named),
            Self::Customer(own) => Ok(Some(own)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use proptest::{collection::btree_set, prelude::*, sample::select};

    use super::*;

    fn given(values: &[HeaderValue]) -> Result<Principal, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PRINCIPAL, value.clone());
        }
        Principal::of(&Request::new(Method::GET, "/", headers, ""))
    }

    fn nobody() -> Principal {
        Principal { issuer: "i".into(), subject: "s".into(), customer: None, scopes: BTreeSet::new() }
    }

    #[test]
    fn every_name_is_found_again_and_no_other() {
        assert!(Scope::ALL.iter().all(|&scope| Scope::named(scope.name()) == Some(scope)));
        assert!(Role::ALL.iter().all(|&role| Role::named(role.name()) == Some(role)));
        for unknown in ["", "orders", "orders:*", "Orders:read", "orders:read ", "openid"] {
            assert_eq!(Scope::named(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_role_may_what_it_is_for() {
        let may = |role: Role, scope| role.scopes().contains(&scope);
        for scope in
            [Scope::CatalogWrite, Scope::InventoryWrite, Scope::OrdersManage, Scope::PaymentsRefund, Scope::OpsRead]
        {
            assert!(!may(Role::Customer, scope), "{scope:?}");
        }
        assert!(!may(Role::Clerk, Scope::PaymentsRefund) && !may(Role::Clerk, Scope::OpsWrite));
        assert!(!may(Role::Operator, Scope::CatalogWrite) && !may(Role::Operator, Scope::InventoryWrite));
        assert!(Scope::ALL.iter().all(|&scope| may(Role::Admin, scope)));
    }

    #[test]
    fn a_customer_has_their_own_rows_and_who_manages_all_has_all() {
        let whose = |customer: Option<&str>, scopes: &[Scope]| {
            let scopes = scopes.iter().copied().collect();
            Principal { customer: customer.map(str::to_owned), scopes, ..nobody() }.whose()
        };
        assert_eq!(whose(Some("c"), &[Scope::OrdersRead]), Ok(Whose::Customer("c".into())));
        assert_eq!(whose(Some("c"), &[Scope::OrdersManage]), Ok(Whose::Everybody));
        assert_eq!(whose(None, &[Scope::OrdersManage]), Ok(Whose::Everybody));
        assert_eq!(whose(None, &[Scope::OrdersRead]).map_err(|problem| problem.status), Err(403));
    }

    #[test]
    fn who_names_another_customer_is_refused() {
        let own = Whose::Customer("c".into());
        let code = |problem: Problem| (problem.status, problem.code);
        assert_eq!((own.check("c"), own.check("d").map_err(code)), (Ok(()), Err((403, "foreign_customer"))));
        assert_eq!(own.clone().narrow(None), Ok(Some("c".into())), "the database looks for no other");
        assert_eq!(own.clone().narrow(Some("c".into())), Ok(Some("c".into())));
        assert_eq!(own.clone().narrow(Some("d".into())).map_err(code), Err((403, "foreign_customer")));
        assert_eq!(Whose::Everybody.narrow(Some("d".into())), Ok(Some("d".into())));
        assert_eq!((Whose::Everybody.narrow(None), Whose::Everybody.check("d")), (Ok(None), Ok(())));
        assert_eq!((Whose::Everybody.parameter(), own.parameter()), (Value::Null, "c".into()));
    }

    #[test]
    fn what_the_gateway_does_not_write_is_no_principal() {
        let text = |text: &'static str| HeaderValue::from_static(text);
        let json = |json: &str| HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(json)).expect("a value");
        for values in [
            vec![],
            vec![nobody().header(), nobody().header()],
            vec![text("")],
            vec![text("alice")],
            vec![text("{}")],
            vec![json("{}")],
            vec![json(r#"{"issuer": "i", "subject": "s", "customer": null, "scopes": ["everything"]}"#)],
            vec![json(r#"{"issuer": "i", "subject": "s", "customer": null, "scopes": [], "admin": true}"#)],
            vec![json(r#"{"issuer": "i", "subject": "s", "subject": "t", "customer": null, "scopes": []}"#)],
        ] {
            let problem = given(&values).expect_err("refused");
            assert_eq!((problem.status, problem.code), (401, "unauthorized"), "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn a_principal_arrives_as_it_was(
            (issuer, subject) in ("\\PC{0,40}", ".{0,40}"),
            customer in proptest::option::of(".{0,40}"),
            scopes in btree_set(select(Scope::ALL), 0..Scope::ALL.len()),
        ) {
            let principal = Principal { issuer, subject, customer, scopes };
            prop_assert_eq!(given(&[principal.header()]), Ok(principal));
        }
    }
}
