//! All SQL of the product service, its parameters, and reading its rows.

use std::time::Duration;

use serde_json::json;
use towpath_sdk::{Cursor, Id, IdempotencyKey, Money, Problem, Query, RelayError, Row, Rows, StoredAnswer, UnitOfWork};

use crate::domain::{PageRequest, Product, unknown_product};

macro_rules! columns {
    () => {
        "id, sku, name, description, price_amount, price_currency, active, version, created_at, updated_at"
    };
}

const INSERT: &str = concat!(
    "INSERT INTO products (",
    columns!(),
    ", idempotency_key, request_hash, first_answer) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
);
const CREATED_WITH: &str = "SELECT request_hash, first_answer FROM products WHERE idempotency_key = $1";
const UNCHANGED: &str = "SELECT id FROM products WHERE id = $1 AND version = $2";
const BY_ID: &str = concat!("SELECT ", columns!(), " FROM products WHERE id = $1");
const BY_SKUS: &str =
    concat!("SELECT ", columns!(), " FROM products WHERE sku = ANY ($1::text[]) ORDER BY id LIMIT $2");
const NEXT_BY_SKUS: &str =
    concat!("SELECT ", columns!(), " FROM products WHERE sku = ANY ($1::text[]) AND id > $2 ORDER BY id LIMIT $3");
const FIRST_PAGE: &str = concat!("SELECT ", columns!(), " FROM products ORDER BY id LIMIT $1");
const NEXT_PAGE: &str = concat!("SELECT ", columns!(), " FROM products WHERE id > $1 ORDER BY id LIMIT $2");
const UPDATE: &str = "UPDATE products SET name = $3, description = $4, price_amount = $5, price_currency = $6, \
     active = $7, version = $8, updated_at = $9 WHERE id = $1 AND version = $2";

/// Every SQL text of this service, by name.
pub const STATEMENTS: &[(&str, &str)] = &[
    ("insert", INSERT),
    ("created_with", CREATED_WITH),
    ("unchanged", UNCHANGED),
    ("by_id", BY_ID),
    ("by_skus", BY_SKUS),
    ("next_by_skus", NEXT_BY_SKUS),
    ("first_page", FIRST_PAGE),
    ("next_page", NEXT_PAGE),
    ("update", UPDATE),
];

/// How long a product stays cached if nothing invalidates it.
const CACHE_TTL: Duration = Duration::from_secs(60);
/// The label of the step that fails if the product has another version.
const STALE: &str = "stale";

/// The cache tag of a product.
fn tag(id: Id) -> String {
    format!("product:{id}")
}

/// A client's request with its idempotency key, the request's hash, and what it is answered if it is done now.
pub(crate) struct Wish {
    pub(crate) key: IdempotencyKey,
    pub(crate) hash: String,
    pub(crate) answer: StoredAnswer,
}

/// The unit under the client's key, or under one of its own.
pub(crate) fn under(unit: UnitOfWork, operation: &str, wish: Option<&Wish>) -> UnitOfWork {
    match wish {
        Some(Wish { key, hash, answer }) => unit.idempotent(key.within(operation, None), hash, answer),
        None => unit.repeatable(),
    }
}

/// Creates the product, which keeps the key that it was created with for ever.
pub(crate) fn insert(product: &Product, wish: Option<&Wish>) -> UnitOfWork {
    UnitOfWork::new().step(
        INSERT,
        [
            json!(product.id),
            json!(product.sku),
            json!(product.name),
            json!(product.description),
            json!(product.price.amount),
            json!(product.price.currency),
            json!(product.active),
            json!(product.version),
            json!(product.created_at),
            json!(product.updated_at),
            json!(wish.map(|wish| wish.key.as_str())),
            json!(wish.map(|wish| &wish.hash)),
            json!(wish.map(|wish| wish.answer.to_stored())),
        ],
    )
}

/// What was answered to the client that created a product with this key.
pub(crate) fn created_with(key: &IdempotencyKey) -> Query {
    Query::new(CREATED_WITH, [json!(key.as_str())])
}

/// Holds that the product still is as it was read.
pub(crate) fn unchanged(product: &Product) -> UnitOfWork {
    UnitOfWork::new().step(UNCHANGED, [json!(product.id), json!(product.version)]).expect(1, STALE)
}

/// Replaces the product of version `old` by `new`.
pub(crate) fn update(old: i64, new: &Product) -> UnitOfWork {
    UnitOfWork::new()
        .step(
            UPDATE,
            [
                json!(new.id),
                json!(old),
                json!(new.name),
                json!(new.description),
                json!(new.price.amount),
                json!(new.price.currency),
                json!(new.active),
                json!(new.version),
                json!(new.updated_at),
            ],
        )
        .expect(1, STALE)
        .invalidate(tag(new.id))
}

/// The product, as it is now.
pub(crate) fn by_id(id: Id) -> Query {
    Query::new(BY_ID, [json!(id)])
}

/// The product, as the cache may have it.
pub(crate) fn by_id_cached(id: Id) -> Query {
    by_id(id).cached(CACHE_TTL, [tag(id)])
}

/// The page and one product more, which shows whether another page follows.
///
/// # Errors
/// 400 `invalid_cursor`.
pub(crate) fn page(page: &PageRequest) -> Result<Query, Problem> {
    let limit = json!(page.limit + 1);
    let after: Option<Id> = page.cursor.as_ref().map(|cursor| Cursor::decode(&page.list(), cursor)).transpose()?;
    Ok(match (page.skus.as_slice(), after) {
        ([], None) => Query::new(FIRST_PAGE, [limit]),
        ([], Some(after)) => Query::new(NEXT_PAGE, [json!(after), limit]),
        (skus, None) => Query::new(BY_SKUS, [json!(skus), limit]),
        (skus, Some(after)) => Query::new(NEXT_BY_SKUS, [json!(skus), json!(after), limit]),
    })
}

/// The product of a row.
pub(crate) fn read(row: Row<'_>) -> Result<Product, RelayError> {
    Ok(Product {
        id: row.get("id")?,
        sku: row.get("sku")?,
        name: row.get("name")?,
        description: row.get("description")?,
        price: Money::new(row.get("price_amount")?, row.get("price_currency")?),
        active: row.get("active")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// The one product of these rows.
///
/// # Errors
/// 404 `unknown_product` where there is none.
pub(crate) fn read_one(rows: &Rows) -> Result<Product, Problem> {
    Ok(read(rows.first().ok_or_else(unknown_product)?)?)
}

/// Whether another product has the SKU or the idempotency key.
pub(crate) fn is_taken(error: &RelayError) -> bool {
    matches!(error.constraint(), Some("products_sku_key" | "products_idempotency_key"))
}

/// What a client hears of a change that wasn't made.
pub(crate) fn problem(error: RelayError) -> Problem {
    if error.unmet() == Some(STALE) { towpath_sdk::etag::stale() } else { error.into() }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::wire::{Code, Problem as Refusal, StepRef};

    use super::*;

    fn request(limit: i64, cursor: Option<String>, sku: Option<&str>) -> PageRequest {
        PageRequest { limit, cursor, skus: sku.into_iter().map(Into::into).collect() }
    }

    #[test]
    fn a_cursor_belongs_to_its_list() {
        let cursor = Cursor::encode(&request(1, None, None).list(), &Id::new());
        assert!(page(&request(1, Some(cursor.clone()), None)).is_ok());
        for wrong in [request(1, Some(cursor), Some("A")), request(1, Some("x".into()), None)] {
            let problem = page(&wrong).expect_err("refused");
            assert_eq!((problem.status, problem.code), (400, "invalid_cursor"));
        }
    }

    #[test]
    fn refusals_of_the_database_become_the_api_s() {
        for (constraint, is_one) in [("products_sku_key", true), ("products_idempotency_key", true), ("other", false)] {
            let mut taken = Refusal::new(Code::ConstraintViolation, "why");
            taken.constraint = Some(constraint.into());
            assert_eq!(is_taken(&RelayError::Refused(Box::new(taken))), is_one, "{constraint}");
        }
        let mut stale = Refusal::new(Code::ExpectationFailed, "why");
        stale.step = Some(StepRef { index: 0, label: Some(STALE.into()), affected: Some(0) });
        let problem = problem_of(stale);
        assert_eq!((problem.status, problem.code), (412, "precondition_failed"));
    }

    fn problem_of(refusal: Refusal) -> Problem {
        problem(RelayError::Refused(Box::new(refusal)))
    }
}
