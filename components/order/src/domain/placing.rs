//! What a customer may order, and what it costs.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use towpath_sdk::{Currency, FieldError, Fields, Invalid, Money, parse};

/// The most lines of one order.
pub const MAX_LINES: usize = 100;
/// The most pieces of one line.
pub const MAX_QUANTITY: u32 = 10_000;
/// The largest total, in minor units: 2^53 - 1, which a JSON number carries in every language.
pub const MAX_TOTAL: i64 = (1 << 53) - 1;

/// An order as a customer sends it: valid, still without prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Draft {
    /// The customer.
    pub customer_id: String,
    /// What the payment provider charges.
    pub payment_method: String,
    /// 1 to [`MAX_LINES`].
    pub lines: Vec<Demand>,
    /// What a declined payment does. The default isn't written: it hashes as the requests of older releases.
    #[serde(skip_serializing_if = "OnDecline::is_default")]
    pub on_decline: OnDecline,
    /// What the customer saw that it costs. Part of the request's hash only where it is there, as in older releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_total: Option<Expected>,
}

/// What a declined payment does to an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDecline {
    /// It ends the order.
    #[default]
    Reject,
    /// The order waits for another payment method, until it expires.
    Wait,
}

impl OnDecline {
    /// Its name in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Wait => "wait",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Reject, Self::Wait].into_iter().find(|word| word.as_str() == text)
    }
}

/// A total that a customer saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// In minor units.
    pub amount: i64,
    /// Its currency, where the customer said it; otherwise the order's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
}

impl Expected {
    /// Reads `{"amount": 2500, "currency": "EUR"}`, or `2500`.
    fn read(fields: &Fields<'_>) -> Option<Option<Self>> {
        let object = |fields: &Fields<'_>| {
            let amount = fields.required("amount", |value| parse::integer(value, 0..=MAX_TOTAL));
            let currency = fields.required("currency", |value| {
                let unknown = |_| Invalid::new("unknown_currency", "must be an ISO 4217 code such as EUR");
                parse::string(value)?.parse().map_err(unknown)
            });
            Some(Self { amount: amount?, currency: Some(currency?) })
        };
        let number = |value: &Value| match value {
            Value::Number(_) => Ok(Self { amount: parse::integer(value, 0..=MAX_TOTAL)?, currency: None }),
            _ => Err(Invalid::new("wrong_type", "must be minor units, or an object with amount and currency")),
        };
        fields.optional_object_or("expected_total", object, number)
    }

    fn is(self, total: Money) -> bool {
        self.amount == total.amount && self.currency.is_none_or(|currency| currency == total.currency)
    }
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// What.
    pub sku: String,
    /// How many: 1 to [`MAX_QUANTITY`].
    pub quantity: u32,
}

impl Draft {
    /// Reads the fields of a request's body.
    #[must_use]
    pub fn read(fields: &Fields<'_>) -> Option<Self> {
        let customer_id = fields.required("customer_id", |value| parse::text(value, 1..=128));
        let payment_method = fields.required("payment_method", |value| parse::code(value, 1..=128));
        let lines = fields.each("lines", 1..=MAX_LINES, |line| {
            let sku = line.required("sku", |value| parse::code(value, 1..=64));
            let quantity = line.required("quantity", |value| parse::integer(value, 1..=i64::from(MAX_QUANTITY)));
            Some(Demand { sku: sku?, quantity: u32::try_from(quantity?).ok()? })
        });
        let on_decline = fields.optional("on_decline", |value| parse::one_of(value, &["reject", "wait"]));
        let expected_total = Expected::read(fields);
        let on_decline = on_decline?.and_then(OnDecline::parse).unwrap_or_default();
        Some(Self {
            customer_id: customer_id?,
            payment_method: payment_method?,
            lines: lines?,
            on_decline,
            expected_total: expected_total?,
        })
    }

    /// The SKUs, each once.
    #[must_use]
    pub fn skus(&self) -> Vec<&str> {
        let mut skus: Vec<_> = self.lines.iter().map(|line| line.sku.as_str()).collect();
        skus.sort_unstable();
        skus.dedup();
        skus
    }

    /// What the order costs at these prices.
    ///
    /// # Errors
    ///
    /// Why it can't be ordered, with every line that prevents it.
    pub fn price(self, prices: &BTreeMap<String, Price>) -> Result<Priced, Refusal> {
        if let Some(refusal) = self.not_on_sale(prices).or_else(|| self.mixed_currencies(prices)) {
            return Err(refusal);
        }
        let mut sum: Option<Money> = None;
        let mut lines = Vec::with_capacity(self.lines.len());
        for (index, Demand { sku, quantity }) in self.lines.into_iter().enumerate() {
            let field = || format!("lines[{index}]");
            let unit_price = prices.get(&sku).map(|price| price.unit_price).ok_or_else(|| unknown_sku(field()))?;
            let total = unit_price.times(quantity.into()).ok().filter(fits).ok_or_else(|| too_large(field()))?;
            let so_far = sum.map_or(Ok(total), |sum| sum.plus(total)).ok().filter(fits);
            sum = Some(so_far.ok_or_else(|| too_large("lines".into()))?);
            lines.push(Line { sku, quantity, unit_price: unit_price.amount, total: total.amount });
        }
        let total = sum.ok_or_else(|| unknown_sku("lines".into()))?;
        if self.expected_total.is_some_and(|expected| !expected.is(total)) {
            return Err(price_changed(total));
        }
        let Self { customer_id, payment_method, on_decline, .. } = self;
        Ok(Priced { customer_id, payment_method, lines, total, on_decline })
    }

    /// Lines with an unknown SKU or an inactive product.
    fn not_on_sale(&self, prices: &BTreeMap<String, Price>) -> Option<Refusal> {
        let mut errors = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let (code, what) = match prices.get(&line.sku) {
                None => ("unknown_sku", "is the SKU of no product"),
                Some(price) if !price.active => ("product_inactive", "is the SKU of a product that is not active"),
                Some(_) => continue,
            };
            errors.push(FieldError { field: format!("lines[{index}].sku"), code, detail: what.into() });
        }
        // With both kinds of errors, the problem has the code of the one to correct first.
        let code = ["unknown_sku", "product_inactive"].into_iter().find(|c| errors.iter().any(|e| e.code == *c))?;
        Some(Refusal { code, total: None, errors })
    }

    /// Lines whose currency isn't the first line's.
    fn mixed_currencies(&self, prices: &BTreeMap<String, Price>) -> Option<Refusal> {
        let currency = |line: &Demand| prices.get(&line.sku).map(|price| price.unit_price.currency);
        let first = self.lines.first().and_then(currency)?;
        let mut errors = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let own = currency(line).unwrap_or(first);
            if own != first {
                let detail = format!("is priced in {own}, the first line in {first}: place two orders");
                errors.push(FieldError { field: format!("lines[{index}].sku"), code: "mixed_currencies", detail });
            }
        }
        (!errors.is_empty()).then_some(Refusal { code: "mixed_currencies", total: None, errors })
    }
}

fn fits(money: &Money) -> bool {
    (0..=MAX_TOTAL).contains(&money.amount)
}

fn too_large(field: String) -> Refusal {
    let detail = format!("comes to more than {MAX_TOTAL} minor units");
    Refusal {
        code: "total_too_large",
        total: None,
        errors: vec![FieldError { field, code: "total_too_large", detail }],
    }
}

fn unknown_sku(field: String) -> Refusal {
    let detail = "is the SKU of no product".into();
    Refusal { code: "unknown_sku", total: None, errors: vec![FieldError { field, code: "unknown_sku", detail }] }
}

fn price_changed(total: Money) -> Refusal {
    let Money { amount, currency } = total;
    let (code, detail) =
        ("price_changed", format!("is not what the order costs now: {amount} minor units of {currency}"));
    Refusal { code, total: Some(total), errors: vec![FieldError { field: "expected_total".into(), code, detail }] }
}

/// A product's price, as the order service knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// For one piece.
    pub unit_price: Money,
    /// Whether it can be ordered.
    pub active: bool,
}

/// An order with its prices: ready to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    /// Whose order it is.
    pub customer_id: String,
    /// What the payment provider is to charge.
    pub payment_method: String,
    /// In the order in which the customer wrote them.
    pub lines: Vec<Line>,
    /// The sum of the lines.
    pub total: Money,
    /// What a declined payment does.
    pub on_decline: OnDecline,
}

/// A line with its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What.
    pub sku: String,
    /// How many.
    pub quantity: u32,
    /// For one piece, in minor units of the order's currency.
    pub unit_price: i64,
    /// For all of them.
    pub total: i64,
}

/// Why a valid draft can't be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code of the problem.
    pub code: &'static str,
    /// What it costs, where the customer expected another total.
    pub total: Option<Money>,
    /// Every line or field that prevents it.
    pub errors: Vec<FieldError>,
}

#[cfg(test)]
mod tests;
