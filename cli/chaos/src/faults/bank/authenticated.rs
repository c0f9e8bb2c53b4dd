//! Every customer has to authenticate, and comes back from their bank without a word to payment.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use rand::rngs::StdRng;

use super::AUTHENTICATE;
use crate::fault::{Fault, Struck};
use crate::faults::provider::misbehave;
use crate::group::Group;
use crate::service::Service;
use crate::stage::Stage;

const LASTS: Duration = Duration::from_secs(20);
/// The first questions of payment's timer.
const AFTERWARDS: Duration = Duration::from_secs(12);

/// Half of them have authenticated, and only payment's own questions find out which.
pub(super) struct Authenticated;

impl Fault for Authenticated {
    fn name(&self) -> String {
        "provider-asks".into()
    }

    fn group(&self) -> Group {
        Group::Bank
    }

    fn about(&self) -> String {
        format!(
            "every customer has to authenticate at the payment provider for {} s, and no webhook tells what came of it",
            LASTS.as_secs()
        )
    }

    fn duration(&self) -> Duration {
        LASTS + AFTERWARDS
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let database = stage.database(Service::Payment).await?;
            misbehave(&database, "asks", LASTS).await?;
            let ended = database.query(AUTHENTICATE, &[]).await?.len();
            Ok(Struck::noted(format!("{ended} customers came back from their banks without a word to payment")))
        })
    }
}
