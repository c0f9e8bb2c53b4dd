//! What clients do, drawn from the seed for each client separately, so that a run repeats whatever answers come, and when.
//! Pure.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// How many SKUs there are that few want.
pub(super) const COLD: usize = 8;
/// How many customers there are.
const CUSTOMERS: usize = 40;

const PAYING: [&str; 3] = ["pm_card_visa", "pm_card_mastercard", "pm_card_amex"];
const DECLINED: [&str; 2] = ["pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds"];

/// A SKU of the run's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shelf {
    /// The one that everybody wants.
    Hot,
    /// One of those that few want.
    Cold(usize),
    /// The one that is out of stock.
    Empty,
}

/// How often, and when, a client sends its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    Once,
    /// Several times at once, under one key.
    AtOnce(usize),
    /// Once more after a while, under the same key.
    Again(Duration),
}

/// A look at something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Order,
    History,
    Payments,
    Orders,
    Stock,
    Product,
}

impl Look {
    const ALL: [Self; 6] = [Self::Order, Self::History, Self::Payments, Self::Orders, Self::Stock, Self::Product];
}

/// What one client does.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Errand {
    pub(super) customer: usize,
    pub(super) lines: Vec<(Shelf, i64)>,
    pub(super) payment_method: &'static str,
    pub(super) copies: Copies,
    /// How long the client asks to wait for the outcome; 0 doesn't.
    pub(super) wait_s: u32,
    /// When it changes its mind after its order was taken.
    pub(super) cancel_after: Option<Duration>,
    /// What it looks at, and when after its order was taken.
    pub(super) looks: Vec<(Duration, Look)>,
    /// Pieces of the hot SKU that are delivered at this time.
    pub(super) restock: Option<i64>,
    /// Which replica it speaks to first, by chance.
    pub(super) replica: usize,
    /// What chance else it needs on its way.
    pub(super) seed: u64,
}

impl Errand {
    /// The `n`th client's of a run.
    pub(super) fn draw(seed: u64, n: u64) -> Self {
        // Neighbouring numbers make unlike generators: seed_from_u64 spreads them.
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let random = &mut random;
        Self {
            customer: random.random_range(0..CUSTOMERS),
            lines: lines(random),
            payment_method: payment_method(random),
            copies: copies(random),
            wait_s: if random.random_bool(0.1) { 5 } else { 0 },
            cancel_after: random.random_bool(0.15).then(|| up_to(random, 3_000)),
            looks: (0..random.random_range(0..=2)).map(|_| look(random)).collect(),
            // About as much as is sold, so that the hot SKU now and then runs out.
            restock: random.random_bool(0.05).then(|| random.random_range(5..=20)),
            replica: random.random_range(0..64),
            seed: random.random(),
        }
    }
}

/// How long it is until the next client comes: they come on their own, not when the last was served.
pub(super) fn until_next(random: &mut StdRng, per_second: f64) -> Duration {
    let chance: f64 = random.random();
    Duration::from_secs_f64((-(1.0 - chance).ln() / per_second).min(60.0))
}

fn up_to(random: &mut StdRng, ms: u64) -> Duration {
    Duration::from_millis(random.random_range(0..=ms))
}

fn shelf(random: &mut StdRng) -> Shelf {
    if random.random_bool(0.5) { Shelf::Hot } else { Shelf::Cold(random.random_range(0..COLD)) }
}

fn lines(random: &mut StdRng) -> Vec<(Shelf, i64)> {
    match random.random_range(0..100) {
        0..6 => vec![(Shelf::Empty, 5)],
        // One line can be had, the other can't: neither may be held back.
        6..9 => vec![(shelf(random), 1), (Shelf::Empty, 5)],
        // Two lines of one SKU.
        9..15 => {
            let twice = shelf(random);
            vec![(twice, 1), (twice, random.random_range(1..=2))]
        }
        15..30 => (0..random.random_range(2..=4)).map(|_| (shelf(random), random.random_range(1..=2))).collect(),
        _ => vec![(shelf(random), 1)],
    }
}

fn payment_method(random: &mut StdRng) -> &'static str {
    let methods: &[&'static str] = if random.random_bool(0.12) { &DECLINED } else { &PAYING };
    methods.choose(random).copied().unwrap_or(PAYING[0])
}

fn copies(random: &mut StdRng) -> Copies {
    match random.random_range(0..100) {
        0..10 => Copies::AtOnce(random.random_range(2..=5)),
        10..20 => Copies::Again(up_to(random, 5_000)),
        _ => Copies::Once,
    }
}

fn look(random: &mut StdRng) -> (Duration, Look) {
    let look = Look::ALL.choose(random).copied().unwrap_or(Look::Order);
    (up_to(random, 2_000), look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let run = |seed| (0..50).map(|n| Errand::draw(seed, n)).collect::<Vec<_>>();
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert_ne!(run(7)[0], run(7)[1]);
    }

    #[test]
    fn everything_that_can_happen_happens() {
        let errands: Vec<Errand> = (0..400).map(|n| Errand::draw(1, n)).collect();
        let some = |what: &str, holds: fn(&Errand) -> bool| assert!(errands.iter().any(holds), "no {what}");
        some("hot SKU", |one| one.lines.contains(&(Shelf::Hot, 1)));
        some("cold SKU", |one| matches!(one.lines[..], [(Shelf::Cold(_), _)]));
        some("order out of stock", |one| one.lines[..] == [(Shelf::Empty, 5)]);
        some("order half out of stock", |one| {
            matches!(one.lines[..], [(Shelf::Hot | Shelf::Cold(_), _), (Shelf::Empty, _)])
        });
        some("order with two lines of one SKU", |one| matches!(one.lines[..], [(a, _), (b, _)] if a == b));
        some("order of several SKUs", |one| one.lines.len() > 2);
        for method in DECLINED.iter().chain(&PAYING) {
            assert!(errands.iter().any(|one| one.payment_method == *method), "no {method}");
        }
        some("key sent at once", |one| matches!(one.copies, Copies::AtOnce(2..)));
        some("key sent again", |one| matches!(one.copies, Copies::Again(_)));
        some("wait", |one| one.wait_s > 0);
        some("cancellation", |one| one.cancel_after.is_some());
        some("delivery", |one| one.restock.is_some());
        for look in Look::ALL {
            assert!(errands.iter().any(|one| one.looks.iter().any(|(_, seen)| *seen == look)), "no {look:?}");
        }
    }

    #[test]
    fn clients_come_at_the_rate_that_was_asked_for() {
        let mut random = StdRng::seed_from_u64(3);
        let time: Duration = (0..20_000).map(|_| until_next(&mut random, 10.0)).sum();
        assert!((1_900.0..2_100.0).contains(&time.as_secs_f64()), "{time:?}");
    }
}
