//! `POST /_relay/inventory/events`: events of products and orders.

use towpath_sdk::{Context, Delivery, Problem, Relay, Request, Response};

use crate::{
    domain::{News, decide},
    events::{About, Created, Placed},
    reservation::Order,
    store,
};

/// The most tries to handle an event. A try fails if another unit of work moved the reservation meanwhile.
const MAX_ROUNDS: u32 = 5;

/// Handles an event in one unit of work under its id.
///
/// # Errors
/// 422 for an invalid event: the relay makes a dead letter of it. 503 where it can be handled later.
pub(crate) async fn hear(context: &Context, request: &Request) -> Result<Response, Problem> {
    let delivery = Delivery::receive(context, request).await?;
    let relay = context.relay().await?;
    match delivery.kind() {
        "product.created" => {
            let created: Created = delivery.data()?;
            relay.run(store::create(delivery.unit(), &created.sku)).await?;
        }
        "order.placed" => {
            let placed: Placed = delivery.data()?;
            follow(&Order::placed(placed)?, &relay, &delivery, News::Placed).await?;
        }
        "order.confirmed" => follow(&about(&delivery)?, &relay, &delivery, News::Confirmed).await?,
        "order.rejected" | "order.cancelled" | "order.expired" => {
            follow(&about(&delivery)?, &relay, &delivery, News::Ended).await?;
        }
        _ => {}
    }
    Ok(Response::no_content())
}

fn about(delivery: &Delivery) -> Result<Order, Problem> {
    Ok(Order::known(delivery.data::<About>()?.order_id))
}

/// Carries out what follows from the news. It begins with the state in which the news usually arrives, which saves a
/// query; if the reservation has another state, nothing happens, and the next try reads the state first.
async fn follow(order: &Order, relay: &Relay, delivery: &Delivery, news: News) -> Result<(), Problem> {
    let mut state = news.usual_state();
    for _ in 0..MAX_ROUNDS {
        let action = decide(state, news);
        let Some(unit) = order.unit(delivery.unit(), state, action) else { return Ok(()) };
        let mut result = relay.run(unit).await;
        if result.as_ref().is_err_and(|error| error.unmet() == Some(store::OUT_OF_STOCK)) {
            result = relay.run(order.reject(delivery.unit(), state)).await;
        }
        match result {
            Ok(_) => return Ok(()),
            Err(error) if error.unmet() == Some(store::MOVED_ON) => {
                state = store::read_state(&relay.query(store::state(order.id())).await?)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let cause = format!("the reservation of {} moved on {MAX_ROUNDS} times", order.id());
    Err(Problem::unavailable("contention", "Other events changed this order at the same time. Try again.", cause))
}
