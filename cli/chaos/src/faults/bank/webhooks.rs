//! Every customer has to authenticate, and the provider tells what came of it by webhooks: late, twice, in any order, and among
//! forged ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::json;
use sha2::Sha256;
use tokio::time::Instant;
use uuid::Uuid;

use super::{AUTHENTICATE, until_none};
use crate::fault::{Fault, Struck};
use crate::faults::provider::{end, tell};
use crate::group::Group;
use crate::service::Service;
use crate::stage::Stage;

/// The variable with the secret that webhooks are signed with: the one that the payment component gets it from.
const SECRET: &str = "SPIN_VARIABLE_STRIPE_WEBHOOK_SECRET";
const LASTS: Duration = Duration::from_secs(15);
/// How much later than what it tells a webhook may come.
const LATE_MS: u64 = 3_000;
/// By when every payment has moved on after its last webhook: a sweep a second asks about twenty, or about as many as it has
/// time for.
const BY: Duration = Duration::from_secs(30);
/// Webhooks that are on their way, or late, at once.
const MAX_AT_ONCE: usize = 128;
/// How long one is sent again while the edge is busy. Stripe does so for three days: what is refused so is late, and not lost.
const PATIENCE: Duration = Duration::from_secs(120);

const WAITING: &str = "
    SELECT count(*) FROM app.payments
    WHERE provider_reference = ANY ($1) AND status IN ('pending', 'requires_action', 'processing')";

/// What the webhooks say makes payment ask at once, and nothing else.
pub(super) struct Webhooks;

/// A webhook, and what becomes of it.
struct Webhook {
    body: String,
    signature: String,
    expected: u16,
}

impl Fault for Webhooks {
    fn name(&self) -> String {
        "provider-webhooks".into()
    }

    fn group(&self) -> Group {
        Group::Bank
    }

    fn about(&self) -> String {
        let seconds = LASTS.as_secs();
        format!(
            "for {seconds} s every customer has to authenticate, and webhooks tell what came of it: late, twice, in any order, \
             among forged ones"
        )
    }

    fn duration(&self) -> Duration {
        LASTS + BY
    }

    fn impossible(&self, _: &Stage) -> Option<String> {
        secret().is_none().then(|| format!("needs {SECRET} in the environment, of `towpath up` too"))
    }

    fn strike<'a>(&'a self, stage: &'a Stage, random: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let Some(secret) = secret() else { bail!("{SECRET} is not set") };
            let database = stage.database(Service::Payment).await?;
            let began = Instant::now();
            tell(&database, "asks", LASTS).await?;
            let (mut intents, mut wrong) = (Vec::new(), Vec::new());
            let (mut sent, mut is_last) = (0, false);
            while !is_last {
                tokio::time::sleep(Duration::from_secs(1)).await;
                is_last = began.elapsed() > LASTS;
                if is_last {
                    end(&database, "asks").await?;
                }
                let mut webhooks = Vec::new();
                for row in database.query(AUTHENTICATE, &[]).await? {
                    let (intent, status): (String, String) = (row.get(0), row.get(1));
                    webhooks.extend(about(&intent, &status, &secret, random));
                    intents.push(intent);
                }
                webhooks.shuffle(random);
                sent += webhooks.len();
                wrong.extend(deliver(stage, webhooks, random).await?);
            }
            let waiting = until_none(&database, WAITING, &[&intents], BY).await?;
            let mut struck =
                Struck::noted(format!("{} customers came back, and {sent} webhooks told so", intents.len()));
            struck.broken = wrong;
            if waiting > 0 {
                struck.broken.push(format!("{waiting} payments still wait {} s after their webhooks", BY.as_secs()));
            }
            Ok(struck)
        })
    }
}

fn secret() -> Option<String> {
    std::env::var(SECRET).ok().map(|secret| secret.trim().to_owned()).filter(|secret| !secret.is_empty())
}

/// What is told of an intent: what it was before, and what it is, each twice; what payment has no use for; and now and then
/// what nobody signed so.
fn about(intent: &str, status: &str, secret: &str, random: &mut StdRng) -> Vec<Webhook> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let became = if status == "succeeded" { "payment_intent.succeeded" } else { "payment_intent.payment_failed" };
    let mut webhooks = Vec::new();
    for (kind, created) in
        [("payment_intent.created", now - 2), ("payment_intent.requires_action", now - 1), (became, now)]
    {
        let body = json!({
            "id": format!("evt_{}", Uuid::new_v4().simple()), "object": "event", "type": kind, "created": created,
            "livemode": false, "data": {"object": {"id": intent, "object": "payment_intent", "status": status}},
        });
        let body = body.to_string();
        for _ in 0..2 {
            webhooks.push(Webhook { signature: sign(&body, secret, now), body: body.clone(), expected: 200 });
        }
        let forged = match random.random_range(0..12) {
            0 => sign(&body, "of somebody else", now),
            1 => sign(&body, secret, now - 3_600),
            2 => sign("{}", secret, now),
            _ => continue,
        };
        webhooks.push(Webhook { signature: forged, body, expected: 400 });
    }
    webhooks
}

/// As Stripe does.
fn sign(body: &str, secret: &str, now: u64) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    let signature = mac.chain_update(format!("{now}.{body}")).finalize().into_bytes();
    let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={now},v1={hex}")
}

/// Sends them, each when it likes; what was answered wrongly.
async fn deliver(stage: &Stage, webhooks: Vec<Webhook>, random: &mut StdRng) -> Result<Vec<String>> {
    let client = reqwest::Client::new();
    let when: Vec<_> = webhooks.into_iter().map(|webhook| (random.random_range(0..LATE_MS), webhook)).collect();
    let url = format!("{}/v1/providers/stripe/webhooks", stage.urls[0]);
    let sent = stream::iter(when).map(|(late_ms, webhook)| {
        let (client, url) = (client.clone(), url.clone());
        async move {
            tokio::time::sleep(Duration::from_millis(late_ms)).await;
            send(&client, &url, &webhook).await
        }
    });
    let answers: Vec<Result<Option<String>>> = sent.buffer_unordered(MAX_AT_ONCE).collect().await;
    answers.into_iter().filter_map(Result::transpose).collect()
}

async fn send(client: &reqwest::Client, url: &str, webhook: &Webhook) -> Result<Option<String>> {
    let begun = Instant::now();
    loop {
        let request = client.post(url).header("content-type", "application/json");
        let request = request.header("stripe-signature", &webhook.signature).body(webhook.body.clone());
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        if status == webhook.expected {
            return Ok(None);
        }
        if !matches!(status, 429 | 503) || begun.elapsed() > PATIENCE {
            return Ok(Some(format!(
                "a webhook was answered {status} instead of {} after {:.1} s: {}",
                webhook.expected,
                begun.elapsed().as_secs_f64(),
                webhook.body
            )));
        }
        let asked = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        tokio::time::sleep(asked.map_or(super::LOOK, Duration::from_secs)).await;
    }
}
