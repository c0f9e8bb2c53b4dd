//! Every route of every service has a row in the table of who may ask for it, and every row has its route.

use std::collections::BTreeSet;
use std::path::Path;

use towpath_gateway::access::{Access, ROUTES, access};
use towpath_sdk::{
    Principal,
    principal::{Role, Scope},
};

/// A method and the segments of a path; `*` is any one.
type Route = (String, Vec<String>);

/// The public routes in a service's `handle`: its arms `("GET", ["v1", "orders", id])`.
fn routes(source: &str) -> BTreeSet<Route> {
    let mut found = BTreeSet::new();
    let arms = source.split("(\"").skip(1).filter_map(|rest| rest.split_once("\", [\"v1\", "));
    for (method, rest) in arms {
        let segments = rest.split(']').next().expect("an end").split(',').map(str::trim);
        let segments = segments.map(|segment| segment.strip_prefix('"').map_or("*", |text| text.trim_end_matches('"')));
        let path = std::iter::once("v1").chain(segments).map(str::to_owned).collect();
        found.insert((method.to_owned(), path));
    }
    found
}

/// The components of spin.toml behind the gateway.
fn services() -> BTreeSet<String> {
    let spin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spin.toml");
    let spin = std::fs::read_to_string(spin).expect("a file");
    let named = spin.lines().filter_map(|line| line.strip_prefix("[component.")?.strip_suffix(']'));
    let services: BTreeSet<_> =
        named.filter(|name| !name.contains('.') && *name != "gateway").map(str::to_owned).collect();
    assert!(services.len() > 3, "{services:?}");
    services
}

fn of_services() -> BTreeSet<Route> {
    let components = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    for service in services() {
        let source = std::fs::read_to_string(components.join(&service).join("src/lib.rs")).expect("a source");
        let of_service = routes(&source);
        assert!(!of_service.is_empty(), "{service}");
        found.extend(of_service);
    }
    found
}

fn of_table() -> BTreeSet<Route> {
    let path = |path: &[&str]| path.iter().map(|&segment| segment.to_owned()).collect::<Vec<_>>();
    let each = |route: &towpath_gateway::access::Route| {
        let own = path(route.path);
        route.methods.iter().map(move |(method, _)| ((*method).to_owned(), own.clone())).collect::<Vec<_>>()
    };
    ROUTES.iter().flat_map(each).collect()
}

#[test]
fn every_route_of_a_service_has_a_row_and_every_row_its_route() {
    assert_eq!(of_services(), of_table());
}

fn with(scopes: impl IntoIterator<Item = Scope>) -> Principal {
    Principal {
        issuer: "i".into(),
        subject: "s".into(),
        customer: Some("s".into()),
        scopes: scopes.into_iter().collect(),
    }
}

/// Every route x every scope and every role: what the gateway answers follows from the row, and from nothing else.
#[test]
fn who_may_is_who_has_the_scopes_of_the_row() {
    for (method, path) in of_table() {
        let segments: Vec<_> = path.iter().map(|segment| if segment == "*" { "x" } else { segment }).collect();
        let row = access(&method, &segments).expect("a row");
        if let Some(lacking) = row.scope() {
            let problem =
                row.check(&with(Scope::ALL.iter().copied().filter(|scope| *scope != lacking))).expect_err("refused");
            let said = problem.clone().into_response();
            let challenge = format!(r#"Bearer error="insufficient_scope", scope="{}""#, lacking.name());
            assert_eq!(
                (problem.status, said.get_header("www-authenticate")),
                (403, Some(&*challenge)),
                "{method} {path:?}"
            );
        }
        assert_eq!(row.check(&with(row.scope())), Ok(()));
        for role in Role::ALL {
            let may = row.check(&with(role.scopes().iter().copied())).is_ok();
            let expected = match row {
                Access::Everybody => true,
                Access::Scope(Scope::CatalogWrite | Scope::InventoryWrite) => matches!(role, Role::Clerk | Role::Admin),
                Access::Scope(_) => *role != Role::Customer,
                Access::Own(Scope::OrdersWrite) => *role != Role::Operator,
                Access::Own(_) => true,
            };
            assert_eq!(may, expected, "{method} {path:?} {}", role.name());
        }
    }
}

/// What changes something is open to nobody, but where somebody else says who asks.
#[test]
fn only_reading_the_catalogue_and_the_providers_is_open() {
    for (method, path) in of_table() {
        let segments: Vec<_> = path.iter().map(String::as_str).collect();
        if access(&method, &segments) == Ok(Access::Everybody) {
            assert!(segments[1] == "providers" || (method == "GET" && segments[1] == "products"), "{method} {path:?}");
        }
    }
}
