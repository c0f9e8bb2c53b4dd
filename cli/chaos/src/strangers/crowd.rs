//! A crowd of clients who ask for what clients ask for. A process keeps what it has once needed for many at a time: threads,
//! stacks, tables and pages that are half full. What strangers make it keep can be told only where that was there before.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;
use towpath_client::Client;

/// How many come, each by a connection of its own.
const CLIENTS: usize = 128;
/// For how long each asks, one request after the other.
const TIME: Duration = Duration::from_secs(5);
/// Between two requests of one of them.
const EVERY: Duration = Duration::from_millis(100);
/// What they ask for.
const PATHS: &[&str] = &["/v1/products?limit=20", "/v1/orders/01890a5d-ac96-774b-bcce-b302099a8057", "/healthz"];

/// They come, and go. Some may be refused where they are too many: that is no matter here.
pub(super) async fn come(url: &str) -> Result<()> {
    let mut clients = JoinSet::new();
    let until = Instant::now() + TIME;
    let client = Client::new(url)?;
    for _ in 0..CLIENTS {
        let client = client.clone();
        clients.spawn(async move {
            for path in PATHS.iter().cycle() {
                if Instant::now() > until {
                    return;
                }
                let _ = client.get(path).send().await;
                tokio::time::sleep(EVERY).await;
            }
        });
    }
    clients.join_all().await;
    Ok(())
}
