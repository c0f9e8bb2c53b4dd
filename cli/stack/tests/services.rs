//! relay.toml and spin.toml name the services. Everything that can't derive from them is checked against them here; each
//! failure names the place that is out of step.
#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use std::collections::BTreeSet;
use std::fs;

use toml::Table;
use towpath_stack::ports;
use towpath_stack::services::environment_name;
use towpath_stack::testing::{root, services};

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn toml(file: &str) -> Table {
    read(file).parse().unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn spin_toml_has_a_component_for_each_service() {
    let services = services();
    let components = services.components().iter().map(|component| component.name.as_str());
    assert_eq!(set(components), set(services.callers()), "[component.*] of spin.toml, and [services.*] of relay.toml");
}

#[test]
fn spin_toml_gives_each_component_its_tokens() {
    let (services, spin) = (services(), toml("spin.toml"));
    let expect = |service: &str, variable: &str, token: String| {
        let given = &spin["component"][service]["variables"][variable];
        assert_eq!(given.as_str(), Some(&*format!("{{{{ {token} }}}}")), "spin.toml: {variable} of {service}");
        let required = spin["variables"].get(&token).and_then(|declared| declared.get("required")?.as_bool());
        assert_eq!(required, Some(true), "spin.toml: {token} under [variables]");
    };
    for service in services.callers() {
        expect(service, "relay_token", format!("{service}_token"));
    }
    for service in services.receivers() {
        expect(service, "delivery_token", format!("{service}_delivery_token"));
        let (variable, secondary) = ("delivery_token_secondary", format!("{service}_delivery_token_secondary"));
        let given = spin["component"][service]["variables"].get(variable).and_then(toml::Value::as_str);
        assert_eq!(given, Some(&*format!("{{{{ {secondary} }}}}")), "spin.toml: {variable} of {service}");
        let default = spin["variables"].get(&secondary).and_then(|declared| declared.get("default")?.as_str());
        assert_eq!(default, Some(""), "spin.toml: {secondary} under [variables]");
    }
}

#[test]
fn spin_toml_routes_deliveries_to_each_component_that_gets_some() {
    let (services, spin) = (services(), toml("spin.toml"));
    let triggers = spin["trigger"]["http"].as_array().unwrap();
    let routed = triggers.iter().filter_map(|trigger| {
        let component = trigger["component"].as_str()?;
        (trigger["route"].as_str()? == format!("/_relay/{component}/...")).then_some(component)
    });
    assert_eq!(set(routed), set(services.receivers()), "routes of spin.toml, and [services.*.component] of relay.toml");
}

#[test]
fn relay_toml_asks_for_the_variables_that_are_given() {
    let (services, relay) = (services(), toml("relay.toml"));
    for service in services.callers() {
        let (told, name) = (&relay["services"][service], environment_name(service));
        let expect = |key: &str, given: Option<&toml::Value>, variable: String| {
            let given = given.and_then(toml::Value::as_str);
            assert_eq!(given, Some(&*format!("${{{variable}}}")), "relay.toml: {key} of {service}");
        };
        expect("token", told.get("token"), format!("TOWPATH_TOKEN_{name}"));
        expect("token_secondary", told.get("token_secondary"), format!("TOWPATH_SECONDARY_TOKEN_{name}"));
        if let Some(component) = told.get("component") {
            expect("component.token", component.get("token"), format!("TOWPATH_DELIVERY_TOKEN_{name}"));
        }
        if let Some(postgres) = told.get("postgres") {
            for (key, suffix) in [("url", ""), ("relay_url", "_RELAY"), ("admin_url", "_ADMIN")] {
                let variable = format!("TOWPATH_POSTGRES_{name}{suffix}");
                expect(&format!("postgres.{key}"), postgres.get(key), variable);
            }
            let migrations = postgres["migrations"].as_str().unwrap();
            assert!(root().join(migrations).is_dir(), "{migrations}, the migrations of {service}, is no folder");
        }
    }
}

/// What the gateway may reach, and where it sends public requests, are two lists: spin.toml and its own routes.
#[test]
fn the_gateway_routes_to_the_components_that_it_may_reach() {
    let (services, spin) = (services(), toml("spin.toml"));
    let hosts = spin["component"]["gateway"]["allowed_outbound_hosts"].as_array().unwrap();
    let reachable =
        hosts.iter().filter_map(|host| host.as_str()?.strip_prefix("http://")?.strip_suffix(".spin.internal"));
    let reachable = set(reachable);
    let file = "components/gateway/src/domain.rs";
    let code = read(file);
    let code = code.split("#[cfg(test)]").next().unwrap();
    let routes = code.split("Route::Service(\"").skip(1).filter_map(|rest| rest.split('"').next());
    assert_eq!(set(routes), reachable, "Route::Service in {file}, and allowed_outbound_hosts of gateway in spin.toml");
    let known = set(services.callers());
    assert!(reachable.is_subset(&known), "the gateway reaches components that relay.toml doesn't know: {reachable:?}");
}

#[test]
fn compose_has_a_database_for_each_service_on_its_port() {
    let services = services();
    let file = "infra/compose/compose.yaml";
    let compose = read(file);
    for (part, port) in ports::usual(&services, 1) {
        let Some(service) = part.strip_prefix("postgres-") else { continue };
        let name = environment_name(service);
        for line in [
            format!("\n  {part}:\n"),
            format!("\"127.0.0.1:${{POSTGRES_{name}_PORT:-{port}}}:5432\""),
            format!("POSTGRES_PASSWORD: ${{POSTGRES_{name}_PASSWORD:?"),
            format!("- {part}:/var/lib/postgresql/data"),
        ] {
            assert!(compose.contains(&line), "{file} lacks {:?} of {part}", line.trim());
        }
    }
    let parts = compose.lines().filter_map(|line| line.strip_prefix("  postgres-")?.strip_suffix(':'));
    assert_eq!(set(parts), set(services.databases()), "services and volumes of {file}, and relay.toml");
}
