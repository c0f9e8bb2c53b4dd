//! What is refused before anybody is asked: no server is needed.

use towpath_component_testing::refusals::{Refusal, ask, invalid, plain, read};

async fn refusal(method: &str, path: &str, body: &str) -> Refusal {
    read(&ask(component::handle, method, path, &[("content-type", "application/json")], body).await)
}

#[tokio::test]
async fn a_note_has_a_text() {
    assert_eq!(refusal("POST", "/notes", "{}").await, invalid(&[("text", "required")]));
    assert_eq!(refusal("POST", "/notes", r#"{"text": ""}"#).await, invalid(&[("text", "too_short")]));
}

#[tokio::test]
async fn what_is_not_there_is_refused() {
    assert_eq!(refusal("GET", "/notes/7", "").await, plain(404, "unknown_note"));
    assert_eq!(refusal("DELETE", "/notes/7", "").await, plain(405, "method_not_allowed"));
    assert_eq!(refusal("GET", "/", "").await, plain(404, "not_found"));
}
