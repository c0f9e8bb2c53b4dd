//! A test's own corner of the stack.

use std::sync::Mutex;
use std::time::Duration;

use towpath_audit::{Databases, Scope};
use towpath_client::{Answer, ApiError, Client, Money, NewOrder, NewProduct, Order, Product, Stock, is_end_state};
use uuid::Uuid;

use crate::{DEADLINE, Stack, eventually};

/// SKUs, a customer and orders that no other test knows, and a client to work on them.
///
/// [`Shop::close`] audits the orders that were placed through it: every test ends with it.
#[derive(Debug)]
pub struct Shop {
    /// The stack that it stands in.
    pub stack: Stack,
    /// The client.
    pub api: Client,
    /// Its customer.
    pub customer: String,
    orders: Mutex<Vec<Uuid>>,
    skus: Mutex<Vec<String>>,
}

/// Does what a client does that is told to come back: a machine that is busy with two hundred orders at once may refuse
/// one of them early, with `Retry-After`. The same key, or SKU, goes with every try, so it happens once.
async fn insist<F>(call: impl Fn() -> F) -> Answer
where
    F: Future<Output = Result<Answer, ApiError>>,
{
    eventually("the edge has time", DEADLINE, || async {
        let answer = call().await.expect("an answer");
        let comes_back = matches!(answer.status(), 409 | 503) && answer.header("retry-after").is_some();
        if comes_back { Err(answer.text()) } else { Ok(answer) }
    })
    .await
}

impl Shop {
    /// A corner of the stack that all tests share.
    #[must_use]
    pub fn open() -> Self {
        Self::open_in(&Stack::shared())
    }

    /// A corner of this stack.
    #[must_use]
    pub fn open_in(stack: &Stack) -> Self {
        Self {
            stack: stack.clone(),
            api: stack.api(),
            customer: Uuid::now_v7().to_string(),
            orders: Mutex::default(),
            skus: Mutex::default(),
        }
    }

    /// Stock that comes or goes, for somebody who comes back when told to.
    pub async fn adjust(&self, sku: &str, delta: i64, reason: &str) -> Answer {
        let key = Self::fresh_key();
        insist(|| self.api.adjust_stock(sku, delta, reason, &key)).await
    }

    /// A key that was never used.
    #[must_use]
    pub fn fresh_key() -> String {
        Uuid::new_v4().to_string()
    }

    /// A SKU that no product has.
    #[must_use]
    pub fn fresh_sku() -> String {
        format!("T-{}", Uuid::new_v4().simple().to_string().to_uppercase())
    }

    /// A new product that costs 12.50 EUR, without stock.
    pub async fn product(&self) -> Product {
        self.product_at(Money::eur(1250)).await
    }

    /// A new product at this price, without stock.
    pub async fn product_at(&self, price: Money) -> Product {
        let product =
            NewProduct { sku: Self::fresh_sku(), name: "A thing to test with".into(), description: None, price };
        let key = Self::fresh_key();
        let answer =
            insist(|| self.api.post("/v1/products").header("idempotency-key", &key).json(&product).send()).await;
        let created: Product = answer.expect(201).and_then(|answer| answer.read()).expect("the product is created");
        self.lock(&self.skus).push(created.sku.clone());
        created
    }

    /// The SKU of a new product that costs 12.50 EUR, with this many pieces in stock.
    pub async fn sku(&self, pieces: i64) -> String {
        let sku = self.product().await.sku;
        self.put_in_stock(&sku, pieces).await;
        sku
    }

    /// Puts pieces into stock, or takes them out.
    pub async fn put_in_stock(&self, sku: &str, pieces: i64) {
        let key = Self::fresh_key();
        let answer = insist(|| self.api.adjust_stock(sku, pieces, "delivery", &key)).await;
        answer.expect(201).expect("the stock is adjusted");
    }

    /// An order of this shop's customer for one SKU, that pays.
    #[must_use]
    pub fn order_for(&self, sku: &str, quantity: i64) -> NewOrder {
        NewOrder::paying(&self.customer, sku, quantity)
    }

    /// Places an order under a fresh key without waiting, and remembers it for the audit.
    pub async fn place(&self, order: &NewOrder) -> Order {
        let key = Self::fresh_key();
        let answer = insist(|| self.api.place(order, &key, 0)).await;
        self.remember(&answer);
        answer.expect(202).and_then(|answer| answer.read()).expect("202 with the order")
    }

    /// Places an order under this key without waiting, whatever the answer is, and remembers an order that was taken.
    pub async fn place_as(&self, order: &NewOrder, key: &str) -> Answer {
        let answer = self.api.place(order, key, 0).await.expect("an answer");
        self.remember(&answer);
        answer
    }

    /// Places an order that waits for its outcome, which must come in time.
    pub async fn place_and_wait(&self, order: &NewOrder) -> Order {
        let key = Self::fresh_key();
        let answer = insist(|| self.api.place(order, &key, 30)).await;
        self.remember(&answer);
        answer.expect(201).and_then(|answer| answer.read()).expect("201 with the order at its end")
    }

    /// Remembers the order in an answer for the audit.
    pub fn remember(&self, answer: &Answer) {
        if !answer.is_success() {
            return;
        }
        let order: Order = answer.read().expect("an answer that takes an order holds it");
        let mut orders = self.lock(&self.orders);
        if !orders.contains(&order.id) {
            orders.push(order.id);
        }
    }

    /// The order, as soon as nothing of its saga is under way.
    pub async fn settled(&self, id: Uuid) -> Order {
        eventually(&format!("order {id} reaches an end state"), DEADLINE, || async {
            match self.api.order(id).await {
                Ok(order) if is_end_state(&order.status) => Ok(order),
                Ok(order) => Err(format!("{order:?}")),
                Err(cause) => Err(cause.to_string()),
            }
        })
        .await
    }

    /// Waits until a SKU's stock is so: inventory hears of an order's end a moment after the client does.
    pub async fn stock_becomes(&self, sku: &str, on_hand: i64, reserved: i64) {
        let wanted = Stock { sku: sku.into(), on_hand, reserved, available: on_hand - reserved };
        eventually(&format!("the stock of {sku} becomes {wanted:?}"), DEADLINE, || async {
            match self.api.stock(sku).await {
                Ok(stock) if stock == wanted => Ok(()),
                Ok(stock) => Err(format!("{stock:?}")),
                Err(cause) => Err(cause.to_string()),
            }
        })
        .await;
    }

    /// Waits until everything that the test began has come to its end, and audits it.
    ///
    /// # Panics
    /// Where an invariant is broken, or something is still under way at the deadline.
    pub async fn close(self) {
        self.close_within(DEADLINE).await;
    }

    /// As [`Shop::close`], for who broke something first and gives the stack longer to recover.
    pub async fn close_within(self, deadline: Duration) {
        let (orders, skus) = (self.lock(&self.orders).clone(), self.lock(&self.skus).clone());
        let scope = Scope::only(orders, skus);
        let databases = Databases::of(&self.stack.running());
        let report =
            towpath_audit::settled(&databases, &scope, &[], deadline).await.expect("the databases can be read");
        assert!(report.is_clean(), "{report}");
    }

    fn lock<'a, T>(&self, what: &'a Mutex<T>) -> std::sync::MutexGuard<'a, T> {
        what.lock().expect("nobody panics while holding it")
    }
}
