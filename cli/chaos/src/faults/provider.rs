//! The payment provider fails. A row in the payment database, which the sandbox reads with every call, tells it to, and for
//! how long, so that the fault ends even if this program dies.
//!
//! No client that places an order may notice: a payment that can't be made now waits, and is made once, also where the
//! provider took the money and its answer was lost.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use rand::rngs::StdRng;

use crate::fault::{Blast, Fault, Struck};
use crate::group::Group;
use crate::service::Service;
use crate::stage::Stage;

/// Longer than one pause between two deliveries that are held back.
const AWAY: Duration = Duration::from_secs(20);
const SLOW: Duration = Duration::from_secs(30);
/// The longest pause between two deliveries, and a call that still waits for its answer.
const AFTERWARDS: Duration = Duration::from_secs(12);

/// It misbehaves from now on, for so many seconds.
const TELL: &str = "
    UPDATE app.sandbox_behaviour SET mode = $1, until = clock_timestamp() + $2 * interval '1 second'
    RETURNING (SELECT count(*) FROM app.sandbox_ledger)";
/// It behaves again, unless somebody else told it something meanwhile.
const END: &str = "UPDATE app.sandbox_behaviour SET mode = 'normal', until = '-infinity' WHERE mode = $1";
const CHARGES: &str = "SELECT count(*) FROM app.sandbox_ledger";

/// Customers come back from their banks, and nobody tells payment: half of them have authenticated.
const AUTHENTICATE: &str = "
    WITH ended AS (
        UPDATE app.sandbox_intents
        SET status = CASE hashtext(reference) % 2 WHEN 0 THEN 'succeeded' ELSE 'requires_payment_method' END
        WHERE status = 'requires_action'
        RETURNING reference, order_id, amount, currency, status
    )
    INSERT INTO app.sandbox_ledger (key, kind, reference, order_id, amount, currency, declined)
    SELECT 'challenge-' || reference, 'charge', reference, order_id, amount, currency,
           CASE status WHEN 'succeeded' THEN NULL ELSE 'authentication_failure' END
    FROM ended
    ON CONFLICT (reference) DO UPDATE SET key = excluded.key, declined = excluded.declined
    WHERE sandbox_ledger.declined IS NOT NULL";

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
        (
            "asks",
            "every customer has to authenticate at the payment provider, and no webhook tells what came of it",
            AWAY,
        ),
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

    fn blast(&self, _: &Stage) -> Blast {
        Blast::none()
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let database = stage.database(Service::Payment).await?;
            let told = database.query_opt(TELL, &[&self.mode, &self.lasts.as_secs_f64()]).await?;
            let before: i64 = told.context("the row of app.sandbox_behaviour is missing: put it back")?.get(0);
            tokio::time::sleep(self.lasts).await;
            let after: i64 = database.query_one(CHARGES, &[]).await?.get(0);
            database.execute(END, &[&self.mode]).await?;
            if self.mode == "asks" {
                let ended = database.execute(AUTHENTICATE, &[]).await?;
                return Ok(Struck::noted(format!(
                    "{ended} customers came back from their banks without a word to payment"
                )));
            }
            let (mode, seconds, entries) = (self.mode, self.lasts.as_secs(), after - before);
            Ok(Struck::noted(format!("the provider was {mode} for {seconds} s, and made {entries} entries meanwhile")))
        })
    }
}
