use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(body: &Value) -> Result<Draft, Vec<(String, &'static str)>> {
    Fields::read(body, Draft::read).map_err(|problem| {
        assert_eq!((problem.status, problem.code), (422, "validation_failed"));
        problem.errors.into_iter().map(|error| (error.field, error.code)).collect()
    })
}

fn faults(body: &Value) -> Vec<(String, &'static str)> {
    read(body).expect_err("is refused")
}

fn draft(lines: &[(&str, u32)]) -> Draft {
    let lines = lines.iter().map(|(sku, quantity)| Demand { sku: (*sku).into(), quantity: *quantity }).collect();
    let (customer_id, payment_method) = ("c".into(), "pm_card_visa".into());
    Draft { customer_id, payment_method, lines, on_decline: OnDecline::Reject, expected_total: None }
}

fn prices(prices: &[(&str, i64, &str, bool)]) -> BTreeMap<String, Price> {
    let money = |amount, currency: &str| Money::new(amount, currency.parse().expect("a currency"));
    let price = |amount, currency, active| Price { unit_price: money(amount, currency), active };
    prices.iter().map(|(sku, amount, currency, active)| ((*sku).into(), price(*amount, currency, *active))).collect()
}

#[test]
fn a_whole_order_is_read() {
    let body = json!({
        "customer_id": "c-1", "payment_method": "pm_card_visa",
        "lines": [{"sku": "A", "quantity": 1}, {"sku": "B", "quantity": 10_000}, {"sku": "A", "quantity": 2}],
    });
    let draft = read(&body).expect("nothing is wrong");
    assert_eq!(draft.skus(), ["A", "B"]);
    assert_eq!(draft.lines.len(), 3);
}

#[test]
fn every_fault_is_told_at_once() {
    let body = json!({
        "customer_id": " ",
        "lines": [{"sku": "", "quantity": 0}, {"quantity": "2"}, 7, {"sku": "a b", "quantity": 1.5}, {"sku": 1, "qty": 1}],
    });
    let expected = [
        ("customer_id", "too_short"),
        ("payment_method", "required"),
        ("lines[0].sku", "too_short"),
        ("lines[0].quantity", "too_small"),
        ("lines[1].sku", "required"),
        ("lines[1].quantity", "wrong_type"),
        ("lines[2]", "wrong_type"),
        ("lines[3].sku", "invalid_characters"),
        ("lines[3].quantity", "wrong_type"),
        ("lines[4].sku", "wrong_type"),
        ("lines[4].quantity", "required"),
        ("lines[4].qty", "unknown_field"),
    ];
    assert_eq!(faults(&body), expected.map(|(field, code)| (field.to_owned(), code)));
}

#[test]
fn the_number_of_lines_and_pieces_is_bounded() {
    let body = |n: usize, quantity: u32| {
        let lines: Vec<_> = (0..n).map(|_| json!({"sku": "A", "quantity": quantity})).collect();
        json!({"customer_id": "c", "payment_method": "pm", "lines": lines})
    };
    assert_eq!(faults(&body(0, 1)), [("lines".to_owned(), "too_short")]);
    assert!(read(&body(1, 1)).is_ok());
    assert!(read(&body(100, MAX_QUANTITY)).is_ok());
    assert_eq!(faults(&body(101, 1)), [("lines".to_owned(), "too_long")]);
    assert_eq!(faults(&body(1, MAX_QUANTITY + 1)), [("lines[0].quantity".to_owned(), "too_large")]);
}

#[test]
fn names_are_bounded() {
    let body = |customer: String, method: &str| json!({"customer_id": customer, "payment_method": method, "lines": [{"sku": "A", "quantity": 1}]});
    assert!(read(&body("ä".repeat(128), "pm")).is_ok());
    assert_eq!(faults(&body("ä".repeat(129), "pm")), [("customer_id".to_owned(), "too_long")]);
    assert_eq!(faults(&body("a\nb".into(), "pm")), [("customer_id".to_owned(), "invalid_characters")]);
    assert_eq!(faults(&body("c".into(), "pm card")), [("payment_method".to_owned(), "invalid_characters")]);
}

#[test]
fn lines_that_nobody_sells_are_named_all_at_once() {
    let prices = prices(&[("A", 100, "EUR", true), ("B", 100, "EUR", false)]);
    let refusal = draft(&[("A", 1), ("B", 1), ("X", 1)]).price(&prices).expect_err("two are not on sale");
    assert_eq!(refusal.code, "unknown_sku");
    let named: Vec<_> = refusal.errors.iter().map(|error| (error.field.as_str(), error.code)).collect();
    assert_eq!(named, [("lines[1].sku", "product_inactive"), ("lines[2].sku", "unknown_sku")]);
    let refusal = draft(&[("B", 1)]).price(&prices).expect_err("B is not on sale");
    assert_eq!(refusal.code, "product_inactive");
}

#[test]
fn an_order_has_one_currency() {
    let prices = prices(&[("A", 100, "EUR", true), ("B", 100, "USD", true)]);
    let refusal = draft(&[("A", 1), ("B", 1), ("A", 1), ("B", 2)]).price(&prices).expect_err("two currencies");
    assert_eq!(refusal.code, "mixed_currencies");
    let fields: Vec<_> = refusal.errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["lines[1].sku", "lines[3].sku"]);
}

#[test]
fn no_total_overflows() {
    let prices = prices(&[("A", MAX_TOTAL, "EUR", true), ("B", 1, "EUR", true)]);
    let largest = draft(&[("A", 1)]).price(&prices).expect("exactly the largest amount");
    assert_eq!(largest.total.amount, MAX_TOTAL);
    let field = |draft: Draft| {
        let refusal = draft.price(&prices).expect_err("too large");
        assert_eq!(refusal.code, "total_too_large");
        refusal.errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
    };
    assert_eq!(field(draft(&[("A", 2)])), ["lines[0]"]);
    assert_eq!(field(draft(&[("B", 1), ("A", MAX_QUANTITY)])), ["lines[1]"]);
    assert_eq!(field(draft(&[("A", 1), ("B", 1)])), ["lines"]);
}

#[test]
fn an_order_says_whether_it_waits_after_a_decline_and_the_default_hashes_as_before() {
    let body = |more: Value| {
        let mut body = json!({"customer_id": "c", "payment_method": "pm", "lines": [{"sku": "A", "quantity": 1}]});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let on_decline = |more: Value| read(&body(more)).expect("nothing is wrong").on_decline;
    assert_eq!(on_decline(json!({})), OnDecline::Reject);
    assert_eq!(on_decline(json!({"on_decline": null})), OnDecline::Reject);
    assert_eq!(on_decline(json!({"on_decline": "wait"})), OnDecline::Wait);
    assert_eq!(faults(&body(json!({"on_decline": "retry"}))), [("on_decline".to_owned(), "unknown_value")]);
    let hash = |body: &Value| towpath_sdk::request_hash("POST /v1/orders", &read(body).expect("an order"));
    let older = towpath_sdk::request_hash("POST /v1/orders", &body(json!({})));
    assert_eq!(hash(&body(json!({"on_decline": "reject"}))), older, "as older releases stored it");
    assert_ne!(hash(&body(json!({"on_decline": "wait"}))), older);
}

#[test]
fn what_the_customer_saw_is_an_amount_or_money() {
    let body = |expected: Value| json!({"customer_id": "c", "payment_method": "pm", "lines": [{"sku": "A", "quantity": 1}], "expected_total": expected});
    let expected = |value| read(&body(value)).expect("nothing is wrong").expected_total;
    let eur = "EUR".parse().expect("a currency");
    assert_eq!(expected(json!(2500)), Some(Expected { amount: 2500, currency: None }));
    assert_eq!(
        expected(json!({"amount": 2500, "currency": "EUR"})),
        Some(Expected { amount: 2500, currency: Some(eur) })
    );
    assert_eq!((expected(Value::Null), expected(json!(0)).map(|saw| saw.amount)), (None, Some(0)));
    for (wrong, field, code) in [
        (json!("25.00"), "expected_total", "wrong_type"),
        (json!(25.5), "expected_total", "wrong_type"),
        (json!(true), "expected_total", "wrong_type"),
        (json!([2500]), "expected_total", "wrong_type"),
        (json!(-1), "expected_total", "too_small"),
        (json!(MAX_TOTAL + 1), "expected_total", "too_large"),
        (json!({"amount": "2500", "currency": "EUR"}), "expected_total.amount", "wrong_type"),
        (json!({"amount": 2500, "currency": "eur"}), "expected_total.currency", "unknown_currency"),
        (json!({"amount": 2500}), "expected_total.currency", "required"),
        (json!({"amount": 2500, "currency": "EUR", "net": 1}), "expected_total.net", "unknown_field"),
    ] {
        assert_eq!(faults(&body(wrong.clone())), [(field.to_owned(), code)], "{wrong}");
    }
}

#[test]
fn an_order_that_costs_something_else_than_the_customer_saw_is_refused_with_the_new_total() {
    let prices = prices(&[("A", 100, "EUR", true)]);
    let order = |amount, currency: Option<&str>| {
        let currency = currency.map(|code| code.parse().expect("a currency"));
        Draft { expected_total: Some(Expected { amount, currency }), ..draft(&[("A", 2)]) }.price(&prices)
    };
    for (amount, currency) in [(200, None), (200, Some("EUR"))] {
        assert_eq!(order(amount, currency).expect("what was seen").total.amount, 200);
    }
    for (amount, currency) in [(199, None), (201, Some("EUR")), (200, Some("USD")), (0, None)] {
        let refusal = order(amount, currency).expect_err("something else");
        let total = Money::new(200, "EUR".parse().expect("a currency"));
        assert_eq!((refusal.code, refusal.total), ("price_changed", Some(total)), "{amount} {currency:?}");
        assert_eq!(refusal.errors[0].field, "expected_total");
    }
}

#[test]
fn an_order_without_an_expectation_has_the_hash_that_older_releases_stored() {
    let body = json!({"customer_id": "c", "payment_method": "pm_card_visa", "lines": [{"sku": "A", "quantity": 2}]});
    let older = towpath_sdk::request_hash("POST /v1/orders", &body);
    assert_eq!(towpath_sdk::request_hash("POST /v1/orders", &draft(&[("A", 2)])), older);
    assert_eq!(older, "193911f25219c4ad1d334cf7892fc97e97fc562c9ffc77e9b1aa7cb31ee2a8b2");
}

#[test]
fn an_order_with_everything_keeps_the_hash_that_older_releases_stored() {
    let body = json!({
        "customer_id": "c", "payment_method": "pm", "lines": [{"sku": "A", "quantity": 1}], "on_decline": "wait",
        "expected_total": {"amount": 2500, "currency": "EUR"}
    });
    assert_eq!(
        towpath_sdk::request_hash("POST /v1/orders", &read(&body).expect("an order")),
        "2db1686edd069f5768c12eb374a957156d31da77364c57297e0fac36175447e8"
    );
}

proptest! {
    #[test]
    fn a_total_is_the_sum_of_its_lines_or_refused(
        demands in proptest::collection::vec((0..4usize, 1..=MAX_QUANTITY), 1..=MAX_LINES),
        amounts in proptest::array::uniform4(prop_oneof![0..=100_000i64, 0..=MAX_TOTAL]),
    ) {
        let skus = ["A", "B", "C", "D"];
        let table: Vec<_> = skus.into_iter().zip(amounts).map(|(sku, amount)| (sku, amount, "EUR", true)).collect();
        let wanted: Vec<_> = demands.iter().map(|(i, quantity)| (skus[*i], *quantity)).collect();
        let exact: i128 = demands.iter().map(|(i, quantity)| i128::from(amounts[*i]) * i128::from(*quantity)).sum();
        match draft(&wanted).price(&prices(&table)) {
            Ok(priced) => {
                prop_assert_eq!(i128::from(priced.total.amount), exact);
                prop_assert_eq!(priced.lines.len(), demands.len());
                prop_assert!(priced.lines.iter().all(|l| l.total == l.unit_price * i64::from(l.quantity)));
            }
            Err(refusal) => {
                prop_assert!(exact > i128::from(MAX_TOTAL), "{:?}", refusal);
            }
        }
    }
}
