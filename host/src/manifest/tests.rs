//! What is read from a manifest, and what is refused, with its line.

use super::name::check_name;
use super::*;

const GOOD: &str = r#"spin_manifest_version = 2

[application]
name = "shop"
version = "1.2.3"
description = "A shop"
authors = ["a@example.com"]
targets = ["spin-up:4.1"]

[application.tool.lint]
level = "high"

[variables]
relay_url = { default = "http://127.0.0.1:7070" }
order_token = { required = true, secret = true, description = "Shown to the relay" }

[[trigger.http]]
id = "front"
route = "/..."
component = "gateway"
executor = { type = "http" }

[[trigger.http]]
route = { private = true }
component = "order"

[[trigger.http]]
route = "/robots.txt"
static_response = { status_code = 404, headers = { content-type = "text/plain" }, body = "none" }

[component.gateway]
source = "target/gateway.wasm"
allowed_outbound_hosts = ["http://*.spin.internal"]
files = []
key_value_stores = []

[component.order]
source = "target/order.wasm"
description = "Takes orders"
environment = { MODE = "test" }
allowed_outbound_hosts = ["{{ relay_url }}"]
variables = { relay_token = "{{ order_token }}", relay_url = "{{ relay_url }}" }
[component.order.build]
command = ["cargo build", "cp a b"]
workdir = "components/order"
watch = ["src/**/*.rs"]
[component.order.tool.clean]
command = "cargo clean"
[component.order.profile.debug]
source = "target/debug.wasm"
build.command = "cargo build"
environment = { MODE = "debug" }
"#;

#[track_caller]
fn faults(text: &str) -> Vec<String> {
    match Manifest::parse(text) {
        Ok(manifest) => panic!("accepted: {manifest:?}"),
        Err(faults) => faults.0.iter().map(ToString::to_string).collect(),
    }
}

/// The one fault of the good manifest in which `from` is replaced.
#[track_caller]
fn fault(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let mut faults = faults(&GOOD.replacen(from, to, 1));
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

#[test]
fn a_whole_manifest() {
    let manifest = Manifest::parse(GOOD).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!((manifest.name.as_str(), manifest.version.as_deref()), ("shop", Some("1.2.3")));
    assert_eq!(manifest.variables["order_token"], Variable { default: None, secret: true, line: 15 });
    assert_eq!(manifest.variables["relay_url"].default.as_deref(), Some("http://127.0.0.1:7070"));
    let routes: Vec<_> = manifest.triggers.iter().map(|trigger| trigger.route.clone()).collect();
    let public = |route: &str| RouteConfig::Public(route.into());
    assert_eq!(routes, [public("/..."), RouteConfig::Private, public("/robots.txt")]);
    let Target::Static(answer) = &manifest.triggers[2].target else { panic!() };
    assert_eq!((answer.status.as_u16(), answer.body.as_str(), answer.headers.len()), (404, "none", 1));
    let order = &manifest.components["order"];
    assert_eq!(order.build_command.as_deref(), Some("cargo build && cp a b"));
    assert_eq!(order.environment["MODE"], "test");
    assert_eq!(order.variables["relay_token"].value, "{{ order_token }}");
    assert_eq!(order.allowed_outbound_hosts[0].line, 41);
}

#[test]
fn what_spin_knows_and_this_host_has_not_is_refused_by_name() {
    for (to, name) in [
        ("files = [\"assets/*\"]", "files"),
        ("exclude_files = [\"a\"]", "exclude_files"),
        ("key_value_stores = [\"default\"]", "key_value_stores"),
        ("sqlite_databases = [\"default\"]", "sqlite_databases"),
        ("ai_models = [\"llama2-chat\"]", "ai_models"),
        ("allowed_http_hosts = [\"example.com\"]", "allowed_http_hosts"),
        ("dependencies = { \"a:b\" = \"1.0.0\" }", "dependencies"),
        ("dependencies_inherit_configuration = true", "dependencies_inherit_configuration"),
    ] {
        let fault = fault("files = []\nkey_value_stores = []", to);
        assert!(fault.starts_with(&format!("line 34: `component.gateway.{name}`: ")), "{fault}");
    }
    let redis =
        fault("[component.gateway]", "[[trigger.redis]]\nchannel = \"c\"\ncomponent = \"order\"\n[component.gateway]");
    assert!(redis.contains("`trigger.redis`: this host has the http trigger only"), "{redis}");
    let source =
        fault("source = \"target/gateway.wasm\"", "source = { url = \"https://a.dev/x.wasm\", digest = \"sha256:0\" }");
    assert!(source.starts_with("line 32: `component.gateway.source`: "), "{source}");
    let wagi = fault("{ type = \"http\" }", "{ type = \"wagi\", argv = \"a\" }");
    assert!(wagi.contains("no `wagi` executor"), "{wagi}");
    let middleware = fault("executor = { type = \"http\" }", "dependencies.middleware = [{ component = \"order\" }]");
    assert!(
        middleware.contains("line 21: `trigger.http[0].dependencies`: this host has no middleware"),
        "{middleware}"
    );
    let inline = fault("component = \"gateway\"", "component = { source = \"a.wasm\" }");
    assert!(inline.contains("write the component as [component.<id>]"), "{inline}");
    let base = fault("[application.tool.lint]", "[application.trigger.http]\nbase = \"/x\"\n[application.tool.lint]");
    assert!(base.contains("`application.trigger`"), "{base}");
}

#[test]
fn what_spin_does_not_know_is_refused_by_name() {
    for (from, to, expected) in [
        ("[variables]", "[varibles]\n[variables]", "line 13: `varibles`: Spin knows no such field here, only "),
        ("version = \"1.2.3\"", "versoin = \"1\"", "line 5: `application.versoin`: "),
        ("secret = true", "secrets = true", "line 15: `variables.order_token.secrets`: "),
        ("id = \"front\"", "method = \"GET\"", "line 18: `trigger.http[0].method`: "),
        ("private = true", "private = true, public = false", "line 24: `trigger.http[1].route.public`: "),
        ("environment = { MODE = \"test\" }", "enviroment = {}", "line 40: `component.order.enviroment`: "),
        ("workdir", "work_dir", "line 45: `component.order.build.work_dir`: "),
        ("build.command", "builds.command", "line 51: `component.order.profile.debug.builds`: "),
    ] {
        let fault = fault(from, to);
        assert!(fault.starts_with(expected), "{fault}");
    }
}

#[test]
fn values_have_their_types() {
    for (from, to, expected) in [
        (
            "spin_manifest_version = 2",
            "spin_manifest_version = 3",
            "line 1: `spin_manifest_version` must be the number 2",
        ),
        (
            "spin_manifest_version = 2",
            "spin_manifest_version = \"1\"",
            "line 1: `spin_manifest_version`: this host reads version 2 only",
        ),
        ("name = \"shop\"", "name = 7", "line 4: `application.name` must be a string, not integer"),
        ("name = \"shop\"\n", "", "line 3: `application.name` is missing"),
        ("source = \"target/order.wasm\"\n", "", "line 37: `component.order.source` is missing"),
        (
            "secret = true",
            "secret = \"yes\"",
            "line 15: `variables.order_token.secret` must be true or false, not string",
        ),
        (
            "status_code = 404",
            "status_code = 99999",
            "line 29: `trigger.http[2].static_response.status_code` must be an HTTP status",
        ),
        (
            "content-type = ",
            "\"content type\" = ",
            "line 29: `trigger.http[2].static_response.headers.content type` is no HTTP header",
        ),
        ("private = true", "private = false", "line 24: `trigger.http[1].route` must be a path or { private = true }"),
        ("route = \"/...\"", "route = \"x\"", "line 19: `trigger.http[0].route`: `x` is no route"),
        (
            "[\"http://*.spin.internal\"]",
            "[\"order.spin.internal\"]",
            "line 33: `component.gateway.allowed_outbound_hosts`: ",
        ),
        (
            "[\"http://*.spin.internal\"]",
            "\"*\"",
            "line 33: `component.gateway.allowed_outbound_hosts` must be an array",
        ),
        (
            "component = \"order\"",
            "component = \"absent\"",
            "line 23: `trigger.http.component`: there is no [component.absent]",
        ),
        ("component = \"order\"\n", "", "line 23: `trigger.http[1]` needs either a `component` or a `static_response`"),
        ("route = \"/robots.txt\"", "route = \"/r\"\ncomponent = \"order\"", "line 27: `trigger.http[2]` needs either"),
        (
            "{{ order_token }}",
            "{{ absent }}",
            "line 42: `component.order.variables.relay_token`: there is no variable `absent`",
        ),
        (
            "[\"{{ relay_url }}\"]",
            "[\"{{ relay_url\"]",
            "line 41: `component.order.allowed_outbound_hosts`: `{{` without `}}`",
        ),
        (
            "{ required = true, secret",
            "{ secret",
            "line 15: `variables.order_token` must be either `required = true` or have a `default`",
        ),
        ("{ default =", "{ required = true, default =", "line 14: `variables.relay_url` must be either"),
        ("relay_token =", "relay-token =", "line 42: `component.order.variables`: `relay-token` is no name"),
    ] {
        let fault = fault(from, to);
        assert!(fault.starts_with(expected), "{fault}");
    }
}

#[test]
fn all_faults_come_at_once_in_the_order_of_lines() {
    let text = "spin_manifest_version = 1\n[application]\nnmae = \"x\"\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n[component.A_b]\nsqlite_databases = [\"default\"]\n";
    let expected = [
        "line 1: `spin_manifest_version` must be the number 2, not integer",
        "line 2: `application.name` is missing",
        "line 3: `application.nmae`: Spin knows no such field here",
        "line 4: `trigger.http.component`: there is no [component.a]",
        "line 7: `component.A_b.source` is missing",
        "line 7: `component`: `A_b` is no name",
        "line 8: `component.A_b.sqlite_databases`: this host has no SQLite databases",
    ];
    let found = faults(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn what_is_no_toml_says_where() {
    let found = faults("spin_manifest_version = 2\n[application\nname = \"x\"\n");
    assert!(found.iter().any(|fault| fault.starts_with("line 2: not TOML: ")), "{found:?}");
}

#[test]
fn names_are_spins() {
    for good in ["a", "order", "order-b2", "ORDER-two"] {
        assert_eq!(check_name(good, '-', false), Ok(()), "{good}");
    }
    for bad in ["", "2nd", "order-2", "a--b", "-a", "a-", "a_b", "Order", "a b", "é"] {
        assert!(check_name(bad, '-', false).is_err(), "{bad}");
    }
    assert_eq!(check_name("order_token_b2", '_', true), Ok(()));
    for bad in ["ORDER", "a-b", "a__b", "a_", "a_2"] {
        assert!(check_name(bad, '_', true).is_err(), "{bad}");
    }
}
