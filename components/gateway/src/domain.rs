//! The rules of the gateway: which service gets a request, which headers are forwarded, which response the client gets.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use http::{HeaderMap, HeaderName, Method, header::AUTHORIZATION};
use towpath_sdk::{
    Principal, Problem, Request, Response,
    outbound::{Answer, CallError},
    prefer,
    principal::PRINCIPAL,
};

/// The longest path and query that the gateway forwards.
const MAX_TARGET_BYTES: usize = 8 << 10;
/// How long the gateway waits for a service, beyond the wait that the client asked for. Services respond within two
/// seconds, also when a dependency is not available.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait that a client may ask for.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Headers of a single connection (RFC 9110, 7.6.1), and those that the host sets itself.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Prefixes of headers that only the platform sets: the gateway removes them from what clients send.
const INTERNAL: &[&str] = &["spin-", "towpath-", "ce-"];

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The gateway responds itself.
    Health,
    /// The component of this name.
    Service(&'static str),
}

/// Where a request goes.
///
/// # Errors
/// 404 for what isn't public, such as the relay's prefix; 405; 414.
pub fn route(request: &Request) -> Result<Route, Problem> {
    if request.path().len() + request.raw_query().len() > MAX_TARGET_BYTES {
        let detail = format!("Path and query may have {MAX_TARGET_BYTES} bytes at most.");
        return Err(Problem::new(414, "uri_too_long", detail));
    }
    let segments = request.segments();
    let route = match *segments.each() {
        ["healthz"] if request.method() == "GET" => return Ok(Route::Health),
        ["healthz"] => return Err(Problem::method_not_allowed("GET")),
        ["v1", "products", ..] => Route::Service("product"),
        ["v1", "inventory", ..] => Route::Service("inventory"),
        ["v1", "orders", ..] => Route::Service("order"),
        ["v1", "payments" | "providers", ..] => Route::Service("payment"),
        _ => return Err(Problem::no_such_path()),
    };
    match request.method() {
        "GET" | "POST" | "PUT" | "PATCH" | "DELETE" => Ok(route),
        _ => Err(Problem::method_not_allowed("GET, POST, PUT, PATCH, DELETE")),
    }
}

/// How long the gateway waits for the service.
#[must_use]
pub fn timeout(request: &Request) -> Duration {
    SERVICE_TIMEOUT + prefer::wait(request, MAX_WAIT).unwrap_or_default()
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The variable `identity` is `off`: nobody is asked.
    NotAsked,
    /// Whoever it is may ask this.
    Anybody,
    /// The one whom a token describes.
    Known(Box<Principal>),
}

/// The headers that a service gets: of the client's those that are passed on, and who the client is. The token ends here.
#[must_use]
pub fn handed_on(headers: &HeaderMap, caller: &Caller) -> HeaderMap {
    let mut headers = passed_on(headers);
    if *caller != Caller::NotAsked {
        headers.remove(AUTHORIZATION);
    }
    if let Caller::Known(principal) = caller {
        headers.insert(PRINCIPAL, principal.header());
    }
    headers
}

/// The headers that the gateway forwards, in either direction.
#[must_use]
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let named = headers.get_all("connection").iter().filter_map(|value| value.to_str().ok());
    let named: Vec<_> = named.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let stays = |name: &HeaderName| {
        let name = name.as_str();
        // Some servers take the one letter for the other.
        let spelled = name.replace('_', "-");
        !HOP_BY_HOP.contains(&name)
            && !INTERNAL.iter().any(|prefix| spelled.starts_with(prefix))
            && !named.iter().any(|named| named == name)
    };
    headers.iter().filter(|(name, _)| stays(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The service's response, as the client gets it.
///
/// # Errors
/// 502 `service_failed` for a 5xx without a problem document: the service trapped.
pub fn answer(service: &str, answer: Answer) -> Result<Response, Problem> {
    let said = |what: &str| answer.headers.get("content-type").is_some_and(|kind| kind.as_bytes() == what.as_bytes());
    if answer.status >= 500 && !said("application/problem+json") {
        return Err(failed(format!("{service} answered {} without a problem document", answer.status)));
    }
    let mut response = Response::new(answer.status).with_body(answer.body);
    for (name, value) in &passed_on(&answer.headers) {
        response = response.header(name.as_str(), value.to_str().unwrap_or_default());
    }
    if answer.status == 503 && response.get_header("retry-after").is_none() {
        response = response.header("retry-after", "1");
    }
    Ok(response)
}

/// The header of every answer about orders and payments that says who is paid, where it is nobody.
pub const PAYMENT_PROVIDER: &str = "towpath-payment-provider";

/// Whether the answers of a service say who is paid.
#[must_use]
pub fn is_about_payments(service: &str) -> bool {
    matches!(service, "order" | "payment")
}

/// The response of such a service, with the header that says that nobody is paid while the payment provider is the sandbox.
#[must_use]
pub fn named(response: Response, payment_provider: &str) -> Response {
    match payment_provider.trim() {
        "sandbox" => response.header(PAYMENT_PROVIDER, "sandbox"),
        _ => response,
    }
}

/// The response to a client whose service gave none: 503 `unavailable` if nothing happened and trying again helps, 503
/// `outcome_unknown` if the request may have been carried out, 502 `service_failed` if the response broke off.
#[must_use]
pub fn unanswered(service: &str, method: &Method, error: &CallError) -> Problem {
    let cause = format!("{service}: {error}");
    match error {
        CallError::NotSent(_) => {
            Problem::unavailable("unavailable", "The service behind this path can't be reached.", cause)
        }
        CallError::TimedOut(_) if method.is_safe() => {
            Problem::unavailable("unavailable", "The service behind this path did not respond in time.", cause)
        }
        CallError::TimedOut(_) => Problem::outcome_unknown(cause),
        CallError::Interrupted(_) | CallError::TooLarge => failed(cause),
    }
}

/// 502: a service failed.
fn failed(cause: String) -> Problem {
    Problem::new(502, "service_failed", "The service behind this path failed.").because(cause)
}

/// The key of the rate limit: the client's IPv4 address, or the /64 network of its IPv6 address. Spin adds its header behind those
/// that the client sent, so the last one counts.
#[must_use]
pub fn client(request: &Request) -> String {
    let last = request.headers().get_all("spin-client-addr").iter().next_back();
    let address = last.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<SocketAddr>().ok());
    match address.map(|address| address.ip().to_canonical()) {
        Some(IpAddr::V4(address)) => format!("client:{address}"),
        Some(IpAddr::V6(address)) => {
            let network = Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
            format!("client:{network}")
        }
        None => "client:unknown".into(),
    }
}

/// 429: the client exceeds the rate limit.
#[must_use]
pub fn rate_limited(retry_after_ms: u64) -> Problem {
    let mut problem = Problem::new(429, "rate_limited", "Your address sends more requests than the rate limit allows.");
    problem.retry_after_seconds = Some(u32::try_from(retry_after_ms.div_ceil(1000).max(1)).unwrap_or(u32::MAX));
    problem
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn request(method: Method, target: &str, pairs: &[(&'static str, &str)]) -> Request {
        Request::new(method, target, headers(pairs), "")
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    fn refusal(method: Method, target: &str) -> (u16, &'static str) {
        let problem = route(&request(method, target, &[])).expect_err("refused");
        (problem.status, problem.code)
    }

    #[test]
    fn public_paths_have_their_service() {
        for (target, service) in [
            ("/v1/products", "product"),
            ("/v1/products?limit=5", "product"),
            ("/v1/inventory/A/adjustments", "inventory"),
            ("/v1/orders/1/cancel", "order"),
            ("/v1/payments/1", "payment"),
            ("/v1/providers/stripe/webhooks", "payment"),
        ] {
            assert_eq!(route(&request(Method::GET, target, &[])), Ok(Route::Service(service)), "{target}");
        }
        assert_eq!(route(&request(Method::HEAD, "/healthz", &[])), Ok(Route::Health));
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        for target in [
            "/",
            "/v1",
            "/v2/products",
            "/_relay/order/events",
            "/%5Frelay/order/events",
            "//v1/products",
            "/_peer/order/orders/1",
            "/_peer/payment/orders/1/client-secret",
            "/%5Fpeer/payment/orders/1/client-secret",
            "/v1/productsx",
        ] {
            assert_eq!(refusal(Method::POST, target), (404, "not_found"), "{target}");
        }
        assert_eq!(refusal(Method::POST, "/healthz"), (405, "method_not_allowed"));
        assert_eq!(refusal(Method::OPTIONS, "/v1/products"), (405, "method_not_allowed"));
        assert_eq!(refusal(Method::TRACE, "/v1/products"), (405, "method_not_allowed"));
        let long = format!("/v1/products?sku={}", "x".repeat(MAX_TARGET_BYTES));
        assert_eq!(refusal(Method::GET, &long), (414, "uri_too_long"));
    }

    #[test]
    fn only_end_to_end_headers_go_further() {
        let from = headers(&[
            ("accept", "a"),
            ("connection", "x-one, Keep-Alive"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("host", "h"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("spin-client-addr", "1.2.3.4:5"),
            ("towpath-traceparent", "forged"),
            ("towpath_traceparent", "forged"),
            ("ce-id", "forged"),
            ("idempotency-key", "k"),
        ]);
        let expected = headers(&[("accept", "a"), ("x-two", "2"), ("idempotency-key", "k")]);
        assert_eq!(passed_on(&from), expected);
    }

    fn alice() -> Caller {
        let (issuer, subject) = ("https://id.example".to_owned(), "alice".to_owned());
        Caller::Known(Box::new(Principal { issuer, subject, customer: None, scopes: [].into() }))
    }

    /// What a service reads of a request with these headers, by one whom the gateway knows, or not.
    fn arrives(pairs: &[(&'static str, &str)], caller: &Caller) -> Option<String> {
        let request = Request::new(Method::GET, "/", handed_on(&headers(pairs), caller), "");
        Principal::of(&request).ok().map(|principal| principal.subject)
    }

    #[test]
    fn nobody_outside_says_who_they_are() {
        let mallory = Principal {
            subject: "mallory".into(),
            ..match alice() {
                Caller::Known(alice) => *alice,
                _ => unreachable!(),
            }
        };
        let forged = mallory.header();
        let forged = forged.to_str().expect("text");
        for name in [
            "towpath-principal",
            "Towpath-Principal",
            "TOWPATH-PRINCIPAL",
            "towpath_principal",
            "Towpath_Principal",
            "towpath-Principal",
        ] {
            for caller in [Caller::NotAsked, Caller::Anybody] {
                assert_eq!(arrives(&[(name, forged)], &caller), None, "{name}");
                let left = handed_on(&headers(&[(name, forged)]), &caller);
                assert!(left.is_empty(), "{left:?}");
            }
            // Naming it in Connection doesn't take away the one of the gateway.
            for more in [("connection", name), ("x", "y")] {
                assert_eq!(arrives(&[(name, forged), more], &alice()).as_deref(), Some("alice"), "{name}");
            }
        }
    }

    #[test]
    fn a_token_ends_at_the_gateway() {
        let sent = headers(&[("authorization", "Bearer a.b.c"), ("accept", "a")]);
        for caller in [Caller::Anybody, alice()] {
            assert!(!handed_on(&sent, &caller).contains_key(AUTHORIZATION));
        }
        assert_eq!(handed_on(&sent, &Caller::NotAsked), sent, "nobody looks at it");
    }

    fn answered(status: u16, pairs: &[(&'static str, &str)]) -> Result<Response, Problem> {
        answer("order", Answer { status, headers: headers(pairs), body: Bytes::from_static(b"{}") })
    }

    #[test]
    fn a_service_that_gives_no_answer_is_told_from_one_that_may_have_acted() {
        let heard = |method: Method, error: CallError| {
            let problem = unanswered("order", &method, &error);
            (problem.status, problem.code, problem.retry_after_seconds)
        };
        let late = || CallError::TimedOut("5 s".into());
        assert_eq!(heard(Method::GET, late()), (503, "unavailable", Some(1)));
        assert_eq!(heard(Method::POST, late()), (503, "outcome_unknown", Some(1)));
        assert_eq!(heard(Method::POST, CallError::NotSent("refused".into())), (503, "unavailable", Some(1)));
        assert_eq!(heard(Method::GET, CallError::Interrupted("a trap".into())), (502, "service_failed", None));
    }

    #[test]
    fn a_service_that_fails_without_words_gets_some() {
        let problem = answered(500, &[]).expect_err("refused");
        assert_eq!((problem.status, problem.code), (502, "service_failed"));
        let said = ("content-type", "application/problem+json");
        assert_eq!(answered(500, &[said]).map(|response| response.status()), Ok(500));
        assert_eq!(answered(404, &[]).map(|response| response.status()), Ok(404));
        let away = answered(503, &[said]).expect("an answer");
        assert_eq!(away.get_header("retry-after"), Some("1"));
        let away = answered(503, &[said, ("retry-after", "7")]).expect("an answer");
        assert_eq!((away.get_header("retry-after"), away.body()), (Some("7"), &b"{}"[..]));
    }

    #[test]
    fn who_sells_for_nothing_says_so() {
        let header = |provider: &str| {
            let response = named(Response::new(200), provider);
            response.get_header(PAYMENT_PROVIDER).map(str::to_owned)
        };
        assert_eq!((header(" sandbox ").as_deref(), header("stripe")), (Some("sandbox"), None));
        assert!(is_about_payments("order") && is_about_payments("payment") && !is_about_payments("product"));
    }

    #[test]
    fn a_client_is_its_address() {
        let client = |address: &str| client(&request(Method::GET, "/", &[("spin-client-addr", address)]));
        assert_eq!(client("1.2.3.4:5678"), "client:1.2.3.4");
        assert_eq!(client("[::ffff:1.2.3.4]:5678"), "client:1.2.3.4");
        assert_eq!(client("[2001:db8:1:2:3:4:5:6]:5678"), "client:2001:db8:1:2::");
        assert_eq!(client("nobody"), "client:unknown");
    }

    #[test]
    fn an_address_that_a_client_sends_counts_for_nothing() {
        let forged = ("spin-client-addr", "6.6.6.6:6");
        let sent = request(Method::GET, "/", &[forged, forged, ("spin-client-addr", "1.2.3.4:5678")]);
        assert_eq!(client(&sent), "client:1.2.3.4");
    }

    #[test]
    fn who_asks_too_often_hears_when_to_come_back() {
        let retry = |ms| rate_limited(ms).retry_after_seconds;
        assert_eq!((retry(0), retry(1), retry(1000), retry(1001)), (Some(1), Some(1), Some(1), Some(2)));
        assert_eq!((rate_limited(1).status, rate_limited(1).code), (429, "rate_limited"));
    }

    #[test]
    fn a_wait_gets_its_time() {
        let timeout = |prefer: &str| timeout(&request(Method::POST, "/v1/orders", &[("prefer", prefer)]));
        assert_eq!(timeout("wait=5"), SERVICE_TIMEOUT + Duration::from_secs(5));
        assert_eq!(timeout("wait=3600"), SERVICE_TIMEOUT + MAX_WAIT);
    }

    proptest! {
        #[test]
        fn nothing_under_the_relays_prefix_is_ever_passed_on(rest in "[ -~]{0,40}") {
            let target = format!("/_relay/{rest}");
            let is_service = matches!(route(&request(Method::POST, &target, &[])), Ok(Route::Service(_)));
            prop_assert!(!is_service);
        }
    }
}
