//! Payments as clients see them.

use serde::Serialize;
use serde_json::{Value, json};
use towpath_sdk::{
    Context, Currency, Id, Money, Problem, Query, RelayError, Request, Response, Time, parse, relay::Row,
};

use crate::{domain::Status, provider::outcomes::advice, store};

/// The representation of a payment.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Payment {
    id: Id,
    order_id: Id,
    status: String,
    amount: Money,
    reason: Option<String>,
    advice: Option<&'static str>,
    provider: String,
    provider_reference: Option<String>,
    /// Disputes, and money that went back without this service.
    cases: Value,
    created_at: Time,
    updated_at: Time,
}

impl Payment {
    fn read(row: Row<'_>) -> Result<Self, RelayError> {
        let (status, reason) = (row.get::<String>("status")?, row.get::<Option<String>>("reason")?);
        let declined = reason.as_deref().filter(|_| status == Status::Declined.as_str());
        Ok(Self {
            advice: declined.map(|reason| advice(reason).as_str()),
            id: row.get("id")?,
            order_id: row.get("order_id")?,
            status,
            amount: Money::new(row.get("amount")?, row.get::<Currency>("currency")?),
            reason,
            provider: row.get("provider")?,
            provider_reference: row.get("provider_reference")?,
            cases: row.get("cases")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

/// `GET /v1/payments/{id}`. A text that is not an id gets 404, as an unknown id does.
///
/// # Errors
/// 404 `unknown_payment`.
pub(crate) async fn one(context: &Context, request: &Request, id: &str) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("unknown_payment", "There is no payment with this id.");
    let id: Id = id.parse().map_err(|_| unknown())?;
    let whose = context.whose(request).await?;
    let rows = context.relay().await?.query(Query::new(store::PAYMENT, [id.into(), whose.parameter()])).await?;
    Ok(Response::json(200, &Payment::read(rows.first().ok_or_else(unknown)?)?))
}

/// `GET /v1/payments?order_id`: one at most, since an order has one.
///
/// # Errors
/// 422 with every invalid parameter.
pub(crate) async fn of_order(context: &Context, request: &Request) -> Result<Response, Problem> {
    let order_id = request.read_query(|query| query.required("order_id", parse::id))?;
    let query = Query::new(store::PAYMENT_OF_ORDER, [order_id.into(), context.whose(request).await?.parameter()]);
    let rows = context.relay().await?.query(query).await?;
    let data = rows.map(Payment::read)?;
    Ok(Response::json(200, &json!({"data": data, "next_cursor": null})))
}

#[cfg(test)]
mod tests {
    use towpath_sdk::{Rows, wire::QueryResponse};

    use super::*;

    #[test]
    fn a_payment_has_the_shape_of_the_interface() {
        let (id, now) = (Id::new(), Time::now());
        let row = json!({
            "id": id, "order_id": id, "status": "declined", "amount": "300", "currency": "EUR", "reason": "expired_card",
            "provider": "sandbox", "provider_reference": null,
            "cases": [{"kind": "dispute", "reference": "dp", "status": "won", "reason": "fraudulent"}], "created_at": now, "updated_at": now,
        });
        let (columns, values) = row.as_object().expect("an object").clone().into_iter().unzip();
        let rows = Rows::from(QueryResponse { columns, rows: vec![values], ..QueryResponse::default() });
        let mut expected = row;
        expected["amount"] = json!({"amount": 300, "currency": "EUR"});
        expected["advice"] = "final".into();
        expected.as_object_mut().expect("an object").remove("currency");
        let payment = Payment::read(rows.first().expect("a row")).expect("a payment");
        assert_eq!(serde_json::to_value(payment).expect("JSON"), expected);
    }
}
