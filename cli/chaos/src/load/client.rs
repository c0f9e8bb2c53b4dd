//! One client: it places its order, and then makes its other calls.

use std::time::Duration;

use futures::future::{join, join_all, join3};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use uuid::Uuid;

use super::edge::{Edge, Request};
use super::mix::{Copies, Errand, Look, Shelf};
use super::shop::Shop;
use crate::record::{Call, Reply};

/// A client on its errand.
pub(super) struct Client<'a> {
    pub(super) edge: &'a Edge,
    pub(super) shop: &'a Shop,
    pub(super) errand: &'a Errand,
    /// Its number in the run.
    pub(super) n: u64,
}

impl Client<'_> {
    /// Does all of it.
    pub(super) async fn run(&self) {
        join(self.buy(), self.restock()).await;
    }

    async fn buy(&self) {
        let Some(order) = self.place().await else { return };
        let cancel = async {
            if let Some(after) = self.errand.cancel_after {
                tokio::time::sleep(after).await;
                self.insist(&Request::post(Call::Cancel, format!("/v1/orders/{order}/cancel"), order)).await;
            }
        };
        let again = async {
            if let Copies::Again(after) = self.errand.copies {
                tokio::time::sleep(after).await;
                self.insist(&self.placement()).await;
            }
        };
        let looks = join_all(self.errand.looks.iter().map(|(after, look)| self.look(order, *after, *look)));
        join3(cancel, again, looks).await;
    }

    /// Places the order, as often at once as the errand says.
    async fn place(&self) -> Option<Uuid> {
        let request = self.placement();
        let copies = if let Copies::AtOnce(copies) = self.errand.copies { copies } else { 1 };
        let replies = join_all((0..copies).map(|copy| {
            let request = &request;
            async move { self.edge.insist(request, self.errand.replica + copy, &mut self.random(copy)).await }
        }));
        replies.await.into_iter().flatten().find_map(|reply| reply.order)
    }

    fn placement(&self) -> Request {
        let Errand { customer, lines, payment_method, wait_s, .. } = self.errand;
        let order = self.shop.order(*customer, lines, payment_method);
        let key = self.shop.key("order", self.n);
        Request {
            body: Some(json!(order)),
            key: Some(key.clone()),
            wait_s: *wait_s,
            ..Request::post(Call::Place, "/v1/orders".into(), key)
        }
    }

    async fn look(&self, order: Uuid, after: Duration, look: Look) {
        tokio::time::sleep(after).await;
        let product = self.shop.product(self.errand.lines.first().map_or(Shelf::Hot, |(shelf, _)| *shelf));
        let customer = self.shop.customer(self.errand.customer);
        let request = match look {
            Look::Order => Request::get(Call::Order, format!("/v1/orders/{order}"), order),
            Look::History => Request::get(Call::History, format!("/v1/orders/{order}/history"), order),
            Look::Payments => Request::get(Call::Payments, format!("/v1/payments?order_id={order}"), order),
            Look::Orders => Request::get(Call::Orders, format!("/v1/orders?limit=10&customer_id={customer}"), customer),
            Look::Stock => Request::get(Call::Stock, format!("/v1/inventory/{}", product.sku), &product.sku),
            Look::Product => Request::get(Call::Product, format!("/v1/products/{}", product.id), &product.sku),
        };
        self.insist(&request).await;
    }

    async fn restock(&self) {
        let Some(pieces) = self.errand.restock else { return };
        let sku = &self.shop.product(Shelf::Hot).sku;
        let request = Request {
            body: Some(json!({"delta": pieces, "reason": "delivery"})),
            key: Some(self.shop.key("delivery", self.n)),
            ..Request::post(Call::Adjust, format!("/v1/inventory/{sku}/adjustments"), sku)
        };
        self.insist(&request).await;
    }

    async fn insist(&self, request: &Request) -> Option<Reply> {
        self.edge.insist(request, self.errand.replica, &mut self.random(64)).await
    }

    fn random(&self, salt: usize) -> StdRng {
        let mut own = StdRng::seed_from_u64(self.errand.seed);
        StdRng::seed_from_u64(own.random::<u64>() ^ salt as u64)
    }
}
