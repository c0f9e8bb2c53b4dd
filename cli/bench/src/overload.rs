//! Overload: five times the orders that the stack takes at its best, from clients that don't wait for each other. A stack
//! that accepted them all would answer none in time; one that refuses early keeps its throughput.
//!
//! Three figures, each beside the best of the same run: how many orders are taken in time, how many are confirmed
//! meanwhile (the saga must not starve), and how soon afterwards all orders are taken again.

mod buyers;
mod open_loop;
mod tally;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio_postgres::{Client, NoTls};
use towpath_stack::running::Running;

use self::buyers::Buyers;
use self::tally::Tally;
use super::figure::Figure;

/// Clients of the closed loop, from few to more than any machine needs.
const CLIENTS: &[usize] = &[8, 16, 32, 64];
/// How long each number of clients is measured, after as long a warm-up as it needs.
const STEP: Duration = Duration::from_secs(8);
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the overload lasts.
const OVERLOAD: Duration = Duration::from_secs(15);
/// How much of it there is.
const TIMES: f64 = 5.0;
/// What is sent afterwards, in parts of the best, and for how long.
const AFTERWARDS: f64 = 0.5;
const LOOK: Duration = Duration::from_secs(10);
/// From the last order until all have come to their end.
const QUIET_DEADLINE: Duration = Duration::from_secs(180);

/// Measures it.
pub(super) async fn run(rounds: usize, stack: &Running) -> Result<Vec<Figure>> {
    let orders = Orders::open(stack).await?;
    let buyers = Arc::new(Buyers::new(&stack.url).await?);
    let (clients, seen) = enough_clients(&buyers, &orders).await?;
    let mut turns = Vec::new();
    for _ in 0..rounds {
        turns.push(Turn::take(clients, &buyers, &orders).await?);
    }
    let each = |figure: fn(&Turn) -> f64| turns.iter().map(figure).collect::<Vec<_>>();
    let (most, confirmed_at_most) = (each(|turn| turn.most.taken), each(|turn| turn.most.confirmed));
    let (taken, confirmed) = (each(|turn| turn.overloaded.taken), each(|turn| turn.overloaded.confirmed));
    let notes = |note: fn(&Turn) -> &String| turns.iter().map(note).cloned().collect::<Vec<_>>().join("; then ");
    Ok(vec![
        Figure::of("orders taken in time, at the most", "orders/s", &most)
            .noting(format!("by {clients} clients; {seen}")),
        Figure::of(format!("orders taken at {TIMES} times that"), "orders/s", &taken)
            .beside("the most", &taken, &most)
            .noting(notes(|turn| &turn.overload)),
        Figure::of("orders confirmed meanwhile", "orders/s", &confirmed).beside(
            "those confirmed at the most",
            &confirmed,
            &confirmed_at_most,
        ),
        Figure::of("from then until all orders are taken again", "s", &each(|turn| turn.recovered_after.as_secs_f64()))
            .noting(notes(|turn| &turn.afterwards)),
    ])
}

/// Orders in a second.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    taken: f64,
    confirmed: f64,
}

/// The most and the overload, one after the other, so that a moment in which the machine was busy hits both.
struct Turn {
    most: Rates,
    overloaded: Rates,
    recovered_after: Duration,
    overload: String,
    afterwards: String,
}

impl Turn {
    async fn take(clients: usize, buyers: &Arc<Buyers>, orders: &Orders) -> Result<Self> {
        buyers.closed_loop(clients, WARM_UP).await?;
        let confirmed = orders.confirmed().await?;
        let most = buyers.closed_loop(clients, STEP).await?;
        let most = orders.rates(&most, confirmed, STEP).await?;
        orders.quiet().await?;
        if most.taken == 0.0 {
            bail!("not one order was taken in time");
        }
        let confirmed = orders.confirmed().await?;
        let overload = open_loop::run(buyers, most.taken * TIMES, OVERLOAD).await;
        let overloaded = orders.rates(&overload, confirmed, OVERLOAD).await?;
        let afterwards = open_loop::run(buyers, most.taken * AFTERWARDS, LOOK).await;
        orders.quiet().await?;
        Ok(Self {
            most,
            overloaded,
            recovered_after: afterwards.recovered_after(),
            overload: format!("offered {:.0}/s: {overload}", most.taken * TIMES),
            afterwards: format!("offered {:.0}/s: {afterwards}", most.taken * AFTERWARDS),
        })
    }
}

/// How many clients it takes to have as many orders taken in time as can be, and what was seen on the way.
async fn enough_clients(buyers: &Arc<Buyers>, orders: &Orders) -> Result<(usize, String)> {
    // A stack that has just started has no consumer yet, and takes orders without bringing any to its end.
    buyers.closed_loop(CLIENTS[0], WARM_UP).await?;
    orders.quiet().await?;
    let (mut best, mut seen) = ((0, 0.0), Vec::new());
    for &clients in CLIENTS {
        buyers.closed_loop(clients, WARM_UP).await?;
        let rate = buyers.closed_loop(clients, STEP).await?.in_time() as f64 / STEP.as_secs_f64();
        seen.push(format!("{clients}: {rate:.0}"));
        if rate > best.1 {
            best = (clients, rate);
        }
        orders.quiet().await?;
    }
    Ok((best.0.max(1), seen.join(", ")))
}

/// What became of the orders, by the database.
struct Orders(Client);

impl Orders {
    async fn open(stack: &Running) -> Result<Self> {
        let url = stack.postgres_admin_url("order");
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.context("cannot reach the database")?;
        tokio::spawn(connection);
        Ok(Self(client))
    }

    async fn confirmed(&self) -> Result<i64> {
        let row = self.0.query_one("SELECT count(*) FROM app.orders WHERE status = 'confirmed'", &[]).await?;
        Ok(row.try_get(0)?)
    }

    /// What came of it in a second: of what was taken within `time`, and what was confirmed since there were `before`.
    async fn rates(&self, tally: &Tally, before: i64, time: Duration) -> Result<Rates> {
        let per_second = |count: f64| count / time.as_secs_f64();
        let confirmed = (self.confirmed().await? - before) as f64;
        Ok(Rates { taken: per_second(tally.in_time() as f64), confirmed: per_second(confirmed) })
    }

    /// Waits until every order has come to its end.
    async fn quiet(&self) -> Result<()> {
        let began = Instant::now();
        let open = "SELECT count(*) FROM app.orders WHERE status IN ('pending', 'reserved')";
        loop {
            match self.0.query_one(open, &[]).await?.try_get::<_, i64>(0)? {
                0 => return Ok(()),
                left if began.elapsed() > QUIET_DEADLINE => bail!("{left} orders have not come to their end"),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}
