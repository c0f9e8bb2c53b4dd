//! Confirmed orders per second over the public API: through all components and databases.
//!
//! An order counts when its client hears that it is confirmed.

use std::sync::Arc;

use anyhow::{Result, bail};
use hyper::Method;
use towpath_stack::running::Running;
use uuid::Uuid;

use super::cost::Meter;
use super::figure::Figure;
use super::life::Life;
use super::line::Line;
use super::load::{self, Client};
use super::plan::{Plan, Rounds};

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

/// Measures it on SKUs of its own, beside pgbench with the SQL of an order's life; first alone.
pub(super) async fn run(plan: &Plan, stack: &Running, meter: &Meter<'_>) -> Result<Vec<Figure>> {
    let skus = stock(&towpath_client::Client::new(&stack.url)?).await?;
    let life = Life::prepare(stack).await?;
    let mut figures = Vec::new();
    for clients in once_each(std::iter::once(1).chain(plan.clients.iter().copied())) {
        let (mut bare, mut rounds) = (Vec::new(), Rounds::default());
        let mut ours = load::closed(plan.warm_up(), buyers(clients, &stack.url, &skus).await?).await?.1;
        for _ in 0..plan.rounds {
            bare.push(life.run(clients, plan.time).await?);
            ours = rounds.run(meter, plan.time, ours).await?;
        }
        let figure = Figure::of(format!("confirmed orders, {clients} clients"), "orders/s", &rounds.per_second);
        let figure = figure.beside("pgbench with an order's SQL", &rounds.per_second, &bare);
        figures.push(figure.taking(rounds.latency()).costing(rounds.cost()));
        if clients > 1 {
            let (rate, latency) = rounds.at_usual_load(plan, ours).await?;
            let name = format!("confirmed orders at 0.7 of that, {clients} clients");
            figures.push(Figure::once(name, "orders/s", rate).taking(latency));
        }
    }
    Ok(figures)
}

/// Orders of a stack about which nothing else is known than its address.
pub(super) async fn from_outside(plan: &Plan, url: &str) -> Result<Vec<Figure>> {
    let skus = stock(&towpath_client::Client::new(url)?).await?;
    let mut figures = Vec::new();
    for &clients in &plan.clients {
        let mut rounds = Rounds::default();
        let mut ours = load::closed(plan.warm_up(), buyers(clients, url, &skus).await?).await?.1;
        for _ in 0..plan.rounds {
            let (measured, back) = load::closed(plan.time, ours).await?;
            rounds.add(&measured);
            ours = back;
        }
        let figure = Figure::of(format!("confirmed orders, {clients} clients"), "orders/s", &rounds.per_second);
        figures.push(figure.taking(rounds.latency()));
    }
    Ok(figures)
}

async fn buyers(clients: usize, url: &str, skus: &Arc<[String]>) -> Result<Vec<Buyer>> {
    let mut buyers = Vec::new();
    for _ in 0..clients {
        let line = Line::open(url).await?;
        buyers.push(Buyer { line, skus: skus.clone(), customer: Uuid::new_v4(), bought: 0 });
    }
    Ok(buyers)
}

fn once_each(numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut once = Vec::new();
    numbers.for_each(|number| once.extend((!once.contains(&number)).then_some(number)));
    once
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
