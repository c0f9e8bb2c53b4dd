//! Calls to another component of the same application (service chaining): in-process, without a socket.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use crate::{
    Trace,
    outbound::{Answer, Call, CallError, call},
    request::REQUEST_ID,
};

const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Another component, by its name in spin.toml.
///
/// ```no_run
/// use towpath_sdk::{Context, Problem, peer};
///
/// async fn product_exists(context: &Context, sku: &str) -> Result<bool, Problem> {
///     let path = format!("/v1/products?sku={}", peer::encode(sku));
///     match context.peer("product").get_json(&path).await {
///         Ok((status, _)) => Ok(status == 200),
///         Err(error) => Err(Problem::unavailable("unavailable", "Product can't be reached.", error.to_string())),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Peer<'a> {
    name: &'static str,
    trace: &'a Trace,
    request_id: &'a str,
    timeout: Duration,
}

/// A percent-encoded piece of a path or a query, safe wherever it stands.
///
/// ```
/// assert_eq!(towpath_sdk::peer::encode("a/b c"), "a%2Fb%20c");
/// ```
#[must_use]
pub fn encode(piece: &str) -> String {
    percent_encoding::utf8_percent_encode(piece, percent_encoding::NON_ALPHANUMERIC).to_string()
}

impl<'a> Peer<'a> {
    /// The component of this name; the manifest must allow `http://<name>.spin.internal`.
    #[must_use]
    pub(crate) fn new(name: &'static str, trace: &'a Trace, request_id: &'a str, timeout: Duration) -> Self {
        Self { name, trace, request_id, timeout }
    }

    /// With another timeout.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Makes a `GET`, and returns the status and the JSON body; `null` if it isn't JSON.
    ///
    /// # Errors
    /// As [`call`].
    pub async fn get_json(&self, path_and_query: &str) -> Result<(u16, Value), CallError> {
        let answer = self.send(Method::GET, path_and_query, HeaderMap::new(), Bytes::new()).await?;
        Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null)))
    }

    /// Makes a call with the headers of the trace and the request's id.
    ///
    /// # Errors
    /// As [`call`].
    pub async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, CallError> {
        self.trace.write(&mut headers);
        if let Ok(id) = HeaderValue::from_str(self.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        let url = format!("http://{}.spin.internal{path_and_query}", self.name);
        call(Call { method, url, headers, body, timeout: self.timeout, max_answer_bytes: MAX_ANSWER_BYTES }).await
    }
}
