//! What a stack costs that nobody uses.

use std::time::Duration;

use anyhow::Result;

use super::cost::Meter;
use super::figure::Figure;

/// What the start left to do is done after it.
const SETTLED: Duration = Duration::from_secs(15);

/// Measures it over the time of all rounds of another figure.
pub(super) async fn run(time: Duration, meter: &Meter<'_>) -> Result<Vec<Figure>> {
    tokio::time::sleep(SETTLED).await;
    let before = meter.read().await?;
    tokio::time::sleep(time).await;
    let second = meter.read().await?.each(&before, time.as_secs_f64());
    let figure = |part: &str| {
        let percent = second.processor_ms.get(part).copied().unwrap_or_default() / 10.0;
        Figure::once(format!("processor of the {part}, idle"), "% of one", percent)
    };
    let all = Figure::once("processor of everything, idle", "% of one", second.processor_ms() / 10.0);
    Ok(vec![figure("relay"), figure("host"), all.costing(second).noting("each: each second".to_owned())])
}
