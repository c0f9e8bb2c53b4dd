//! `GET /_peer/payment/orders/{id}/client-secret`: what a customer needs to authenticate, for the order service alone.
//!
//! The gateway passes nothing on to this prefix. The order service asks for it on behalf of whoever has shown that the order
//! is theirs. It is asked of the provider each time: no row, event or log line has it.

use serde_json::json;
use towpath_sdk::{Context, Id, Problem, Response};

use crate::{domain::Status, provider::client::Provider, settle};

/// The secret of the intent of an order's payment, while it waits for the customer.
///
/// # Errors
/// 404 `no_client_secret` where it doesn't wait.
pub(crate) async fn of_order(context: &Context, id: &str) -> Result<Response, Problem> {
    let none = || Problem::not_found("no_client_secret", "The payment of this order waits for no customer.");
    let order_id: Id = id.parse().map_err(|_| none())?;
    let relay = context.relay().await?;
    let row = settle::look(&relay, order_id).await?.ok_or_else(none)?;
    let (Some(Status::RequiresAction), Some(intent)) = (row.seen.payment, &row.reference) else { return Err(none()) };
    let provider = Provider::named(context, &relay, row.provider).await?;
    let secret = provider.secret(intent).await?.ok_or_else(none)?;
    Ok(Response::json(200, &json!({"client_secret": secret})))
}
