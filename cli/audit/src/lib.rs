#![doc = include_str!("../README.md")]

mod command;
mod databases;
mod judge;
pub mod provider;
mod read;
mod report;
mod scope;
mod snapshot;

use std::time::{Duration, Instant};

use anyhow::Result;

pub use command::{Args, command};
pub use databases::Databases;
pub use judge::{Answered, Rules, judge};
pub use report::{Finding, Invariant, Report};
pub use scope::Scope;
pub use snapshot::{
    AnswerRow, Held, LedgerRow, OrderRow, PaymentRow, PiecesRow, RefundRow, ReservationRow, SaleRow, Snapshot, StockRow,
};

/// How long an audit rests between two looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// Looks once: what changed in the last `rules.grace_s` seconds may be under way.
pub async fn once(databases: &Databases, scope: &Scope, rules: &Rules) -> Result<Report> {
    let mut rules = rules.clone();
    rules.answered.extend(scope.orders.iter().flatten().map(|&id| Answered { id, key: None }));
    Ok(judge(&databases.read(scope).await?, &rules))
}

/// Looks again and again until nothing is under way. What still is at the deadline is broken: no order may need longer, one
/// that waits for its customer neither.
/// What must not be even for a moment ends it at once, so that a moment's fault is not forgotten.
pub async fn settled(
    databases: &Databases,
    scope: &Scope,
    answered: &[Answered],
    deadline: Duration,
) -> Result<Report> {
    let begun = Instant::now();
    loop {
        let late = begun.elapsed() >= deadline;
        let grace_s = if late { 0.0 } else { f64::INFINITY };
        let rules = Rules { grace_s, answered: answered.to_vec(), may_wait: false };
        let report = once(databases, scope, &rules).await?;
        if late || report.is_settled() || report.is_lost() {
            return Ok(report);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
