//! The rules against every course of events: a model of the rows and of the provider's books, with handlers cut into
//! the pieces that can be separated by a crash, run in any order, any number of times.

use proptest::prelude::*;

use super::*;
use crate::provider::outcomes::Decline;

fn decline() -> Standing {
    Standing::Declined(Decline { reason: "card_declined".into(), provider_code: None })
}

fn standings() -> [Standing; 7] {
    [
        Standing::Unconfirmed,
        Standing::ActionRequired,
        Standing::Processing,
        Standing::Captured,
        Standing::Differs { what: "1 eur".into() },
        decline(),
        Standing::Cancelled,
    ]
}

#[test]
fn names_read_back_as_themselves() {
    for status in Status::ALL {
        assert_eq!(Status::parse(status.as_str()), Some(status));
    }
    for reason in [Cancellation::Cancelled, Cancellation::Expired, Cancellation::Rejected] {
        assert_eq!(Cancellation::parse(reason.as_str()), Some(reason));
    }
    assert_eq!(Status::parse("CAPTURED"), None);
    assert_eq!(Cancellation::parse("cancelled"), None);
}

#[test]
fn every_step_is_in_the_table() {
    for payment in Status::ALL {
        for cancelled in [None, Some(Cancellation::Cancelled), Some(Cancellation::Rejected)] {
            for (intent, closed, refund_taken) in
                [(false, false, false), (true, false, false), (true, true, false), (true, false, true)]
            {
                let seen = Seen { payment: Some(payment), intent, closed, refund_taken, cancelled };
                assert!(!seen.may_begin());
                let cancel = seen.cancel();
                assert!(cancel.is_none_or(|next| payment.may_become(next)), "{payment} → {cancel:?}");
                if matches!(seen.next(), Next::Confirm | Next::Cancel) || seen.may_ask() {
                    let next = standings().iter().filter_map(|standing| seen.stands(standing)).collect::<Vec<_>>();
                    assert!(next.iter().all(|next| payment.may_become(*next)), "{payment} → {next:?}");
                }
                if seen.may_retry() {
                    assert!(payment.may_become(Pending), "{payment}");
                }
                if seen.next() == Next::Close {
                    assert!(payment.may_become(Cancelled));
                }
            }
        }
        for state in [GivenState::Succeeded, GivenState::Pending, GivenState::Failed { code: "x".into() }] {
            let next = given_back(payment, &state);
            assert!(next.is_none_or(|next| payment.may_become(next)), "{payment} → {next:?}");
        }
    }
}

#[test]
fn only_the_whole_amount_of_an_open_order_is_captured() {
    for cancelled in [None, Some(Cancellation::Expired)] {
        let seen = Seen { payment: Some(Pending), intent: true, closed: false, refund_taken: false, cancelled };
        for standing in standings() {
            let captured = seen.stands(&standing) == Some(Captured);
            assert_eq!(captured, standing == Standing::Captured && cancelled.is_none(), "{standing:?}");
        }
        assert_eq!(seen.stands(&Standing::Differs { what: "1 usd".into() }), Some(NeedsAttention));
    }
}

#[test]
fn a_refund_that_is_pending_is_not_refunded_and_one_that_fails_later_goes_to_a_person() {
    let failed = GivenState::Failed { code: "expired_or_canceled_card".into() };
    assert_eq!(given_back(RefundPending, &GivenState::Pending), None);
    assert_eq!(given_back(RefundPending, &GivenState::Succeeded), Some(Refunded));
    assert_eq!(given_back(RefundPending, &failed), Some(NeedsAttention));
    assert_eq!(given_back(Refunded, &failed), Some(NeedsAttention));
    assert_eq!(given_back(Refunded, &GivenState::Succeeded), None);
    assert_eq!(given_back(NeedsAttention, &GivenState::Succeeded), None, "a person decides");
}

#[test]
fn a_cancellation_that_came_early_never_captures() {
    let seen = Seen {
        payment: None,
        intent: false,
        closed: false,
        refund_taken: false,
        cancelled: Some(Cancellation::Expired),
    };
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
    /// The answer is lost with the process.
    Die,
    /// A handler that read the rows before others changed them asks the provider late.
    AskLate,
    /// `order.cancelled`.
    Cancel,
    /// `order.payment_requested`: the customer takes another payment method.
    Retry,
    /// Somebody cancels at the provider what is not charged.
    CancelThere,
    /// The customer authenticates at the provider, or pays there with another card.
    Customer,
    /// The timer, or a webhook, asks what became of a payment that waits; the answer is in hand.
    Look,
    /// The provider brings a pending refund to its end.
    Settle,
    /// The timer asks what became of a refund.
    Timer,
}

/// An intent in the provider's books.
#[derive(Clone, Debug, PartialEq)]
enum Intent {
    Open,
    Asks,
    Works,
    Charged,
    Declined,
    Cancelled,
}

/// What the customer's card does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Card {
    Pays,
    Declines,
    Asks,
    Works,
}

/// What the provider makes of refunds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Back {
    AtOnce,
    Later,
    Fails,
}

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Created(usize),
    Stands(Standing),
    Closed,
    Given(GivenState),
}

#[derive(Debug, Default)]
struct World {
    payment: Option<Status>,
    intent: Option<usize>,
    closed: bool,
    /// Whether the payment is declined because its intent is cancelled: its reason says so.
    lost: bool,
    attempt: usize,
    refund_taken: bool,
    cancelled: Option<Cancellation>,
    /// The provider's books.
    intents: Vec<Intent>,
    refund: Option<GivenState>,
    /// What was seen when the provider was asked, and its answer, which is not recorded yet.
    in_hand: Option<(Seen, usize, Answer)>,
    /// What a slow handler saw.
    stale: Option<(Seen, usize, Option<usize>)>,
    captured_said: usize,
    refunded_said: usize,
}

impl World {
    fn seen(&self) -> Seen {
        Seen {
            payment: self.payment,
            intent: self.intent.is_some(),
            closed: self.closed,
            refund_taken: self.refund_taken,
            cancelled: self.cancelled,
        }
    }

    fn take(&mut self, next: Status) {
        assert!(self.payment.is_some_and(|now| now.may_become(next)), "{:?} → {next}", self.payment);
        self.payment = Some(next);
    }

    fn standing(&self, intent: usize) -> Standing {
        match self.intents[intent] {
            Intent::Open => Standing::Unconfirmed,
            Intent::Asks => Standing::ActionRequired,
            Intent::Works => Standing::Processing,
            Intent::Charged => Standing::Captured,
            Intent::Declined => decline(),
            Intent::Cancelled => Standing::Cancelled,
        }
    }

    /// The provider does what it is asked, by its own books alone.
    fn provider(&mut self, next: Next, intent: Option<usize>, card: Card, back: Back) -> Option<Answer> {
        Some(match (next, intent) {
            (Next::Create, _) => {
                self.intents.push(Intent::Open);
                Answer::Created(self.intents.len() - 1)
            }
            (Next::Confirm, Some(intent)) => {
                if matches!(self.intents[intent], Intent::Open | Intent::Asks | Intent::Declined) {
                    self.intents[intent] = match card {
                        Card::Pays => Intent::Charged,
                        Card::Declines => Intent::Declined,
                        Card::Asks => Intent::Asks,
                        Card::Works => Intent::Works,
                    };
                }
                Answer::Stands(self.standing(intent))
            }
            (Next::Cancel, Some(intent)) => {
                if !matches!(self.intents[intent], Intent::Charged | Intent::Works) {
                    self.intents[intent] = Intent::Cancelled;
                }
                Answer::Stands(self.standing(intent))
            }
            (Next::Refund, Some(_)) => {
                let state = if back == Back::AtOnce { GivenState::Succeeded } else { GivenState::Pending };
                Answer::Given(self.refund.get_or_insert(state).clone())
            }
            (Next::Close, _) => Answer::Closed,
            _ => return None,
        })
    }

    fn record(&mut self, answer: &Answer) {
        match answer {
            Answer::Created(intent) => self.intent = Some(*intent),
            Answer::Closed => self.take(Cancelled),
            Answer::Stands(standing) if self.seen().closes(standing) => self.closed = true,
            Answer::Stands(standing) => {
                if let Some(next) = self.seen().stands(standing) {
                    self.take(next);
                    self.lost = next == Declined && *standing == Standing::Cancelled;
                    self.captured_said += usize::from(matches!(next, Captured | RefundPending));
                }
            }
            Answer::Given(state) => {
                self.refund_taken = true;
                if let Some(next) = self.payment.and_then(|now| given_back(now, state)) {
                    self.take(next);
                    self.refunded_said += usize::from(next == Refunded);
                }
            }
        }
    }

    fn run(&mut self, piece: Piece, card: Card, back: Back) {
        match piece {
            Piece::Begin if self.seen().may_begin() => self.payment = Some(Pending),
            Piece::Begin => {}
            Piece::Ask => {
                let (seen, attempt, intent) = (self.seen(), self.attempt, self.intent);
                self.stale = Some((seen, attempt, intent));
                self.in_hand = self.provider(seen.next(), intent, card, back).map(|answer| (seen, attempt, answer));
            }
            Piece::AskLate => {
                if let Some((seen, attempt, intent)) = self.stale.take() {
                    self.in_hand = self.provider(seen.next(), intent, card, back).map(|answer| (seen, attempt, answer));
                }
            }
            Piece::Look => {
                if let (true, Some(intent)) = (self.seen().may_ask(), self.intent) {
                    let answer = Answer::Stands(self.standing(intent));
                    self.in_hand = Some((self.seen(), self.attempt, answer));
                }
            }
            Piece::Retry if self.seen().may_retry() => {
                self.take(Pending);
                self.attempt += 1;
                if std::mem::take(&mut self.lost) {
                    self.intent = None;
                }
            }
            Piece::CancelThere => {
                for intent in
                    self.intents.iter_mut().filter(|intent| !matches!(intent, Intent::Charged | Intent::Works))
                {
                    *intent = Intent::Cancelled;
                }
            }
            Piece::Retry => {}
            Piece::Customer => {
                for intent in &mut self.intents {
                    if matches!(intent, Intent::Asks | Intent::Works | Intent::Declined) {
                        *intent = if card == Card::Declines { Intent::Declined } else { Intent::Charged };
                    }
                }
            }
            Piece::Record => {
                if let Some((asked, attempt, answer)) = self.in_hand.take()
                    && (asked, attempt) == (self.seen(), self.attempt)
                {
                    self.record(&answer);
                }
            }
            Piece::Die => self.in_hand = None,
            Piece::Cancel => {
                self.cancelled.get_or_insert(Cancellation::Cancelled);
                if let Some(next) = self.seen().cancel() {
                    self.take(next);
                }
            }
            Piece::Settle => match (&self.refund, back) {
                (Some(GivenState::Pending), Back::Fails) => self.refund = Some(GivenState::Failed { code: "x".into() }),
                (Some(GivenState::Pending), _) => self.refund = Some(GivenState::Succeeded),
                _ => {}
            },
            Piece::Timer => {
                if let (true, Some(state)) = (self.refund_taken, self.refund.clone()) {
                    self.record(&Answer::Given(state));
                }
            }
        }
    }

    /// What redelivery and the timer do in the end: every handler runs through.
    fn settle(&mut self, card: Card, back: Back) {
        for _ in 0..8 {
            for piece in
                [Piece::Die, Piece::Ask, Piece::Record, Piece::Look, Piece::Record, Piece::Settle, Piece::Timer]
            {
                self.run(piece, card, back);
            }
            // A bank comes to an end; a customer need not.
            for intent in self.intents.iter_mut().filter(|intent| **intent == Intent::Works) {
                *intent = Intent::Charged;
            }
        }
        assert_eq!(self.seen().next(), Next::Nothing);
    }

    fn charges(&self) -> usize {
        self.intents.iter().filter(|intent| **intent == Intent::Charged).count()
    }
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    use Piece::{Ask, AskLate, Begin, Cancel, CancelThere, Customer, Die, Look, Record, Retry, Settle, Timer};
    let piece = proptest::sample::select(vec![
        Begin,
        Ask,
        Ask,
        Record,
        Record,
        Die,
        AskLate,
        Cancel,
        Settle,
        Timer,
        Retry,
        Customer,
        Look,
        CancelThere,
    ]);
    proptest::collection::vec(piece, 0..24)
}

fn card() -> impl Strategy<Value = Card> {
    proptest::sample::select(vec![Card::Pays, Card::Declines, Card::Asks, Card::Works])
}

fn back() -> impl Strategy<Value = Back> {
    proptest::sample::select(vec![Back::AtOnce, Back::Later, Back::Fails])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn money_is_kept_or_goes_back_exactly_once(pieces in pieces(), card in card(), back in back()) {
        let mut world = World::default();
        for piece in pieces {
            world.run(piece, card, back);
        }
        world.settle(card, back);
        let charged = world.charges();
        prop_assert!(charged <= 1, "charged {} times", charged);
        let returned = usize::from(world.refund == Some(GivenState::Succeeded));
        prop_assert_eq!(world.refunded_said, returned);
        // Who pays after a decline, at the provider and not asked about, is found when the order ends.
        if world.cancelled.is_none() && world.payment == Some(Declined) {
            return Ok(());
        }
        prop_assert_eq!(world.captured_said, charged);
        // What the provider holds in the end is what the rows say, or a person knows.
        prop_assert_eq!(charged - returned, usize::from(matches!(world.payment, Some(Captured | NeedsAttention))));
        if world.cancelled.is_some() {
            prop_assert!(charged == returned || world.payment == Some(NeedsAttention));
        } else {
            prop_assert_eq!(&world.refund, &None);
        }
    }

    /// However an intent was lost, another payment method pays at last, and once.
    #[test]
    fn another_payment_method_pays_after_the_intent_was_cancelled_at_the_provider(pieces in pieces(), card in card()) {
        let mut world = World::default();
        for piece in pieces.into_iter().filter(|piece| !matches!(piece, Piece::Cancel)) {
            world.run(piece, card, Back::AtOnce);
        }
        world.run(Piece::Begin, card, Back::AtOnce);
        world.run(Piece::CancelThere, card, Back::AtOnce);
        for _ in 0..3 {
            world.settle(Card::Pays, Back::AtOnce);
            world.run(Piece::Retry, card, Back::AtOnce);
        }
        world.settle(Card::Pays, Back::AtOnce);
        prop_assert_eq!((world.payment, world.charges()), (Some(Captured), 1));
    }

    #[test]
    fn nothing_is_charged_after_an_early_cancellation(pieces in pieces(), card in card(), back in back()) {
        let mut world = World::default();
        world.run(Piece::Cancel, card, back);
        for piece in pieces {
            world.run(piece, card, back);
        }
        world.settle(card, back);
        prop_assert_eq!(world.charges(), 0);
        prop_assert_eq!(world.payment, None);
    }

    /// A pending payment of an order that is over is not charged first and refunded then.
    #[test]
    fn a_payment_that_is_not_confirmed_yet_is_never_charged_for_an_ended_order(pieces in pieces(), card in card(), back in back()) {
        let mut world = World::default();
        for piece in [Piece::Begin, Piece::Ask, Piece::Record, Piece::Cancel] {
            world.run(piece, card, back);
        }
        world.stale = None;
        for piece in pieces {
            world.run(piece, card, back);
        }
        world.settle(card, back);
        prop_assert_eq!(world.charges(), 0);
        prop_assert_eq!(world.payment, Some(Cancelled));
    }
}
