//! What Kafka denies to the clients of a service: a login, or the right to something.
//!
//! That doesn't pass by itself, and the client library says it once or not at all. So the log has it when it begins and when
//! it ends, and `/readyz` names it in between. It concerns that one service: the others go on.

use std::borrow::Cow;
use std::sync::Arc;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::service::Service;

/// Whether Kafka denies something, and the same again would be denied too.
pub(crate) fn is_denied(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        Authentication, ClusterAuthorizationFailed, GroupAuthorizationFailed, SaslAuthenticationFailed,
        TopicAuthorizationFailed, TransactionalIdAuthorizationFailed,
    };
    const CODES: [RDKafkaErrorCode; 6] = [
        Authentication,
        ClusterAuthorizationFailed,
        GroupAuthorizationFailed,
        SaslAuthenticationFailed,
        TopicAuthorizationFailed,
        TransactionalIdAuthorizationFailed,
    ];
    error.rdkafka_error_code().is_some_and(|code| CODES.contains(&code))
}

/// Kafka refuses the login of a client.
#[derive(Debug, thiserror::Error)]
#[error("Kafka refuses the login: {0}")]
pub(crate) struct LoginRefused(pub(crate) String);

/// Whether a part of a service has the rights that it needs.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    service: Arc<Service>,
    /// As `/readyz` names it.
    part: Cow<'static, str>,
}

impl Rights {
    /// Of the part of this name, such as `consumer`.
    pub(crate) fn new(service: Arc<Service>, part: &str) -> Self {
        Self { service, part: format!("{part}.rights").into() }
    }

    /// Takes a failure for what it is. Answers whether Kafka denies something.
    pub(crate) fn failed(&self, cause: &anyhow::Error) -> bool {
        let denied = cause.chain().any(|cause| {
            cause.downcast_ref::<KafkaError>().is_some_and(is_denied) || cause.downcast_ref::<LoginRefused>().is_some()
        });
        if denied {
            self.denied(&format!("{cause:#}"));
        }
        denied
    }

    /// Kafka denies something.
    pub(crate) fn denied(&self, cause: &str) {
        if self.service.standstills.note(self.part.clone(), cause, 0) {
            tracing::error!(
                service = &*self.service.name,
                part = &*self.part,
                cause,
                "Kafka denies a service what it needs; its events wait until it has the rights"
            );
        }
    }

    /// Kafka has given what it needs.
    pub(crate) fn granted(&self) {
        if let Some(stood) = self.service.standstills.clear(&self.part) {
            tracing::info!(
                service = &*self.service.name,
                part = &*self.part,
                stood_s = stood.as_secs(),
                "Kafka grants a service what it needs again"
            );
        }
    }
}
