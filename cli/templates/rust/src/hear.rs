//! What the relay delivers.

use towpath_sdk::{Context, Delivery, Problem, Request, Response};

use crate::{
    domain,
    events::{self, Written},
    store,
};

/// Handles an event in one unit of work under its id: a second delivery changes nothing.
///
/// A 4xx makes the event a dead letter (`towpath dlq list`), a 503 has the relay try again for as long as it takes.
pub(crate) async fn hear(context: &Context, request: &Request) -> Result<Response, Problem> {
    let delivery = Delivery::receive(context, request).await?;
    if delivery.kind() == events::WRITTEN {
        let Written { id, text } = delivery.data()?;
        // Who waits for this note hears of it.
        let unit = store::count(delivery.unit(), id, domain::words(&text)).notify(id.to_string());
        context.relay().await?.run(unit).await?;
    }
    Ok(Response::no_content())
}
