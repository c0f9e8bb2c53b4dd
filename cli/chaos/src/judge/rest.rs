//! A stack at rest: no transaction is open, every shard has a publisher, every timer is called.

use super::Promise;
use crate::evidence::{Lease, Seen, Session, Timer};

/// A transaction that is at work is open for a moment.
const MOMENT_S: f64 = 5.0;
/// A timer whose holder died is taken over within two leases.
const OVERDUE_S: f64 = 20.0;

/// No connection sits in a transaction, or waits for a lock.
pub(super) fn sessions(sessions: &[Session]) -> Promise {
    let mut promise = Promise::new("no connection sits idle in a transaction or waits for a lock", 4, "databases");
    for session in sessions.iter().filter(|session| session.for_s >= MOMENT_S) {
        let Session { service, pid, user, state, waits, for_s, query } = session;
        let what = if *waits { "waits for a lock" } else { state };
        let seen = format!("{user} at {} {what} for {for_s:.0} s: {}", service.name(), start(query));
        promise.broken_by([pid], "at rest", seen);
    }
    promise
}

fn start(query: &str) -> String {
    query.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(120).collect()
}

/// Every shard has somebody who publishes it.
pub(super) fn leases(leases: &[Lease]) -> Promise {
    let mut promise = Promise::new("every shard of every outbox has its publisher", leases.len(), "shards");
    for Lease { service, shard, holder, good_for_s } in leases {
        let id = format!("{}/{shard}", service.name());
        match holder {
            None => promise.broken_by([id], "held", "nobody holds it"),
            Some(holder) if *good_for_s <= 0.0 => {
                promise.broken_by([id], "held", format!("{holder} held it until {:.0} s ago", -good_for_s));
            }
            Some(_) => {}
        }
    }
    promise
}

/// Every timer is called.
pub(super) fn timers(timers: &[Timer]) -> Promise {
    let mut promise = Promise::new("every timer is called when it is due", timers.len(), "timers");
    for Timer { service, name, overdue_s } in timers.iter().filter(|timer| timer.overdue_s > OVERDUE_S) {
        promise.broken_by([format!("{}/{name}", service.name())], "called", format!("due for {overdue_s:.0} s"));
    }
    promise
}

/// A fence only grows: that is what keeps a stalled relay from changing anything.
pub(super) fn fences(seen: &Seen) -> Promise {
    let mut promise = Promise::new("no fence number ever went back", seen.fences, "looks");
    for (fence, before) in &seen.backwards {
        let id = format!("{}/{}", fence.service.name(), fence.of);
        promise.broken_by([id], format!("{before} or more"), format!("{}", fence.number));
    }
    promise
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Fence;
    use crate::service::Service;

    fn session(state: &str, waits: bool, for_s: f64) -> Session {
        let (user, query) = ("order_app".into(), "UPDATE  orders\n SET x".into());
        Session { service: Service::Order, pid: 7, user, state: state.into(), waits, for_s, query }
    }

    #[test]
    fn a_transaction_that_nobody_ends_is_found_out() {
        assert_eq!(sessions(&[session("idle in transaction", false, 0.1)]).broken, []);
        let promise = sessions(&[session("idle in transaction", false, 9.0), session("active", true, 30.0)]);
        assert_eq!(promise.broken[0].seen, "order_app at order idle in transaction for 9 s: UPDATE orders SET x");
        assert!(promise.broken[1].seen.contains("waits for a lock for 30 s"), "{promise:?}");
    }

    #[test]
    fn a_shard_without_a_publisher_is_found_out() {
        let lease = |holder: Option<&str>, good_for_s| {
            let holder = holder.map(Into::into);
            Lease { service: Service::Payment, shard: 3, holder, good_for_s }
        };
        assert_eq!(leases(&[lease(Some("relay"), 4.0)]).broken, []);
        assert_eq!(leases(&[lease(None, 0.0)]).broken[0].ids, ["payment/3"]);
        assert_eq!(leases(&[lease(Some("relay"), -7.0)]).broken[0].seen, "relay held it until 7 s ago");
    }

    #[test]
    fn a_timer_that_nobody_calls_is_found_out() {
        let timer = |overdue_s| Timer { service: Service::Order, name: "expire".into(), overdue_s };
        assert_eq!(timers(&[timer(-3.0), timer(2.0)]).broken, []);
        assert_eq!(timers(&[timer(60.0)]).broken[0].ids, ["order/expire"]);
    }

    #[test]
    fn a_fence_that_went_back_is_found_out() {
        let fence = Fence { service: Service::Order, of: "shard 3".into(), number: 4 };
        let seen = Seen { fences: 9, backwards: vec![(fence, 5)], ..Seen::default() };
        assert_eq!(fences(&Seen { fences: 9, ..Seen::default() }).broken, []);
        assert_eq!(fences(&seen).broken[0].ids, ["order/shard 3"]);
    }
}
