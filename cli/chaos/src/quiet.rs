//! Waits until a stack is at rest: everything that the run began has ended, or its deadline has passed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use towpath_audit::provider::{Account, Comparison};
use towpath_audit::{Answered, Databases, Scope};

use super::evidence::{Baseline, Evidence, priced, unpublished};
use super::judge::{Compared, at_rest};
use super::record::{Call, Witness};
use super::service::Service;
use super::stage::Stage;

/// How long everything may take after the last fault: deliveries are tried again at most half a minute apart.
const DEADLINE: Duration = Duration::from_secs(150);
/// How long payment may take to hear what its provider says, once every order has come to its end.
const COMPARED_BY: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(500);

/// Waits until the order service has heard of the products: until then an order needs the product service too.
pub(super) async fn prices(stage: &Stage, run: &str, products: usize) -> Result<()> {
    let begun = Instant::now();
    while priced(stage, run).await? < i64::try_from(products)? {
        if begun.elapsed() > DEADLINE {
            bail!("the order service does not hear of new products: see `towpath logs relay`");
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// What clients were told of, for the audit.
fn answered(witness: &Witness) -> Vec<Answered> {
    let placed = witness.seen.iter().filter(|seen| seen.call == Call::Place && seen.is_success());
    let order = |seen: &super::record::Seen| seen.reply().and_then(|reply| reply.order);
    let told = placed.filter_map(|seen| Some(Answered { id: order(seen)?, key: seen.key.clone() }));
    told.collect()
}

/// Waits until every order has reached its end, and audits the five invariants.
pub(super) async fn orders(stage: &Stage, witness: &Witness) -> Result<towpath_audit::Report> {
    towpath_audit::settled(&Databases::of(&stage.running()?), &Scope::all(), &answered(witness), DEADLINE).await
}

/// Waits until the payment provider and the payment service say the same of every payment and refund; what they say
/// differently at last.
pub(super) async fn provider(stage: &Stage) -> Result<Compared> {
    let (payments, stripe) = (stage.running()?.postgres_admin_url(Service::Payment.name()), Account::of(&stage.home)?);
    let folder = stage.home.path();
    let comparison = Comparison { payments: &payments, stripe: stripe.as_ref(), folder, grace: Duration::ZERO };
    let begun = Instant::now();
    loop {
        let mut differences = Vec::new();
        let summaries = comparison.run(&mut |difference| differences.push(difference), &|_| ()).await?;
        if differences.is_empty() || begun.elapsed() > COMPARED_BY {
            let compared = summaries.iter().map(|summary| summary.payments).sum();
            return Ok(Compared { compared, differences });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until what goes on beside the orders rests too, and gathers the evidence.
pub(super) async fn evidence(stage: &Stage, run: &str, baseline: &Baseline) -> Result<Evidence> {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE && unpublished(stage).await? > 0 {
        tokio::time::sleep(LOOK).await;
    }
    loop {
        let evidence = Evidence::gather(stage, run, baseline).await?;
        if at_rest(&evidence) || begun.elapsed() >= DEADLINE {
            return Ok(evidence);
        }
        tokio::time::sleep(LOOK).await;
    }
}
