//! `PATCH /v1/products/{id}`.

use serde_json::json;
use towpath_sdk::{
    Context, Id, IdempotencyKey, Outcome, Problem, Request, Response, StoredAnswer, Time, etag::IfMatch, request_hash,
};

use crate::{
    domain::{Patch, unknown_product},
    events,
    representation::{show, shown},
    store::{self, Wish},
};

const OPERATION: &str = "product.change";

/// Changes a product if it still has the version that the client read. That makes a repetition harmless, and 412; with an
/// idempotency key it gets the first answer.
///
/// # Errors
/// 428 without `If-Match`; 412 where the product has another version; 422 with every invalid field; 404.
pub(crate) async fn change(context: &Context, request: &Request, id: &str) -> Result<Response, Problem> {
    let id: Id = id.parse().map_err(|_| unknown_product())?;
    let key = IdempotencyKey::optional(request)?;
    let demanded = IfMatch::required(request)?;
    let patch = request.read_body(Patch::read)?;
    let hash = || {
        let body = request.json()?;
        let if_match = request.header("if-match");
        Ok(request_hash(&format!("PATCH /v1/products/{id}"), &json!({"if_match": if_match, "body": body})))
    };
    let hash: Result<String, Problem> = hash();
    let relay = context.relay().await?;
    let old = store::read_one(&relay.query(store::by_id(id)).await?)?;
    let new = patch.apply(&old, Time::now());
    let wish = match key {
        Some(key) => Some(Wish { key, hash: hash?, answer: shown(200, &new) }),
        None => None,
    };
    if let Err(stale) = demanded.check(old.version) {
        // Perhaps by this very request.
        let Some(wish) = wish else { return Err(stale) };
        let first = relay.first_answer(wish.key.within(OPERATION, None), &wish.hash).await?;
        return Ok(first.ok_or(stale)?.into_response(true));
    }
    let unit = match new.version == old.version {
        false => store::update(old.version, &new).event(events::updated(&new)),
        true if wish.is_none() => return Ok(show(200, &new)),
        true => store::unchanged(&old),
    };
    match relay.run(store::under(unit, OPERATION, wish.as_ref())).await.map_err(store::problem)? {
        Outcome::Replayed(first) if wish.is_some() => Ok(StoredAnswer::from_stored(first)?.into_response(true)),
        _ => Ok(show(200, &new)),
    }
}
