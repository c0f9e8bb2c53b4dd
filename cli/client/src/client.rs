//! The calls.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde::Serialize;
use uuid::Uuid;

use crate::answer::{Answer, ApiError};
use crate::requests::{NewOrder, NewProduct};
use crate::types::{HistoryEntry, Order, Page, Payment, Product, Stock};

/// Longer than any answer may take; a call that reaches it hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Below the time after which the host closes a connection that nobody uses: a call that is sent just then has no answer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// A client of one stack. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

/// A call that is being put together.
#[derive(Debug)]
#[must_use = "a call that isn't sent does nothing"]
pub struct Call {
    name: String,
    request: RequestBuilder,
}

impl Call {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Sends this as JSON.
    pub fn json(mut self, body: &impl Serialize) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// Sends these bytes as they are.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.request = self.request.header("content-type", content_type).body(body.into());
        self
    }

    /// Waits for the whole answer.
    pub async fn send(self) -> Result<Answer, ApiError> {
        let name = self.name;
        let answer = async {
            let response = self.request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok((status, headers, response.bytes().await?.to_vec()))
        };
        match answer.await {
            Ok((status, headers, body)) => Ok(Answer { call: name, status, headers, body }),
            Err(source) => Err(ApiError::NoAnswer { call: name, source }),
        }
    }
}

impl Client {
    /// A client of the stack whose public edge answers at `base`, such as `http://127.0.0.1:3000`.
    pub fn new(base: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).pool_idle_timeout(IDLE_TIMEOUT);
        let http = http.no_proxy().build()?;
        Ok(Self { http, base: base.trim_end_matches('/').into() })
    }

    /// Any call; `path` begins with a slash and may have a query.
    pub fn call(&self, method: Method, path: &str) -> Call {
        let url = format!("{}{path}", self.base);
        Call { name: format!("{method} {path}"), request: self.http.request(method, url) }
    }

    /// A call with these bytes, which does not say what they are.
    pub fn untyped(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Call {
        let Call { name, request } = self.call(method, path);
        Call { name, request: request.body(body.into()) }
    }

    /// A GET.
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// A POST.
    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    /// Creates a product.
    pub async fn create_product(&self, product: &NewProduct) -> Result<Product, ApiError> {
        self.post("/v1/products").json(product).send().await?.expect(201)?.read()
    }

    /// Changes the stock of a SKU, once per key.
    pub async fn adjust_stock(&self, sku: &str, delta: i64, reason: &str, key: &str) -> Result<Answer, ApiError> {
        self.post(&format!("/v1/inventory/{sku}/adjustments"))
            .header("idempotency-key", key)
            .json(&serde_json::json!({ "delta": delta, "reason": reason }))
            .send()
            .await
    }

    /// The stock of a SKU.
    pub async fn stock(&self, sku: &str) -> Result<Stock, ApiError> {
        self.get(&format!("/v1/inventory/{sku}")).send().await?.expect(200)?.read()
    }

    /// Places an order under a key of the caller's, and waits up to `wait_seconds` for its outcome; 0 doesn't wait.
    pub async fn place(&self, order: &NewOrder, key: &str, wait_seconds: u32) -> Result<Answer, ApiError> {
        let mut call = self.post("/v1/orders").header("idempotency-key", key).json(order);
        if wait_seconds > 0 {
            call = call.header("prefer", &format!("wait={wait_seconds}"));
        }
        call.send().await
    }

    /// An order.
    pub async fn order(&self, id: Uuid) -> Result<Order, ApiError> {
        self.get(&format!("/v1/orders/{id}")).send().await?.expect(200)?.read()
    }

    /// Asks to cancel an order.
    pub async fn cancel(&self, id: Uuid) -> Result<Answer, ApiError> {
        self.post(&format!("/v1/orders/{id}/cancel")).send().await
    }

    /// Goes on with the payment of an order that waits for its customer, by another payment method or the same, once per key.
    /// `placed_with` is the key of the order, with which its client secret may be told; waits for the outcome as
    /// [`Client::place`] does.
    pub async fn pay(
        &self,
        id: Uuid,
        payment_method: Option<&str>,
        key: &str,
        placed_with: &str,
        wait_seconds: u32,
    ) -> Result<Answer, ApiError> {
        let call = self.post(&format!("/v1/orders/{id}/payment"));
        let mut call = call.header("idempotency-key", key).header("order-key", placed_with);
        if wait_seconds > 0 {
            call = call.header("prefer", &format!("wait={wait_seconds}"));
        }
        call.json(&serde_json::json!({ "payment_method": payment_method })).send().await
    }

    /// Authenticates at the sandbox, or fails to.
    pub async fn authenticate(&self, client_secret: &str, succeeds: bool) -> Result<Answer, ApiError> {
        let outcome = if succeeds { "succeeds" } else { "fails" };
        let challenge = serde_json::json!({ "client_secret": client_secret, "outcome": outcome });
        self.post("/v1/providers/sandbox/challenges").json(&challenge).send().await
    }

    /// What happened to an order, in order.
    pub async fn history(&self, id: Uuid) -> Result<Vec<HistoryEntry>, ApiError> {
        let page: Page<HistoryEntry> =
            self.get(&format!("/v1/orders/{id}/history")).send().await?.expect(200)?.read()?;
        Ok(page.data)
    }

    /// The payments of an order.
    pub async fn payments_of(&self, order: Uuid) -> Result<Vec<Payment>, ApiError> {
        let page: Page<Payment> =
            self.get(&format!("/v1/payments?order_id={order}")).send().await?.expect(200)?.read()?;
        Ok(page.data)
    }
}
