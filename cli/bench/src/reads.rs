//! What a read of the catalogue costs: GET of one product that the cache holds, with the rate limit on, beside `GET /healthz`
//! through the same host, which asks nobody.

use anyhow::Result;

use super::cost::Meter;
use super::figure::Figure;
use super::hops::getters;
use super::load;
use super::plan::{Plan, Rounds};

/// Measures both.
pub(super) async fn run(plan: &Plan, url: &str, meter: &Meter<'_>) -> Result<Vec<Figure>> {
    let product = product(&towpath_client::Client::new(url)?).await?;
    let mut figures = Vec::new();
    for &clients in &plan.clients {
        let (mut health, mut rounds) = (Rounds::default(), Rounds::default());
        let mut others = load::closed(plan.warm_up(), getters(clients, url, "/healthz").await?).await?.1;
        let mut ours = load::closed(plan.warm_up(), getters(clients, url, &product).await?).await?.1;
        for _ in 0..plan.rounds {
            let (measured, back) = load::closed(plan.time, others).await?;
            health.add(&measured);
            others = back;
            ours = rounds.run(meter, plan.time, ours).await?;
        }
        let (rate, latency) = rounds.at_usual_load(plan, ours).await?;
        let figure =
            Figure::of(format!("GET of a cached product, {clients} clients"), "requests/s", &rounds.per_second);
        let figure = figure.beside("GET /healthz through the host", &rounds.per_second, &health.per_second);
        figures.push(figure.taking(rounds.latency()).costing(rounds.cost()));
        let name = format!("GET of a cached product at 0.7 of that, {clients} clients");
        figures.push(Figure::once(name, "requests/s", rate).taking(latency));
    }
    Ok(figures)
}

/// The path of a product of our own.
async fn product(api: &towpath_client::Client) -> Result<String> {
    let sku = format!("BENCH-{}", uuid::Uuid::new_v4().simple());
    let (name, price) = (String::from("A thing to look at"), towpath_client::Money::eur(100));
    let made = api.create_product(&towpath_client::NewProduct { sku, name, description: None, price }).await?;
    Ok(format!("/v1/products/{}", made.id))
}
