//! Stripe over HTTP.

use std::time::Duration;

use towpath_sdk::outbound;

use super::{
    Answer, ProviderError,
    stripe::{Ask, VERSION},
};

const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Stripe, at a URL, with a key.
#[derive(Clone)]
pub(crate) struct Http {
    url: String,
    key: String,
}

impl Http {
    /// Stripe, or a server that speaks as it does.
    pub(crate) fn new(url: &str, key: &str) -> Self {
        Self { url: url.trim().trim_end_matches('/').into(), key: key.trim().into() }
    }

    /// Makes a call.
    pub(crate) async fn call(&self, ask: Ask, timeout: Duration) -> Result<Answer, ProviderError> {
        let mut headers = http::HeaderMap::new();
        let mut set = |name: &'static str, value: &str| {
            let value =
                value.parse().map_err(|_| ProviderError::failed(format!("the header {name} can't be written")))?;
            headers.insert(name, value);
            Ok(())
        };
        set("authorization", &format!("Bearer {}", self.key))?;
        set("stripe-version", VERSION)?;
        if let Some(key) = &ask.key {
            set("idempotency-key", key)?;
        }
        if ask.method == "POST" {
            set("content-type", "application/x-www-form-urlencoded")?;
        }
        let call = outbound::Call {
            method: if ask.method == "GET" { http::Method::GET } else { http::Method::POST },
            url: format!("{}{}", self.url, ask.path),
            headers,
            body: ask.body.into(),
            timeout,
            max_answer_bytes: MAX_ANSWER_BYTES,
        };
        let answer = outbound::call(call).await.map_err(|error| ProviderError::later(format!("Stripe {error}")))?;
        let retry_after = answer.headers.get("retry-after").and_then(|value| value.to_str().ok()).map(Into::into);
        Ok(Answer { status: answer.status, retry_after, body: answer.body.to_vec() })
    }
}
