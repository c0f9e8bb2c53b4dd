//! The clients that order, over connections that they keep.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;
use hyper::Method;
use uuid::Uuid;

use super::tally::{Answer, Tally};
use crate::line::Line;
use crate::orders;

/// After this long a client gives up, and its connection with it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Buyers of one shop.
pub(super) struct Buyers {
    url: String,
    skus: Arc<[String]>,
    customer: Uuid,
    next: AtomicUsize,
    idle: Mutex<Vec<Line>>,
}

impl Buyers {
    /// With SKUs of their own.
    pub(super) async fn new(url: &str) -> Result<Self> {
        let skus = orders::stock(&towpath_client::Client::new(url)?).await?;
        let (customer, next, idle) = (Uuid::new_v4(), AtomicUsize::new(0), Mutex::default());
        Ok(Self { url: url.to_owned(), skus, customer, next, idle })
    }

    /// So many at once, each with the next order when the last was answered.
    pub(super) async fn closed_loop(self: &Arc<Self>, clients: usize, time: Duration) -> Result<Tally> {
        let begun = Instant::now();
        let clients = (0..clients).map(|_| {
            let buyers = self.clone();
            tokio::spawn(async move {
                let mut tally = Tally::new(begun);
                while begun.elapsed() < time {
                    tally.add(buyers.buy().await);
                }
                tally
            })
        });
        let tallies = try_join_all(clients).await?;
        Ok(tallies.into_iter().fold(Tally::new(begun), Tally::and))
    }

    /// One order.
    pub(super) async fn buy(&self) -> Answer {
        let begun = Instant::now();
        let status = match tokio::time::timeout(PATIENCE, self.order()).await {
            Ok(Ok(status)) => Some(status),
            // The connection broke, or there was none, or nothing came over it in time.
            Ok(Err(_)) | Err(_) => None,
        };
        Answer { begun, took: begun.elapsed(), status }
    }

    async fn order(&self) -> Result<u16> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sku, customer) = (&self.skus[number % self.skus.len()], self.customer);
        let body = format!(
            r#"{{"customer_id":"{customer}","lines":[{{"sku":"{sku}","quantity":1}}],"payment_method":"pm_card_visa"}}"#
        );
        let key = Uuid::new_v4().to_string();
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let mut line = self.line().await?;
        let (status, _) = line.call(Method::POST, "/v1/orders", &headers, body).await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        Ok(status)
    }

    async fn line(&self) -> Result<Line> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle.filter(Line::is_open) {
            Some(line) => Ok(line),
            None => Line::open(&self.url).await,
        }
    }
}
