//! `[[trigger.http]]`: the routes.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, StatusCode};
use toml::de::DeValue;

use super::reader::{Field, Section};
use crate::routes;

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTrigger {
    /// The paths that it matches.
    pub route: RouteConfig,
    /// What answers.
    pub target: Target,
    /// Its line in the manifest.
    pub line: usize,
}

/// The paths that a route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteConfig {
    /// A pattern, as in the manifest.
    Public(String),
    /// None: only other components call this one, by its name.
    Private,
}

/// What answers on a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The component of this id.
    Component(String),
    /// A fixed response.
    Static(StaticResponse),
}

/// A response that the manifest gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticResponse {
    /// 200 by default.
    pub status: StatusCode,
    /// Its headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty by default.
    pub body: String,
}

pub(super) fn read(root: &mut Section<'_>) -> Vec<HttpTrigger> {
    let Some(field) = root.required("trigger") else { return Vec::new() };
    let Some(section) = field.section(root.faults()) else { return Vec::new() };
    let faults = root.faults();
    let mut triggers = Vec::new();
    for kind in section.fields() {
        if kind.name != "trigger.http" {
            faults.add(
                kind.line,
                format!("`{}`: this host has the http trigger only; run this application with `spin up`", kind.name),
            );
            continue;
        }
        triggers.extend(kind.items(faults).iter().filter_map(|item| read_one(item, root)));
    }
    triggers
}

fn read_one<'a>(field: &Field<'a>, root: &Section<'a>) -> Option<HttpTrigger> {
    let faults = root.faults();
    let mut section = field.section(faults)?;
    section.string("id");
    let component = section.field("component").and_then(|component| match component.value.get_ref() {
        DeValue::Table(_) => {
            faults.add(
                component.line,
                format!("`{}`: write the component as [component.<id>] and its id here", component.name),
            );
            None
        }
        _ => component.string(faults),
    });
    section.refuse("components", "the http trigger has one component, in `component`");
    section.refuse("dependencies", "this host has no middleware; run this application with `spin up`");
    let route = section.required("route").and_then(|route| read_route(&route, root));
    if let Some(executor) = section.section("executor") {
        check_executor(executor);
    }
    let static_response = section.section("static_response").map(read_static_response);
    let names_component = section.field("component").is_some();
    section.finish();
    let target = match (component, static_response) {
        (Some(component), None) => Target::Component(component.value),
        (None, Some(answer)) if !names_component => Target::Static(answer),
        (None, None) if names_component => return None,
        _ => {
            faults.add(field.line, format!("`{}` needs either a `component` or a `static_response`", field.name));
            return None;
        }
    };
    Some(HttpTrigger { route: route?, target, line: field.line })
}

fn read_route<'a>(field: &Field<'a>, root: &Section<'a>) -> Option<RouteConfig> {
    let faults = root.faults();
    match field.value.get_ref() {
        DeValue::String(pattern) => {
            if let Err(error) = routes::Pattern::parse(pattern) {
                faults.add(field.line, format!("`{}`: {error}", field.name));
            }
            Some(RouteConfig::Public(pattern.to_string()))
        }
        DeValue::Table(_) => {
            let mut section = field.section(faults)?;
            if section.boolean("private") != Some(true) {
                faults.add(field.line, format!("`{}` must be a path or {{ private = true }}", field.name));
            }
            section.finish();
            Some(RouteConfig::Private)
        }
        _ => field.wrong_type(faults, "a path or { private = true }"),
    }
}

fn check_executor(mut section: Section<'_>) {
    if let Some(kind) = section.string("type")
        && kind.value != "http"
        && kind.value != "spin"
    {
        section.faults().add(
            kind.line,
            format!(
                "`{}`: this host has no `{}` executor; run this application with `spin up`",
                section.name, kind.value
            ),
        );
        return;
    }
    section.finish();
}

fn read_static_response(mut section: Section<'_>) -> StaticResponse {
    let faults = section.faults();
    let status = section.field("status_code").and_then(|field| {
        let status = match field.value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok().and_then(|code| StatusCode::from_u16(code).ok()),
            _ => None,
        };
        status.or_else(|| field.wrong_type(faults, "an HTTP status"))
    });
    let body = section.string("body").map(|body| body.value).unwrap_or_default();
    let mut headers = Vec::new();
    for (name, value) in section.string_map("headers").into_iter().collect::<BTreeMap<_, _>>() {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(&value.value)) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => faults.add(value.line, format!("`{}.headers.{name}` is no HTTP header", section.name)),
        }
    }
    section.finish();
    StaticResponse { status: status.unwrap_or_default(), headers, body }
}
