//! A product as clients see it.

use towpath_sdk::{Response, etag::etag};

use crate::domain::Product;

/// A response with the product as its body.
pub(crate) fn show(status: u16, product: &Product) -> Response {
    cacheable(Response::json(status, product), product)
}

/// With its ETag: clients may cache it, and ask each time whether it still is the current version.
pub(crate) fn cacheable(response: Response, product: &Product) -> Response {
    response.header("etag", &etag(product.version)).header("cache-control", "no-cache")
}
