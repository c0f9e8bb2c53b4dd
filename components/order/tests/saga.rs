//! The rules of order and payment together, against every course of events.
//!
//! A model of the two services' rows and of the topics between them: each topic keeps its order per key, between topics
//! there is none, and any event may be delivered again. The customer cancels and the timer expires whenever they like.
//! The invariants of docs/invariants.md must hold once everything is delivered.

use std::collections::{HashSet, VecDeque};

use proptest::prelude::*;
use towpath_order::domain::{Asks, Cancelling, Decision, Heard, OnDecline, Paying, Said, Seen, Status};
use towpath_payment::{
    domain as pay,
    provider::{
        outcomes::Decline,
        stripe::{GivenState, Standing},
    },
};
use towpath_sdk::{Id, Money};

/// An event on its way to one service, with its id.
#[derive(Clone, Debug)]
enum Event {
    Placed,
    Stock(Heard),
    Said(Said),
    Payment(Heard),
    /// The customer goes on, with another payment method or the same.
    Requested {
        another: bool,
    },
}

type Queue = VecDeque<(usize, Event)>;

#[derive(Clone, Copy, Debug)]
struct Course {
    in_stock: bool,
    pays: bool,
    /// Whether the customer has to authenticate first.
    asks: bool,
    on_decline: OnDecline,
}

/// The intent at the provider.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Intent {
    Unconfirmed,
    Asks,
    Charged,
    Declined,
    Cancelled,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// The first event of a queue is delivered.
    Deliver(usize),
    /// One that was delivered before comes again, to the same service.
    Again(usize, usize),
    /// Payment dies in the middle of the first `stock.reserved`: it has an intent, and hasn't confirmed it.
    DieBeforeTheCharge,
    /// The customer authenticates at the provider: nobody hears of it until somebody asks.
    Authenticate,
    /// A webhook or the timer: payment asks what became of the intent.
    Ask,
    /// The customer goes on by the order, with a card that pays at once, or with the same.
    GoOn {
        another: bool,
    },
    Cancel,
    Expire,
}

struct World {
    course: Course,
    total: Money,
    payment_id: Id,
    next_id: usize,
    // Queues: to inventory from orders; to payment from inventory and from orders; to orders from inventory and payment.
    queues: [Queue; 5],
    delivered: [Vec<(usize, Event)>; 5],
    inbox: [HashSet<usize>; 3],
    order: Status,
    order_payment: Option<Id>,
    order_asks: Option<Asks>,
    confirmed_said: usize,
    stock_reserved: bool,
    stock_sold: bool,
    stock_released: bool,
    payment: Option<pay::Status>,
    intent: Option<Intent>,
    closed: bool,
    cancelled: Option<pay::Cancellation>,
    charges: usize,
    charged_while_open: bool,
    refunds: usize,
}

const TO_INVENTORY: usize = 0;
const TO_PAYMENT_FROM_STOCK: usize = 1;
const TO_PAYMENT_FROM_ORDER: usize = 2;
const TO_ORDER_FROM_STOCK: usize = 3;
const TO_ORDER_FROM_PAYMENT: usize = 4;

impl World {
    fn new(course: Course) -> Self {
        let mut world = Self {
            course,
            total: Money::new(300, "EUR".parse().expect("a currency")),
            payment_id: Id::new(),
            next_id: 0,
            queues: Default::default(),
            delivered: Default::default(),
            inbox: Default::default(),
            order: Status::Pending,
            order_payment: None,
            order_asks: None,
            confirmed_said: 0,
            stock_reserved: false,
            stock_sold: false,
            stock_released: false,
            payment: None,
            intent: None,
            closed: false,
            cancelled: None,
            charges: 0,
            charged_while_open: false,
            refunds: 0,
        };
        world.publish(&[TO_INVENTORY], &Event::Placed);
        world
    }

    fn publish(&mut self, queues: &[usize], event: &Event) {
        self.next_id += 1;
        for &queue in queues {
            self.queues[queue].push_back((self.next_id, event.clone()));
        }
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Deliver(queue) => {
                if let Some(event) = self.queues[queue].pop_front() {
                    self.delivered[queue].push(event.clone());
                    self.hear(queue, event);
                }
            }
            Turn::Again(queue, n) => {
                let known = &self.delivered[queue];
                if let Some(event) = known.get(n % known.len().max(1)).cloned() {
                    self.hear(queue, event);
                }
            }
            Turn::DieBeforeTheCharge => {
                if !self.queues[TO_PAYMENT_FROM_STOCK].is_empty() && self.seen().may_begin() {
                    self.payment = Some(pay::Status::Pending);
                    self.intent = Some(Intent::Unconfirmed);
                }
            }
            Turn::Authenticate if self.intent == Some(Intent::Asks) => self.decide(),
            Turn::Ask => self.ask(),
            Turn::GoOn { another } if Paying::of(&self.order_seen()) == Paying::Resume => {
                self.order_asks = Decision::Resume { payment_method: another.then(String::new) }.asks(self.order_asks);
                self.publish(&[TO_PAYMENT_FROM_ORDER], &Event::Requested { another });
            }
            Turn::Cancel if Cancelling::of(self.order) == Cancelling::Cancel => {
                self.say(Said::Cancelled { reason: "requested_by_customer".into() });
            }
            Turn::Expire if !self.order.is_decided() => self.say(Said::Expired),
            Turn::Authenticate | Turn::GoOn { .. } | Turn::Cancel | Turn::Expire => {}
        }
    }

    fn hear(&mut self, queue: usize, (id, event): (usize, Event)) {
        let service = [0, 1, 1, 2, 2][queue];
        if !self.inbox[service].insert(id) {
            return;
        }
        match (service, event) {
            (0, event) => self.inventory_hears(&event),
            (1, Event::Stock(Heard::StockReserved)) => self.charge(),
            (1, Event::Said(Said::Cancelled { .. })) => self.send_back(pay::Cancellation::Cancelled),
            (1, Event::Said(Said::Expired)) => self.send_back(pay::Cancellation::Expired),
            (1, Event::Said(Said::Rejected { .. })) => self.send_back(pay::Cancellation::Rejected),
            (1, Event::Requested { another }) => self.resume(another),
            (2, Event::Stock(heard) | Event::Payment(heard)) => self.order_hears(&heard),
            _ => {}
        }
    }

    fn order_seen(&self) -> Seen {
        let Course { on_decline, .. } = self.course;
        Seen { status: self.order, total: self.total, on_decline, asks: self.order_asks }
    }

    fn order_hears(&mut self, heard: &Heard) {
        let decision = self.order_seen().hear(heard);
        self.order_asks = decision.asks(self.order_asks);
        match decision {
            Decision::Await { payment_id, .. } => self.order_payment = self.order_payment.or(Some(payment_id)),
            Decision::Resume { .. } => unreachable!("no event means it"),
            Decision::Reserve => self.step(Status::Reserved),
            Decision::Note { payment_id } => self.order_payment = self.order_payment.or(payment_id),
            Decision::Say { said, payment_id } => {
                self.order_payment = self.order_payment.or(payment_id);
                self.say(said);
            }
        }
    }

    fn step(&mut self, next: Status) {
        assert!(self.order.may_become(next), "{} → {next}", self.order);
        self.order = next;
    }

    fn say(&mut self, said: Said) {
        self.step(said.status());
        self.order_asks = None;
        self.confirmed_said += usize::from(said.status() == Status::Confirmed);
        self.publish(&[TO_INVENTORY, TO_PAYMENT_FROM_ORDER], &Event::Said(said));
    }

    /// Inventory: a reservation ends by what the order says, also where that comes first.
    fn inventory_hears(&mut self, event: &Event) {
        match event {
            Event::Placed if self.course.in_stock => {
                self.stock_reserved = true;
                let heard = Event::Stock(Heard::StockReserved);
                self.publish(&[TO_PAYMENT_FROM_STOCK, TO_ORDER_FROM_STOCK], &heard);
            }
            Event::Placed => {
                let heard = Heard::StockRejected { reason: "out_of_stock".into() };
                self.publish(&[TO_ORDER_FROM_STOCK], &Event::Stock(heard));
            }
            Event::Said(Said::Confirmed { .. }) => {
                assert!(self.stock_reserved && !self.stock_sold && !self.stock_released);
                self.stock_sold = true;
            }
            Event::Said(_) if self.stock_reserved => {
                self.stock_released = true;
                self.publish(&[TO_ORDER_FROM_STOCK], &Event::Stock(Heard::StockReleased));
            }
            _ => {}
        }
    }

    fn seen(&self) -> pay::Seen {
        pay::Seen {
            payment: self.payment,
            intent: self.intent.is_some(),
            closed: self.closed,
            refund_taken: false,
            cancelled: self.cancelled,
        }
    }

    fn charge(&mut self) {
        if self.seen().may_begin() {
            self.payment = Some(pay::Status::Pending);
        }
        self.settle_payment();
    }

    fn send_back(&mut self, reason: pay::Cancellation) {
        self.cancelled.get_or_insert(reason);
        self.payment = self.seen().cancel().or(self.payment);
        self.settle_payment();
    }

    /// The bank decides.
    fn decide(&mut self) {
        self.intent = Some(if self.course.pays { Intent::Charged } else { Intent::Declined });
        if self.course.pays {
            self.charges += 1;
            self.charged_while_open = self.cancelled.is_none();
        }
    }

    fn standing(&self) -> Standing {
        match self.intent {
            None | Some(Intent::Unconfirmed) => Standing::Unconfirmed,
            Some(Intent::Asks) => Standing::ActionRequired,
            Some(Intent::Charged) => Standing::Captured,
            Some(Intent::Declined) => {
                Standing::Declined(Decline { reason: "card_declined".into(), provider_code: None })
            }
            Some(Intent::Cancelled) => Standing::Cancelled,
        }
    }

    fn resume(&mut self, another: bool) {
        if another && self.seen().may_retry() {
            self.payment = Some(pay::Status::Pending);
            (self.course.asks, self.course.pays) = (false, true);
        }
        let before = self.payment;
        self.ask();
        // What stands as it was is said again, since the order asked.
        if !another && self.payment == before {
            self.say_again();
        }
    }

    fn say_again(&mut self) {
        let payment_id = self.payment_id;
        match self.payment {
            Some(pay::Status::RequiresAction) => self.pays(Heard::ActionRequired { payment_id }),
            Some(pay::Status::Declined) => {
                self.pays(Heard::PaymentDeclined { payment_id, reason: "card_declined".into(), payable: true });
            }
            _ => {}
        }
    }

    fn ask(&mut self) {
        if self.seen().may_ask() && self.seen().next() == pay::Next::Nothing {
            self.record(&self.standing());
        }
        self.settle_payment();
    }

    fn record(&mut self, standing: &Standing) {
        let payment_id = self.payment_id;
        let seen = self.seen();
        self.closed |= seen.closes(standing);
        let Some(next) = seen.stands(standing) else { return };
        assert!(self.payment.is_some_and(|now| now.may_become(next)), "{:?} → {next}", self.payment);
        self.payment = Some(next);
        match next {
            pay::Status::Captured | pay::Status::RefundPending => {
                self.pays(Heard::PaymentCaptured { payment_id, amount: self.total });
            }
            pay::Status::RequiresAction => self.pays(Heard::ActionRequired { payment_id }),
            pay::Status::Declined => {
                self.pays(Heard::PaymentDeclined { payment_id, reason: "card_declined".into(), payable: true });
            }
            other => assert_eq!(other, pay::Status::Cancelled),
        }
    }

    /// What a handler of payment does: one step after the other, until nothing is next.
    fn settle_payment(&mut self) {
        loop {
            match self.seen().next() {
                pay::Next::Create => {
                    self.intent = Some(Intent::Unconfirmed);
                    continue;
                }
                pay::Next::Confirm => match self.intent {
                    Some(Intent::Unconfirmed | Intent::Asks | Intent::Declined) if self.course.asks => {
                        self.intent = Some(Intent::Asks);
                    }
                    Some(Intent::Unconfirmed | Intent::Asks | Intent::Declined) => self.decide(),
                    _ => {}
                },
                pay::Next::Cancel if self.intent != Some(Intent::Charged) => self.intent = Some(Intent::Cancelled),
                pay::Next::Cancel => {}
                pay::Next::Close => {
                    self.record(&Standing::Cancelled);
                    continue;
                }
                pay::Next::Refund => {
                    self.refunds += 1;
                    self.payment = self.payment.and_then(|now| pay::given_back(now, &GivenState::Succeeded));
                    self.pays(Heard::PaymentRefunded { payment_id: self.payment_id });
                    continue;
                }
                pay::Next::Nothing => return,
            }
            self.record(&self.standing());
        }
    }

    fn pays(&mut self, heard: Heard) {
        self.publish(&[TO_ORDER_FROM_PAYMENT], &Event::Payment(heard));
    }

    /// Everything that is on its way arrives, and the timers run: of payment, and of orders that nobody has paid.
    fn settle(&mut self) {
        self.arrive();
        self.turn(Turn::Ask);
        self.arrive();
        if self.order_asks.is_some() {
            self.turn(Turn::Expire);
        }
        self.arrive();
    }

    fn arrive(&mut self) {
        while let Some(queue) = (0..self.queues.len()).find(|queue| !self.queues[*queue].is_empty()) {
            self.turn(Turn::Deliver(queue));
        }
    }
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        12 => (0..5_usize).prop_map(Turn::Deliver),
        4 => (0..5_usize, any::<usize>()).prop_map(|(queue, n)| Turn::Again(queue, n)),
        2 => Just(Turn::DieBeforeTheCharge),
        2 => Just(Turn::Authenticate),
        2 => Just(Turn::Ask),
        2 => any::<bool>().prop_map(|another| Turn::GoOn { another }),
        1 => Just(Turn::Cancel),
        1 => Just(Turn::Expire),
    ];
    proptest::collection::vec(turn, 0..60)
}

fn course() -> impl Strategy<Value = Course> {
    let on_decline = proptest::sample::select(vec![OnDecline::Reject, OnDecline::Wait]);
    (any::<bool>(), any::<bool>(), any::<bool>(), on_decline).prop_map(|(in_stock, pays, asks, on_decline)| Course {
        in_stock,
        pays,
        asks,
        on_decline,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_order_ends_with_its_money_and_stock_right_whatever_comes_first(turns in turns(), course in course()) {
        let mut world = World::new(course);
        for turn in turns {
            world.turn(turn);
        }
        world.settle();
        // 4: every order reaches an end.
        prop_assert!(world.order.is_decided(), "{}", world.order);
        // 2: confirmed if and only if it is paid, and its stock is sold.
        let confirmed = world.order == Status::Confirmed;
        prop_assert_eq!(confirmed, world.payment == Some(pay::Status::Captured));
        prop_assert_eq!(confirmed, world.stock_sold && !world.stock_released);
        prop_assert!(world.confirmed_said <= 1);
        // 3: what is reserved is sold, or goes back.
        prop_assert_eq!(world.stock_reserved, world.stock_sold || world.stock_released);
        // 5: what was charged for nothing goes back, exactly once.
        prop_assert!(world.charges <= 1);
        prop_assert_eq!(world.charges - world.refunds, usize::from(confirmed));
        // The order knows its payment, unless nothing was ever asked of the customer.
        let asked = world.payment.is_some_and(|status| status != pay::Status::Cancelled);
        prop_assert!(world.order_payment.is_some() || !asked);
        // Nobody waits for a customer of an order that is over, and nothing can be charged for it any more.
        prop_assert!(confirmed || matches!(world.intent, None | Some(Intent::Unconfirmed | Intent::Cancelled | Intent::Charged)));
        prop_assert_eq!(world.order_asks, None);
        // A payment of an order that is over is not charged first and refunded then: what went back was confirmed before.
        prop_assert!(world.refunds == 0 || world.charged_while_open);
    }

    #[test]
    fn a_customer_who_leaves_the_order_alone_gets_what_the_stock_and_the_card_say(
        turns in turns(), course in course(),
    ) {
        let mut world = World::new(course);
        for turn in turns {
            if !matches!(turn, Turn::Cancel | Turn::Expire | Turn::GoOn { .. }) {
                world.turn(turn);
            }
        }
        // Everybody authenticates in the end.
        world.arrive();
        world.turn(Turn::Authenticate);
        world.settle();
        let expected = match (course.in_stock && course.pays, course.on_decline) {
            (true, _) => Status::Confirmed,
            (false, OnDecline::Wait) if course.in_stock => Status::Expired,
            (false, _) => Status::Rejected,
        };
        prop_assert_eq!(world.order, expected);
        prop_assert_eq!(world.refunds, 0);
    }

    #[test]
    fn another_payment_method_pays_an_order_that_waited_for_it(turns in turns(), asks: bool) {
        let mut world = World::new(Course { in_stock: true, pays: false, asks, on_decline: OnDecline::Wait });
        for turn in turns {
            if !matches!(turn, Turn::Cancel | Turn::Expire | Turn::GoOn { another: false }) {
                world.turn(turn);
            }
        }
        world.arrive();
        world.turn(Turn::Ask);
        world.arrive();
        world.turn(Turn::GoOn { another: true });
        world.settle();
        prop_assert_eq!(world.order, Status::Confirmed);
        prop_assert_eq!((world.charges, world.refunds), (1, 0));
    }
}
