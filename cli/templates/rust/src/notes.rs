//! What clients ask for.

use std::time::Duration;

use towpath_sdk::{Context, Id, Problem, Request, Response, Time, UnitOfWork, prefer};

use crate::{
    domain::{self, Note},
    events, store,
};

const MAX_WAIT: Duration = Duration::from_secs(30);

/// `POST /notes`: the note and its event, in one unit of work.
pub(crate) async fn write(context: &Context, request: &Request) -> Result<Response, Problem> {
    let text = request.read_body(domain::text)?;
    let note = Note { id: Id::new(), text, written_at: Time::now(), words: None };
    let unit = store::insert(UnitOfWork::new(), &note).event(events::written(&note));
    context.relay().await?.run(unit).await?;
    Ok(Response::json(201, &note).header("location", &format!("/notes/{}", note.id)))
}

/// `GET /notes/{id}`. `Prefer: wait=5` waits until its words are counted, 5 seconds at most.
pub(crate) async fn read(context: &Context, request: &Request, id: &str) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("unknown_note", "There is no such note.");
    let id: Id = id.parse().map_err(|_| unknown())?;
    let relay = context.relay().await?;
    let rows = relay.query(store::by_id(id)).await?;
    let mut note = store::note(rows.first().ok_or_else(unknown)?)?;
    if let (None, Some(time)) = (note.words, prefer::wait(request, MAX_WAIT)) {
        let rows = relay.query(store::counted(id).wait([id.to_string()], time)).await?;
        if let Some(counted) = rows.first() {
            note = store::note(counted)?;
        }
    }
    Ok(Response::json(200, &note))
}
