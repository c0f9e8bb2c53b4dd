//! What inventory hears and says.

use serde::{Deserialize, Serialize};
use serde_json::json;
use towpath_sdk::{
    Context, Delivery, Id, Money, Problem, Relay, Request, Response, UnitOfWork, relay::event, wire::Event,
};

use crate::{
    domain::{Action, Demand, Line, News, State, decide, demand},
    store,
};

/// Where inventory says what it says.
const TOPIC: &str = "inventory.events";
/// How often a reservation may move on while we decide; each time somebody else has made progress.
const MAX_ROUNDS: u32 = 5;

/// `order.placed`, as far as it concerns stock.
#[derive(Clone, Debug, Deserialize)]
struct Placed {
    order_id: Id,
    customer_id: String,
    lines: Vec<Line>,
    total: Money,
    payment_method: String,
}

/// Every other event of an order, as far as it concerns stock.
#[derive(Clone, Debug, Deserialize)]
struct About {
    order_id: Id,
}

/// `product.created`, as far as it concerns stock.
#[derive(Clone, Debug, Deserialize)]
struct Created {
    sku: String,
}

/// A piece of the demand, as `stock.reserved` names it.
#[derive(Serialize)]
struct ReservedLine<'a> {
    sku: &'a str,
    quantity: i64,
}

/// Hears an event.
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
            let order = Order { id: placed.order_id, placed: Some((demand(&placed.lines)?, placed)) };
            order.follow(&relay, &delivery, News::Placed).await?;
        }
        "order.confirmed" => about(&delivery)?.follow(&relay, &delivery, News::Confirmed).await?,
        "order.rejected" | "order.cancelled" | "order.expired" => {
            about(&delivery)?.follow(&relay, &delivery, News::Ended).await?;
        }
        _ => {}
    }
    Ok(Response::no_content())
}

fn about(delivery: &Delivery) -> Result<Order, Problem> {
    Ok(Order { id: delivery.data::<About>()?.order_id, placed: None })
}

/// An order that there is news of.
struct Order {
    id: Id,
    /// What was placed; known with [`News::Placed`] alone.
    placed: Option<(Demand, Placed)>,
}

impl Order {
    /// Does what the news demands. The first guess at the state is usually right and spares a look; where it isn't, or
    /// somebody else was faster, nothing has happened, and the state is read.
    async fn follow(&self, relay: &Relay, delivery: &Delivery, news: News) -> Result<(), Problem> {
        let mut state = news.usual_state();
        for _ in 0..MAX_ROUNDS {
            let action = decide(state, news);
            let Some(unit) = self.unit(delivery.unit(), state, action) else { return Ok(()) };
            let mut result = relay.run(unit).await;
            if result.as_ref().is_err_and(|error| error.unmet() == Some(store::OUT_OF_STOCK)) {
                result = relay.run(self.reject(delivery.unit(), state)).await;
            }
            match result {
                Ok(_) => return Ok(()),
                Err(error) if error.unmet() == Some(store::MOVED_ON) => {
                    state = store::read_state(&relay.query(store::state(self.id)).await?)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let cause = format!("the reservation of {} moved on {MAX_ROUNDS} times", self.id);
        Err(Problem::unavailable("contention", "Too much happens to this order at once.", cause))
    }

    /// The unit of work that an action is; `None` where there is nothing to do.
    fn unit(&self, unit: UnitOfWork, from: Option<State>, action: Action) -> Option<UnitOfWork> {
        let go = |to| store::go(unit, self.id, from, to);
        Some(match (action, &self.placed) {
            (Action::Reserve, Some((demand, placed))) => {
                store::reserve(go(State::Reserved), self.id, demand).event(reserved(placed, demand))
            }
            // Nobody waits for a promise any more: the order is confirmed.
            (Action::SellUnreserved, Some((demand, _))) => store::sell_unreserved(go(State::Sold), self.id, demand),
            (Action::Sell, _) => store::sell(go(State::Sold), self.id),
            (Action::Release, _) => store::release(go(State::Released), self.id).event(self.released()),
            (Action::Return, _) => store::take_back(go(State::Returned), self.id).event(self.released()),
            (Action::Remember(state), _) => go(state),
            (Action::Ignore | Action::Reserve | Action::SellUnreserved, _) => return None,
        })
    }

    fn reject(&self, unit: UnitOfWork, from: Option<State>) -> UnitOfWork {
        let data = json!({"order_id": self.id, "reason": "out_of_stock"});
        store::go(unit, self.id, from, State::Rejected).event(event(TOPIC, self.id, "stock.rejected", &data))
    }

    fn released(&self) -> Event {
        event(TOPIC, self.id, "stock.released", &json!({"order_id": self.id}))
    }
}

/// Keyed by the order, as everything of its saga.
fn reserved(placed: &Placed, demand: &Demand) -> Event {
    let lines: Vec<_> = demand.iter().map(|(sku, &quantity)| ReservedLine { sku, quantity }).collect();
    let data = json!({
        "order_id": placed.order_id,
        "customer_id": placed.customer_id,
        "total": placed.total,
        "payment_method": placed.payment_method,
        "lines": lines,
    });
    event(TOPIC, placed.order_id, "stock.reserved", &data)
}

#[cfg(test)]
mod tests;
