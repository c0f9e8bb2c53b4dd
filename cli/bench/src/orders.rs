//! Confirmed orders per second over the public API: through all components and databases.

use std::sync::Arc;

use anyhow::{Result, bail};
use hyper::Method;
use uuid::Uuid;

use super::line::Line;
use super::load::{Client, Load};
use super::report::Row;

/// Over how many SKUs the orders spread.
const SKUS: usize = 50;
/// More than any run sells.
const PIECES: i64 = 1_000_000_000;
/// Longer than any order takes: one that takes longer has no place in a benchmark.
const WAIT: (&str, &str) = ("prefer", "wait=10");

struct Buyer {
    line: Line,
    skus: Arc<[String]>,
    customer: Uuid,
    bought: usize,
}

impl Client for Buyer {
    async fn call(&mut self) -> Result<()> {
        self.bought += 1;
        // Each buyer begins at another SKU, so they don't walk in step.
        let sku = &self.skus[(self.customer.as_u128() as usize + self.bought) % self.skus.len()];
        let customer = self.customer;
        let body = format!(
            r#"{{"customer_id":"{customer}","lines":[{{"sku":"{sku}","quantity":1}}],"payment_method":"pm_card_visa"}}"#
        );
        let key = Uuid::new_v4().to_string();
        let headers = [("content-type", "application/json"), ("idempotency-key", &key), WAIT];
        let answer = self.line.expect(201, Method::POST, "/v1/orders", &headers, body).await?;
        let order: towpath_client::Order = serde_json::from_slice(&answer)?;
        if order.status != "confirmed" {
            bail!("order {} is {}: {:?}", order.id, order.status, order.reason);
        }
        Ok(())
    }
}

/// Measures it on SKUs of its own.
pub(super) async fn run(load: Load, url: &str) -> Result<Row> {
    let skus = stock(&towpath_client::Client::new(url)?).await?;
    let mut buyers = Vec::new();
    for _ in 0..load.clients {
        let line = Line::open(url).await?;
        buyers.push(Buyer { line, skus: skus.clone(), customer: Uuid::new_v4(), bought: 0 });
    }
    let measured = load.run(buyers).await?;
    Ok(Row::of("confirmed orders, client to client", "orders/s", &measured))
}

/// SKUs with more pieces than any run sells.
pub(super) async fn stock(api: &towpath_client::Client) -> Result<Arc<[String]>> {
    let mut skus = Vec::new();
    for _ in 0..SKUS {
        let sku = format!("BENCH-{}", Uuid::new_v4().simple());
        let (name, price) = (String::from("A thing to measure with"), towpath_client::Money::eur(100));
        api.create_product(&towpath_client::NewProduct { sku: sku.clone(), name, description: None, price }).await?;
        api.adjust_stock(&sku, PIECES, "benchmark", &sku).await?.expect(201)?;
        skus.push(sku);
    }
    Ok(skus.into())
}
