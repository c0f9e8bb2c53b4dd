//! The order service's copy of product's prices: from events, and from product itself for a SKU without an event yet.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use towpath_sdk::{Context, Currency, Id, Money, Problem, Query, Relay, UnitOfWork, peer};

use crate::{
    domain::{Draft, Price},
    store,
};

/// The most requests to product at once: an order may name a hundred new SKUs.
const MAX_PARALLEL_REQUESTS: usize = 8;

/// A product, as far as an order depends on it: the data of `product.*`, and an item of product's list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Product {
    #[serde(alias = "id")]
    product_id: Id,
    sku: String,
    price: Money,
    active: bool,
    version: i64,
}

impl Product {
    /// Adds the step that stores its price, unless a later version is stored.
    pub(crate) fn keep(&self, unit: UnitOfWork) -> UnitOfWork {
        let Money { amount, currency } = self.price;
        let params = [self.product_id.into(), amount.into(), currency.into(), self.active.into(), self.version.into()];
        unit.step(store::KEEP_PRICE, [vec![json!(self.sku)], params.into()].concat())
    }
}

/// The prices of the draft's SKUs. One that is missing is the SKU of no product.
pub(crate) async fn prices(
    context: &Context,
    relay: &Relay,
    draft: &Draft,
) -> Result<BTreeMap<String, Price>, Problem> {
    let skus = draft.skus();
    let rows = relay.query(Query::new(store::PRICES, [json!(skus)])).await?;
    let known = rows.map(|row| {
        let unit_price = Money::new(row.get("amount")?, row.get::<Currency>("currency")?);
        Ok::<_, Problem>((row.get::<String>("sku")?, Price { unit_price, active: row.get("active")? }))
    })?;
    let mut prices: BTreeMap<_, _> = known.into_iter().collect();
    let mut unit = UnitOfWork::new();
    let unheard_of: Vec<_> = skus.into_iter().filter(|sku| !prices.contains_key(*sku)).collect();
    for some in unheard_of.chunks(MAX_PARALLEL_REQUESTS) {
        if context.budget.left().is_zero() {
            return Err(unavailable("product answers too slowly".into()));
        }
        for product in try_join_all(some.iter().map(|sku| ask(context, sku))).await?.into_iter().flatten() {
            unit = product.keep(unit);
            prices.insert(product.sku, Price { unit_price: product.price, active: product.active });
        }
    }
    // If this fails, the next order asks product again.
    if !unit.is_empty() {
        relay.run(unit).await.ok();
    }
    Ok(prices)
}

/// Asks product about a SKU: `None` if it has no such product.
async fn ask(context: &Context, sku: &str) -> Result<Option<Product>, Problem> {
    let path = format!("/v1/products?sku={}", peer::encode(sku));
    match context.peer("product").get_json(&path).await {
        Ok((200, list)) => find(&list, sku).map_err(unavailable),
        Ok((status, _)) => Err(unavailable(format!("product answered {status}"))),
        Err(error) => Err(unavailable(format!("product {error}"))),
    }
}

fn unavailable(cause: String) -> Problem {
    let detail =
        "Order does not know the prices of some lines yet, and the product service, which does, is not available.";
    Problem::unavailable("product_unavailable", detail, cause)
}

fn find(list: &Value, sku: &str) -> Result<Option<Product>, String> {
    let data = list.get("data").and_then(Value::as_array).ok_or("product answered without data")?;
    let Some(item) = data.iter().find(|item| item["sku"] == sku) else { return Ok(None) };
    Product::deserialize(item).map(Some).map_err(|error| format!("product answered something else: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_list_is_read() {
        let id = Id::new();
        let item = json!({"id": id, "sku": "A", "name": "a", "price": {"amount": 150, "currency": "EUR"},
            "active": true, "version": 3, "created_at": "2026-01-01T00:00:00Z"});
        let list = json!({"data": [item], "next_cursor": null});
        let product = find(&list, "A").expect("a list").expect("the product");
        assert_eq!((product.product_id, product.version, product.price.amount), (id, 3, 150));
        assert_eq!(find(&list, "B"), Ok(None));
        assert!(find(&json!({}), "A").is_err());
        assert!(find(&json!({"data": [{"sku": "A"}]}), "A").is_err());
    }

    #[test]
    fn an_event_of_product_is_read() {
        let data = json!({"product_id": Id::new(), "sku": "A", "name": "a", "active": false, "version": 1,
            "price": {"amount": 150, "currency": "EUR"}});
        assert!(!Product::deserialize(&data).expect("a product").active);
    }
}
