//! Who makes a request, by their token; and whether they may. What the variable `identity` means: docs/identity.md.

mod keys;
mod remembered;

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, header::AUTHORIZATION};
use towpath_identity::{Issuers, Refusal, Token, Verified};
use towpath_sdk::{Context, Principal, Problem, Request};

use crate::{access, domain::Caller};

/// The variable `identity`, once this instance has read it.
static ISSUERS: OnceLock<Option<Issuers>> = OnceLock::new();

/// Finds out who makes the request, and refuses those who may not.
///
/// # Errors
/// 400, 401, 403, 404 or 405 for whoever asks; 503 where the configuration is wrong, or the keys of an issuer can't be read.
pub(crate) async fn check(context: &Context, request: &Request) -> Result<Caller, Problem> {
    let Some(issuers) = issuers(context).await? else { return Ok(Caller::NotAsked) };
    let access = access::access(request.method(), &request.segments().each())?;
    if access == access::Access::Everybody {
        return Ok(Caller::Anybody);
    }
    let token = bearer(request.headers())?;
    let principal = principal(context, issuers, token).await?;
    access.check(&principal)?;
    Ok(Caller::Known(Box::new(principal)))
}

async fn issuers(context: &Context) -> Result<Option<&'static Issuers>, Problem> {
    if ISSUERS.get().is_none() {
        let read = Issuers::read(&context.variable("identity").await?);
        let _ = ISSUERS.set(read.map_err(|faults| Problem::misconfigured(format!("the variable identity: {faults}")))?);
    }
    Ok(ISSUERS.get().and_then(Option::as_ref))
}

/// The token of a request (RFC 6750, 2.1). No other place counts: what stands in a URL stands in logs.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, more) = (values.next(), values.next());
    if more.is_some() {
        return Err(Problem::bad_request("invalid_request", "The header Authorization must not be repeated."));
    }
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Problem::unauthorized()),
    }
}

async fn principal(context: &Context, issuers: &Issuers, text: &str) -> Result<Principal, Problem> {
    let (digest, now) = (remembered::digest(text), now());
    if let Some(principal) = remembered::find(&digest, now) {
        return Ok(principal);
    }
    let token = Token::read(text).map_err(refused)?;
    let issuer = issuers.of(&token).map_err(refused)?;
    let held = keys::of(context, issuer, now).await?;
    let (verified, counts_until) = match token.verify(issuer, &held.keys, now) {
        Err(Refusal::UnknownKey) => match keys::newer_than(context, issuer, &held, now).await? {
            Some(newer) => (token.verify(issuer, &newer.keys, now), newer.counts_until(now)),
            None => (Err(Refusal::UnknownKey), now),
        },
        verified => (verified, held.counts_until(now)),
    };
    let Verified { principal, until } = verified.map_err(refused)?;
    remembered::keep(digest, &principal, until.min(counts_until), now);
    Ok(principal)
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Invalid(reason) => Problem::invalid_token(reason),
        Refusal::UnknownKey => Problem::invalid_token("The key of the token is none of its issuer."),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(values: &[&str]) -> Result<String, (u16, &'static str)> {
        let values = values.iter().map(|value| (AUTHORIZATION, value.parse().expect("a value")));
        let headers = values.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        });
        bearer(&headers).map(str::to_owned).map_err(|problem| (problem.status, problem.code))
    }

    #[test]
    fn a_token_stands_in_one_header_alone() {
        assert_eq!(given(&["Bearer a.b.c"]), Ok("a.b.c".into()));
        assert_eq!(given(&["bearer  a.b.c"]), Ok("a.b.c".into()));
        for none in [&[][..], &[""], &["Bearer"], &["Basic YTpi"], &["a.b.c"], &["Bearera.b.c"]] {
            assert_eq!(given(none), Err((401, "unauthorized")), "{none:?}");
        }
        assert_eq!(given(&["Bearer a.b.c", "Bearer a.b.c"]), Err((400, "invalid_request")));
    }

    #[test]
    fn a_refusal_says_that_the_token_is_not_taken() {
        for refusal in [Refusal::UnknownKey, Refusal::Invalid("The token has expired.")] {
            let problem = refused(refusal);
            assert_eq!((problem.status, problem.code), (401, "invalid_token"));
        }
    }
}
