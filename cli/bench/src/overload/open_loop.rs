//! The open loop: orders come at a fixed rate, whether or not earlier ones were answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::task::JoinSet;

use super::buyers::Buyers;
use super::tally::Tally;

/// Sends `rate` orders a second for `time`, each at a random moment, and waits for the last answer.
pub(super) async fn run(buyers: &Arc<Buyers>, rate: f64, time: Duration) -> Tally {
    let begun = Instant::now();
    let (mut tally, mut sent, mut due) = (Tally::new(begun), JoinSet::new(), Duration::ZERO);
    loop {
        // The time between strangers is exponentially distributed.
        let random: f64 = rand::rng().random_range(f64::EPSILON..1.0);
        due += Duration::from_secs_f64(-random.ln() / rate);
        if due >= time {
            break;
        }
        if let Some(wait) = due.checked_sub(begun.elapsed()) {
            tokio::time::sleep(wait).await;
        }
        let buyers = Arc::clone(buyers);
        sent.spawn(async move { buyers.buy().await });
        while let Some(Ok(answer)) = sent.try_join_next() {
            tally.add(answer);
        }
    }
    while let Some(Ok(answer)) = sent.join_next().await {
        tally.add(answer);
    }
    tally
}
