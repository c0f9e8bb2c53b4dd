//! An order as clients see it.

use serde::Serialize;
use serde_json::{Value, json};
use towpath_sdk::{Currency, Id, Money, RelayError, StoredAnswer, Time, relay::Row};

use crate::domain::{Asks, Priced, Status};

/// The representation of an order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Order {
    pub(crate) id: Id,
    customer_id: String,
    status: &'static str,
    reason: Option<String>,
    total: Money,
    lines: Value,
    payment_id: Option<Id>,
    /// What the payment asks of the customer.
    payment_state: Option<&'static str>,
    /// What the customer shows to the provider to authenticate: only for whose order it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    created_at: Time,
    updated_at: Time,
}

impl Order {
    /// A new order.
    pub(crate) fn placed(id: Id, priced: &Priced, now: Time) -> Self {
        let currency = priced.total.currency;
        let money = |amount| Money::new(amount, currency);
        let lines = priced.lines.iter().map(|line| {
            let (unit_price, total) = (money(line.unit_price), money(line.total));
            json!({"sku": line.sku, "quantity": line.quantity, "unit_price": unit_price, "total": total})
        });
        Self {
            id,
            customer_id: priced.customer_id.clone(),
            status: Status::Pending.as_str(),
            reason: None,
            total: priced.total,
            lines: lines.collect(),
            payment_id: None,
            payment_state: None,
            client_secret: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// An order from its columns.
    pub(crate) fn read(row: Row<'_>) -> Result<Self, RelayError> {
        let status = row.get::<String>("status")?;
        let status = Status::parse(&status).ok_or_else(|| RelayError::Malformed(format!("the status {status}")))?;
        let asks = row.get::<Option<String>>("payment_state")?;
        let unknown = |text: String| RelayError::Malformed(format!("the payment state {text}"));
        let asks = asks.map(|text| Asks::parse(&text).ok_or_else(|| unknown(text))).transpose()?;
        Ok(Self {
            id: row.get("id")?,
            customer_id: row.get("customer_id")?,
            status: status.as_str(),
            reason: row.get("reason")?,
            total: Money::new(row.get("total")?, row.get::<Currency>("currency")?),
            lines: row.get("lines")?,
            payment_id: row.get("payment_id")?,
            payment_state: asks.map(Asks::as_str),
            client_secret: None,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }

    /// As it was when it was placed: the first response to its key, without `Prefer: wait`.
    pub(crate) fn into_placed(self) -> Self {
        let (status, updated_at) = (Status::Pending.as_str(), self.created_at);
        Self { status, reason: None, payment_id: None, payment_state: None, updated_at, ..self }
    }

    /// As it is once its customer has gone on with its payment.
    pub(crate) fn into_resumed(self) -> Self {
        Self { payment_state: None, ..self }
    }

    /// With what its customer needs to authenticate.
    pub(crate) fn with_secret(self, client_secret: Option<String>) -> Self {
        Self { client_secret, ..self }
    }

    /// Whether its customer has to authenticate.
    pub(crate) fn requires_action(&self) -> bool {
        self.payment_state == Some(Asks::Action.as_str())
    }

    /// The response to a request that waited for its outcome: 201 if it has one, 202 if it waits for its customer.
    pub(crate) fn outcome_answer(&self) -> StoredAnswer {
        self.answer(if self.payment_state.is_some() { 202 } else { 201 })
    }

    /// As it is once its customer has cancelled it at this time.
    pub(crate) fn into_cancelled(self, reason: &str, at: Time) -> Self {
        let updated_at = at.max(self.updated_at);
        let (status, reason) = (Status::Cancelled.as_str(), Some(reason.into()));
        Self { status, reason, payment_state: None, updated_at, ..self }
    }

    /// Its customer, whose idempotency keys belong to it.
    pub(crate) fn customer_id(&self) -> &str {
        &self.customer_id
    }

    /// The response with this status and the header `Location`.
    pub(crate) fn answer(&self, status: u16) -> StoredAnswer {
        StoredAnswer::new(status, Some(format!("/v1/orders/{}", self.id)), self)
    }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::{Rows, wire::QueryResponse};

    use super::*;
    use crate::domain::{Line, OnDecline};

    fn priced() -> Priced {
        let line = Line { sku: "A".into(), quantity: 2, unit_price: 150, total: 300 };
        let total = Money::new(300, "EUR".parse().expect("a currency"));
        Priced {
            customer_id: "c".into(),
            payment_method: "pm".into(),
            lines: vec![line],
            total,
            on_decline: OnDecline::Reject,
        }
    }

    fn columns(order: &Value) -> Rows {
        let mut object = order.as_object().expect("an object").clone();
        object.insert("currency".into(), order["total"]["currency"].clone());
        object.insert("total".into(), json!(order["total"]["amount"].to_string()));
        let (columns, row) = object.into_iter().unzip();
        Rows::from(QueryResponse { columns, rows: vec![row], ..QueryResponse::default() })
    }

    #[test]
    fn an_order_has_the_shape_of_the_interface() {
        let (id, now) = (Id::new(), Time::now());
        let eur = |amount: i64| json!({"amount": amount, "currency": "EUR"});
        let expected = json!({
            "id": id, "customer_id": "c", "status": "pending", "reason": null, "total": eur(300),
            "lines": [{"sku": "A", "quantity": 2, "unit_price": eur(150), "total": eur(300)}],
            "payment_id": null, "payment_state": null, "created_at": now, "updated_at": now,
        });
        assert_eq!(serde_json::to_value(Order::placed(id, &priced(), now)).expect("JSON"), expected);
    }

    #[test]
    fn what_is_read_is_what_winto_placed() {
        let placed = Order::placed(Id::new(), &priced(), Time::now());
        let mut json = serde_json::to_value(&placed).expect("JSON");
        let read = |json: &Value| Order::read(columns(json).first().expect("a row"));
        assert_eq!(read(&json), Ok(placed.clone()));
        json["status"] = "rejected".into();
        json["reason"] = "card_declined".into();
        json["payment_id"] = Id::new().into();
        json["payment_state"] = "requires_action".into();
        json["updated_at"] = "2030-01-01T00:00:00Z".into();
        assert_ne!(read(&json), Ok(placed.clone()));
        assert_eq!(read(&json).map(Order::into_placed), Ok(placed));
        json["status"] = "lost".into();
        assert!(read(&json).is_err());
    }
}
