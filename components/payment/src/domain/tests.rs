//! The rules against every course of events: a model of the rows and of the provider's ledger, with handlers cut into
//! the pieces that can be separated by a crash, run in any order, any number of times.

use proptest::prelude::*;

use super::*;

#[test]
fn names_read_back_as_themselves() {
    for status in Status::ALL {
        assert_eq!(Status::parse(status.as_str()), Some(status));
    }
    for reason in [Cancellation::Cancelled, Cancellation::Expired] {
        assert_eq!(Cancellation::parse(reason.as_str()), Some(reason));
    }
    assert_eq!(Status::parse("CAPTURED"), None);
    assert_eq!(Cancellation::parse("cancelled"), None);
}

#[test]
fn every_step_is_in_the_table() {
    for payment in Status::ALL {
        for cancelled in [None, Some(Cancellation::Cancelled), Some(Cancellation::Expired)] {
            let seen = Seen { payment: Some(payment), cancelled };
            assert!(!seen.may_begin());
            if let Some(next) = seen.cancel() {
                assert!(payment.may_become(next), "{payment} → {next}");
            }
            if seen.next() == Next::Charge {
                assert!([true, false].into_iter().all(|captured| payment.may_become(seen.charged(captured))));
            }
            if seen.next() == Next::Refund {
                assert!(payment.may_become(Refunded));
            }
        }
    }
}

#[test]
fn a_cancellation_that_came_early_never_captures() {
    let seen = Seen { payment: None, cancelled: Some(Cancellation::Expired) };
    assert!(!seen.may_begin());
    assert_eq!(seen.next(), Next::Nothing);
}

/// One step of a handler. Between any two of them the process may die, and a redelivery begins from the front.
#[derive(Clone, Copy, Debug)]
enum Piece {
    /// `stock.reserved`, first unit of work: begin.
    Begin,
    /// The provider is asked to do what is next.
    Ask,
    /// Its answer is recorded, under the guard that the rows still say what was seen when it was asked.
    Record,
    /// `order.cancelled`.
    Cancel,
}

#[derive(Debug, Default)]
struct World {
    payment: Option<Status>,
    cancelled: Option<Cancellation>,
    /// The provider's books. Keys make each happen once.
    charge: Option<bool>,
    refunds: usize,
    /// What was seen when the provider was asked, and is not recorded yet. Lost with the process.
    in_hand: Option<Seen>,
    captured_said: usize,
    refunded_said: usize,
}

impl World {
    fn seen(&self) -> Seen {
        Seen { payment: self.payment, cancelled: self.cancelled }
    }

    fn take(&mut self, next: Status) {
        assert!(self.payment.is_some_and(|now| now.may_become(next)), "{:?} → {next}", self.payment);
        self.payment = Some(next);
    }

    fn run(&mut self, piece: Piece, pays: bool) {
        match piece {
            Piece::Begin if self.seen().may_begin() => self.payment = Some(Pending),
            Piece::Begin => {}
            Piece::Ask => {
                match self.seen().next() {
                    Next::Charge => _ = *self.charge.get_or_insert(pays),
                    Next::Refund => self.refunds = 1,
                    Next::Nothing => return,
                }
                self.in_hand = Some(self.seen());
            }
            Piece::Record => {
                let Some(asked) = self.in_hand.take().filter(|asked| *asked == self.seen()) else { return };
                match asked.next() {
                    Next::Charge => {
                        let captured = self.charge == Some(true);
                        self.take(asked.charged(captured));
                        self.captured_said += usize::from(captured);
                    }
                    Next::Refund => {
                        self.take(Refunded);
                        self.refunded_said += 1;
                    }
                    Next::Nothing => unreachable!("nothing was asked"),
                }
            }
            Piece::Cancel => {
                self.cancelled.get_or_insert(Cancellation::Cancelled);
                if let Some(next) = self.seen().cancel() {
                    self.take(next);
                }
            }
        }
    }

    /// What redelivery does in the end: every handler runs through.
    fn settle(&mut self, pays: bool) {
        for _ in 0..4 {
            self.in_hand = None;
            self.run(Piece::Ask, pays);
            self.run(Piece::Record, pays);
        }
        assert_eq!(self.seen().next(), Next::Nothing);
    }
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![Just(Piece::Begin), Just(Piece::Ask), Just(Piece::Record), Just(Piece::Cancel)];
    proptest::collection::vec(piece, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn money_is_kept_or_goes_back_exactly_once(pieces in pieces(), pays: bool) {
        let mut world = World::default();
        for piece in pieces {
            world.run(piece, pays);
        }
        world.settle(pays);
        let charged = usize::from(world.charge == Some(true));
        prop_assert_eq!(world.captured_said, charged);
        prop_assert_eq!(world.refunded_said, world.refunds);
        // What the provider holds in the end is what the rows say.
        prop_assert_eq!(charged - world.refunds, usize::from(world.payment == Some(Captured)));
        if world.cancelled.is_some() {
            prop_assert_eq!(charged, world.refunds);
        } else {
            prop_assert_eq!(world.refunds, 0);
        }
    }

    #[test]
    fn nothing_is_charged_after_an_early_cancellation(pieces in pieces(), pays: bool) {
        let mut world = World::default();
        world.run(Piece::Cancel, pays);
        for piece in pieces {
            world.run(piece, pays);
        }
        world.settle(pays);
        prop_assert_eq!(world.charge, None);
        prop_assert_eq!(world.payment, None);
    }
}
