//! The caller of a request: its service, and the place that the call takes.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use towpath_wire::Code;

use crate::failure::{Failure, Result};
use crate::relay::Relay;
use crate::service::Service;
use crate::telemetry::TraceContext;
use crate::telemetry::metrics::{QUERIES_WAITING, REQUESTS_IN_FLIGHT};

/// The service whose token a request shows.
///
/// # Errors
/// `unauthorized` if it shows none or an unknown one.
pub(super) fn authenticate<'r>(relay: &'r Relay, headers: &HeaderMap) -> Result<&'r Arc<Service>> {
    let header = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let token = match header.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
        _ => return Err(Failure::new(Code::Unauthorized, "Show the service's token as `authorization: Bearer ...`")),
    };
    relay
        .service_of_token(token.trim_ascii())
        .ok_or_else(|| Failure::new(Code::Unauthorized, "The token belongs to no service of this relay"))
}

/// The caller of a request: the service, the trace, and the place that the request takes among the service's requests.
pub(super) struct Caller {
    pub(super) service: Arc<Service>,
    pub(super) trace: TraceContext,
    pub(super) place: Place,
}

impl FromRequestParts<Arc<Relay>> for Caller {
    type Rejection = Failure;

    /// [`observe`](super::observe::observe) put the service and the trace there.
    async fn from_request_parts(parts: &mut Parts, _: &Arc<Relay>) -> Result<Self> {
        let service = parts.extensions.remove::<Arc<Service>>();
        let trace = parts.extensions.remove::<TraceContext>();
        let (Some(service), Some(trace)) = (service, trace) else {
            return Err(Failure::internal(anyhow::anyhow!("a request came by without being observed")));
        };
        let place = Place::request(&service)?;
        Ok(Self { service, trace, place })
    }
}

/// A place among those of a service. Dropping it frees it.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    gauge: metrics::Gauge,
}

impl Place {
    fn request(service: &Service) -> Result<Self> {
        let gauge = gauge!(REQUESTS_IN_FLIGHT, "service" => Arc::clone(&service.name));
        let max = service.limits().requests_in_flight;
        Self::take(&service.requests, gauge, "requests", "requests_in_flight", max)
    }

    /// A place for a query that waits. It may take long and costs little, so it takes no place of the requests.
    pub(super) fn waiting(service: &Service) -> Result<Self> {
        let gauge = gauge!(QUERIES_WAITING, "service" => Arc::clone(&service.name));
        let max = service.limits().waiting_queries;
        Self::take(&service.waiting, gauge, "waiting queries", "waiting_queries", max)
    }

    fn take(places: &Arc<Semaphore>, gauge: metrics::Gauge, what: &str, limit: &str, max: usize) -> Result<Self> {
        let permit = Arc::clone(places).try_acquire_owned().map_err(|_| {
            Failure::new(Code::Overloaded, format!("This service has {max} {what} in flight (limits.{limit})"))
        })?;
        gauge.increment(1);
        Ok(Self { _permit: permit, gauge })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.decrement(1);
    }
}
