//! What product publishes. It hears nothing.

use serde_json::json;
use towpath_sdk::{relay::event, wire::Event};

use crate::domain::Product;

/// The topic of all events of products. The key is the product's SKU.
const TOPIC: &str = "product.events";

/// `product.created`: a product was added to the catalogue.
pub(crate) fn created(product: &Product) -> Event {
    about("product.created", product)
}

/// `product.updated`: a product changed.
pub(crate) fn updated(product: &Product) -> Event {
    about("product.updated", product)
}

/// Keyed by SKU, so that subscribers get each product's versions in their order.
fn about(kind: &str, product: &Product) -> Event {
    let data = json!({
        "product_id": product.id,
        "sku": product.sku,
        "name": product.name,
        "price": product.price,
        "active": product.active,
        "version": product.version,
    });
    event(TOPIC, &product.sku, kind, &data)
}

#[cfg(test)]
mod tests {
    use towpath_component_testing::events::assert_documented;
    use towpath_sdk::{Id, Money, Time};

    use super::*;

    #[test]
    fn events_are_as_documented() {
        let product = Product {
            id: Id::new(),
            sku: "A".into(),
            name: "a".into(),
            description: None,
            price: Money::new(150, "EUR".parse().expect("a currency")),
            active: true,
            version: 1,
            created_at: Time::now(),
            updated_at: Time::now(),
        };
        assert_documented(&created(&product));
        assert_documented(&updated(&product));
    }
}
