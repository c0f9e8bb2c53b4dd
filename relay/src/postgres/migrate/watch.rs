//! A migration may take hours, and nobody can tell that from a server that no longer answers. So another connection asks the
//! server meanwhile.

use std::time::{Duration, Instant};

use super::{ErrorKind, Result, connect};
use crate::config::PostgresUrl;

/// How long a server may take to let somebody in, and to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// What takes no longer needs no word.
const MOMENT: Duration = Duration::from_secs(1);
/// How often it is asked, and how often a person hears that the work goes on.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Does this work on the server of `admin`, as long as that answers.
pub(super) async fn over<T>(service: &str, admin: &PostgresUrl, work: impl Future<Output = Result<T>>) -> Result<T> {
    let begun = Instant::now();
    let looking = async {
        tokio::time::sleep(MOMENT).await;
        eprintln!("Waiting for the database of {service}, {admin}");
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            eprintln!("Waiting: the database of {service} has been migrating for {} s", begun.elapsed().as_secs());
            let looked = tokio::time::timeout(PATIENCE, look(admin)).await;
            // Why it refuses the one who looks is no matter: it answers.
            if looked.is_err() || matches!(looked, Ok(Err(ErrorKind::Silent(_)))) {
                return ErrorKind::Silent(Box::new(admin.clone()));
            }
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        silent = looking => Err(silent),
    }
}

async fn look(admin: &PostgresUrl) -> Result<()> {
    let client = connect(admin, admin.config()).await?;
    // A refusal is an answer too.
    let _ = client.simple_query("SELECT 1").await;
    Ok(())
}
