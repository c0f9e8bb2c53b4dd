//! The payment provider fails. A row in the payment database, which the sandbox reads with every call, tells it to, and for
//! how long, so that the fault ends even if this program dies.
//!
//! No client that places an order may notice: a payment that can't be made now waits, and is made once, also where the
//! provider took the money and its answer was lost.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use tokio_postgres::Client;

use crate::fault::{Fault, Struck};
use crate::group::Group;
use crate::service::Service;
use crate::stage::Stage;

/// Longer than one pause between two deliveries that are held back.
const AWAY: Duration = Duration::from_secs(20);
const SLOW: Duration = Duration::from_secs(30);
/// Longer than a call takes between what it sees and what it writes.
const CALL: Duration = Duration::from_secs(1);
/// Within this it is called again: the longest pause between two deliveries, and a call that still waits for its answer.
const AFTERWARDS: Duration = Duration::from_secs(12);

/// It misbehaves from now on, for so many seconds.
const TELL: &str = "
    UPDATE app.sandbox_behaviour SET mode = $1, until = clock_timestamp() + $2 * interval '1 second'
    RETURNING (SELECT count(*) FROM app.sandbox_ledger)";
/// It behaves again, unless somebody else told it something meanwhile.
const END: &str = "UPDATE app.sandbox_behaviour SET mode = 'normal', until = '-infinity' WHERE mode = $1";
const CHARGES: &str = "SELECT count(*) FROM app.sandbox_ledger";

/// It misbehaves from now on; how many entries its books have.
pub(in crate::faults) async fn tell(database: &Client, mode: &str, lasts: Duration) -> Result<i64> {
    let told = database.query_opt(TELL, &[&mode, &lasts.as_secs_f64()]).await?;
    Ok(told.context("the row of app.sandbox_behaviour is missing: put it back")?.get(0))
}

/// It behaves again, and every call that has seen it misbehave is over.
pub(in crate::faults) async fn end(database: &Client, mode: &str) -> Result<()> {
    database.execute(END, &[&mode]).await?;
    tokio::time::sleep(CALL).await;
    Ok(())
}

/// It misbehaves for so long.
pub(in crate::faults) async fn misbehave(database: &Client, mode: &str, lasts: Duration) -> Result<()> {
    tell(database, mode, lasts).await?;
    tokio::time::sleep(lasts).await;
    end(database, mode).await
}

/// The sandbox is in one of its modes.
struct Misbehaves {
    mode: &'static str,
    about: &'static str,
    lasts: Duration,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let modes = [
        ("gone", "the payment provider can't be reached", AWAY),
        ("slow", "the payment provider takes the money, and its answers are lost", SLOW),
        ("500", "the payment provider answers 500, and keeps these answers under their keys", AWAY),
        ("429", "the payment provider answers 429 with Retry-After", AWAY),
        ("409", "the payment provider says of every key that another call is at work under it", AWAY),
    ];
    modes.into_iter().map(|(mode, about, lasts)| Box::new(Misbehaves { mode, about, lasts }) as _).collect()
}

impl Fault for Misbehaves {
    fn name(&self) -> String {
        format!("provider-{}", self.mode)
    }

    fn group(&self) -> Group {
        Group::Provider
    }

    fn about(&self) -> String {
        format!("{} for {} s", self.about, self.lasts.as_secs())
    }

    fn duration(&self) -> Duration {
        self.lasts + AFTERWARDS
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let database = stage.database(Service::Payment).await?;
            let before = tell(&database, self.mode, self.lasts).await?;
            tokio::time::sleep(self.lasts).await;
            let after: i64 = database.query_one(CHARGES, &[]).await?.get(0);
            end(&database, self.mode).await?;
            let (mode, seconds, entries) = (self.mode, self.lasts.as_secs(), after - before);
            Ok(Struck::noted(format!("the provider was {mode} for {seconds} s, and made {entries} entries meanwhile")))
        })
    }
}
