//! The rules of order and payment together, against every course of events.
//!
//! A model of the two services' rows and of the topics between them: each topic keeps its order per key, between topics
//! there is none, and any event may be delivered again. The customer cancels and the timer expires whenever they like.
//! The invariants of docs/invariants.md must hold once everything is delivered.

use std::collections::{HashSet, VecDeque};

use proptest::prelude::*;
use towpath_order::domain::{Cancelling, Decision, Heard, Said, Seen, Status};
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
}

type Queue = VecDeque<(usize, Event)>;

#[derive(Clone, Copy, Debug)]
struct Course {
    in_stock: bool,
    pays: bool,
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
    confirmed_said: usize,
    stock_reserved: bool,
    stock_sold: bool,
    stock_released: bool,
    payment: Option<pay::Status>,
    intent: bool,
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
            confirmed_said: 0,
            stock_reserved: false,
            stock_sold: false,
            stock_released: false,
            payment: None,
            intent: false,
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
                    self.intent = true;
                }
            }
            Turn::Cancel if Cancelling::of(self.order) == Cancelling::Cancel => {
                self.say(Said::Cancelled { reason: "requested_by_customer".into() });
            }
            Turn::Expire if !self.order.is_decided() => self.say(Said::Expired),
            Turn::Cancel | Turn::Expire => {}
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
            (2, Event::Stock(heard) | Event::Payment(heard)) => self.order_hears(&heard),
            _ => {}
        }
    }

    fn order_hears(&mut self, heard: &Heard) {
        let seen = Seen { status: self.order, total: self.total };
        match seen.hear(heard) {
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
        pay::Seen { payment: self.payment, intent: self.intent, refund_taken: false, cancelled: self.cancelled }
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

    /// What a handler of payment does: one step after the other, until nothing is next.
    fn settle_payment(&mut self) {
        loop {
            let standing = match self.seen().next() {
                pay::Next::Create => {
                    self.intent = true;
                    continue;
                }
                pay::Next::Confirm if self.course.pays => {
                    self.charges += 1;
                    self.charged_while_open = self.cancelled.is_none();
                    Standing::Captured
                }
                pay::Next::Confirm => {
                    Standing::Declined(Decline { reason: "card_declined".into(), provider_code: None })
                }
                // In this model a charge and its record are one step: what is pending isn't charged.
                pay::Next::Close | pay::Next::Cancel => Standing::Cancelled,
                pay::Next::Refund => {
                    self.refunds += 1;
                    self.payment = self.payment.and_then(|now| pay::given_back(now, &GivenState::Succeeded));
                    self.pays(Heard::PaymentRefunded { payment_id: self.payment_id });
                    continue;
                }
                pay::Next::Nothing => return,
            };
            let payment_id = self.payment_id;
            self.payment = self.seen().stands(&standing);
            match self.payment {
                Some(pay::Status::Captured) => self.pays(Heard::PaymentCaptured { payment_id, amount: self.total }),
                Some(pay::Status::Declined) => {
                    self.pays(Heard::PaymentDeclined { payment_id, reason: "card_declined".into() });
                }
                other => assert_eq!(other, Some(pay::Status::Cancelled)),
            }
        }
    }

    fn pays(&mut self, heard: Heard) {
        self.publish(&[TO_ORDER_FROM_PAYMENT], &Event::Payment(heard));
    }

    /// Everything that is on its way arrives.
    fn settle(&mut self) {
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
        1 => Just(Turn::Cancel),
        1 => Just(Turn::Expire),
    ];
    proptest::collection::vec(turn, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_order_ends_with_its_money_and_stock_right_whatever_comes_first(turns in turns(), in_stock: bool, pays: bool) {
        let mut world = World::new(Course { in_stock, pays });
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
        prop_assert_eq!(world.order_payment.is_some(), asked);
        // A payment of an order that is over is not charged first and refunded then: what went back was confirmed before.
        prop_assert!(world.refunds == 0 || world.charged_while_open);
    }

    #[test]
    fn a_customer_who_leaves_the_order_alone_gets_what_the_stock_and_the_card_say(
        turns in turns(), in_stock: bool, pays: bool,
    ) {
        let mut world = World::new(Course { in_stock, pays });
        for turn in turns {
            if !matches!(turn, Turn::Cancel | Turn::Expire) {
                world.turn(turn);
            }
        }
        world.settle();
        let expected = if in_stock && pays { Status::Confirmed } else { Status::Rejected };
        prop_assert_eq!(world.order, expected);
        prop_assert_eq!(world.refunds, 0);
    }
}
