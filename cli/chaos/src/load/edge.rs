//! How clients call the edge: one call and its entry in the record, and a good client's retries.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use towpath_client::{Answer, ApiError, Client};
use uuid::Uuid;

use crate::record::{Call, Outcome, Record, Reply, Seen};

/// How long a client waits for an answer, beyond what it asked to wait: longer than any fault may hold one up.
const PATIENCE: Duration = Duration::from_secs(45);
const FIRST_PAUSE_MS: u64 = 100;
const MAX_PAUSE_MS: u64 = 2_000;

/// A call to be made, as often as it takes.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) call: Call,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    pub(super) key: Option<String>,
    pub(super) about: String,
    pub(super) wait_s: u32,
}

impl Request {
    /// A look at something.
    pub(super) fn get(call: Call, path: String, about: impl ToString) -> Self {
        Self { call, method: Method::GET, path, body: None, key: None, about: about.to_string(), wait_s: 0 }
    }

    /// A change.
    pub(super) fn post(call: Call, path: String, about: impl ToString) -> Self {
        Self { method: Method::POST, ..Self::get(call, path, about) }
    }
}

/// All replicas of the edge, and the record of what they answered.
#[derive(Debug)]
pub(super) struct Edge {
    replicas: Vec<Client>,
    record: Arc<Record>,
    /// From when on no client tries once more.
    over: CancellationToken,
}

impl Edge {
    pub(super) fn new(urls: &[String], record: Arc<Record>, over: CancellationToken) -> Result<Self> {
        let replicas = urls.iter().map(|url| Client::new(url)).collect::<Result<_, _>>()?;
        Ok(Self { replicas, record, over })
    }

    /// Sends a call until it has an answer that is worth something: an answer that says "not now" is tried again with
    /// the same key, when it says so; where nobody answers, at the next replica. `None` where the run ended first.
    pub(super) async fn insist(&self, request: &Request, replica: usize, random: &mut StdRng) -> Option<Reply> {
        let mut replica = replica % self.replicas.len();
        for attempt in 1.. {
            let asked = match self.once(request, replica, attempt).await {
                Outcome::Answered(reply) if is_final(&reply) => return Some(reply),
                Outcome::Answered(reply) => Duration::from_secs(reply.retry_after_s.unwrap_or(0).min(5)),
                Outcome::Silent { .. } => {
                    replica = (replica + 1) % self.replicas.len();
                    Duration::ZERO
                }
            };
            let pause = asked.max(pause(attempt, random));
            if self.over.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
        self.record.gave_up();
        None
    }

    async fn once(&self, request: &Request, replica: usize, attempt: usize) -> Outcome {
        let wait = Duration::from_secs(request.wait_s.into());
        let at = self.record.now();
        let answered = tokio::time::timeout(PATIENCE + wait, self.send(request, replica));
        let outcome = match self.over.run_until_cancelled(answered).await {
            Some(Ok(Ok(answer))) => Outcome::Answered(reply(request.call, &answer)),
            Some(Ok(Err(error))) => silent(error),
            Some(Err(_)) => unanswered(format!("waited for {} s", (PATIENCE + wait).as_secs())),
            // It is on record that it was sent: what it did may be found.
            None => unanswered("the run was over".into()),
        };
        let (call, key, about) = (request.call, request.key.clone(), request.about.clone());
        let took = self.record.now() - at;
        let seen = Seen { at, took, call, key, about, replica: replica + 1, wait, attempt, outcome: outcome.clone() };
        self.record.saw(seen);
        outcome
    }

    async fn send(&self, request: &Request, replica: usize) -> Result<Answer, ApiError> {
        let mut call = self.replicas[replica].call(request.method.clone(), &request.path);
        if let Some(key) = &request.key {
            call = call.header("idempotency-key", key);
        }
        if request.wait_s > 0 {
            call = call.header("prefer", &format!("wait={}", request.wait_s));
        }
        if let Some(body) = &request.body {
            call = call.json(body);
        }
        call.send().await
    }
}

/// Whether another try with the same key could bring anything else.
fn is_final(reply: &Reply) -> bool {
    !(reply.status >= 500 || reply.status == 429 || reply.is_in_flight())
}

fn pause(attempt: usize, random: &mut StdRng) -> Duration {
    let doublings = u32::try_from(attempt - 1).unwrap_or(u32::MAX).min(8);
    let most = (FIRST_PAUSE_MS << doublings).min(MAX_PAUSE_MS);
    Duration::from_millis(random.random_range(most / 2..=most))
}

fn unanswered(why: String) -> Outcome {
    Outcome::Silent { why, unreached: false }
}

fn silent(error: ApiError) -> Outcome {
    let unreached = matches!(&error, ApiError::NoAnswer { source, .. } if source.is_connect());
    let mut cause: &dyn std::error::Error = &error;
    // The last cause says what happened; those before it say which call it was, and the record knows that.
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Outcome::Silent { why: cause.to_string(), unreached }
}

fn reply(call: Call, answer: &Answer) -> Reply {
    let body = answer.json();
    let takes_order = matches!(call, Call::Place | Call::Cancel) && answer.is_success();
    Reply {
        status: answer.status(),
        code: body["code"].as_str().map(str::to_owned),
        retry_after_s: answer.header("retry-after").and_then(|value| value.parse().ok()),
        order: body["id"].as_str().filter(|_| takes_order).and_then(|id| Uuid::parse_str(id).ok()),
        replayed: answer.header("idempotent-replayed").is_some(),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn what_says_not_now_is_tried_again() {
        let reply = |status, code: Option<&str>| Reply { status, code: code.map(Into::into), ..Reply::default() };
        for status in [429, 500, 502, 503, 504] {
            assert!(!is_final(&reply(status, None)), "{status}");
        }
        assert!(!is_final(&reply(409, Some("idempotency_key_in_flight"))));
        for (status, code) in [(200, None), (202, None), (409, Some("not_cancellable")), (404, None), (422, None)] {
            assert!(is_final(&reply(status, code)), "{status}");
        }
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let mut random = StdRng::seed_from_u64(1);
        let pauses: Vec<u64> = (1..=12).map(|attempt| pause(attempt, &mut random).as_millis() as u64).collect();
        assert!((50..=100).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses[8..].iter().all(|ms| (1_000..=MAX_PAUSE_MS).contains(ms)), "{pauses:?}");
    }
}
