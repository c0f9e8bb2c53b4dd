//! A small catalogue with stock, so that there is something to order. It is created through the public API. Seeding again
//! changes nothing: the SKUs exist, and the idempotency keys of the stock are always the same.
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use towpath_client::{Answer, ApiError, Client, Money, NewProduct};
use towpath_stack::home::write_atomically;

/// How long an edge that asks to come back later is asked again.
const PATIENCE: Duration = Duration::from_secs(60);

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
        if !create(&client, sku, name, amount).await? {
            return Ok(());
        }
        let key = format!("seed-{sku}");
        let answer = insist(|| client.adjust_stock(sku, pieces, "first delivery", &key)).await?;
        if !answer.is_success() {
            bail!("no stock of {sku} could be added ({}): {}", answer.status(), answer.text());
        }
    }
    write_atomically(&done, "", 0o600)
}

/// Creates a product; says whether the stack lets whoever has no token do that.
async fn create(client: &Client, sku: &str, name: &str, amount: i64) -> Result<bool> {
    let product = NewProduct { sku: sku.into(), name: name.into(), description: None, price: Money::eur(amount) };
    let answer = insist(|| client.post("/v1/products").json(&product).send()).await?;
    if answer.status() == 401 {
        return Ok(false);
    }
    let taken = answer.status() == 409 && answer.problem().is_ok_and(|problem| problem.code == "sku_taken");
    if answer.status() != 201 && !taken {
        bail!("{sku} could not be created ({}): {}", answer.status(), answer.text());
    }
    Ok(true)
}

/// Comes back when the answer says so: a stack that has just started may be busy, and its rate limit may be small.
async fn insist<F>(call: impl Fn() -> F) -> Result<Answer, ApiError>
where
    F: Future<Output = Result<Answer, ApiError>>,
{
    let begun = Instant::now();
    loop {
        let answer = call().await?;
        let pause = answer.header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        match pause {
            Some(pause) if matches!(answer.status(), 429 | 503) && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(pause).await;
            }
            _ => return Ok(answer),
        }
    }
}
