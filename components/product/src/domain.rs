//! The rules of products.

use serde::Serialize;
use serde_json::Value;
use towpath_sdk::{Change, Fields, Id, Invalid, Money, Problem, Time, parse};

/// A product of the catalogue, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Product {
    /// Its id.
    pub id: Id,
    /// The code by which clients and other services know it: unique, and never changes.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// The price of one piece.
    pub price: Money,
    /// Whether it can be ordered.
    pub active: bool,
    /// Grows with every change.
    pub version: i64,
    /// When it was created.
    pub created_at: Time,
    /// When it was changed last.
    pub updated_at: Time,
}

/// A new product, as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewProduct {
    sku: String,
    name: String,
    description: Option<String>,
    price: Money,
}

/// A change to a product, as a client sends it: a merge patch (RFC 7396).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    name: Option<String>,
    description: Change<String>,
    price: Option<Money>,
    active: Option<bool>,
}

/// The page of the catalogue that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many products at most.
    pub limit: i64,
    /// Where the previous page ended.
    pub cursor: Option<String>,
    /// Only the products with these SKUs, where there are any.
    pub skus: Vec<String>,
}

/// The products of a page if the client does not say how many.
pub const DEFAULT_LIMIT: i64 = 20;
/// The most SKUs by which a client asks for products.
pub const MAX_SKUS: usize = 100;
/// The most products of a page.
pub const MAX_LIMIT: i64 = 100;

/// A SKU.
///
/// # Errors
/// As [`parse::code`].
pub fn sku(value: &Value) -> Result<String, Invalid> {
    parse::code(value, 1..=64)
}

/// SKUs, divided by commas.
fn skus(value: &Value) -> Result<Vec<String>, Invalid> {
    let pieces: Vec<_> = parse::string(value)?.split(',').collect();
    if pieces.len() > MAX_SKUS {
        return Err(Invalid::new("too_long", format!("may name {MAX_SKUS} SKUs at most")));
    }
    pieces.into_iter().map(|piece| sku(&piece.into())).collect()
}

fn name(value: &Value) -> Result<String, Invalid> {
    parse::text(value, 1..=200)
}

fn description(value: &Value) -> Result<String, Invalid> {
    parse::prose(value, 0..=2000)
}

impl NewProduct {
    /// Reads it from a body.
    #[must_use]
    pub fn read(fields: &Fields<'_>) -> Option<Self> {
        let sku = fields.required("sku", sku);
        let name = fields.required("name", name);
        let description = fields.optional("description", description);
        let price = fields.object("price", Money::read_price);
        Some(Self { sku: sku?, name: name?, description: description?, price: price? })
    }

    /// The product that it becomes.
    #[must_use]
    pub fn into_product(self, id: Id, now: Time) -> Product {
        let Self { sku, name, description, price } = self;
        Product { id, sku, name, description, price, active: true, version: 1, created_at: now, updated_at: now }
    }
}

impl Patch {
    /// Reads it from a body.
    #[must_use]
    pub fn read(fields: &Fields<'_>) -> Option<Self> {
        let name = fields.replacement("name", name);
        let description = fields.change("description", description);
        let price = fields.replacement_object("price", Money::read_price);
        let active = fields.replacement("active", parse::boolean);
        let fixed = ["sku", "id", "version", "created_at", "updated_at"].map(|field| fields.immutable(field));
        fixed.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Self { name: name?, description: description?, price: price?, active: active? })
    }

    /// The changed product: the same if nothing changes, otherwise with the next version.
    #[must_use]
    pub fn apply(self, old: &Product, now: Time) -> Product {
        let mut new = old.clone();
        new.name = self.name.unwrap_or(new.name);
        new.description = self.description.apply(new.description);
        new.price = self.price.unwrap_or(new.price);
        new.active = self.active.unwrap_or(new.active);
        if new != *old {
            new.version += 1;
            new.updated_at = now.max(old.updated_at);
        }
        new
    }
}

impl PageRequest {
    /// Reads it from a query.
    #[must_use]
    pub fn read(fields: &Fields<'_>) -> Option<Self> {
        let limit = fields.optional("limit", |value| parse::integer_text(value, 1..=MAX_LIMIT));
        let cursor = fields.optional("cursor", towpath_sdk::Cursor::parameter);
        let skus = fields.optional("sku", skus);
        Some(Self { limit: limit?.unwrap_or(DEFAULT_LIMIT), cursor: cursor?, skus: skus?.unwrap_or_default() })
    }

    /// The name of the list that its cursors belong to.
    #[must_use]
    pub fn list(&self) -> String {
        format!("products?sku={}", self.skus.join(","))
    }
}

/// 409: the SKU belongs to another product.
#[must_use]
pub fn sku_taken() -> Problem {
    Problem::conflict("sku_taken", "Another product already has this SKU.")
}

/// 404: there is no such product.
#[must_use]
pub fn unknown_product() -> Problem {
    Problem::not_found("unknown_product", "There is no product with this id.")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn wrong<T: std::fmt::Debug>(
        body: &Value,
        read: impl FnOnce(&Fields<'_>) -> Option<T>,
    ) -> Vec<(String, &'static str)> {
        let problem = Fields::read(body, read).expect_err("refused");
        assert_eq!((problem.status, problem.code), (422, "validation_failed"));
        problem.errors.into_iter().map(|error| (error.field, error.code)).collect()
    }

    fn product() -> Product {
        let body = json!({"sku": "A-1", "name": "Lamp", "description": "Bright", "price": {"amount": 1999, "currency": "EUR"}});
        let new = Fields::read(&body, NewProduct::read).expect("a product");
        new.into_product(Id::new(), "2026-08-01T12:00:00Z".parse().expect("a time"))
    }

    #[test]
    fn a_product_begins_active_and_with_version_one() {
        let product = product();
        assert_eq!((product.sku.as_str(), product.active, product.version), ("A-1", true, 1));
        let json = serde_json::to_value(&product).expect("JSON");
        assert_eq!(json["price"], json!({"amount": 1999, "currency": "EUR"}));
        assert_eq!(json["created_at"], "2026-08-01T12:00:00Z");
    }

    /// Keys count for ever, so what their requests hash to must not change.
    #[test]
    fn a_request_keeps_the_hash_that_older_releases_stored() {
        let hash = |body: &Value| {
            let new = Fields::read(body, NewProduct::read).expect("a product");
            towpath_sdk::request_hash("POST /v1/products", &new)
        };
        let price = json!({"amount": 1999, "currency": "EUR"});
        assert_eq!(
            hash(&json!({"sku": "A-1", "name": "Lamp", "price": price})),
            "3a40c5a856432343cff99a06f1ad31a605abb8060f281983a16586d025c07206"
        );
        assert_eq!(
            hash(&json!({"sku": "A-1", "name": "Lamp", "description": "Bright", "price": price})),
            "ab017b622ccc1453f95dfef8569c7bb0a0504a07ddb4eb327460cd6bd0e10513"
        );
    }

    #[test]
    fn every_wrong_field_of_a_new_product_is_named() {
        let body = json!({
            "sku": "a b", "name": " ", "description": "x".repeat(2001), "price": {"amount": -1, "currency": "eur"},
            "active": true
        });
        assert_eq!(
            wrong(&body, NewProduct::read),
            [
                ("sku".into(), "invalid_characters"),
                ("name".into(), "too_short"),
                ("description".into(), "too_long"),
                ("price.amount".into(), "too_small"),
                ("price.currency".into(), "unknown_currency"),
                ("active".into(), "unknown_field"),
            ]
        );
        assert_eq!(
            wrong(&json!({}), NewProduct::read),
            [("sku".into(), "required"), ("name".into(), "required"), ("price".into(), "required")]
        );
        let long = json!({"sku": "x".repeat(65), "name": "x".repeat(201), "price": 5});
        assert_eq!(
            wrong(&long, NewProduct::read),
            [("sku".into(), "too_long"), ("name".into(), "too_long"), ("price".into(), "wrong_type")]
        );
        assert_eq!(wrong(&json!([]), NewProduct::read), [("$".into(), "wrong_type")]);
    }

    #[test]
    fn every_wrong_field_of_a_patch_is_named() {
        let body = json!({"sku": "B", "version": 9, "name": null, "price": {"amount": 1}, "active": "yes", "x": 1});
        assert_eq!(
            wrong(&body, Patch::read),
            [
                ("name".into(), "required"),
                ("price.currency".into(), "required"),
                ("active".into(), "wrong_type"),
                ("sku".into(), "immutable"),
                ("version".into(), "immutable"),
                ("x".into(), "unknown_field"),
            ]
        );
    }

    #[test]
    fn null_removes_only_what_a_product_can_do_without() {
        let fields = ["name", "price", "active", "sku", "id", "version", "created_at", "updated_at"];
        let body: Value = fields.iter().map(|field| ((*field).to_owned(), Value::Null)).collect();
        let codes = [["required"; 3].as_slice(), &["immutable"; 5]].concat();
        let expected: Vec<_> = fields.iter().map(|field| (*field).to_owned()).zip(codes).collect();
        assert_eq!(wrong(&body, Patch::read), expected);
        assert!(Fields::read(&json!({"description": null}), Patch::read).is_ok());
    }

    #[test]
    fn every_wrong_parameter_of_a_page_is_named() {
        let body = json!({"limit": "101", "sku": "", "cursor": "x".repeat(2000), "page": "2"});
        assert_eq!(
            wrong(&body, PageRequest::read),
            [
                ("limit".into(), "too_large"),
                ("cursor".into(), "too_long"),
                ("sku".into(), "too_short"),
                ("page".into(), "unknown_field"),
            ]
        );
        for limit in ["0", "x", "-1", "1.5"] {
            assert_eq!(wrong(&json!({ "limit": limit }), PageRequest::read).len(), 1, "{limit}");
        }
        assert_eq!(Fields::read(&json!({}), PageRequest::read).map(|page| page.limit), Ok(DEFAULT_LIMIT));
        let skus = |text: String| Fields::read(&json!({ "sku": text }), PageRequest::read).map(|page| page.skus.len());
        assert_eq!((skus("A".into()), skus(vec!["A"; MAX_SKUS].join(","))), (Ok(1), Ok(MAX_SKUS)));
        for (text, code) in [(vec!["A"; MAX_SKUS + 1].join(","), "too_long"), ("A,,B".into(), "too_short")] {
            assert_eq!(skus(text).expect_err("refused").errors[0].code, code);
        }
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let old = product();
        let now: Time = "2026-08-02T12:00:00Z".parse().expect("a time");
        let patch = |body: Value| Fields::read(&body, Patch::read).expect("a patch").apply(&old, now);
        let new = patch(json!({"name": "Torch", "description": null, "active": false}));
        assert_eq!((new.name.as_str(), new.description.as_ref(), new.active), ("Torch", None, false));
        assert_eq!((new.version, new.updated_at, new.price), (2, now, old.price));
        assert_eq!(patch(json!({})), old);
        assert_eq!(patch(json!({"name": "Lamp"})), old);
    }

    fn any_patch() -> impl Strategy<Value = Patch> {
        let description = prop_oneof![Just(Change::Keep), Just(Change::Remove), "[a-z]{0,3}".prop_map(Change::Set)];
        let price = (1..5_i64, prop_oneof![Just("EUR"), Just("USD")])
            .prop_map(|(amount, currency)| Money::new(amount, currency.parse().expect("a currency")));
        (prop::option::of("[a-z]{1,3}"), description, prop::option::of(price), any::<Option<bool>>())
            .prop_map(|(name, description, price, active)| Patch { name, description, price, active })
    }

    proptest! {
        #[test]
        fn the_version_grows_exactly_when_something_changes(patches in prop::collection::vec(any_patch(), 0..20)) {
            let mut product = product();
            for patch in patches {
                let new = patch.clone().apply(&product, Time::now());
                let same = Product { version: product.version, updated_at: product.updated_at, ..new.clone() } == product;
                prop_assert_eq!(new.version, product.version + i64::from(!same));
                prop_assert!(new.updated_at >= product.updated_at);
                prop_assert_eq!(patch.apply(&new, Time::now()), new.clone());
                product = new;
            }
        }
    }
}
