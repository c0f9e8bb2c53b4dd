//! A small catalogue with stock, so that there is something to order. It goes in by the public API, like anybody's, and
//! can be repeated: the SKUs are taken then, and the keys of the deliveries are always the same.
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::api::{Client, Money, NewProduct};

/// SKU, name, price in euro cents, pieces.
const CATALOGUE: [(&str, &str, i64, i64); 6] = [
    ("LAMP-BOW", "Bow lamp, brass", 4_900, 100),
    ("ROPE-20M", "Mooring rope, 20 m", 2_350, 500),
    ("WINDLASS", "Windlass key for lock paddles", 1_890, 250),
    ("KETTLE-RED", "Enamel kettle, red", 3_200, 80),
    ("MAP-CANAL", "Canal map, waterproof", 1_295, 1_000),
    ("STOVE-CAST", "Cast iron stove", 64_900, 5),
];

/// What a person can order at once.
pub(crate) const EXAMPLE_SKU: &str = CATALOGUE[0].0;

/// Seeds the stack at this address, once per home: `done` is made afterwards, and where it is there nothing happens.
pub(crate) async fn seed(url: &str, done: PathBuf) -> Result<()> {
    if done.exists() {
        return Ok(());
    }
    let client = Client::new(url)?;
    for (sku, name, amount, pieces) in CATALOGUE {
        create(&client, sku, name, amount).await?;
        let answer = client.adjust_stock(sku, pieces, "first delivery", &format!("seed-{sku}")).await?;
        if !answer.is_success() {
            bail!("no stock of {sku} could be added ({}): {}", answer.status(), answer.text());
        }
    }
    std::fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))
}

async fn create(client: &Client, sku: &str, name: &str, amount: i64) -> Result<()> {
    let product = NewProduct { sku: sku.into(), name: name.into(), description: None, price: Money::eur(amount) };
    let answer = client.post("/v1/products").json(&product).send().await?;
    let taken = answer.status() == 409 && answer.problem().is_ok_and(|problem| problem.code == "sku_taken");
    if answer.status() != 201 && !taken {
        bail!("{sku} could not be created ({}): {}", answer.status(), answer.text());
    }
    Ok(())
}
