//! Stripe's [list of PaymentIntents](https://docs.stripe.com/api/payment_intents/list) and
//! [list of refunds](https://docs.stripe.com/api/refunds/list), page by page.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, RETRY_AFTER};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use towpath_stack::backoff::Backoff;
use towpath_stack::home::Home;
use towpath_stack::secrets::Secrets;
use uuid::Uuid;

use super::record::{Intent, Refund};
use super::spill::{Record, Spill};

/// The variable with the secret key: the one that the payment component gets it from.
pub const KEY_VARIABLE: &str = "SPIN_VARIABLE_STRIPE_KEY";
/// The same in secrets.env.
pub const KEY_SECRET: &str = "STRIPE_KEY";
/// The version of the interface that this reads, as payment's.
const VERSION: &str = "2025-03-31.basil";
/// Objects of a page: Stripe's largest.
const MAX_PAGE: usize = 100;
/// The largest answer: a page of objects of 40 KiB.
const MAX_ANSWER_BYTES: usize = 4 << 20;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Tries of one page.
const MAX_TRIES: u32 = 6;
/// The longest wait that Stripe may ask for between two tries.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The waits where Stripe asks for none.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), MAX_WAIT);
/// Pages between two lines of progress.
const PAGES_A_LINE: u64 = 100;

/// An account at Stripe. Its `Debug` hides the key.
#[derive(Clone)]
pub struct Account {
    /// Where it answers: `https://api.stripe.com`.
    pub url: String,
    /// The secret key.
    pub key: String,
}

impl Account {
    /// The one of this stack, if it has one. Its key is no argument: everybody on the machine can read those.
    ///
    /// # Errors
    /// Where the home's secrets can't be read.
    pub fn of(home: &Home) -> Result<Option<Self>> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let secrets = Secrets::load(home)?;
        let key = variable(KEY_VARIABLE).or_else(|| secrets.given(KEY_SECRET).map(str::to_owned));
        let url = variable("SPIN_VARIABLE_STRIPE_URL").unwrap_or_else(|| "https://api.stripe.com".into());
        Ok(key.map(|key| Self { url, key }))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("url", &self.url).finish_non_exhaustive()
    }
}

/// An amount in Stripe's units, which are not those of ISO 4217 for three currencies; none where Stripe has no such unit. The
/// payment component's `units.rs` has the table and its source; a test holds the two against each other.
#[must_use]
pub fn stripe_units(amount: i64, currency: &str) -> Option<i64> {
    match currency {
        "ISK" | "UGX" => amount.checked_mul(100),
        "MGA" => (amount % 100 == 0).then_some(amount / 100),
        _ => Some(amount),
    }
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
    has_more: bool,
}

#[derive(Default, Deserialize)]
struct Metadata {
    order_id: Option<String>,
}

impl Metadata {
    fn order(&self) -> Option<Uuid> {
        self.order_id.as_deref()?.parse().ok()
    }
}

#[derive(Deserialize)]
struct IntentObject {
    id: String,
    status: String,
    amount: i64,
    #[serde(default)]
    amount_received: i64,
    currency: String,
    created: i64,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct RefundObject {
    id: String,
    status: Option<String>,
    amount: i64,
    currency: String,
    created: i64,
    #[serde(default)]
    payment_intent: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

trait Object: DeserializeOwned {
    fn id(&self) -> &str;
}

impl Object for IntentObject {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Object for RefundObject {
    fn id(&self) -> &str {
        &self.id
    }
}

/// Spills all of it.
pub(super) async fn list(account: &Account, spill: &mut Spill, progress: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let stripe = Stripe::new(account)?;
    stripe
        .each("payment_intents", progress, |object: IntentObject| {
            let order_id = object.metadata.unwrap_or_default().order();
            let IntentObject { id, status, amount, amount_received, currency, created, .. } = object;
            let received = amount_received;
            #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in a double")]
            let created = created as f64;
            let intent = Intent { reference: id.clone(), order_id, status, amount, received, currency, created };
            spill.add(&id, &Record::Intent(intent))
        })
        .await?;
    stripe
        .each("refunds", progress, |object: RefundObject| {
            let order_id = object.metadata.unwrap_or_default().order();
            let RefundObject { id, status, amount, currency, created, payment_intent, .. } = object;
            let status = status.unwrap_or_else(|| "pending".into());
            #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in a double")]
            let created = created as f64;
            let refund = Refund { reference: id.clone(), order_id, status, amount, currency, created };
            // A refund of a charge without an intent is none of ours; it stays alone under its own name.
            spill.add(payment_intent.as_deref().unwrap_or(&id), &Record::Refund(refund))
        })
        .await
}

struct Stripe<'a> {
    account: &'a Account,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

/// Why a try of a page failed.
enum Failure {
    /// Another one may succeed, after this long if the answer said so.
    Later(anyhow::Error, Option<Duration>),
    /// None can.
    Final(anyhow::Error),
}

impl<'a> Stripe<'a> {
    fn new(account: &'a Account) -> Result<Self> {
        let provider = rustls::crypto::ring::default_provider;
        let roots = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider());
        let connector = match roots {
            Ok(roots) => roots.https_or_http().enable_http1().build(),
            // As in a minimal container.
            Err(_) => {
                let roots = HttpsConnectorBuilder::new().with_provider_and_webpki_roots(provider())?;
                roots.https_or_http().enable_http1().build()
            }
        };
        Ok(Self { account, client: legacy::Builder::new(TokioExecutor::new()).build(connector) })
    }

    /// Calls `keep` with every object of a list.
    async fn each<T: Object>(
        &self,
        list: &str,
        progress: &(dyn Fn(&str) + Sync),
        mut keep: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        let (mut after, mut pages, mut count): (Option<String>, u64, u64) = (None, 0, 0);
        loop {
            let page: List<T> = self.page(list, after.as_deref()).await?;
            let last = page.data.last().map(|object| object.id().to_owned());
            ensure!(
                after.is_none() || last != after,
                "Stripe's list of {list} does not go on after {}",
                after.as_deref().unwrap_or_default()
            );
            for object in page.data {
                keep(object)?;
                count += 1;
            }
            pages += 1;
            if pages.is_multiple_of(PAGES_A_LINE) {
                progress(&format!("stripe: {count} {list} listed"));
            }
            match (page.has_more, last) {
                (false, _) => break,
                (true, Some(last)) => after = Some(last),
                (true, None) => bail!("Stripe's list of {list} says that it goes on, and is empty"),
            }
        }
        progress(&format!("stripe: {count} {list} listed, all of them"));
        Ok(())
    }

    async fn page<T: Object>(&self, list: &str, after: Option<&str>) -> Result<List<T>> {
        for tried in 1.. {
            let (error, asked) = match self.attempt(list, after).await {
                Ok(page) => return Ok(page),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Later(error, asked)) => (error, asked),
            };
            if tried == MAX_TRIES {
                return Err(error.context(format!("Stripe's list of {list} could not be read to its end")));
            }
            tokio::time::sleep(asked.unwrap_or(BACKOFF.after(tried)).min(MAX_WAIT)).await;
        }
        unreachable!("the last try returns")
    }

    async fn attempt<T: Object>(&self, list: &str, after: Option<&str>) -> Result<List<T>, Failure> {
        let after = after.map(|id| format!("&starting_after={id}")).unwrap_or_default();
        let url = format!("{}/v1/{list}?limit={MAX_PAGE}{after}", self.account.url.trim().trim_end_matches('/'));
        let request = url.parse::<Uri>().context("the URL of Stripe").and_then(|url| {
            let request = Request::get(url).header("stripe-version", VERSION);
            let request = request.header(AUTHORIZATION, format!("Bearer {}", self.account.key.trim()));
            request.body(Empty::new()).map_err(|_| anyhow::anyhow!("the key of Stripe can't stand in a header"))
        });
        let request = request.map_err(Failure::Final)?;
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, async {
            let answer = self.client.request(request).await.context("cannot reach Stripe")?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("Stripe's answer broke off: {error}"))?;
            anyhow::Ok((head, body.to_bytes()))
        });
        let answered = answered.await.unwrap_or_else(|_| Err(anyhow::anyhow!("Stripe does not answer")));
        let (head, body) = answered.map_err(|error| Failure::Later(error, None))?;
        let said = || anyhow::anyhow!("Stripe answers {}: {}", head.status, message(&body));
        match head.status {
            StatusCode::OK => serde_json::from_slice(&body)
                .map_err(|error| Failure::Final(anyhow::Error::new(error).context("Stripe's list can't be read"))),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Final(
                said().context("Stripe refuses the key: it needs to read PaymentIntents and refunds"),
            )),
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                let seconds = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
                Err(Failure::Later(said(), seconds.map(Duration::from_secs)))
            }
            _ => Err(Failure::Final(said())),
        }
    }
}

/// What an answer of Stripe's says to a person. It never repeats the whole key.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: Fault,
    }
    #[derive(Deserialize)]
    struct Fault {
        message: String,
    }
    serde_json::from_slice::<Refusal>(body).map_or_else(|_| "no reason".into(), |refusal| refusal.error.message)
}
