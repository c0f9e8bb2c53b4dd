//! The statuses of payments and refunds go by the steps of docs/payments.md, whoever changes them.

use std::collections::BTreeSet;

use tokio_postgres::{Client, error::SqlState};
use towpath_payment::domain::{BY_A_PERSON, Status, TRANSITIONS};
use uuid::Uuid;

use crate::Database;

/// What else a row of each status needs, so that only the step can be refused.
fn rest(status: Status) -> &'static str {
    match status {
        Status::Pending | Status::RequiresAction | Status::Processing | Status::Captured => "'pi', NULL",
        _ => "'pi', 'order_expired'",
    }
}

/// Whether the database lets it happen. A refusal names the trigger, and changes nothing.
async fn may(client: &mut Client, setup: &str, step: &str, trigger: &str) -> bool {
    let unit = client.transaction().await.expect("a transaction");
    // A row is put in the status that it comes from as a restored backup would: without its triggers.
    let setup =
        format!("SET LOCAL session_replication_role = replica; {setup}; SET LOCAL session_replication_role = origin");
    unit.batch_execute(&setup).await.unwrap_or_else(|error| panic!("{setup}: {error:?}"));
    let outcome = unit.execute(step, &[]).await;
    unit.rollback().await.expect("rolled back");
    match outcome {
        Ok(rows) => {
            assert_eq!(rows, 1, "{step}");
            true
        }
        Err(error) => {
            let cause = error.as_db_error().unwrap_or_else(|| panic!("{step}: {error}"));
            assert_eq!(
                (cause.code(), cause.constraint()),
                (&SqlState::CHECK_VIOLATION, Some(trigger)),
                "{step}: {cause}"
            );
            false
        }
    }
}

fn payment(status: Status) -> String {
    format!(
        "INSERT INTO payments (id, order_id, customer_id, amount, currency, payment_method, provider, status,
                               provider_reference, reason)
         VALUES ('{}', '{}', 'c', 500, 'EUR', 'pm', 'sandbox', '{status}', {})",
        Uuid::nil(),
        Uuid::nil(),
        rest(status)
    )
}

#[tokio::test]
async fn a_payment_takes_every_step_that_is_drawn_and_no_other() {
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    let mut taken = BTreeSet::new();
    for from in Status::ALL {
        for to in Status::ALL {
            let set = rest(to).replacen("'pi', ", "", 1);
            let step = format!("UPDATE payments SET status = '{to}', reason = {set}");
            let drawn = from == to || TRANSITIONS.contains(&(from, to)) || BY_A_PERSON.contains(&(from, to));
            assert_eq!(may(client, &payment(from), &step, "payments_step").await, drawn, "{from} → {to}");
            if drawn && from != to {
                taken.insert((from.as_str(), to.as_str()));
            }
        }
        let begins = may(client, "SELECT", &payment(from), "payments_begin").await;
        assert_eq!(begins, from == Status::Pending, "{from}");
    }
    assert_eq!(taken.len(), TRANSITIONS.len() + BY_A_PERSON.len());
    database.drop().await;
}

#[tokio::test]
async fn a_refund_takes_every_step_that_is_drawn_and_no_other() {
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    let refund = |status: &str, reference: &str| {
        let code = if status == "failed" { "'lost_or_stolen_card'" } else { "NULL" };
        format!(
            "INSERT INTO refunds (id, payment_id, amount, currency, reason, status, provider_reference, provider_code)
             VALUES (gen_random_uuid(), '{}', 500, 'EUR', 'order_expired', '{status}', '{reference}', {code})",
            Uuid::nil()
        )
    };
    let of = payment(Status::RefundPending);
    // As docs/payments.md draws them; the last one is a person's.
    let drawn = [("pending", "succeeded"), ("pending", "failed"), ("succeeded", "failed"), ("failed", "succeeded")];
    for from in ["pending", "succeeded", "failed"] {
        for to in ["pending", "succeeded", "failed"] {
            let code = if to == "failed" { "'lost_or_stolen_card'" } else { "NULL" };
            let step = format!("UPDATE refunds SET status = '{to}', provider_code = {code}");
            let setup = format!("{of}; {}", refund(from, "re"));
            let expected = from == to || drawn.contains(&(from, to));
            assert_eq!(may(client, &setup, &step, "refunds_step").await, expected, "{from} → {to}");
        }
        let begins = may(client, &of, &refund(from, "re"), "refunds_begin").await;
        assert_eq!(begins, from == "pending", "{from}");
        let by_hand = may(client, &of, &refund(from, "by hand"), "refunds_begin").await;
        assert_eq!(by_hand, from != "failed", "{from} by hand");
    }
    database.drop().await;
}

/// A person reads the steps off the page, and programs by these tables.
#[test]
fn the_page_lists_the_steps_of_the_tables() {
    let page = include_str!("../../../docs/payments.md");
    let mut listed = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| `") && line.contains(" → ")) {
        let (from, to) = row.trim_matches('|').split_once(" → ").expect("an arrow");
        let names = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        for (from, to) in names(from).iter().flat_map(|from| names(to).into_iter().map(move |to| (from.clone(), to))) {
            listed.insert((from, to));
        }
    }
    let tables = TRANSITIONS.iter().chain(BY_A_PERSON);
    let expected = tables.map(|(from, to)| (from.as_str().to_owned(), to.as_str().to_owned())).collect::<BTreeSet<_>>();
    assert_eq!(listed, expected);
}
