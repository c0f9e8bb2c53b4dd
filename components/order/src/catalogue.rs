//! The order service's copy of product's prices: from events, and from product itself for a SKU without an event yet.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use towpath_sdk::{Context, Currency, Id, Money, Problem, Query, Relay, UnitOfWork, peer};

use crate::{
    domain::{Draft, Price, Priced},
    store,
};

/// The most SKUs in one request to product.
const MAX_SKUS: usize = 100;
/// How long this instance remembers that product has no product with a SKU. Shorter than an event of a new one takes.
const MISS_TIME: Duration = Duration::from_secs(1);
/// The most SKUs that it remembers so.
const MAX_MISSES: usize = 1_000;

/// The most prices that this instance remembers.
const MAX_PRICES: usize = 1_000;

/// Prices that this instance has read.
static PRICES: Mutex<Prices> = Mutex::new(Prices(BTreeMap::new()));
/// What product did not know a moment ago.
static MISSES: Mutex<Misses> = Mutex::new(Misses(BTreeMap::new()));

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

/// The prices of the draft's SKUs as this instance read them, where it remembers all. They may be old: a unit of work that goes by
/// them begins with [`still`].
pub(crate) fn remembered(draft: &Draft) -> Option<BTreeMap<String, Price>> {
    PRICES.lock().unwrap_or_else(PoisonError::into_inner).of(draft.skus())
}

/// Begins a unit of work that fails, as [`store::OTHER_PRICES`], where one of these lines is not on sale at its price any more.
pub(crate) fn still(priced: &Priced) -> UnitOfWork {
    let prices: BTreeMap<&str, i64> = priced.lines.iter().map(|line| (line.sku.as_str(), line.unit_price)).collect();
    let (skus, amounts): (Vec<_>, Vec<_>) = prices.into_iter().unzip();
    let count = skus.len();
    let params = [json!(skus), json!(amounts), json!(vec![priced.total.currency; count])];
    UnitOfWork::new().step(store::PRICED, params).expect(count as u64, store::OTHER_PRICES)
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
    PRICES.lock().unwrap_or_else(PoisonError::into_inner).remember(&prices);
    let mut unit = UnitOfWork::new();
    let now = Instant::now();
    let unheard_of: Vec<_> = {
        let misses = MISSES.lock().unwrap_or_else(PoisonError::into_inner);
        skus.into_iter().filter(|sku| !prices.contains_key(*sku) && !misses.knows(sku, now)).collect()
    };
    for some in unheard_of.chunks(MAX_SKUS) {
        for product in ask(context, some).await? {
            unit = product.keep(unit);
            prices.insert(product.sku, Price { unit_price: product.price, active: product.active });
        }
    }
    let missing = unheard_of.into_iter().filter(|sku| !prices.contains_key(*sku));
    MISSES.lock().unwrap_or_else(PoisonError::into_inner).remember(missing, now);
    // If this fails, the next order asks product again.
    if !unit.is_empty() {
        relay.run(unit).await.ok();
    }
    Ok(prices)
}

/// Prices of some SKUs, at most [`MAX_PRICES`].
struct Prices(BTreeMap<String, Price>);

impl Prices {
    /// Those of these SKUs, where all are there.
    fn of(&self, skus: Vec<&str>) -> Option<BTreeMap<String, Price>> {
        skus.into_iter().map(|sku| Some((sku.to_owned(), self.0.get(sku)?.clone()))).collect()
    }

    fn remember(&mut self, prices: &BTreeMap<String, Price>) {
        for (sku, price) in prices {
            if self.0.len() >= MAX_PRICES && !self.0.contains_key(sku) {
                self.0.pop_first();
            }
            self.0.insert(sku.clone(), price.clone());
        }
    }
}

/// SKUs that product had no product with, and when. It has no more of them than [`MAX_MISSES`].
struct Misses(BTreeMap<String, Instant>);

impl Misses {
    fn knows(&self, sku: &str, now: Instant) -> bool {
        self.0.get(sku).is_some_and(|since| now.saturating_duration_since(*since) < MISS_TIME)
    }

    fn remember<'a>(&mut self, skus: impl Iterator<Item = &'a str>, now: Instant) {
        self.0.retain(|_, since| now.saturating_duration_since(*since) < MISS_TIME);
        for sku in skus {
            if self.0.len() < MAX_MISSES {
                self.0.entry(sku.to_owned()).or_insert(now);
            }
        }
    }
}

/// Asks product about SKUs, in one request: those of their products that it has.
async fn ask(context: &Context, skus: &[&str]) -> Result<Vec<Product>, Problem> {
    let path = format!("/v1/products?limit={}&sku={}", skus.len(), peer::encode(&skus.join(",")));
    match context.peer("product").get_json(&path).await {
        Ok((200, list)) => read(&list).map_err(unavailable),
        Ok((status, _)) => Err(unavailable(format!("product answered {status}"))),
        Err(error) => Err(unavailable(format!("product {error}"))),
    }
}

fn unavailable(cause: String) -> Problem {
    let detail =
        "Order does not know the prices of some lines yet, and the product service, which does, is not available.";
    Problem::unavailable("product_unavailable", detail, cause)
}

fn read(list: &Value) -> Result<Vec<Product>, String> {
    let data = list.get("data").and_then(Value::as_array).ok_or("product answered without data")?;
    let products = data.iter().map(Product::deserialize).collect::<Result<_, _>>();
    products.map_err(|error| format!("product answered something else: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Line, OnDecline};

    #[test]
    fn products_list_is_read() {
        let id = Id::new();
        let item = json!({"id": id, "sku": "A", "name": "a", "price": {"amount": 150, "currency": "EUR"},
            "active": true, "version": 3, "created_at": "2026-01-01T00:00:00Z"});
        let products = read(&json!({"data": [item], "next_cursor": null})).expect("a list");
        let [product] = products.as_slice() else { panic!("one product") };
        assert_eq!((product.product_id, product.version, product.price.amount), (id, 3, 150));
        assert_eq!(read(&json!({"data": []})), Ok(vec![]));
        assert!(read(&json!({})).is_err());
        assert!(read(&json!({"data": [{"sku": "A"}]})).is_err());
    }

    #[test]
    fn a_miss_is_remembered_for_a_moment_and_never_too_many() {
        let (mut misses, now) = (Misses(BTreeMap::new()), Instant::now());
        misses.remember(["A"].into_iter(), now);
        assert!(misses.knows("A", now) && !misses.knows("B", now));
        assert!(!misses.knows("A", now + MISS_TIME));
        let many: Vec<String> = (0..2 * MAX_MISSES).map(|n| n.to_string()).collect();
        misses.remember(many.iter().map(String::as_str), now);
        assert_eq!(misses.0.len(), MAX_MISSES);
        misses.remember(["B"].into_iter(), now + MISS_TIME);
        assert_eq!(misses.0.len(), 1, "what is over makes room");
    }

    #[test]
    fn an_order_at_remembered_prices_begins_by_asking_whether_they_still_are_so() {
        let currency: Currency = "EUR".parse().expect("a currency");
        let line = |sku: &str, quantity| Line { sku: sku.into(), quantity, unit_price: 150, total: 150 };
        let priced = Priced {
            customer_id: "c".into(),
            payment_method: "pm".into(),
            lines: vec![line("B", 1), line("A", 1), line("B", 2)],
            total: Money::new(600, currency),
            on_decline: OnDecline::Wait,
        };
        let unit = still(&priced).into_request();
        assert_eq!(unit.steps[0].params, [json!(["A", "B"]), json!([150, 150]), json!(["EUR", "EUR"])]);
        assert_eq!(unit.steps[0].label.as_deref(), Some(store::OTHER_PRICES));
        assert_eq!(unit.steps[0].expect, Some(towpath_sdk::wire::Expect::Exactly(2)), "each SKU once");
    }

    #[test]
    fn only_so_many_prices_are_remembered_and_the_last_ones_are() {
        let price = |amount| Price { unit_price: Money::new(amount, "EUR".parse().expect("a currency")), active: true };
        let some = |from: usize| -> BTreeMap<_, _> {
            (from..from + MAX_PRICES).map(|n| (format!("S-{n:06}"), price(1))).collect()
        };
        let mut remembered = Prices(BTreeMap::new());
        remembered.remember(&some(0));
        remembered.remember(&some(MAX_PRICES));
        assert_eq!(remembered.0.len(), MAX_PRICES);
        let (last, first) = (format!("S-{:06}", 2 * MAX_PRICES - 1), "S-000000");
        assert_eq!(remembered.of(vec![&last]).map(|prices| prices.len()), Some(1));
        assert_eq!(remembered.of(vec![&last, first]), None, "all or none");
        remembered.remember(&BTreeMap::from([(last.clone(), price(2))]));
        assert_eq!(remembered.of(vec![&last]).expect("it is there")[&last], price(2));
    }

    #[test]
    fn an_event_of_product_is_read() {
        let data = json!({"product_id": Id::new(), "sku": "A", "name": "a", "active": false, "version": 1,
            "price": {"amount": 150, "currency": "EUR"}});
        assert!(!Product::deserialize(&data).expect("a product").active);
    }
}
