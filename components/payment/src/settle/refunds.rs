//! `POST /_relay/payment/timers/ask-refunds`: asks the provider what became of refunds.
//!
//! A bank may take days for a refund, and may send it back afterwards. So a refund is asked about until it has ended, and a
//! few times more after it has succeeded: Stripe says that a refund may fail up to 30 days later.

use serde_json::json;
use towpath_sdk::{Context, Problem, Query, Relay, Request, Response, TimerCall, UnitOfWork};

use super::{
    record::{Record, given},
    schedule::{Schedule, WHILE_PENDING, WHILE_SUCCEEDED, WITHOUT_ANSWER},
};
use crate::{
    domain::given_back,
    provider::{
        Name,
        client::Provider,
        stripe::{Given, GivenState},
        units::Units,
    },
    store::{self, Due},
};

/// The most refunds that a sweep asks about. The next sweep goes on.
const MAX_BATCH: i64 = 20;

/// Asks about the refunds that are due, the longest due first. One that can't be asked about delays no other.
///
/// # Errors
/// 503 where the provider doesn't answer.
pub(crate) async fn ask_refunds(context: &Context, request: &Request) -> Result<Response, Problem> {
    TimerCall::receive(context, request).await?;
    let relay = context.relay().await?;
    let due = relay.query(Query::new(store::REFUNDS_TO_ASK, [json!(MAX_BATCH)])).await?.map(store::read_due)?;
    let mut first_error = None;
    for name in [Name::Sandbox, Name::Stripe] {
        let of_name: Vec<_> = due.iter().filter(|refund| refund.provider == name).collect();
        if of_name.is_empty() {
            continue;
        }
        let provider = match Provider::named(context, &relay, name).await {
            Ok(provider) => provider,
            Err(problem) => {
                // They wait, so that the next sweep gets to those of the other provider.
                first_error.get_or_insert(problem);
                for refund in of_name {
                    if let Err(problem) = unit(refund, None).run(&relay).await {
                        first_error.get_or_insert(problem);
                    }
                }
                continue;
            }
        };
        for refund in of_name.into_iter().take_while(|_| provider.has_time()) {
            if let Err(problem) = ask(&relay, &provider, refund).await {
                first_error.get_or_insert(problem);
            }
        }
    }
    first_error.map_or_else(|| Ok(Response::no_content()), Err)
}

async fn ask(relay: &Relay, provider: &Provider<'_>, refund: &Due) -> Result<(), Problem> {
    let units = Units::of(refund.amount);
    let units = units.map_err(|why| Problem::internal(format!("the refund {} has {}", refund.reference, why.reason())));
    let answer = match units {
        Ok(units) => provider.look_at_refund(&refund.reference, &units).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    unit(refund, answer.as_ref().ok()).run(relay).await?;
    answer.map(drop)
}

/// The unit of work after a question: the new status, or when to ask again.
fn unit(refund: &Due, answer: Option<&Given>) -> Record {
    if let Some(answer) = answer
        && given_back(refund.status, &answer.state).is_some()
    {
        return given(refund.order_id, refund.payment_id, refund.amount, answer);
    }
    let asked = refund.asked;
    let next = |schedule: &Schedule| schedule.seconds(usize::try_from(asked).unwrap_or_default() + 1);
    let (now, seconds) = match answer.map(|given| &given.state) {
        Some(GivenState::Succeeded | GivenState::Failed { .. }) => (asked.saturating_add(1), next(&WHILE_SUCCEEDED)),
        Some(GivenState::Pending) => (asked.saturating_add(1), next(&WHILE_PENDING)),
        None => (asked, Some(WITHOUT_ANSWER)),
    };
    let params = [refund.payment_id.into(), json!(refund.due), now.into(), json!(seconds)];
    Record::of(UnitOfWork::new().step(store::ASKED, params))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use towpath_sdk::{Id, Money};

    use super::*;
    use crate::domain::Status;
    use crate::settle::schedule::{DAY, HOUR};

    const DUE: &str = "2026-08-01T12:00:00.000001Z";

    fn due(status: Status, asked: i32) -> Due {
        Due {
            order_id: Id::new(),
            payment_id: Id::new(),
            status,
            amount: Money::new(300, "EUR".parse().expect("a currency")),
            provider: Name::Stripe,
            reference: "re".into(),
            asked,
            due: DUE.into(),
        }
    }

    fn after(refund: &Due, state: Option<GivenState>) -> (String, usize, Option<Value>) {
        let given = state.map(|state| Given { reference: "re".into(), state });
        let request = unit(refund, given.as_ref()).into_request();
        (request.steps[0].sql.clone(), request.events.len(), request.steps[0].params.get(3).cloned())
    }

    #[test]
    fn a_pending_refund_is_asked_about_until_it_ends() {
        for asked in [0, 3, 6, 7, 1000] {
            let (sql, events, again) = after(&due(Status::RefundPending, asked), Some(GivenState::Pending));
            assert_eq!((sql.as_str(), events), (store::ASKED, 0));
            assert!(again.is_some_and(|seconds| seconds.as_i64().is_some_and(|seconds| (1..=HOUR).contains(&seconds))));
        }
        let (sql, events, _) = after(&due(Status::RefundPending, 7), Some(GivenState::Succeeded));
        assert_eq!((sql.as_str(), events), (store::REFUNDED, 1));
        let failed = GivenState::Failed { code: "lost_or_stolen_card".into() };
        assert_eq!(after(&due(Status::RefundPending, 7), Some(failed)).0, store::REFUND_LOST);
    }

    #[test]
    fn a_refund_that_succeeded_is_asked_about_for_a_month() {
        let total: i64 = (0..).map_while(|asked| WHILE_SUCCEEDED.seconds(asked)).sum();
        assert!(total > 30 * DAY, "{total} s");
        let failed = GivenState::Failed { code: "expired_or_canceled_card".into() };
        assert_eq!(after(&due(Status::Refunded, 2), Some(failed)).0, store::REFUND_LOST);
        let (sql, events, again) = after(&due(Status::Refunded, 0), Some(GivenState::Succeeded));
        assert_eq!((sql.as_str(), events, again), (store::ASKED, 0, Some(json!(DAY))));
        assert_eq!(
            after(&due(Status::Refunded, 4), Some(GivenState::Succeeded)).2,
            Some(Value::Null),
            "the last question"
        );
    }

    #[test]
    fn a_question_without_an_answer_is_asked_again() {
        let request = unit(&due(Status::Refunded, 4), None).into_request();
        assert_eq!(
            (request.steps[0].sql.as_str(), &request.steps[0].params[1..]),
            (store::ASKED, &[json!(DUE), json!(4), json!(WITHOUT_ANSWER)][..])
        );
    }
}
