//! The description of the interface says what the code does.

use std::collections::BTreeSet;

use serde_json::Value;
use towpath_relay::api::{OPENAPI, ROUTES};
use towpath_wire::Code;

use crate::support::{ServiceSetup, Setup};

fn description() -> Value {
    serde_json::from_str(OPENAPI).expect("JSON")
}

#[test]
fn it_names_every_call_and_no_other() {
    let description = description();
    let mut described = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters") {
            described.insert((
                path.clone(),
                method.to_uppercase(),
                operation["operationId"].as_str().unwrap().to_owned(),
            ));
        }
    }
    let coded = ROUTES.iter().map(|route| (route.path.into(), route.method.into(), route.call.into())).collect();
    assert_eq!(described, coded);
}

#[test]
fn it_names_every_code_with_its_status() {
    let description = description();
    let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let described = description["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    assert_eq!(described.iter().map(|code| code.as_str().unwrap()).collect::<BTreeSet<_>>(), codes);
    let mut by_status = BTreeSet::new();
    for (status, response) in description["components"]["responses"].as_object().unwrap() {
        let schema = &response["content"]["application/problem+json"]["schema"]["allOf"][1];
        for code in schema["properties"]["code"]["enum"].as_array().unwrap() {
            by_status.insert((code.as_str().unwrap().to_owned(), status.clone()));
        }
    }
    let coded = Code::ALL.iter().map(|code| (code.as_str().to_owned(), code.status().to_string())).collect();
    assert_eq!(by_status, coded);
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| walk(value, found));
            }
            Value::Array(array) => array.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let description = description();
    let mut references = Vec::new();
    walk(&description, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn anybody_may_read_it() {
    let setup = Setup::new().service(ServiceSetup::new("alpha"));
    let relay = setup.start().await;
    let response = relay.http.get(format!("{}/v1/openapi.json", relay.url)).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
        (200, "application/json")
    );
    assert_eq!(response.json::<Value>().await.unwrap(), description());
    relay.stop().await;
}
