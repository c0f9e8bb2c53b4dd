//! Webhooks that say what was, what isn't so, or what is not ours, while payments come to their ends.

use serde_json::{Value, json};
use towpath_client::Order;
use towpath_tests::{DEADLINE, eventually};

use crate::World;

const ASKS: &str = "pm_card_authenticationRequired";

impl World {
    /// Everything that was due before has been asked about: the longest due is asked about first.
    async fn all_are_asked(&self) {
        let order = self.shop.place(&self.order(ASKS)).await;
        self.payment_becomes(&order, "requires_action").await;
        let intent = self.stripe.authenticate(&order.id.to_string());
        self.tell("payment_intent.succeeded", &json!({"id": intent})).await;
        assert_eq!(self.shop.settled(order.id).await.status, "confirmed");
    }

    /// The intent of an order, and what Stripe says of it.
    async fn intent(&self, order: &Order) -> (String, String) {
        let id = self.payment(order).await.provider_reference.expect("an intent");
        let books = self.stripe.books();
        let intent = books.intents.iter().find(|one| one["id"] == *id).expect("Stripe has it");
        (id, intent["status"].as_str().expect("a status").to_owned())
    }

    fn refunds(&self, intent: &str) -> Vec<Value> {
        let books = self.stripe.books();
        books.refunds.iter().filter(|one| one["payment_intent"] == intent).cloned().collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_is_old_early_or_not_ours_changes_nothing_wrongly() {
    let world = World::open().await;
    older_than_the_payment(&world).await;
    of_another_account_or_mode(&world).await;
    paid_after_the_cancellation(&world).await;
    before_the_answer_about_a_refund(&world).await;
    let (status, found) = world.audit();
    assert_eq!(status, Some(0), "{found}");
    assert_eq!(world.stripe.books().faults, Vec::<String>::new(), "what no caller of Stripe may do");
}

/// What the intent was before it was paid is told afterwards.
async fn older_than_the_payment(world: &World) {
    let order = world.ordered("pm_card_visa").await;
    let (intent, _) = world.intent(&order).await;
    for (kind, status) in [
        ("payment_intent.requires_action", "requires_action"),
        ("payment_intent.processing", "processing"),
        ("payment_intent.payment_failed", "requires_payment_method"),
        ("payment_intent.canceled", "canceled"),
    ] {
        let before = json!({"created": 1_700_000_000});
        world.tell_so(kind, &json!({"id": intent, "status": status}), &before).await;
    }
    world.all_are_asked().await;
    assert_eq!(world.payment(&order).await.status, "captured");
    assert_eq!(world.shop.api.order(order.id).await.expect("the order").status, "confirmed");
    assert_eq!(world.looks(&format!("payment_intents/{intent}")), 0, "what was paid is not asked about");
}

/// An endpoint for connected accounts gets what happens in those, and of both modes.
async fn of_another_account_or_mode(world: &World) {
    let order = world.ordered("pm_card_visa").await;
    let waits = world.shop.place(&world.order(ASKS)).await;
    world.payment_becomes(&waits, "requires_action").await;
    let (paid, _) = world.intent(&order).await;
    let (asked, _) = world.intent(&waits).await;
    let path = format!("payment_intents/{asked}");
    for other in [json!({"livemode": true}), json!({"account": "acct_of_another"})] {
        for (number, intent) in [paid.as_str(), "pi_of_another"].into_iter().enumerate() {
            let dispute = json!({"id": format!("dp_{number}"), "payment_intent": intent, "status": "needs_response",
                "reason": "fraudulent", "amount": 1250, "currency": "eur"});
            world.tell_so("charge.dispute.created", &dispute, &other).await;
            let charge = json!({"id": format!("ch_{number}"), "payment_intent": intent, "amount_refunded": 5, "currency": "eur"});
            world.tell_so("charge.refunded", &charge, &other).await;
        }
        world.tell_so("payment_intent.canceled", &json!({"id": asked}), &other).await;
    }
    let payment = world.payment(&order).await;
    assert_eq!((payment.status.as_str(), payment.cases.len()), ("captured", 0));
    assert_eq!(world.payment(&waits).await.status, "requires_action");
    // The same, said by our own account.
    world.tell("payment_intent.canceled", &json!({"id": asked})).await;
    world.is_asked(&path).await;
    assert_eq!(world.payment(&waits).await.status, "requires_action", "Stripe says that it waits");
    world.cancel(&waits).await;
    world.payment_becomes(&waits, "cancelled").await;
}

/// Stripe decides who was first, the customer or the cancellation; what is told afterwards changes nothing of it.
async fn paid_after_the_cancellation(world: &World) {
    let succeeded = async |intent: &str| {
        world.tell("payment_intent.succeeded", &json!({"id": intent, "status": "succeeded"})).await;
    };
    let shop_first = world.shop.place(&world.order(ASKS)).await;
    world.payment_becomes(&shop_first, "requires_action").await;
    world.cancel(&shop_first).await;
    world.payment_becomes(&shop_first, "cancelled").await;
    let (cancelled, status) = world.intent(&shop_first).await;
    assert_eq!(status, "canceled");

    let customer_first = world.shop.place(&world.order(ASKS)).await;
    world.payment_becomes(&customer_first, "requires_action").await;
    let paid = world.stripe.authenticate(&customer_first.id.to_string());
    world.cancel(&customer_first).await;
    succeeded(&paid).await;
    world.payment_becomes(&customer_first, "refunded").await;

    let looks = world.looks(&format!("payment_intents/{cancelled}"));
    succeeded(&cancelled).await;
    succeeded(&paid).await;
    world.all_are_asked().await;
    assert_eq!(world.payment(&shop_first).await.status, "cancelled");
    assert_eq!(world.payment(&customer_first).await.status, "refunded");
    assert_eq!(world.looks(&format!("payment_intents/{cancelled}")), looks);
    assert_eq!((world.refunds(&cancelled).len(), world.refunds(&paid).len()), (0, 1));
}

/// Stripe has taken a refund and says by webhooks what became of it, before its answer arrives, which says what was.
async fn before_the_answer_about_a_refund(world: &World) {
    let order = world.ordered("pm_card_pendingRefund").await;
    let (intent, _) = world.intent(&order).await;
    world.stripe.books().holds = Some("/refunds");
    world.cancel(&order).await;
    let taken =
        eventually("Stripe has the refund", DEADLINE, || async { world.refunds(&intent).pop().ok_or("none") }).await;
    let id = taken["id"].as_str().expect("an id");
    {
        let mut books = world.stripe.books();
        let refund = books.refunds.iter_mut().find(|one| one["id"] == id).expect("the refund");
        refund["status"] = "succeeded".into();
    }
    for (kind, status) in [("refund.created", "pending"), ("refund.updated", "succeeded")] {
        world.tell(kind, &json!({"id": id, "payment_intent": intent, "status": status})).await;
    }
    assert_eq!(world.payment(&order).await.status, "refund_pending");
    world.stripe.books().holds = None;
    world.payment_becomes(&order, "refunded").await;
    assert_eq!(world.refunds(&intent).len(), 1);

    // One that says what isn't so makes payment ask, and the answer counts.
    let path = format!("refunds/{id}");
    let looks = world.looks(&path);
    world.tell("refund.failed", &json!({"id": id, "payment_intent": intent, "status": "failed"})).await;
    eventually("Stripe is asked about the refund again", DEADLINE, || async {
        if world.looks(&path) > looks { Ok(()) } else { Err(looks) }
    })
    .await;
    assert_eq!(world.payment(&order).await.status, "refunded");
}
