//! `POST /_relay/order/events`: events of the catalogue, of stock and of payments.

use towpath_sdk::{Context, Delivery, Problem, Request, Response};

use crate::{
    catalogue::Product,
    events::{self, Of},
    steps::{self, Entry},
};

/// Handles an event in one unit of work under its id.
///
/// # Errors
/// 422 for an invalid event: the relay makes a dead letter of it. 503 where it can be handled later.
pub(crate) async fn hear(context: &Context, request: &Request) -> Result<Response, Problem> {
    let delivery = Delivery::receive(context, request).await?;
    if matches!(delivery.kind(), "product.created" | "product.updated") {
        let product: Product = delivery.data()?;
        context.relay().await?.run(product.keep(delivery.unit())).await?;
    } else if let Some((heard, guess)) = events::heard(&delivery)? {
        let Of { order_id } = delivery.data()?;
        let entry = Entry::of(delivery.kind(), delivery.id(), events::detail(&heard));
        steps::hear(&context.relay().await?, &delivery, order_id, &heard, guess, entry).await?;
    }
    Ok(Response::no_content())
}
