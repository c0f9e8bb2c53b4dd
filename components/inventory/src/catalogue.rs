//! Asks product about SKUs that inventory has not heard of.

use towpath_sdk::{Context, Problem, peer};

use crate::domain::unknown_sku;

/// Checks that the product exists.
///
/// # Errors
/// 404 `unknown_sku`; 503 where product does not answer.
pub(crate) async fn require_product(context: &Context, sku: &str) -> Result<(), Problem> {
    let path = format!("/v1/products?limit=1&sku={}", peer::encode(sku));
    let cause = match context.peer("product").get_json(&path).await {
        Ok((200, page)) => {
            let known = page["data"].as_array().is_some_and(|products| !products.is_empty());
            return if known { Ok(()) } else { Err(unknown_sku()) };
        }
        Ok((status, _)) => format!("product answered {status}"),
        Err(error) => format!("product: {error}"),
    };
    Err(Problem::unavailable(
        "unavailable",
        "The product service, which knows whether this SKU exists, is not available.",
        cause,
    ))
}
