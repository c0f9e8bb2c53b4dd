//! What the host reads: spin.toml, with its routes, templates and allowed hosts.

use std::path::Path;

use towpath_host::manifest::{Faults, Manifest, RouteConfig};
use towpath_host::{AllowedHost, AllowedHosts, Pattern, Router, Variables};

use crate::input::two_lines;
use crate::target;

target!(
    /// spin.toml: every fault has a line. Variables, templates and routes of a manifest without faults work.
    "host" manifest(read_manifest),
    &["[", "[[", "]", "=", "\"", "\n", "{{ ", " }}", "{{ host }}", "required = true", "default = \"\"", "...", "route = ", "private = true", "[component.a]\n", "/...", "://", "*", "'''", "99999999999999999999"]
);

fn read_manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Manifest::parse(text) {
        Err(faults) => are_sound(&faults, text),
        Ok(manifest) => {
            assert_eq!(Manifest::parse(text), Ok(manifest.clone()));
            start(&manifest, text);
        }
    }
}

fn are_sound(faults: &Faults, text: &str) {
    assert!(!faults.0.is_empty());
    for fault in &faults.0 {
        assert!(!fault.message.is_empty());
        assert!(fault.line <= text.lines().count() + 1, "{fault:?}");
    }
}

/// Does with a manifest what the host does when it starts.
fn start(manifest: &Manifest, text: &str) {
    let given = |name: &str| name.starts_with("SPIN_VARIABLE_").then(|| "127.0.0.1".to_owned());
    let variables = Variables::resolve(manifest, Path::new("/nowhere"), given);
    let Ok(variables) = variables else { panic!("every variable has a value") };
    if let Err(faults) = Variables::resolve(manifest, Path::new("/nowhere"), |_| None) {
        are_sound(&faults, text);
        assert!(manifest.variables.values().any(|variable| variable.default.is_none()));
    }
    let ids: Vec<_> = manifest.components.keys().cloned().collect();
    for component in manifest.components.values() {
        for template in component.variables.values() {
            variables.fill(&template.value).expect("the manifest was checked");
        }
        let hosts = component.allowed_outbound_hosts.iter();
        let hosts: Vec<_> =
            hosts.map(|entry| variables.fill(&entry.value).expect("the manifest was checked")).collect();
        if let Err(why) = AllowedHosts::parse(hosts.iter().map(String::as_str), &ids) {
            assert!(!why.is_empty());
        }
    }
    let mut router = Router::default();
    for trigger in &manifest.triggers {
        if let RouteConfig::Public(route) = &trigger.route
            && let Ok(pattern) = Pattern::parse(route)
        {
            let _ = router.add(pattern, trigger);
        }
    }
    let _ = (router.find("/"), router.find("/a/b/c"), router.find("//a"));
}

target!(
    /// A route and a path: a pattern captures parts of the path, and its text reads back as the same pattern.
    "host" route(match_route), &["/", "//", ":a", "...", "/...", "/*", "*", "%2F", ".", "\n", "a"]
);

fn match_route(bytes: &[u8]) {
    let Some((route, path)) = two_lines(bytes) else { return };
    match Pattern::parse(route) {
        Err(why) => assert!(why.contains("is no route")),
        Ok(pattern) => {
            let shown = pattern.to_string();
            assert_eq!(Pattern::parse(&shown).as_ref(), Ok(&pattern), "{route:?} reads back as {shown:?}");
            let Some(captures) = pattern.matches(path) else { return };
            assert!(path.ends_with(captures.rest));
            assert!(captures.named.iter().all(|(_, value)| !value.contains('/') && path.contains(value)));
            let mut router = Router::default();
            assert!(router.add(pattern.clone(), ()).is_none());
            assert!(router.find(path).is_some(), "{route:?} matches {path:?} alone and not in a router");
        }
    }
}

target!(
    /// An allowed host and a host: an entry allows no other scheme than its own.
    "host" allowed(allow),
    &["http://", "https://", "*://", "*", "*.", ":", ":*", ":80..90", "self", "localhost", ".spin.internal", "10.0.0.0/8", "[::1]", "/", "@", "\n", "\u{131}"]
);

fn allow(bytes: &[u8]) {
    let Some((entry, host)) = two_lines(bytes) else { return };
    let (host, port) = host.rsplit_once(' ').map_or((host, None), |(host, port)| (host, port.parse().ok()));
    match entry.parse::<AllowedHost>() {
        Err(why) => assert!(why.contains("is no allowed host")),
        Ok(allowed) => {
            assert_eq!(entry.parse(), Ok(allowed));
            let Ok(hosts) = AllowedHosts::parse([entry], &[]) else { return };
            let scheme = entry.trim().split("://").next().unwrap_or_default();
            let other = if scheme == "ftp" { "http" } else { "ftp" };
            assert!(scheme == "*" || !hosts.allow(other, host, port), "{entry:?} lets {other}://{host} through");
            assert_eq!(hosts.allow("http", host, port), hosts.allow("http", host, port));
        }
    }
}
