//! `POST /_relay/payment/events`: reserved stock, customers who go on with a payment, and orders that ended.

use towpath_sdk::{Context, Delivery, Problem, Request, Response};

use crate::{domain::Cancellation, events::OrderEnded, settle};

/// Handles an event.
///
/// # Errors
/// 422 for an invalid event: the relay makes a dead letter of it. 503 where it can be handled later.
pub(crate) async fn hear(context: &Context, request: &Request) -> Result<Response, Problem> {
    let delivery = Delivery::receive(context, request).await?;
    let ended = || delivery.data().map(|OrderEnded { order_id }| order_id);
    match delivery.kind() {
        "stock.reserved" => settle::charge(context, &delivery, &delivery.data()?).await?,
        "order.payment_requested" => settle::resume(context, &delivery, &delivery.data()?).await?,
        "order.rejected" => settle::cancel(context, &delivery, ended()?, Cancellation::Rejected).await?,
        "order.cancelled" => settle::cancel(context, &delivery, ended()?, Cancellation::Cancelled).await?,
        "order.expired" => settle::cancel(context, &delivery, ended()?, Cancellation::Expired).await?,
        _ => {}
    }
    Ok(Response::no_content())
}
