use proptest::prelude::*;
use serde_json::json;

use super::*;

fn wrong(body: &Value) -> Vec<(String, &'static str)> {
    let problem = Fields::read(body, Adjustment::read).expect_err("refused");
    assert_eq!((problem.status, problem.code), (422, "validation_failed"));
    problem.errors.into_iter().map(|error| (error.field, error.code)).collect()
}

#[test]
fn every_wrong_field_of_an_adjustment_is_named() {
    assert_eq!(
        wrong(&json!({"delta": 0, "reason": "", "sku": "A"})),
        [("delta".into(), "zero"), ("reason".into(), "too_short"), ("sku".into(), "unknown_field")]
    );
    assert_eq!(wrong(&json!({})), [("delta".into(), "required"), ("reason".into(), "required")]);
    for (delta, code) in [
        (json!(MAX_DELTA + 1), "too_large"),
        (json!(-MAX_DELTA - 1), "too_small"),
        (json!(1.5), "wrong_type"),
        (json!("1"), "wrong_type"),
    ] {
        assert_eq!(wrong(&json!({"delta": delta, "reason": "x"})), [("delta".into(), code)]);
    }
    assert_eq!(wrong(&json!({"delta": 1, "reason": "x".repeat(201)})), [("reason".into(), "too_long")]);
}

/// Keys count for ever, so what their requests hash to must not change.
#[test]
fn a_request_keeps_the_hash_that_older_releases_stored() {
    let body = json!({"delta": 5, "reason": "Delivered"});
    let adjustment = Fields::read(&body, Adjustment::read).expect("an adjustment");
    assert_eq!(
        towpath_sdk::request_hash("POST /v1/inventory/A-1/adjustments", &adjustment),
        "6c949f8f2352db85af4f4507c77514f0667fa302b60d6a3024b799b7ff36ac86"
    );
}

#[test]
fn a_path_that_no_product_could_have_is_an_unknown_sku() {
    for segment in ["", "a b", "..", "\0", &"x".repeat(65)] {
        let problem = sku(segment).expect_err("refused");
        assert_eq!((problem.status, problem.code), (404, "unknown_sku"), "{segment:?}");
    }
    assert_eq!(sku("A-1"), Ok("A-1".into()));
}

#[test]
fn an_adjustment_is_refused_with_its_reason() {
    let stock = Stock { sku: "A".into(), on_hand: 5, reserved: 3, available: 2 };
    let refusal = |stock: &Stock, delta| stock.refuses(delta).map(|problem| (problem.status, problem.code));
    assert_eq!(refusal(&stock, -3), Some((409, "insufficient_stock")));
    assert_eq!((refusal(&stock, -2), refusal(&stock, 5)), (None, None));
    let full = Stock { on_hand: MAX_ON_HAND, available: MAX_ON_HAND, reserved: 0, ..stock };
    assert_eq!(refusal(&full, 1), Some((409, "stock_limit")));
}

fn line(sku: &str, quantity: i64) -> Line {
    Line { sku: sku.into(), quantity }
}

#[test]
fn two_lines_of_one_sku_are_one_demand() {
    let demand = demand(&[line("B", 2), line("A", 1), line("B", 3)]).expect("a demand");
    assert_eq!(demand.into_iter().collect::<Vec<_>>(), [("A".into(), 1), ("B".into(), 5)]);
}

#[test]
fn a_demand_that_makes_no_sense_is_refused() {
    for lines in [vec![], vec![line("A", 0)], vec![line("A", -1)], vec![line("A", i64::MAX), line("A", 1)]] {
        let problem = demand(&lines).expect_err("refused");
        assert_eq!((problem.status, problem.code), (422, "malformed_event"));
    }
}

#[test]
fn states_read_back_as_themselves() {
    for state in State::ALL {
        assert_eq!(State::parse(state.as_str()), Some(state));
    }
    assert_eq!(State::parse("lost"), None);
}

/// The stock of one SKU and one order of `quantity` pieces, moved by `decide` as the store moves them.
#[derive(Clone, Debug)]
struct Model {
    state: Option<State>,
    on_hand: i64,
    reserved: i64,
    ledger: i64,
    sold: u32,
    returned: u32,
}

impl Model {
    fn new(on_hand: i64) -> Self {
        Self { state: None, on_hand, reserved: 0, ledger: on_hand, sold: 0, returned: 0 }
    }

    fn hear(&mut self, news: News, quantity: i64) {
        let enough = self.on_hand - self.reserved >= quantity;
        self.state = match decide(self.state, news) {
            Action::Reserve | Action::SellUnreserved if !enough => Some(State::Rejected),
            Action::Reserve => {
                self.reserved += quantity;
                Some(State::Reserved)
            }
            Action::SellUnreserved => self.sell(quantity, 0),
            Action::Sell => self.sell(quantity, quantity),
            Action::Release => {
                self.reserved -= quantity;
                Some(State::Released)
            }
            Action::Return => {
                (self.on_hand, self.ledger) = (self.on_hand + quantity, self.ledger + quantity);
                self.returned += 1;
                Some(State::Returned)
            }
            Action::Remember(state) => Some(state),
            Action::Ignore => self.state,
        };
    }

    fn sell(&mut self, quantity: i64, reserved: i64) -> Option<State> {
        (self.on_hand, self.ledger) = (self.on_hand - quantity, self.ledger - quantity);
        self.reserved -= reserved;
        self.sold += 1;
        Some(State::Sold)
    }

    fn holds(&self) -> bool {
        let open = self.state == Some(State::Reserved);
        let available = self.on_hand - self.reserved;
        available >= 0
            && self.ledger == self.on_hand
            && (self.reserved > 0) == open
            && self.sold <= 1
            && self.returned <= self.sold
    }
}

fn any_news() -> impl Strategy<Value = News> {
    prop_oneof![Just(News::Placed), Just(News::Confirmed), Just(News::Ended)]
}

proptest! {
    #[test]
    fn the_books_agree_after_any_news(news in prop::collection::vec(any_news(), 0..12), on_hand in 0..20_i64, quantity in 1..10_i64) {
        let mut model = Model::new(on_hand);
        for news in news {
            model.hear(news, quantity);
            prop_assert!(model.holds(), "{:?}", model);
        }
    }

    #[test]
    fn an_order_that_has_ended_holds_nothing_whatever_came_first(
        news in prop::collection::vec(any_news(), 0..12),
        at in any::<prop::sample::Index>(),
        on_hand in 0..20_i64,
        quantity in 1..10_i64,
    ) {
        let mut all = news;
        all.insert(at.index(all.len() + 1), News::Ended);
        let mut model = Model::new(on_hand);
        all.into_iter().for_each(|news| model.hear(news, quantity));
        prop_assert_eq!((model.reserved, model.on_hand), (0, on_hand));
        prop_assert_eq!(model.sold, model.returned);
    }

    #[test]
    fn news_that_comes_twice_is_news_once(news in prop::collection::vec(any_news(), 0..12), on_hand in 0..20_i64) {
        let (mut once, mut twice) = (Model::new(on_hand), Model::new(on_hand));
        for news in news {
            once.hear(news, 3);
            twice.hear(news, 3);
            twice.hear(news, 3);
            prop_assert_eq!((once.state, once.on_hand, once.reserved), (twice.state, twice.on_hand, twice.reserved));
        }
    }
}
