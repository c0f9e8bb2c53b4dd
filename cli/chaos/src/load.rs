//! The load of a run: an open loop. Clients come at a fixed rate whether or not earlier ones were served, so a slow or missing
//! part shows in as many calls as it would in production; a closed loop would send fewer.

mod client;
mod edge;
mod mix;
mod shop;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::record::Record;
use client::Client;
use edge::Edge;
use mix::Errand;
pub(crate) use shop::Shop;

/// How many clients may be on their way at once. Beyond it they are counted, and stay at home.
const MAX_CLIENTS: usize = 500;

/// A load that runs.
#[derive(Debug)]
pub(crate) struct Load {
    tasks: TaskTracker,
    /// From when on no more clients come.
    closed: CancellationToken,
    /// From when on those who are there give up.
    over: CancellationToken,
}

impl Load {
    /// Begins with `rate` orders per second, drawn from the seed.
    pub(crate) fn begin(seed: u64, rate: f64, urls: &[String], shop: Arc<Shop>, record: Arc<Record>) -> Result<Self> {
        let (tasks, closed, over) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let edge = Arc::new(Edge::new(urls, Arc::clone(&record), over.clone())?);
        let arrivals = Arrivals { seed, rate, edge, shop, record, tasks: tasks.clone() };
        let door = closed.clone();
        tasks.spawn(async move { door.run_until_cancelled(arrivals.come()).await });
        Ok(Self { tasks, closed, over })
    }

    /// Starts no more clients, and gives the running ones this long to get their answers.
    pub(crate) async fn end(self, patience: Duration) {
        self.closed.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(patience, self.tasks.wait()).await;
        self.over.cancel();
        self.tasks.wait().await;
    }
}

struct Arrivals {
    seed: u64,
    rate: f64,
    edge: Arc<Edge>,
    shop: Arc<Shop>,
    record: Arc<Record>,
    tasks: TaskTracker,
}

impl Arrivals {
    async fn come(self) {
        let mut random = StdRng::seed_from_u64(self.seed);
        let room = Arc::new(Semaphore::new(MAX_CLIENTS));
        let mut due = tokio::time::Instant::now();
        for n in 1.. {
            due += mix::until_next(&mut random, self.rate);
            tokio::time::sleep_until(due).await;
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                self.record.could_not_send();
                continue;
            };
            let (edge, shop, errand) = (Arc::clone(&self.edge), Arc::clone(&self.shop), Errand::draw(self.seed, n));
            self.tasks.spawn(async move {
                Client { edge: &edge, shop: &shop, errand: &errand, n }.run().await;
                drop(place);
            });
        }
    }
}
