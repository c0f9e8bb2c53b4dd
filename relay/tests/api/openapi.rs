//! The description of the interface says what the code does.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use towpath_relay::api::{OPENAPI, ROUTES};
use towpath_wire::{
    CacheEntry, CachePut, Code, Consistency, Event, Expect, Idempotency, Isolation, Problem, QueryCache, QueryRequest,
    QueryResponse, RateLimitAnswer, RateLimitRequest, Step, StepRef, StepResult, TransactionRequest,
    TransactionResponse, Wait,
};

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
        assert_eq!(schema["properties"]["status"]["const"].to_string(), *status);
        for code in schema["properties"]["code"]["enum"].as_array().unwrap() {
            by_status.insert((code.as_str().unwrap().to_owned(), status.clone()));
        }
    }
    let coded = Code::ALL.iter().map(|code| (code.as_str().to_owned(), code.status().to_string())).collect();
    assert_eq!(by_status, coded);
}

/// The names of a JSON object's fields.
fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn whole_unit() -> TransactionRequest {
    let text = || Some("x".to_owned());
    TransactionRequest {
        steps: vec![Step { sql: "x".into(), params: vec![1.into()], label: text(), expect: Some(Expect::Exactly(1)) }],
        events: vec![Event {
            topic: "x".into(),
            key: "x".into(),
            kind: "x".into(),
            id: text(),
            subject: text(),
            data: Value::Null,
        }],
        inbox: text(),
        idempotency: Some(Idempotency { key: "x".into(), request_hash: "x".into(), answer: Value::Null }),
        isolation: Isolation::Serializable,
        invalidate: vec!["x".into()],
        notify: vec!["x".into()],
    }
}

fn whole_query() -> QueryRequest {
    QueryRequest {
        sql: "x".into(),
        params: vec![1.into()],
        consistency: Consistency::Replica,
        cache: Some(QueryCache { ttl_ms: 1, tags: vec!["x".into()] }),
        wait: Some(Wait { keys: vec!["x".into()], timeout_ms: 1 }),
    }
}

fn whole_problem() -> Problem {
    let text = || Some("x".to_owned());
    let step = Some(StepRef { index: 0, label: text(), affected: Some(0) });
    let problem = Problem::new(Code::Internal, "x");
    Problem {
        step,
        sqlstate: text(),
        constraint: text(),
        parameter: Some(1),
        column: Some("n".into()),
        position: Some(1),
        hint: Some("h".into()),
        ..problem
    }
}

/// The types of the interface are written out whole, so that a new field doesn't compile here.
#[test]
fn it_names_every_field_and_no_other() {
    let (unit, query) = (json!(whole_unit()), json!(whole_query()));
    let problem = json!(whole_problem());
    let result = StepResult { affected: 1, columns: vec![], rows: vec![] };
    let put = CachePut { value: Value::Null, ttl_ms: 1, tags: vec!["x".into()] };
    let answered = TransactionResponse {
        duplicate: true,
        replayed: true,
        answer: Some(Value::Null),
        results: vec![],
        event_ids: vec![],
    };
    let found = QueryResponse { columns: vec![], rows: vec![], cached: true, timed_out: true };
    let bucket = RateLimitRequest { rate: 1, period_ms: 1, burst: 1, cost: 1 };
    let taken = RateLimitAnswer { allowed: true, limit: 1, remaining: 1, reset_after_ms: 1, retry_after_ms: 1 };
    let description = description();
    let schemas = &description["components"]["schemas"];
    for (name, coded) in [
        ("Problem", &problem),
        ("StepRef", &problem["step"]),
        ("TransactionRequest", &unit),
        ("Step", &unit["steps"][0]),
        ("Event", &unit["events"][0]),
        ("Idempotency", &unit["idempotency"]),
        ("TransactionResponse", &json!(answered)),
        ("StepResult", &json!(result)),
        ("QueryRequest", &query),
        ("QueryCache", &query["cache"]),
        ("Wait", &query["wait"]),
        ("QueryResponse", &json!(found)),
        ("CachePut", &json!(put)),
        ("CacheEntry", &json!(CacheEntry { value: Value::Null, ttl_ms: 1 })),
        ("RateLimitRequest", &json!(bucket)),
        ("RateLimitAnswer", &json!(taken)),
    ] {
        assert_eq!(fields(&schemas[name]["properties"]), fields(coded), "{name}");
        let required = schemas[name]["required"].as_array().cloned().unwrap_or_default();
        let required: BTreeSet<&str> = required.iter().map(|field| field.as_str().unwrap()).collect();
        assert!(required.is_subset(&fields(coded)), "{name}: {required:?}");
    }
}

#[test]
fn every_operation_says_how_it_refuses_what_everything_can_be_refused_for() {
    let description = description();
    for path in description["paths"].as_object().unwrap().values() {
        for (_, operation) in path.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters") {
            let mut wanted: BTreeSet<&str> = ["400", "401", "500", "503"].into();
            if operation.get("requestBody").is_some() {
                wanted.extend(["408", "413", "415"]);
            }
            if operation.get("security").is_some() {
                wanted.clear();
            }
            let answered = fields(&operation["responses"]);
            assert!(
                wanted.is_subset(&answered),
                "{}: {wanted:?} are not all in {answered:?}",
                operation["operationId"]
            );
        }
    }
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
