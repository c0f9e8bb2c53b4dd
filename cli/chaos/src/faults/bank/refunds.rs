//! A bank works on every refund: some succeed, some fail, and some fail after they had succeeded.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use tokio_postgres::Client;

use super::until_none;
use crate::fault::{Fault, Struck};
use crate::faults::provider::misbehave;
use crate::group::Group;
use crate::service::Service;
use crate::stage::Stage;

const LASTS: Duration = Duration::from_secs(20);
/// By when payment has heard what became of them: its timer comes every five seconds, and asks about twenty.
const BY: Duration = Duration::from_secs(30);

/// The bank ends its work: a third of the refunds fails.
const ENDS: &str = "
    UPDATE app.sandbox_ledger
    SET status = CASE abs(hashtext(reference)) % 3 WHEN 0 THEN 'failed' ELSE 'succeeded' END
    WHERE kind = 'refund' AND status = 'pending'
    RETURNING reference";
/// Later it sends another third back.
const SENDS_BACK: &str = "
    UPDATE app.sandbox_ledger SET status = 'failed'
    WHERE reference = ANY ($1) AND status = 'succeeded' AND abs(hashtext(reference)) % 3 = 1
    RETURNING reference";
/// The hours pass after which payment asks, and so does whoever waits for a refund that payment doesn't know yet.
const TIME_PASSES: &str = "
    UPDATE app.refunds SET ask_at = clock_timestamp()
    WHERE provider_reference = ANY ($1) AND ask_at > clock_timestamp()";
/// Those of which payment says something else than the bank.
const UNHEARD: &str = "
    SELECT count(*)
    FROM app.sandbox_ledger AS l
    LEFT JOIN app.refunds AS r ON r.provider_reference = l.reference
    LEFT JOIN app.payments AS p ON p.id = r.payment_id
    WHERE l.reference = ANY ($1)
      AND (r.status, p.status) IS DISTINCT FROM
          (l.status, CASE l.status WHEN 'failed' THEN 'needs_attention' ELSE 'refunded' END)";
/// What docs/payments.md tells a person to do about those that failed: the money went back in another way.
const A_PERSON_SETTLES: &str = "
    WITH theirs AS (
        UPDATE app.sandbox_ledger SET status = 'succeeded' WHERE reference = ANY ($1) AND status = 'failed'
        RETURNING reference
    ), ours AS (
        UPDATE app.refunds AS r
        SET status = 'succeeded', provider_code = NULL, provider_reference = 'by hand'
        FROM theirs WHERE r.provider_reference = theirs.reference
        RETURNING r.payment_id
    )
    UPDATE app.payments AS p SET status = 'refunded', provider_code = NULL, updated_at = now()
    FROM ours WHERE p.id = ours.payment_id AND p.status = 'needs_attention'";

/// Nobody is told that the money is back before it is, and a person hears of what failed.
pub(super) struct Refunds;

impl Fault for Refunds {
    fn name(&self) -> String {
        "provider-refunds".into()
    }

    fn group(&self) -> Group {
        Group::Bank
    }

    fn about(&self) -> String {
        let seconds = LASTS.as_secs();
        format!(
            "for {seconds} s a bank works on every refund; a third fails then, and another third after it had succeeded"
        )
    }

    fn duration(&self) -> Duration {
        LASTS + BY
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let database = stage.database(Service::Payment).await?;
            misbehave(&database, "refunds", LASTS).await?;
            let refunds = names(&database, ENDS, None).await?;
            let mut struck = Struck::default();
            heard(&database, &refunds, "what became of", &mut struck).await?;
            let back = names(&database, SENDS_BACK, Some(&refunds)).await?;
            heard(&database, &back, "that a bank sent back", &mut struck).await?;
            let settled = database.execute(A_PERSON_SETTLES, &[&refunds]).await?;
            let (all, later) = (refunds.len(), back.len());
            struck.note = format!(
                "{all} refunds were pending, {later} of them failed after they had succeeded; a person settled {settled}"
            );
            Ok(struck)
        })
    }
}

async fn names(database: &Client, sql: &str, among: Option<&[String]>) -> Result<Vec<String>> {
    let rows = match among {
        Some(among) => database.query(sql, &[&among]).await?,
        None => database.query(sql, &[]).await?,
    };
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Waits until payment says of these refunds what the bank says.
async fn heard(database: &Client, refunds: &[String], what: &str, struck: &mut Struck) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < BY {
        database.execute(TIME_PASSES, &[&refunds]).await?;
        if until_none(database, UNHEARD, &[&refunds], Duration::from_secs(2)).await? == 0 {
            return Ok(());
        }
    }
    let unheard: i64 = database.query_one(UNHEARD, &[&refunds]).await?.get(0);
    struck.broken.push(format!("payment doesn't know {what} {unheard} refunds"));
    Ok(())
}
