//! Waits that a person sees.

use std::fmt::Display;
use std::time::Duration;

/// What is done sooner needs no word.
const MOMENT: Duration = Duration::from_secs(1);

/// Does this work. Where it takes longer than a moment, says on stderr what it waits for.
pub(crate) async fn saying<T>(what: impl Display, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => done,
        () = tokio::time::sleep(MOMENT) => {
            eprintln!("Waiting for {what}");
            work.await
        }
    }
}
