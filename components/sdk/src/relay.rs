//! Calls to the relay: units of work, queries, the cache, rate limits.

mod error;
mod query;
mod retry;
mod rows;
mod unit;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde::{Serialize, de::DeserializeOwned};
use towpath_wire as wire;

pub use error::RelayError;
pub use query::Query;
pub use rows::{FromColumn, Row, Rows};
pub use unit::{Outcome, UnitOfWork, event};

use crate::{
    Budget, Problem, StoredAnswer, Trace,
    outbound::{Answer, Call, call},
    peer::encode,
};
use retry::{Next, after};

const MAX_ANSWER_BYTES: usize = 16 << 20;
/// The time for each call of a [`Relay`] without another budget.
const DEFAULT_BUDGET: Duration = Duration::from_millis(1_600);

/// The relay, for the calls of one request.
///
/// A call takes at most the budget, including its repetitions. A unit of work with an unknown outcome is repeated if it has
/// an inbox id or an idempotency key, so that it can't be carried out twice.
///
/// ```no_run
/// use serde_json::json;
/// use towpath_sdk::{Context, Outcome, Problem, UnitOfWork};
///
/// async fn take(context: &Context, sku: &str) -> Result<(), Problem> {
///     let unit = UnitOfWork::new()
///         .step("UPDATE stock SET on_hand = on_hand - 1 WHERE sku = $1 AND on_hand > 0", [json!(sku)])
///         .expect(1, "insufficient_stock")
///         .repeatable();
///     match context.relay().await?.run(unit).await {
///         Ok(Outcome::Committed(_) | Outcome::Replayed(_) | Outcome::Duplicate) => Ok(()),
///         Err(error) if error.unmet() == Some("insufficient_stock") => {
///             Err(Problem::conflict("insufficient_stock", "There are no pieces left."))
///         }
///         Err(error) => Err(error.into()),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Relay {
    url: String,
    token: String,
    trace: Trace,
    budget: Budget,
}

impl Relay {
    /// The relay at this URL, with the service's token. Handlers take it from [`Context::relay`](crate::Context::relay).
    #[must_use]
    pub fn new(url: &str, token: &str, trace: Trace) -> Self {
        Self {
            url: url.trim_end_matches('/').into(),
            token: token.into(),
            trace,
            budget: Budget::of_each(DEFAULT_BUDGET),
        }
    }

    /// With another budget.
    #[must_use]
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Runs a unit of work.
    ///
    /// # Errors
    /// See [`RelayError`]. After [`RelayError::is_outcome_unknown`] it may have committed.
    pub async fn run(&self, unit: UnitOfWork) -> Result<Outcome, RelayError> {
        let repeatable = unit.is_repeatable();
        let request = unit.into_request();
        let answer: wire::TransactionResponse =
            self.post("/v1/transactions", &request, repeatable, self.budget.left()).await?;
        Ok(Outcome::from(answer))
    }

    /// The first answer under an idempotency key, for a request that can't be done now and may have been before.
    ///
    /// # Errors
    /// 422 `idempotency_key_reused`, 409 `idempotency_key_in_flight`, and see [`RelayError`].
    pub async fn first_answer(&self, key: String, hash: &str) -> Result<Option<StoredAnswer>, Problem> {
        /// The label of a step that fails, so that the key stays free.
        const UNUSED: &str = "unused";
        let nothing = StoredAnswer::new(500, None, &());
        let unit = UnitOfWork::new().step("SELECT WHERE false", []).expect(1, UNUSED).idempotent(key, hash, &nothing);
        match self.run(unit).await {
            Ok(Outcome::Replayed(stored)) => StoredAnswer::from_stored(stored).map(Some),
            Ok(_) => Err(Problem::internal("a step that fails did not")),
            Err(error) if error.unmet() == Some(UNUSED) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub async fn query(&self, query: Query) -> Result<Rows, RelayError> {
        let budget = self.budget.left() + query.waits_for();
        let answer = self.post("/v1/queries", &query.into_request(), true, budget).await;
        let answer: wire::QueryResponse = answer.map_err(RelayError::of_a_read)?;
        Ok(Rows::from(answer))
    }

    /// Takes from a bucket.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub async fn take(&self, key: &str, bucket: wire::RateLimitRequest) -> Result<wire::RateLimitAnswer, RelayError> {
        // Not repeated: a second try would take twice, and a late answer is of no use.
        self.post(&format!("/v1/rate-limits/{}", encode(key)), &bucket, false, self.budget.left()).await
    }

    /// What the cache holds under this key.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub async fn cached<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, RelayError> {
        let path = format!("/v1/cache/{}", encode(key));
        match self.repeat(Method::GET, &path, Bytes::new(), true, self.budget.left()).await {
            Ok(body) => {
                let entry: wire::CacheEntry = read(&body)?;
                serde_json::from_value(entry.value).map(Some).map_err(|error| RelayError::malformed(&error))
            }
            Err(error) if error.code() == Some(wire::Code::CacheMiss) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts something into the cache.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub async fn cache(
        &self,
        key: &str,
        value: &impl Serialize,
        ttl: Duration,
        tags: &[&str],
    ) -> Result<(), RelayError> {
        let value = serde_json::to_value(value).map_err(|error| RelayError::malformed(&error))?;
        let tags = tags.iter().map(|&tag| tag.into()).collect();
        let body = write(&wire::CachePut { value, ttl_ms: unit::millis(ttl), tags })?;
        self.repeat(Method::PUT, &format!("/v1/cache/{}", encode(key)), body, true, self.budget.left()).await.map(drop)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        repeatable: bool,
        budget: Duration,
    ) -> Result<T, RelayError> {
        read(&self.repeat(Method::POST, path, write(body)?, repeatable, budget).await?)
    }

    async fn repeat(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        repeatable: bool,
        budget: Duration,
    ) -> Result<Bytes, RelayError> {
        let began = Instant::now();
        let left = || budget.saturating_sub(began.elapsed());
        // After a lost answer the call may have had its effect: later errors must not hide that.
        let mut failed: Option<RelayError> = None;
        for attempt in 0.. {
            if left().is_zero() {
                break;
            }
            let error = match self.attempt(method.clone(), path, body.clone(), left()).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            let next = after(&error, repeatable, attempt, left());
            if !error.is_transient() {
                return Err(error);
            }
            if !failed.as_ref().is_some_and(RelayError::is_outcome_unknown) {
                failed = Some(error);
            }
            match next {
                Next::GiveUp => break,
                Next::RepeatIn(pause) => spin_sdk::time::sleep(pause).await,
            }
        }
        Err(failed.unwrap_or_else(|| RelayError::NotReached("no time is left to call it".into())))
    }

    async fn attempt(&self, method: Method, path: &str, body: Bytes, timeout: Duration) -> Result<Bytes, RelayError> {
        let mut headers = HeaderMap::new();
        self.trace.write(&mut headers);
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let token = HeaderValue::from_str(&format!("Bearer {}", self.token));
        headers.insert(
            "authorization",
            token.map_err(|_| RelayError::Misconfigured("relay_token holds what no header can".into()))?,
        );
        let url = format!("{}{path}", self.url);
        let call_it = Call { method, url, headers, body, timeout, max_answer_bytes: MAX_ANSWER_BYTES };
        let Answer { status, body, .. } = call(call_it).await?;
        if (200..300).contains(&status) { Ok(body) } else { Err(RelayError::refused(status, &body)) }
    }
}

fn write(body: &impl Serialize) -> Result<Bytes, RelayError> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| RelayError::malformed(&error))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, RelayError> {
    serde_json::from_slice(body).map_err(|error| RelayError::malformed(&error))
}
