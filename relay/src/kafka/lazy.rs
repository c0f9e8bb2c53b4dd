//! A client that is made when it is first used.

use std::sync::Arc;

use rdkafka::error::KafkaError;

use super::threads::dispose;

type Make<T> = dyn Fn() -> Result<T, KafkaError> + Send + Sync;

/// One client at a time.
pub(super) struct Lazy<T: Send + Sync + 'static> {
    make: Box<Make<T>>,
    client: Option<Arc<T>>,
}

impl<T: Send + Sync + 'static> Lazy<T> {
    /// Makes none yet.
    pub(super) fn new(make: impl Fn() -> Result<T, KafkaError> + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), client: None }
    }

    /// The client.
    pub(super) fn get(&mut self) -> Result<Arc<T>, KafkaError> {
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new((self.make)()?);
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// The next one to ask gets another client.
    pub(super) fn forget(&mut self) {
        if let Some(client) = self.client.take() {
            dispose(client);
        }
    }
}

impl<T: Send + Sync + 'static> Drop for Lazy<T> {
    fn drop(&mut self) {
        self.forget();
    }
}
