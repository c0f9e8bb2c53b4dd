//! What the payment service believes, beside what the payment provider says.
//!
//! Both sides are listed from beginning to end, and may hold millions of rows. Memory doesn't hold them: every record goes to one
//! of [`spill::PARTS`] files by the name of its intent, and one file after the other is compared. What the provider has
//! and no payment names is looked up by its order, a page at a time. Nothing is written but these files.
//!
//! The provider is listed first and the payments are read last, so whatever changed meanwhile is seen by its age: a
//! difference about something that is younger than the grace time, or that payment is about to ask about, is in flight.

mod judge;
mod payments;
mod record;
mod report;
mod sandbox;
mod spill;
mod stripe;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tokio_postgres::Transaction;

pub use record::{Intent, Payment, Refund, Returned};
pub use report::{Difference, Kind, Summary};
pub use stripe::{Account, KEY_SECRET, KEY_VARIABLE, stripe_units};

use crate::databases::{begin, connect};
use judge::Judge;
use spill::Spill;

/// The payments that an intent's order has are looked up for so many intents at a time.
const MAX_LOOK_UP: usize = 500;

/// What a comparison needs to know.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// The payment database, as a role that may read everything.
    pub payments: &'a str,
    /// The account at Stripe, if there is one.
    pub stripe: Option<&'a Account>,
    /// A folder for files of some hundred bytes for each payment. They go when the comparison ends.
    pub folder: &'a Path,
    /// What is younger than this may be in flight.
    pub grace: Duration,
}

/// Who is compared with.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Sandbox,
    Stripe(&'a Account),
}

impl Comparison<'_> {
    /// Compares all payments and refunds of each provider, and tells each difference as it is found.
    ///
    /// # Errors
    /// Where a side can't be read to its end. Then nothing is known of what was not compared.
    pub async fn run(
        &self,
        differs: &mut (dyn FnMut(Difference) + Send),
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<Summary>> {
        let mut client = connect("payment", self.payments).await?;
        let used = payments::providers(&client).await?;
        if self.stripe.is_none() && used.iter().any(|name| name == "stripe") {
            anyhow::bail!(
                "there are payments at Stripe, and no key to list them with: set {} in the environment, or {} in the \
                 home's secrets.env",
                KEY_VARIABLE,
                KEY_SECRET
            );
        }
        let mut summaries = Vec::new();
        for source in std::iter::once(Source::Sandbox).chain(self.stripe.map(Source::Stripe)) {
            let begun = Instant::now();
            let mut spill = Spill::create(self.folder)?;
            if let Source::Stripe(account) = source {
                stripe::list(account, &mut spill, progress).await?;
            }
            // What changed after the listing began was not yet listed so.
            let (grace, now_s) = (self.grace + begun.elapsed(), now_s());
            let database = begin(&mut client).await?;
            if let Source::Sandbox = source {
                sandbox::list(&database, &mut spill).await.context("cannot read the sandbox's books")?;
            }
            let without = payments::list(&database, source.name(), &mut spill).await?;
            let listed = spill.counts();
            if matches!(source, Source::Sandbox) && listed.is_empty() && without == 0 {
                continue;
            }
            progress(&format!("{}: comparing {} payments", source.name(), listed.payments + without));
            let mut judge = Judge::new(source.name(), source.units(), now_s, grace.as_secs_f64(), differs);
            compare(&database, &mut spill, source.name(), &mut judge).await?;
            summaries.push(judge.summary(&listed, without));
        }
        Ok(summaries)
    }
}

async fn compare(database: &Transaction<'_>, spill: &mut Spill, provider: &str, judge: &mut Judge<'_>) -> Result<()> {
    let mut unnamed = Vec::new();
    for part in 0..spill::PARTS {
        for (_, group) in spill.read(part)? {
            unnamed.extend(judge.group(group));
            if unnamed.len() >= MAX_LOOK_UP {
                look_up(database, provider, &mut unnamed, judge).await?;
            }
        }
    }
    look_up(database, provider, &mut unnamed, judge).await
}

/// Intents that no payment names, with the payments of their orders.
async fn look_up(
    database: &Transaction<'_>,
    provider: &str,
    unnamed: &mut Vec<judge::Unnamed>,
    judge: &mut Judge<'_>,
) -> Result<()> {
    if unnamed.is_empty() {
        return Ok(());
    }
    let orders: Vec<_> = unnamed.iter().map(|unnamed| unnamed.order_id).collect();
    let payments = payments::of_orders(database, provider, &orders).await?;
    for unnamed in unnamed.drain(..) {
        let payment = payments.iter().find(|payment| payment.order_id == unnamed.order_id);
        judge.unnamed(&unnamed, payment);
    }
    Ok(())
}

impl Source<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Stripe(_) => "stripe",
        }
    }

    /// An amount of ours in the provider's units; none where it has no such unit.
    fn units(self) -> fn(i64, &str) -> Option<i64> {
        match self {
            Self::Sandbox => |amount, _| Some(amount),
            Self::Stripe(_) => stripe_units,
        }
    }
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
