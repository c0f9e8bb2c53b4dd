//! The edge's rate limit, as a client meets it. The stack is this binary's own: the limit of the others is out of reach.

use std::time::Duration;

use futures::future::join_all;
use towpath_tests::{OwnStack, assert_refused, eventually};

/// Requests a second. The stack's own seed stays below it or waits.
const LIMIT: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let own = OwnStack::start(&[("SPIN_VARIABLE_RATE_LIMIT", &LIMIT.to_string())]);
    let api = own.stack.api();
    let refused = eventually("one of many at once is refused", PATIENCE, || async {
        let answers = join_all((0..4 * LIMIT).map(|_| api.get("/v1/products").send())).await;
        let mut answers = answers.into_iter().map(|answer| answer.expect("an answer"));
        answers.find(|answer| answer.status() != 200).ok_or("all of them passed")
    })
    .await;
    let _ = assert_refused(&refused, 429, "rate_limited");
    let seconds: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("Retry-After");
    assert!((1..=5).contains(&seconds), "{seconds} s for a limit that is refilled every second");

    eventually("who comes back passes", PATIENCE, || async {
        match api.get("/v1/products").send().await.expect("an answer").status() {
            200 => Ok(()),
            status => Err(status),
        }
    })
    .await;
}
