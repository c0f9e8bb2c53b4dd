//! Who may ask for what: every route of the public API with the scopes that it takes. What is not in this table is not there
//! for anybody, once the variable `identity` is on.

use towpath_sdk::{Principal, Problem, principal::Scope};

/// What a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: everybody may ask. A token that comes along is not looked at.
    Everybody,
    /// A token with this scope.
    Scope(Scope),
    /// A token with this scope, for rows that belong to a customer: the service finds those of the principal alone, unless they
    /// have [`Scope::OrdersManage`].
    Own(Scope),
}

/// A path of the public API.
#[derive(Debug)]
pub struct Route {
    /// Its segments; `*` is any one.
    pub path: &'static [&'static str],
    /// What it allows, as `Allow` says it.
    pub allow: &'static str,
    /// What each method takes.
    pub methods: &'static [(&'static str, Access)],
}

use Access::{Everybody, Own, Scope as With};

/// Every route of the public API.
pub const ROUTES: &[Route] = &[
    Route {
        path: &["v1", "products"],
        allow: "GET, POST",
        methods: &[("GET", Everybody), ("POST", With(Scope::CatalogWrite))],
    },
    Route {
        path: &["v1", "products", "*"],
        allow: "GET, PATCH",
        methods: &[("GET", Everybody), ("PATCH", With(Scope::CatalogWrite))],
    },
    Route { path: &["v1", "inventory", "*"], allow: "GET", methods: &[("GET", With(Scope::InventoryRead))] },
    Route {
        path: &["v1", "inventory", "*", "adjustments"],
        allow: "POST",
        methods: &[("POST", With(Scope::InventoryWrite))],
    },
    Route {
        path: &["v1", "orders"],
        allow: "GET, POST",
        methods: &[("GET", Own(Scope::OrdersRead)), ("POST", Own(Scope::OrdersWrite))],
    },
    Route { path: &["v1", "orders", "*"], allow: "GET", methods: &[("GET", Own(Scope::OrdersRead))] },
    Route { path: &["v1", "orders", "*", "history"], allow: "GET", methods: &[("GET", Own(Scope::OrdersRead))] },
    Route { path: &["v1", "orders", "*", "cancel"], allow: "POST", methods: &[("POST", Own(Scope::OrdersWrite))] },
    Route { path: &["v1", "orders", "*", "payment"], allow: "POST", methods: &[("POST", Own(Scope::OrdersWrite))] },
    Route { path: &["v1", "payments"], allow: "GET", methods: &[("GET", Own(Scope::PaymentsRead))] },
    Route { path: &["v1", "payments", "*"], allow: "GET", methods: &[("GET", Own(Scope::PaymentsRead))] },
    // The provider signs them.
    Route { path: &["v1", "providers", "stripe", "webhooks"], allow: "POST", methods: &[("POST", Everybody)] },
    // Whoever has the client secret of a payment is its customer.
    Route { path: &["v1", "providers", "sandbox", "challenges"], allow: "POST", methods: &[("POST", Everybody)] },
];

impl Access {
    /// The scope that a token must have.
    #[must_use]
    pub fn scope(self) -> Option<Scope> {
        match self {
            Self::Everybody => None,
            Self::Scope(scope) | Self::Own(scope) => Some(scope),
        }
    }

    /// Refuses a principal who lacks it.
    ///
    /// # Errors
    /// 403 `insufficient_scope`.
    pub fn check(self, principal: &Principal) -> Result<(), Problem> {
        self.scope().map_or(Ok(()), |scope| principal.check(scope))
    }
}

/// What a request takes, by its method and the decoded segments of its path.
///
/// # Errors
/// 404 for a path that is not in the table, 405 for a method that its row does not have.
pub fn access(method: &str, segments: &[&str]) -> Result<Access, Problem> {
    let fits = |route: &&Route| {
        let mut pairs = route.path.iter().zip(segments);
        route.path.len() == segments.len() && pairs.all(|(own, segment)| *own == "*" || own == segment)
    };
    let route = ROUTES.iter().find(fits).ok_or_else(Problem::no_such_path)?;
    let method = route.methods.iter().find(|(own, _)| *own == method);
    method.map(|(_, access)| *access).ok_or_else(|| Problem::method_not_allowed(route.allow))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_says_what_it_allows() {
        for route in ROUTES {
            let methods: Vec<_> = route.methods.iter().map(|(method, _)| *method).collect();
            assert_eq!(methods.join(", "), route.allow, "{:?}", route.path);
        }
    }

    #[test]
    fn what_is_in_no_row_is_not_there() {
        let refused = |method: &str, path: &[&str]| access(method, path).map_err(|problem| problem.status);
        assert_eq!(refused("GET", &["v1", "products"]), Ok(Everybody));
        assert_eq!(refused("DELETE", &["v1", "products"]), Err(405));
        for path in
            [&["v1"][..], &["v1", "products", "a", "b"], &["v1", "Products"], &["v1", "audit"], &["", "v1", "products"]]
        {
            assert_eq!(refused("GET", path), Err(404), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_outside_of_the_table_is_open(method in "[A-Z]{3,6}", path in prop::collection::vec("v1|orders|products|[a-z*_]{0,6}", 0..5)) {
            let segments: Vec<_> = path.iter().map(String::as_str).collect();
            if let Ok(Everybody) = access(&method, &segments) {
                prop_assert!(matches!(segments[1], "products" | "providers"));
            }
        }
    }
}
