//! Every customer has to authenticate, and leaves.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use uuid::Uuid;

use super::until_none;
use crate::fault::{Fault, Struck};
use crate::faults::provider::misbehave;
use crate::group::Group;
use crate::service::Service;
use crate::stage::Stage;

const LASTS: Duration = Duration::from_secs(15);
/// By when their orders have expired, and the intents are cancelled: the timer of the order service comes every five seconds.
const BY: Duration = Duration::from_secs(30);

const LEFT: &str = "SELECT order_id FROM app.sandbox_intents WHERE status = 'requires_action'";

/// Their time runs out: longer ago than any order may wait. What was decided meanwhile stays.
const TIME_PASSES: &str = "
    UPDATE app.orders SET created_at = created_at - interval '11 years'
    WHERE id = ANY ($1) AND status IN ('pending', 'reserved')";
const OPEN: &str = "SELECT count(*) FROM app.orders WHERE id = ANY ($1) AND status IN ('pending', 'reserved')";
const PAYABLE: &str =
    "SELECT count(*) FROM app.sandbox_intents WHERE order_id = ANY ($1) AND status = 'requires_action'";
const CHARGED: &str = "
    SELECT count(*) FROM app.sandbox_ledger WHERE order_id = ANY ($1) AND kind = 'charge' AND declined IS NULL";

/// Nobody comes back: the orders wait until they expire, and cost nothing.
pub(super) struct Abandoned;

impl Fault for Abandoned {
    fn name(&self) -> String {
        "provider-abandoned".into()
    }

    fn group(&self) -> Group {
        Group::Bank
    }

    fn about(&self) -> String {
        let seconds = LASTS.as_secs();
        format!(
            "for {seconds} s every customer has to authenticate at the payment provider, and leaves; their time runs out"
        )
    }

    fn duration(&self) -> Duration {
        LASTS + BY
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let (payments, orders) = (stage.database(Service::Payment).await?, stage.database(Service::Order).await?);
            misbehave(&payments, "asks", LASTS).await?;
            let left: Vec<Uuid> = payments.query(LEFT, &[]).await?.iter().map(|row| row.get(0)).collect();
            let expired = orders.execute(TIME_PASSES, &[&left]).await?;
            let mut struck =
                Struck::noted(format!("{} customers left, and the time of {expired} orders ran out", left.len()));
            let open = until_none(&orders, OPEN, &[&left], BY).await?;
            if open > 0 {
                struck.broken.push(format!("{open} orders whose time ran out are open"));
            }
            let payable = until_none(&payments, PAYABLE, &[&left], BY).await?;
            if payable > 0 {
                struck.broken.push(format!("{payable} intents of orders that ended can still be paid"));
            }
            let charged: i64 = payments.query_one(CHARGED, &[&left]).await?.get(0);
            if charged > 0 {
                struck.broken.push(format!("{charged} customers who left were charged"));
            }
            Ok(struck)
        })
    }
}
