//! What the relay delivers: events (CloudEvents 1.0 over HTTP, binary mode) and timers.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use towpath_wire::headers;

use crate::{Context, Problem, Request, UnitOfWork, idempotency::hex};

/// The longest inbox id that the relay takes.
const MAX_INBOX_BYTES: usize = 255;

/// An event that the relay delivers. It may be delivered again: the unit of work that handles it records its id in the
/// inbox ([`Delivery::unit`]), and a duplicate changes nothing.
///
/// ```no_run
/// use serde::Deserialize;
/// use towpath_sdk::{Context, Delivery, Problem, Request, Response};
///
/// #[derive(Deserialize)]
/// struct Created {
///     sku: String,
/// }
///
/// async fn hear(context: &Context, request: &Request) -> Result<Response, Problem> {
///     let delivery = Delivery::receive(context, request).await?;
///     if delivery.kind() == "product.created" {
///         let Created { sku } = delivery.data()?;
///         let unit = delivery.unit().step("INSERT INTO stock (sku) VALUES ($1)", [sku.into()]);
///         context.relay().await?.run(unit).await?;
///     }
///     Ok(Response::no_content())
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    id: String,
    source: String,
    kind: String,
    time: Option<String>,
    data: Value,
}

/// A timer that is due.
///
/// ```no_run
/// use towpath_sdk::{Context, Problem, Request, Response, TimerCall};
///
/// async fn expire(context: &Context, request: &Request) -> Result<Response, Problem> {
///     let timer = TimerCall::receive(context, request).await?;
///     assert_eq!(timer.name, "expire-orders");
///     Ok(Response::no_content())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerCall {
    /// Its name in relay.toml.
    pub name: String,
    /// When it was due, RFC 3339.
    pub due: String,
}

impl Delivery {
    /// Checks the relay's delivery token, and reads the event.
    ///
    /// # Errors
    /// 401 without the token; 400 `malformed_event` where it isn't an event; 503 where spin.toml doesn't give the component
    /// its token.
    pub async fn receive(context: &Context, request: &Request) -> Result<Self, Problem> {
        check_token(request.header("authorization"), &Tokens::of(context).await?)?;
        Self::read(request)
    }

    fn read(request: &Request) -> Result<Self, Problem> {
        let malformed = |what: &str| Problem::bad_request("malformed_event", format!("The event has no {what}."));
        let attribute = |name: &str| request.header(name).filter(|value| !value.is_empty()).map(str::to_owned);
        if attribute(headers::CE_SPECVERSION).as_deref() != Some("1.0") {
            return Err(malformed("ce-specversion 1.0"));
        }
        Ok(Self {
            id: attribute(headers::CE_ID).ok_or_else(|| malformed("ce-id"))?,
            source: attribute(headers::CE_SOURCE).ok_or_else(|| malformed("ce-source"))?,
            kind: attribute(headers::CE_TYPE).ok_or_else(|| malformed("ce-type"))?,
            time: attribute(headers::CE_TIME),
            data: request.event_json()?,
        })
    }

    /// CloudEvents `type`, such as `order.placed`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// CloudEvents `id`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// CloudEvents `time`, when it happened, RFC 3339.
    #[must_use]
    pub fn time(&self) -> Option<&str> {
        self.time.as_deref()
    }

    /// The data.
    ///
    /// # Errors
    /// 422 `malformed_event` if it does not have this shape. Repeating does not help: the relay makes a dead letter of it.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        T::deserialize(&self.data)
            .map_err(|error| Problem::unprocessable("malformed_event", format!("The data of {}: {error}.", self.kind)))
    }

    /// Its id in the inbox. The id of an event is unique within its source only.
    #[must_use]
    pub fn inbox_id(&self) -> String {
        let id = format!("{}#{}", self.source, self.id);
        if id.len() <= MAX_INBOX_BYTES { id } else { format!("sha256:{}", hex(&Sha256::digest(&id))) }
    }

    /// A unit of work that handles this event, and changes nothing if it is a duplicate.
    pub fn unit(&self) -> UnitOfWork {
        UnitOfWork::new().inbox(self.inbox_id())
    }
}

impl TimerCall {
    /// Checks the relay's delivery token, and reads the timer.
    ///
    /// # Errors
    /// 401 without the token; 400 `malformed_timer` where the call doesn't name a timer; 503 where spin.toml doesn't give the
    /// component its token.
    pub async fn receive(context: &Context, request: &Request) -> Result<Self, Problem> {
        check_token(request.header("authorization"), &Tokens::of(context).await?)?;
        let text = |name: &str| request.header(name).unwrap_or_default().to_owned();
        let call = Self { name: text(headers::TIMER), due: text(headers::TIMER_DUE) };
        if call.name.is_empty() {
            return Err(Problem::bad_request("malformed_timer", "The call doesn't name its timer."));
        }
        Ok(call)
    }
}

/// The tokens that open the component's routes for deliveries: two while the relay's token is rotated, the old one and the
/// new one in whichever order.
struct Tokens([String; 2]);

impl Tokens {
    /// The variables `delivery_token` and, where the manifest has it, `delivery_token_secondary`.
    async fn of(context: &Context) -> Result<Self, Problem> {
        let secondary = context.optional_variable("delivery_token_secondary").await;
        Ok(Self([context.variable("delivery_token").await?, secondary]))
    }
}

/// Refuses a delivery by its head, before its body is read: who shows no token must not make the component hold anything. A
/// component that has no token takes no deliveries, and its handler says so.
pub(crate) async fn check_head(headers: &HeaderMap) -> Result<(), Problem> {
    let Ok(token) = spin_sdk::variables::get("delivery_token").await else { return Ok(()) };
    let secondary = spin_sdk::variables::get("delivery_token_secondary").await.unwrap_or_default();
    check_token(headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()), &Tokens([token, secondary]))
}

/// Compares digests in constant time, and with every token, so that the time tells neither a token nor its length nor which
/// one was shown.
fn check_token(authorization: Option<&str>, tokens: &Tokens) -> Result<(), Problem> {
    let shown = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let shown = Sha256::digest(shown);
    let opens = tokens.0.iter().fold(Choice::from(0), |opens, token| {
        // An empty token in the manifest must not let requests without a token in.
        let usable = Choice::from(u8::from(!token.is_empty()));
        opens | (usable & shown.ct_eq(&Sha256::digest(token)))
    });
    if bool::from(opens) { Ok(()) } else { Err(Problem::unauthorized()) }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn request(pairs: &[(&'static str, &str)], body: &str) -> Request {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect();
        Request::new(Method::POST, "/_relay/thing/events", headers, body.to_owned())
    }

    const EVENT: &[(&str, &str)] = &[
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/thing"),
        ("ce-type", "thing.created"),
    ];

    fn check(request: &Request, tokens: [&str; 2]) -> Result<(), u16> {
        let shown = request.header("authorization");
        check_token(shown, &Tokens(tokens.map(str::to_owned))).map_err(|problem| problem.status)
    }

    #[test]
    fn only_the_right_token_opens() {
        let with = |value: &str| request(&[("authorization", value)], "");
        assert_eq!(check(&with("Bearer secret"), ["secret", ""]), Ok(()));
        for wrong in ["Bearer secre", "Bearer secret ", "Bearer ", "secret", "bearer secret", "Basic secret"] {
            assert_eq!(check(&with(wrong), ["secret", ""]), Err(401), "{wrong}");
        }
        assert_eq!(check(&request(&[], ""), ["secret", ""]), Err(401));
        assert_eq!(check(&with("Bearer "), ["", ""]), Err(401));
        assert_eq!(check(&request(&[], ""), ["", ""]), Err(401));
    }

    #[test]
    fn two_tokens_open_while_one_is_rotated() {
        let with = |token: &str| request(&[("authorization", &format!("Bearer {token}"))], "");
        for tokens in [["old", "new"], ["new", "old"]] {
            assert_eq!(check(&with("old"), tokens), Ok(()), "{tokens:?}");
            assert_eq!(check(&with("new"), tokens), Ok(()), "{tokens:?}");
            assert_eq!(check(&with("other"), tokens), Err(401), "{tokens:?}");
            assert_eq!(check(&with(""), tokens), Err(401), "{tokens:?}");
        }
        assert_eq!(check(&with("old"), ["new", ""]), Err(401), "the rotation is over");
    }

    #[test]
    fn an_event_is_read() {
        let event = Delivery::read(&request(EVENT, r#"{"n": 7}"#)).expect("an event");
        assert_eq!((event.kind(), event.inbox_id().as_str()), ("thing.created", "/thing#1"));
        assert_eq!(event.data::<Value>().expect("data")["n"], 7);
        let problem = event.data::<Vec<u8>>().expect_err("refused");
        assert_eq!((problem.status, problem.code), (422, "malformed_event"));
    }

    #[test]
    fn what_lacks_an_attribute_is_no_event() {
        for &(missing, _) in &EVENT[1..] {
            let pairs: Vec<_> = EVENT.iter().copied().filter(|&(name, _)| name != missing).collect();
            let problem = Delivery::read(&request(&pairs, "{}")).expect_err("refused");
            assert_eq!((problem.status, problem.code), (400, "malformed_event"), "{missing}");
        }
        assert_eq!(Delivery::read(&request(EVENT, "{")).expect_err("refused").code, "malformed_json");
    }

    #[test]
    fn inbox_ids_are_bounded_and_differ() {
        let id = |source: &str| {
            let mut pairs = EVENT.to_vec();
            pairs[3].1 = source;
            Delivery::read(&request(&pairs, "{}")).expect("an event").inbox_id()
        };
        let (long, longer) = ("x".repeat(300), "x".repeat(301));
        assert!(id(&long).len() <= MAX_INBOX_BYTES);
        assert_ne!(id(&long), id(&longer));
        assert_ne!(id("/a"), id("/b"));
    }
}
