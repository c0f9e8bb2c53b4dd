//! What the gateway refuses by itself, and how the problem document says so.

use serde_json::Value;
use towpath_component_testing::refusals;

async fn ask(method: &str, target: &str) -> (u16, Value) {
    let response = refusals::ask(towpath_gateway::handle, method, target, &[], "").await;
    (response.status(), serde_json::from_slice(response.body()).expect("JSON"))
}

#[tokio::test]
async fn the_edge_is_alive() {
    let (status, body) = ask("GET", "/healthz").await;
    assert_eq!((status, &body["status"]), (200, &Value::from("ok")));
}

#[tokio::test]
async fn what_isnt_public_is_refused() {
    for (method, target, status, code) in [
        ("GET", "/", 404, "not_found"),
        ("POST", "/_relay/order/events", 404, "not_found"),
        ("GET", "/v1/customers", 404, "not_found"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/orders", 405, "method_not_allowed"),
    ] {
        let (got, document) = ask(method, target).await;
        assert_eq!((got, &document["code"], &document["status"]), (status, &code.into(), &status.into()), "{target}");
    }
    let (status, document) = ask("GET", &format!("/v1/orders?customer_id={}", "x".repeat(9000))).await;
    assert_eq!((status, &document["code"]), (414, &"uri_too_long".into()));
}
