//! A product as clients see it.

use towpath_sdk::{Response, etag::etag};

use crate::domain::Product;

/// An answer with the product as its body.
pub(crate) fn show(status: u16, product: &Product) -> Response {
    cacheable(Response::json(status, product), product)
}

/// May be kept by a client that asks each time whether it is still fresh.
pub(crate) fn cacheable(response: Response, product: &Product) -> Response {
    response.header("etag", &etag(product.version)).header("cache-control", "no-cache")
}
