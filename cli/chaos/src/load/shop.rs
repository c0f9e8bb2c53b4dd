//! What a run sells: products and stock of its own, so that it touches no others.

use anyhow::{Context, Result};
use towpath_client::{Client, Money, NewLine, NewOrder, NewProduct, Product};

use super::mix::{COLD, Shelf};

/// What the hot SKU begins with: little, so that it runs out at times.
const HOT_PIECES: i64 = 60;
/// More than any run sells.
const COLD_PIECES: i64 = 1_000_000;
const COLD_PRICE: i64 = 250;

/// The products of one run.
#[derive(Debug)]
pub(crate) struct Shop {
    /// What every name of the run begins with.
    pub(crate) run: String,
    hot: Product,
    cold: Vec<Product>,
    empty: Product,
}

impl Shop {
    /// Makes the products and their stock.
    pub(crate) async fn open(url: &str, run: &str) -> Result<Self> {
        let api = Client::new(url)?;
        let hot = product(&api, run, "hot", 1_250, HOT_PIECES).await?;
        let mut cold = Vec::new();
        for n in 1..=COLD {
            let price = COLD_PRICE * i64::try_from(n)?;
            cold.push(product(&api, run, &format!("cold-{n}"), price, COLD_PIECES).await?);
        }
        // One piece, of which every order wants more.
        let empty = product(&api, run, "empty", 99, 1).await?;
        Ok(Self { run: run.to_owned(), hot, cold, empty })
    }

    /// How many products there are.
    pub(crate) fn products(&self) -> usize {
        self.cold.len() + 2
    }

    pub(super) fn product(&self, shelf: Shelf) -> &Product {
        match shelf {
            Shelf::Hot => &self.hot,
            Shelf::Cold(n) => &self.cold[n % self.cold.len()],
            Shelf::Empty => &self.empty,
        }
    }

    pub(super) fn customer(&self, n: usize) -> String {
        format!("{}-customer-{n}", self.run)
    }

    /// The key of the run's `n`th thing.
    pub(super) fn key(&self, what: &str, n: u64) -> String {
        format!("{}-{what}-{n}", self.run)
    }

    pub(super) fn order(&self, customer: usize, lines: &[(Shelf, i64)], payment_method: &str) -> NewOrder {
        let line = |(shelf, quantity): &(Shelf, i64)| {
            let sku = self.product(*shelf).sku.clone();
            NewLine { sku, quantity: *quantity }
        };
        let lines = lines.iter().map(line).collect();
        NewOrder {
            customer_id: self.customer(customer),
            lines,
            payment_method: payment_method.into(),
            on_decline: None,
        }
    }
}

async fn product(api: &Client, run: &str, name: &str, price: i64, pieces: i64) -> Result<Product> {
    let sku = format!("{run}-{name}");
    let new = NewProduct {
        sku: sku.clone(),
        name: format!("Of a chaos run: {name}"),
        description: None,
        price: Money::eur(price),
    };
    let product = api.create_product(&new).await.context("cannot make a product to sell")?;
    let stocked = api.adjust_stock(&sku, pieces, "chaos", &sku).await.and_then(|answer| answer.expect(201));
    stocked.context("cannot put a product into stock")?;
    Ok(product)
}
