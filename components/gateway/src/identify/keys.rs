//! The keys of the issuers: held by this instance, kept by the relay's cache for all of them, read from the issuer.
//!
//! Keys are read again when they are not fresh any more, and when a token names one that is not there. An issuer that is away is
//! not noticed until its keys are too old.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use towpath_identity::{Issuer, Keys, MAX_KEYS_BYTES};
use towpath_sdk::{
    Context, Problem, log,
    outbound::{Call, call},
};

use super::remembered;

/// Keys that are older are read again. A key that an issuer takes back counts for as long.
const FRESH_SECONDS: u64 = 300;
/// Keys that are older don't count, although the issuer does not answer.
const MAX_AGE_SECONDS: u64 = 24 * 3600;
/// How long an issuer is left alone after it was asked, whatever tokens name.
const MIN_PAUSE_SECONDS: u64 = 5;
/// How far the clock of another gateway may be ahead.
const MAX_AHEAD_SECONDS: u64 = 60;
/// How long the relay's cache may take.
const CACHE_TIMEOUT: Duration = Duration::from_millis(100);
/// How long the issuer may take for each of its two answers, where there are no keys that count.
const ISSUER_TIMEOUT: Duration = Duration::from_millis(600);
/// The same, where there are some.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(200);
/// How often a request looks whether another one has got its answer.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What this instance knows of each issuer.
static ISSUERS: Mutex<BTreeMap<String, Known>> = Mutex::new(BTreeMap::new());

/// Keys, and when the issuer sent them.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) keys: Arc<Keys>,
    set: Value,
    read_at: u64,
}

/// What is known of an issuer.
#[derive(Debug, Default)]
struct Known {
    held: Option<Held>,
    asked_at: Option<u64>,
    is_asked: bool,
    failed: bool,
}

impl Held {
    fn read(set: Value, read_at: u64) -> Result<Self, String> {
        Ok(Self { keys: Arc::new(Keys::read(set.to_string().as_bytes())?), set, read_at })
    }

    fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.read_at)
    }

    fn is_fresh(&self, now: u64) -> bool {
        self.age(now) < FRESH_SECONDS
    }

    /// Until when a token counts unseen that was verified by these: as long as they are fresh, and a moment where they aren't and
    /// the issuer doesn't answer.
    pub(super) fn counts_until(&self, now: u64) -> u64 {
        self.read_at.saturating_add(FRESH_SECONDS).max(now.saturating_add(MIN_PAUSE_SECONDS))
    }

    fn counts(&self, now: u64) -> bool {
        self.age(now) < MAX_AGE_SECONDS
    }
}

impl Known {
    /// Takes these keys if they are newer. Where they are others, no token counts that was verified by those before.
    fn take(&mut self, newer: Held) {
        if self.held.as_ref().is_some_and(|held| held.read_at >= newer.read_at) {
            return;
        }
        if self.held.as_ref().is_some_and(|held| held.set != newer.set) {
            remembered::forget();
        }
        (self.held, self.failed) = (Some(newer), false);
    }

    /// Whether the issuer may be asked now: nobody asks it, nobody has a moment ago, and no keys are as new as that.
    fn may_ask(&self, now: u64) -> bool {
        let is_past = |at: u64| now >= at.saturating_add(MIN_PAUSE_SECONDS) || at > now + MAX_AHEAD_SECONDS;
        !self.is_asked
            && self.asked_at.is_none_or(is_past)
            && self.held.as_ref().is_none_or(|held| is_past(held.read_at))
    }
}

/// The keys of an issuer.
///
/// # Errors
/// 503 where there are none that count, and the issuer sends none.
pub(super) async fn of(context: &Context, issuer: &Issuer, now: u64) -> Result<Held, Problem> {
    if let Some(held) = held(issuer).filter(|held| held.is_fresh(now)) {
        return Ok(held);
    }
    look_into_the_cache(context, issuer, now).await;
    let counts = |held: &Held| held.counts(now);
    match held(issuer).filter(counts) {
        Some(held) if held.is_fresh(now) => return Ok(held),
        Some(_) => ask(context, issuer, REFRESH_TIMEOUT, now).await,
        None => {
            ask(context, issuer, ISSUER_TIMEOUT, now).await;
            wait(context, issuer).await;
        }
    }
    held(issuer).filter(counts).ok_or_else(|| away(issuer))
}

/// Keys of an issuer that are newer than these, since a token names one that is not among them.
///
/// # Errors
/// 503 where the issuer does not send its keys, so that nobody knows.
pub(super) async fn newer_than(
    context: &Context,
    issuer: &Issuer,
    old: &Held,
    now: u64,
) -> Result<Option<Held>, Problem> {
    let newer = || held(issuer).filter(|held| held.read_at > old.read_at);
    if let Some(newer) = newer() {
        return Ok(Some(newer));
    }
    look_into_the_cache(context, issuer, now).await;
    if let Some(newer) = newer() {
        return Ok(Some(newer));
    }
    ask(context, issuer, ISSUER_TIMEOUT, now).await;
    wait(context, issuer).await;
    match newer() {
        None if known(issuer, |known| known.failed) => Err(away(issuer)),
        newer => Ok(newer),
    }
}

/// Reads the keys from the issuer, if it may be asked now.
async fn ask(context: &Context, issuer: &Issuer, timeout: Duration, now: u64) {
    let Some(asking) = Asking::begin(issuer, now) else { return };
    match read(context, issuer, timeout, now).await {
        Ok(held) => {
            let record = json!({"read_at": held.read_at, "keys": held.set});
            known(issuer, |known| known.take(held));
            drop(asking);
            if let Ok(relay) = context.relay().await {
                let relay = relay.with_budget(context.budget.at_most(CACHE_TIMEOUT));
                // Without it, each instance asks for itself.
                let _ = relay.cache(&cache_key(issuer), &record, Duration::from_secs(MAX_AGE_SECONDS), &[]).await;
            }
        }
        Err(cause) => {
            known(issuer, |known| known.failed = true);
            let message = "the keys of an issuer can't be read: those before count until they are too old";
            log(&json!({"level": "warn", "message": message, "issuer": issuer.name(), "cause": cause}));
        }
    }
}

/// Waits for the request that asks the issuer, if one does.
async fn wait(context: &Context, issuer: &Issuer) {
    while known(issuer, |known| known.is_asked) && !context.budget.left().is_zero() {
        spin_sdk::time::sleep(LOOK_AGAIN).await;
    }
}

async fn read(context: &Context, issuer: &Issuer, timeout: Duration, now: u64) -> Result<Held, String> {
    let url = match issuer.keys() {
        Some(url) => url.to_owned(),
        None => {
            let url = issuer.description();
            issuer.described_keys(&get(context, &url, timeout).await?).map_err(|fault| format!("{url}: {fault}"))?
        }
    };
    let set = get(context, &url, timeout).await?;
    let set = serde_json::from_slice(&set).map_err(|error| format!("{url}: it is no JSON: {error}"))?;
    Held::read(set, now).map_err(|fault| format!("{url}: {fault}"))
}

async fn get(context: &Context, url: &str, timeout: Duration) -> Result<Bytes, String> {
    let headers = HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from_static("application/json"))]);
    let get = Call {
        method: Method::GET,
        url: url.to_owned(),
        headers,
        body: Bytes::new(),
        timeout: context.budget.at_most(timeout).left(),
        max_answer_bytes: MAX_KEYS_BYTES,
    };
    match call(get).await {
        Ok(answer) if answer.status == 200 => Ok(answer.body),
        Ok(answer) => Err(format!("{url} answers {}", answer.status)),
        Err(error) => Err(format!("{url} {error}")),
    }
}

async fn look_into_the_cache(context: &Context, issuer: &Issuer, now: u64) {
    let Ok(relay) = context.relay().await else { return };
    let relay = relay.with_budget(context.budget.at_most(CACHE_TIMEOUT));
    if let Ok(Some(record)) = relay.cached::<Value>(&cache_key(issuer)).await
        && let Some(held) = kept(record, now)
    {
        known(issuer, |known| known.take(held));
    }
}

/// The keys of a record of the cache.
fn kept(mut record: Value, now: u64) -> Option<Held> {
    let read_at = record.get("read_at")?.as_u64()?;
    // They would be fresh for ever.
    if read_at > now + MAX_AHEAD_SECONDS {
        return None;
    }
    Held::read(record.get_mut("keys")?.take(), read_at).ok()
}

fn cache_key(issuer: &Issuer) -> String {
    format!("keys:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(issuer.name())))
}

fn away(issuer: &Issuer) -> Problem {
    let cause = format!("there are no keys of {} that count, and it sends none", issuer.name());
    Problem::unavailable("unavailable", "The keys of the token's issuer can't be read.", cause)
}

fn held(issuer: &Issuer) -> Option<Held> {
    known(issuer, |known| known.held.clone())
}

fn known<T>(issuer: &Issuer, look: impl FnOnce(&mut Known) -> T) -> T {
    let mut issuers: MutexGuard<'_, _> = ISSUERS.lock().unwrap_or_else(PoisonError::into_inner);
    look(issuers.entry(issuer.name().to_owned()).or_default())
}

/// The one request that asks an issuer. Where it ends before the answer, its place is free.
struct Asking<'a>(&'a Issuer);

impl<'a> Asking<'a> {
    fn begin(issuer: &'a Issuer, now: u64) -> Option<Self> {
        let may = known(issuer, |known| {
            let may = known.may_ask(now);
            if may {
                (known.is_asked, known.asked_at) = (true, Some(now));
            }
            may
        });
        // Not before: it ends what it has not begun.
        may.then(|| Self(issuer))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        known(self.0, |known| known.is_asked = false);
    }
}

#[cfg(test)]
mod tests {
    use towpath_identity::Issuers;

    use super::*;

    fn set(kid: &str) -> Value {
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]})
    }

    fn read_at(at: u64) -> Held {
        Held::read(set("a"), at).expect("keys")
    }

    #[test]
    fn keys_are_fresh_then_count_then_are_too_old() {
        let held = read_at(1_000);
        let at = |age: u64| (held.is_fresh(1_000 + age), held.counts(1_000 + age));
        assert_eq!(at(FRESH_SECONDS - 1), (true, true));
        assert_eq!(at(FRESH_SECONDS), (false, true));
        assert_eq!(at(MAX_AGE_SECONDS - 1), (false, true));
        assert_eq!(at(MAX_AGE_SECONDS), (false, false));
    }

    #[test]
    fn an_issuer_is_asked_once_in_a_while_and_by_one_request() {
        let mut known = Known::default();
        assert!(known.may_ask(1_000));
        known.asked_at = Some(1_000);
        assert!(!known.may_ask(1_000 + MIN_PAUSE_SECONDS - 1) && known.may_ask(1_000 + MIN_PAUSE_SECONDS));
        known.is_asked = true;
        assert!(!known.may_ask(1_000 + MIN_PAUSE_SECONDS));
        // Another gateway asked.
        let known = Known { held: Some(read_at(1_000)), ..Known::default() };
        assert!(!known.may_ask(1_001) && known.may_ask(1_000 + MIN_PAUSE_SECONDS));
        // The clock went back by an hour.
        let known = Known { asked_at: Some(10_000), ..Known::default() };
        assert!(known.may_ask(6_400));
    }

    #[test]
    fn who_is_gone_leaves_the_question_to_others() {
        let issuers = r#"{"issuers": [{"issuer": "https://gone.example", "audience": "a"}]}"#;
        let issuers = Issuers::read(issuers).expect("right").expect("on");
        let issuer = &issuers.each()[0];
        let asking = Asking::begin(issuer, 1_000).expect("nobody asks");
        assert!(Asking::begin(issuer, 2_000).is_none(), "one asks");
        drop(asking);
        assert!(Asking::begin(issuer, 2_000).is_some());
    }

    #[test]
    fn newer_keys_take_the_place_of_older_ones_alone() {
        let mut known = Known::default();
        for (at, stays) in [(1_000, 1_000), (900, 1_000), (1_100, 1_100)] {
            known.take(read_at(at));
            assert_eq!(known.held.as_ref().map(|held| held.read_at), Some(stays));
        }
    }

    #[test]
    fn a_record_of_the_cache_is_checked_as_an_answer_is() {
        let kept = |record: Value| kept(record, 1_000).map(|held| held.read_at);
        assert_eq!(kept(json!({"read_at": 900, "keys": set("a")})), Some(900));
        for wrong in [
            json!(null),
            json!({"read_at": 900}),
            json!({"keys": set("a")}),
            json!({"read_at": "900", "keys": set("a")}),
            json!({"read_at": 900, "keys": {"keys": []}}),
            json!({"read_at": 1_000 + MAX_AHEAD_SECONDS + 1, "keys": set("a")}),
        ] {
            assert_eq!(kept(wrong.clone()), None, "{wrong}");
        }
    }
}
