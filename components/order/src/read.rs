//! `GET` of orders, one and many, and of their history.

use serde_json::{Value, json};
use towpath_sdk::{Context, Cursor, Id, Problem, Query, Request, Response, Time, parse};

use crate::{domain::Status, order::Order, secret, steps, store};

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;
/// Sorts after every UUIDv7: the cursor of the first page.
const BEGINNING: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";

/// `GET /v1/orders/{id}`. Who shows that the order is theirs gets the client secret too, while it waits for them.
///
/// # Errors
/// 404 `unknown_order`.
pub(crate) async fn one(context: &Context, request: &Request, id: Id) -> Result<Response, Problem> {
    let whose = context.whose(request).await?;
    let rows = context.relay().await?.query(Query::new(store::ORDER, [id.into(), whose.parameter()])).await?;
    let row = rows.first().ok_or_else(steps::unknown)?;
    let mut order = Order::read(row)?;
    if secret::is_owner(request, &row.get::<String>("idempotency_key")?) {
        order = secret::shown(context, order).await;
    }
    Ok(Response::json(200, &order))
}

/// `GET /_peer/order/orders/{id}`: for the payment service, which asks on nobody's behalf. The gateway passes nothing on to this
/// prefix.
///
/// # Errors
/// 404 `unknown_order`.
pub(crate) async fn for_peer(context: &Context, id: Id) -> Result<Response, Problem> {
    let rows = context.relay().await?.query(Query::new(store::ORDER, [id.into(), Value::Null])).await?;
    Ok(Response::json(200, &Order::read(rows.first().ok_or_else(steps::unknown)?)?))
}

/// `GET /v1/orders/{id}/history`.
///
/// # Errors
/// 404 `unknown_order`.
pub(crate) async fn history(context: &Context, request: &Request, id: Id) -> Result<Response, Problem> {
    let whose = context.whose(request).await?;
    let rows = context.relay().await?.query(Query::new(store::HISTORY, [id.into(), whose.parameter()])).await?;
    // Every order has an entry: placing writes the first one.
    if rows.is_empty() {
        return Err(steps::unknown());
    }
    let data = rows.map(|row| {
        let (at, kind) = (row.get::<Time>("at")?, row.get::<String>("type")?);
        let (event_id, detail) = (row.get::<String>("event_id")?, row.get::<Value>("detail")?);
        Ok::<_, Problem>(json!({"at": at, "type": kind, "event_id": event_id, "detail": detail}))
    })?;
    Ok(Response::json(200, &json!({ "data": data })))
}

/// The page of orders that a client asks for.
struct Page {
    customer_id: Option<String>,
    status: Option<&'static str>,
    limit: i64,
    cursor: Option<String>,
}

/// `GET /v1/orders`: newest first. New orders do not shift the pages.
///
/// # Errors
/// 422 with every invalid parameter; 400 `invalid_cursor`; 403 `foreign_customer`.
pub(crate) async fn many(context: &Context, request: &Request) -> Result<Response, Problem> {
    let page = request.read_query(|query| {
        let customer_id = query.optional("customer_id", |value| parse::text(value, 1..=128));
        let status = query.optional("status", |value| parse::one_of(value, &Status::ALL.map(Status::as_str)));
        let limit = query.optional("limit", |value| parse::integer_text(value, 1..=MAX_LIMIT));
        let cursor = query.optional("cursor", Cursor::parameter);
        Some(Page {
            customer_id: customer_id?,
            status: status?,
            limit: limit?.unwrap_or(DEFAULT_LIMIT),
            cursor: cursor?,
        })
    })?;
    let list = page.list();
    let after = match &page.cursor {
        Some(cursor) => json!(Cursor::decode::<Id>(&list, cursor)?),
        None => json!(BEGINNING),
    };
    let customer_id = context.whose(request).await?.narrow(page.customer_id)?;
    let page = Page { customer_id, ..page };
    let rows = context.relay().await?.query(page.query(after)).await?;
    let mut orders = rows.map(Order::read)?;
    // The query reads one more, which shows whether there is another page.
    let wanted = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let more = orders.len() > wanted;
    orders.truncate(wanted);
    let next_cursor = orders.last().filter(|_| more).map(|order| Cursor::encode(&list, &order.id));
    Ok(Response::json(200, &json!({"data": orders, "next_cursor": next_cursor})))
}

impl Page {
    /// The list's name with its filters: a cursor of other filters is refused.
    fn list(&self) -> String {
        json!(["orders", self.customer_id, self.status]).to_string()
    }

    fn query(&self, after: Value) -> Query {
        let mut params = vec![after, json!(self.limit + 1)];
        params.extend(self.customer_id.as_ref().map(|id| json!(id)));
        params.extend(self.status.map(|status| json!(status)));
        let sql = match (&self.customer_id, self.status) {
            (None, None) => store::ORDERS,
            (Some(_), None) => store::ORDERS_OF_CUSTOMER,
            (None, Some(_)) => store::ORDERS_IN_STATUS,
            (Some(_), Some(_)) => store::ORDERS_OF_CUSTOMER_IN_STATUS,
        };
        Query::new(sql, params)
    }
}
