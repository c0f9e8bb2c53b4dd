//! `PATCH /v1/products/{id}`.

use towpath_sdk::{Context, Id, Problem, Request, Response, Time, etag::IfMatch};

use crate::{
    domain::{Patch, unknown_product},
    events,
    representation::show,
    store,
};

/// Changes a product if it still has the version that the client read.
///
/// # Errors
/// 428 without `If-Match`; 412 where the product has another version; 422 with every invalid field; 404.
pub(crate) async fn change(context: &Context, request: &Request, id: &str) -> Result<Response, Problem> {
    let id: Id = id.parse().map_err(|_| unknown_product())?;
    let demanded = IfMatch::required(request)?;
    let patch = request.read_body(Patch::read)?;
    let relay = context.relay().await?;
    let old = store::read_one(&relay.query(store::by_id(id)).await?)?;
    demanded.check(old.version)?;
    let new = patch.apply(&old, Time::now());
    if new.version != old.version {
        let unit = store::update(old.version, &new).event(events::updated(&new)).repeatable();
        relay.run(unit).await.map_err(store::problem)?;
    }
    Ok(show(200, &new))
}
