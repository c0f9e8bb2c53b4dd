//! Cuts connections at the moments after which the client can't know whether its request took effect.
//!
//! A cut hits one request, drawn by chance among those that pass, so it can be any step of any order.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::BoxFuture;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::timeout;
use towpath_fault_proxy::{Fate, PRODUCE, PostgresMessage, Protocol, Proxy};

use crate::fault::{Blast, Fault, Struck};
use crate::group::Group;
use crate::service::Service;
use crate::stage::Stage;

/// How long connections are cut.
const LASTS: Duration = Duration::from_secs(7);
/// After one cut and before the next: a client that tries again at once may be hit again, but not for ever.
const PAUSE: Duration = Duration::from_millis(300);
/// So many requests pass at most before one is hit.
const MAX_PASSED: usize = 12;
/// On a line that is used at all something passes in this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// PostgreSQL lets go of a transaction that it hears nothing of after this: `idle_in_transaction_timeout_ms`.
const UNNOTICED: Duration = Duration::from_secs(5);

/// Where and when.
#[derive(Debug, Clone, Copy)]
enum Cut {
    ClientRelay,
    BeforeCommit(Service),
    AfterCommit(Service),
    KafkaAck,
    ComponentAnswer,
}

/// The services that commit something for every order. Nobody changes a product meanwhile.
const COMMITTING: [Service; 3] = [Service::Inventory, Service::Order, Service::Payment];

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let commits = COMMITTING.into_iter().flat_map(|service| [Cut::BeforeCommit(service), Cut::AfterCommit(service)]);
    let all = [Cut::ClientRelay, Cut::KafkaAck, Cut::ComponentAnswer].into_iter().chain(commits);
    all.map(|cut| Box::new(cut) as _).collect()
}

impl Fault for Cut {
    fn name(&self) -> String {
        match self {
            Self::ClientRelay => "cut-client-relay".to_owned(),
            Self::BeforeCommit(service) => format!("cut-before-commit-{}", service.name()),
            Self::AfterCommit(service) => format!("cut-after-commit-{}", service.name()),
            Self::KafkaAck => "cut-kafka-ack".to_owned(),
            Self::ComponentAnswer => "cut-component-answer".to_owned(),
        }
    }

    fn group(&self) -> Group {
        Group::Cut
    }

    fn about(&self) -> String {
        let what = match self {
            Self::ClientRelay => "components' requests reach the relay, and their answers are lost".to_owned(),
            Self::BeforeCommit(service) => format!("COMMITs on their way to postgres-{} are lost", service.name()),
            Self::AfterCommit(service) => format!("postgres-{} gets COMMITs, and its answers are lost", service.name()),
            Self::KafkaAck => "Kafka gets records, and its acknowledgements are lost".to_owned(),
            Self::ComponentAnswer => "components get events, and their answers are lost".to_owned(),
        };
        format!("{what}, again and again for {} s", LASTS.as_secs())
    }

    fn duration(&self) -> Duration {
        match self {
            Self::BeforeCommit(_) => LASTS + UNNOTICED,
            _ => LASTS,
        }
    }

    /// A component that loses its relay's answer asks again under the same key, where it has one, and else says 503
    /// `outcome_unknown`: it may have happened. So may any call end. A relay that loses a COMMIT finds out what became of
    /// it; as long as the database itself doesn't know, calls to that service alone end in 503. What is lost between
    /// relay, Kafka and the components' events is said again, and no client knows of it.
    fn blast(&self, _: &Stage) -> Blast {
        match self {
            Self::ClientRelay => Blast::refusing(Service::ALL),
            Self::BeforeCommit(service) | Self::AfterCommit(service) => Blast::refusing([*service]),
            Self::KafkaAck | Self::ComponentAnswer => Blast::none(),
        }
    }

    fn strike<'a>(&'a self, stage: &'a Stage, random: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let (lines, lost) = (stage.lines()?, [Fate::Unanswered, Fate::AnswerLost]);
            let cuts = match self {
                Self::ClientRelay => cut(&lines.relays, &lost, |request| is_work(request.uri().path()), random).await,
                Self::BeforeCommit(service) => {
                    let lost = [Fate::Lost, Fate::LostUnnoticed];
                    cut([&lines.postgres[service]], &lost, PostgresMessage::commits, random).await
                }
                Self::AfterCommit(service) => {
                    cut([&lines.postgres[service]], &lost, PostgresMessage::commits, random).await
                }
                Self::KafkaAck => {
                    cut([&lines.kafka], &[Fate::AnswerLost], |request| request.api_key == PRODUCE, random).await
                }
                Self::ComponentAnswer => {
                    cut(&lines.components, &lost, |request| request.headers().contains_key("ce-id"), random).await
                }
            };
            Ok(Struck::noted(format!("{} connections were cut", cuts?)))
        })
    }
}

/// Units of work and queries: what an order needs. The limit of requests is asked far more often, and needs no answer.
fn is_work(path: &str) -> bool {
    matches!(path, "/v1/transactions" | "/v1/queries")
}

/// Lets one request after the other meet one of these fates. Answers how many.
async fn cut<'a, P: Protocol>(
    lines: impl IntoIterator<Item = &'a Proxy<P>>,
    fates: &[Fate],
    which: fn(&P::Request) -> bool,
    random: &mut StdRng,
) -> Result<usize> {
    let lines: Vec<&Proxy<P>> = lines.into_iter().collect();
    let (begun, mut cuts) = (Instant::now(), 0);
    while begun.elapsed() < LASTS || cuts == 0 {
        let (Some(line), Some(fate)) = (lines.choose(random), fates.choose(random)) else { break };
        let before = line.struck();
        line.once(random.random_range(0..=MAX_PASSED), fate.clone(), which);
        // Where little passes, another line may have more.
        let _ = timeout(LASTS / 3, line.until_struck(before + 1)).await;
        line.pass();
        cuts += line.struck() - before;
        ensure!(
            cuts > 0 || begun.elapsed() < PATIENCE,
            "nothing passed for {} s that could be cut",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(PAUSE).await;
    }
    Ok(cuts)
}
