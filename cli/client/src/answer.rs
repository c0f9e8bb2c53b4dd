//! What came back.

use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::types::Problem;

/// An answer that arrived whole, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(crate) call: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Why a call gave nothing to work with.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer, or only a part of one: whether the call took effect is unknown.
    #[error("{call}: no answer")]
    NoAnswer {
        /// The method and the path.
        call: String,
        /// What happened on the way.
        source: reqwest::Error,
    },
    /// Another status than the one that the caller relies on.
    #[error("{call}: wanted {wanted}, got {got}: {body}")]
    Unexpected {
        /// The method and the path.
        call: String,
        /// The status that the caller relies on.
        wanted: u16,
        /// The status that came.
        got: u16,
        /// The body, for a person.
        body: String,
    },
    /// The body is not what the interface describes.
    #[error("{call}: unreadable answer ({got}): {body}")]
    Unreadable {
        /// The method and the path.
        call: String,
        /// The status that came.
        got: u16,
        /// The body, for a person.
        body: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Answer {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header's value, where it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as text, for a message to a person.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON of any shape; `null` where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Passes the answer on if it has this status.
    pub fn expect(self, wanted: u16) -> Result<Self, ApiError> {
        if self.status == wanted {
            return Ok(self);
        }
        Err(ApiError::Unexpected { body: self.text(), call: self.call, wanted, got: self.status })
    }

    /// The body as `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(|source| ApiError::Unreadable {
            call: self.call.clone(),
            got: self.status,
            body: self.text(),
            source,
        })
    }

    /// The body as a problem document.
    pub fn problem(&self) -> Result<Problem, ApiError> {
        self.read()
    }
}
