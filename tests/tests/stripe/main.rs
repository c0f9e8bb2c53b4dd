//! A shop whose payment provider is Stripe, or a server that answers as it does: over HTTP, from the order to the books. The
//! stack is this program's own.

mod server;
mod webhooks;

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use towpath_client::{Money, NewOrder, Order, Payment};
use towpath_payment::provider::webhook::sign;
use towpath_tests::{DEADLINE, OwnStack, Shop, eventually};
use uuid::Uuid;

use server::{Failure, KEY, Stripe};

const WEBHOOK_SECRET: &str = "whsec_of_the_shop";

/// Stripe, and a shop that knows no other provider.
struct World {
    stripe: Stripe,
    own: OwnStack,
    shop: Shop,
    sku: String,
}

impl World {
    async fn open() -> Self {
        let stripe = Stripe::start().await;
        let own = OwnStack::start(&[
            ("SPIN_VARIABLE_PAYMENT_PROVIDER", "stripe"),
            ("SPIN_VARIABLE_STRIPE_URL", &stripe.url),
            ("SPIN_VARIABLE_STRIPE_KEY", KEY),
            ("SPIN_VARIABLE_STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET),
        ]);
        let shop = Shop::open_in(&own.stack);
        let sku = shop.sku(100).await;
        Self { stripe, own, shop, sku }
    }

    /// An order by this payment method, at its end.
    async fn ordered(&self, payment_method: &str) -> Order {
        self.shop.place_and_wait(&self.order(payment_method)).await
    }

    fn order(&self, payment_method: &str) -> NewOrder {
        self.shop.order_for(&self.sku, 1).by(payment_method)
    }

    async fn payment(&self, order: &Order) -> Payment {
        self.shop.api.payments_of(order.id).await.expect("its payments").pop().expect("a payment")
    }

    async fn payment_becomes(&self, order: &Order, status: &str) -> Payment {
        eventually(&format!("the payment of {} becomes {status}", order.id), DEADLINE, || async {
            let payments = self.shop.api.payments_of(order.id).await.expect("its payments");
            let seen = format!("{payments:?}");
            payments.into_iter().find(|payment| payment.status == status).ok_or(seen)
        })
        .await
    }

    /// An order that was confirmed is cancelled.
    async fn cancel(&self, order: &Order) {
        self.shop.api.cancel(order.id).await.and_then(|answer| answer.expect(202)).expect("202");
    }

    /// Stripe tells of an object.
    async fn tell(&self, kind: &str, object: &Value) {
        self.tell_so(kind, object, &json!({})).await;
    }

    /// Stripe tells of an object, with other words around it.
    async fn tell_so(&self, kind: &str, object: &Value, other: &Value) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let now = i64::try_from(now).expect("a time");
        let mut event = json!({"id": format!("evt_{}", Uuid::new_v4().simple()), "object": "event", "type": kind,
            "created": now, "livemode": false, "data": {"object": object}});
        for (name, value) in other.as_object().expect("an object") {
            event[name] = value.clone();
        }
        let body = event.to_string();
        let signature = sign(body.as_bytes(), WEBHOOK_SECRET, now);
        let call = self.shop.api.post("/v1/providers/stripe/webhooks").header("stripe-signature", &signature);
        call.body("application/json", body).send().await.and_then(|answer| answer.expect(200)).expect("taken");
    }

    /// The keys of the calls whose path has this part.
    fn keys(&self, part: &str, order: &Order) -> Vec<String> {
        let order = order.id.to_string();
        let books = self.stripe.books();
        let calls = books.calls.iter().filter(|(call, _)| call.contains(part));
        calls.filter_map(|(_, key)| key.clone()).filter(|key| key.contains(&order)).collect()
    }

    /// How often the intent or the refund was looked at.
    fn looks(&self, path: &str) -> usize {
        let call = format!("GET /v1/{path}");
        self.stripe.books().calls.iter().filter(|(made, _)| *made == call).count()
    }

    async fn is_asked(&self, path: &str) {
        eventually(&format!("Stripe is asked about {path}"), DEADLINE, || async {
            let looks = self.looks(path);
            if looks > 0 { Ok(()) } else { Err(looks) }
        })
        .await;
    }

    /// Exit status and output of `audit --provider`.
    fn audit(&self) -> (Option<i32>, Value) {
        let mut command = Command::new(std::env::var("TOWPATH_TEST_CLI").expect("`./towpath test` sets it"));
        command.arg("--home").arg(&self.own.stack.home).args(["audit", "--provider", "--json", "--settle", "30"]);
        command.env("SPIN_VARIABLE_STRIPE_URL", &self.stripe.url).env("SPIN_VARIABLE_STRIPE_KEY", KEY);
        let output = command.output().expect("the audit runs");
        let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{log}")))
    }
}

/// The server goes on in another thread while this one waits for a command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_that_is_paid_through_stripe_agrees_with_its_books() {
    let world = World::open().await;

    // Paid, and declined.
    let paid = world.ordered("pm_card_visa").await;
    assert_eq!(paid.status, "confirmed");
    let declined = world.ordered("pm_card_chargeDeclinedInsufficientFunds").await;
    assert_eq!((declined.status.as_str(), declined.reason.as_deref()), ("rejected", Some("insufficient_funds")));
    // Who knows the secret of a declined intent could still pay it.
    eventually("the declined intent is cancelled", DEADLINE, || async {
        let status = world.stripe.books().intents[1]["status"].clone();
        if status == "canceled" { Ok(()) } else { Err(status) }
    })
    .await;

    // Stripe's units.
    let product = world.shop.product_at(Money { amount: 700, currency: "ISK".into() }).await;
    world.shop.put_in_stock(&product.sku, 1).await;
    let isk = world.shop.place_and_wait(&world.shop.order_for(&product.sku, 1)).await;
    assert_eq!((isk.status.as_str(), isk.total.amount), ("confirmed", 700));
    {
        let books = world.stripe.books();
        assert_eq!(
            (&books.intents[2]["amount_received"], &books.intents[2]["currency"]),
            (&70_000.into(), &"isk".into())
        );
    }

    // A failure that Stripe keeps under the key costs a key; a busy Stripe, and a key in use, cost time alone.
    world.stripe.books().fails.extend([("/confirm", Failure::Kept)]);
    let failed = world.ordered("pm_card_visa").await;
    assert_eq!(failed.status, "confirmed");
    let keys =
        |attempts: &[u32]| attempts.iter().map(|n| format!("towpath-confirm-{}-{n}", failed.id)).collect::<Vec<_>>();
    assert_eq!(world.keys("/confirm", &failed), keys(&[1, 2]));
    world.stripe.books().fails.extend([("payment_intents", Failure::Busy(1)), ("/confirm", Failure::InUse)]);
    let busy = world.ordered("pm_card_visa").await;
    assert_eq!(busy.status, "confirmed");
    let under_one_key = world.keys("/confirm", &busy);
    assert!(under_one_key.len() == 2 && under_one_key[0] == under_one_key[1], "{under_one_key:?}");

    // A customer of whom a webhook says what is not so: the question changes nothing, and delays no other.
    let leaves = world.shop.place(&world.order("pm_card_authenticationRequired")).await;
    let waits = world.payment_becomes(&leaves, "requires_action").await.provider_reference.expect("an intent");
    world.tell("payment_intent.succeeded", &json!({"id": waits, "status": "succeeded"})).await;
    world.is_asked(&format!("payment_intents/{waits}")).await;

    // One who authenticates, of which a webhook tells.
    let asks = world.shop.place(&world.order("pm_card_authenticationRequired")).await;
    world.payment_becomes(&asks, "requires_action").await;
    let intent = world.stripe.authenticate(&asks.id.to_string());
    world.tell("payment_intent.succeeded", &json!({"id": intent, "status": "succeeded"})).await;
    assert_eq!(world.shop.settled(asks.id).await.status, "confirmed");
    assert_eq!(world.payment(&leaves).await.status, "requires_action");
    world.cancel(&leaves).await;
    world.payment_becomes(&leaves, "cancelled").await;

    // Several at once, of whom Stripe needs its time to tell: a sweep asks about as many as it has time for, and the next goes on.
    let mut several = Vec::new();
    for _ in 0..5 {
        let order = world.shop.place(&world.order("pm_card_authenticationRequired")).await;
        world.payment_becomes(&order, "requires_action").await;
        several.push((world.stripe.authenticate(&order.id.to_string()), order));
    }
    world.stripe.books().thinks = Duration::from_secs(3);
    for (intent, _) in &several {
        world.tell("payment_intent.succeeded", &json!({"id": intent})).await;
    }
    for (_, order) in &several {
        assert_eq!(world.shop.settled(order.id).await.status, "confirmed");
    }
    world.stripe.books().thinks = Duration::ZERO;

    // Refunds: at once, after a failure that Stripe keeps, and by a bank that takes its time.
    world.stripe.books().fails.extend([("/refunds", Failure::Kept)]);
    world.cancel(&failed).await;
    world.payment_becomes(&failed, "refunded").await;
    assert_eq!(world.keys("/refunds", &failed).len(), 2);
    let (slower, slow) = (world.ordered("pm_card_pendingRefund").await, world.ordered("pm_card_pendingRefund").await);
    for order in [&slower, &slow] {
        world.cancel(order).await;
        world.payment_becomes(order, "refund_pending").await;
    }
    // The one that is asked about first, and still pending, delays no other.
    let intent = world.payment(&slower).await.provider_reference;
    world.tell("refund.updated", &json!({"id": "re_slower", "payment_intent": intent})).await;
    let pending = world.payment(&slow).await;
    let refund = eventually("Stripe has the refund", DEADLINE, || async {
        let mut books = world.stripe.books();
        let refund = books
            .refunds
            .iter_mut()
            .find(|refund| refund["payment_intent"] == pending.provider_reference.as_deref().unwrap_or_default());
        let Some(refund) = refund else { return Err("none") };
        refund["status"] = "succeeded".into();
        Ok(refund.clone())
    })
    .await;
    world.tell("refund.updated", &refund).await;
    world.payment_becomes(&slow, "refunded").await;

    let (status, found) = world.audit();
    assert_eq!((status, &found["providers"][0]["provider"]), (Some(0), &"stripe".into()), "{found}");
    assert_eq!(
        (&found["providers"][0]["payments"], &found["providers"][0]["refunds"]),
        (&14.into(), &3.into()),
        "{found}"
    );

    // A charge that somebody partly gave back in the dashboard, and one that is disputed: a person has to see to them.
    let (partly, disputed) = (world.ordered("pm_card_visa").await, world.ordered("pm_card_createDispute").await);
    let reference = world.payment(&partly).await.provider_reference.expect("an intent");
    let part = json!({"id": "re_dashboard", "object": "refund", "status": "succeeded", "amount": 250, "currency": "eur",
        "created": 1_700_000_000, "payment_intent": reference, "metadata": {}});
    world.stripe.books().refunds.push(part);
    for order in [&partly, &disputed] {
        world.cancel(order).await;
        let payment = world.payment_becomes(order, "needs_attention").await;
        assert_eq!(payment.reason.as_deref(), Some("refund_failed"));
    }
    let (status, found) = world.audit();
    let named: Vec<_> = found["differences"].as_array().expect("a list").iter().map(|one| &one["reference"]).collect();
    assert_eq!((status, named), (Some(1), vec![&"re_dashboard".into()]), "{found}");

    assert_eq!(world.stripe.books().faults, Vec::<String>::new(), "what no caller of Stripe may do");
}
