//! `POST /_relay/order/timers/expire-orders`: expires orders that were not paid in time.

use std::time::{Duration, Instant};

use serde_json::json;
use towpath_sdk::{Context, Id, Problem, Query, Request, Response, Time, TimerCall};

use crate::{
    domain::{Said, Seen},
    steps, store,
};

const MAX_BATCH: i64 = 100;
/// Ten years: no order waits for longer.
const MAX_AGE_SECONDS: u64 = 3_650 * 86_400;
/// The longest sweep: the relay waits for the response. The next one goes on where this one ended.
const MAX_SWEEP: Duration = Duration::from_secs(5);

/// Expires open orders that are too old, oldest first, each in a unit of work of its own: an order whose payment arrives
/// meanwhile is skipped, and delays no other.
///
/// # Errors
/// 503 where it can be done later.
pub(crate) async fn expire(context: &Context, request: &Request) -> Result<Response, Problem> {
    TimerCall::receive(context, request).await?;
    let seconds = context.variable("order_expiry_seconds").await?;
    let seconds: u64 = seconds.trim().parse().map_err(|_| {
        Problem::misconfigured(format!("the variable order_expiry_seconds is {seconds:?}, and no number of seconds"))
    })?;
    let (now, age) = (Time::now(), json!(seconds.min(MAX_AGE_SECONDS)));
    let relay = context.relay().await?;
    let began = Instant::now();
    while began.elapsed() < MAX_SWEEP {
        let rows = relay.query(Query::new(store::OPEN_SINCE, [now.into(), age.clone(), json!(MAX_BATCH)])).await?;
        let old = rows.map(|row| Ok::<(Id, Seen), Problem>((row.get("id")?, steps::seen(row)?)))?;
        let mut expired = 0;
        for (id, seen) in &old {
            expired += usize::from(steps::say(&relay, *id, seen, Said::Expired).await?);
        }
        // If no order of a batch could be expired, the next batch would be the same.
        if old.len() < usize::try_from(MAX_BATCH).unwrap_or(usize::MAX) || expired == 0 {
            break;
        }
    }
    Ok(Response::no_content())
}
