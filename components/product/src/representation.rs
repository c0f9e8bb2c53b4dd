//! A product as clients see it.

use towpath_sdk::{Response, StoredAnswer, etag::etag};

use crate::domain::Product;

/// A response with the product as its body, and its ETag.
pub(crate) fn show(status: u16, product: &Product) -> Response {
    shown(status, product).into_response(false)
}

/// The same, to keep under an idempotency key.
pub(crate) fn shown(status: u16, product: &Product) -> StoredAnswer {
    StoredAnswer::new(status, None, product).with_etag(etag(product.version))
}

/// With the product's ETag: clients may cache it, and ask each time whether it still is the current version.
pub(crate) fn cacheable(response: Response, product: &Product) -> Response {
    response.header("etag", &etag(product.version)).header("cache-control", "no-cache")
}
