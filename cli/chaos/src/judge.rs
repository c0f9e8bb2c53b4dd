//! Whether every promise was kept, as functions from what was gathered to findings. No I/O.

mod clients;
mod events;
mod keys;
mod letters;
mod rest;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use towpath_audit::provider::Difference;

use super::evidence::{Evidence, Seen};
use super::fault::Blast;
use super::group::Group;
use super::record::Witness;

/// One promise, and what breaks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Promise {
    /// What is promised.
    pub(crate) promise: String,
    /// How many were looked at.
    pub(crate) checked: usize,
    /// Of what, such as `orders`.
    pub(crate) of: &'static str,
    pub(crate) broken: Vec<Finding>,
}

/// Something that isn't as it was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What it is about: an order, a key, an event.
    pub(crate) ids: Vec<String>,
    pub(crate) expected: String,
    pub(crate) seen: String,
}

impl Promise {
    pub(super) fn new(promise: impl Into<String>, checked: usize, of: &'static str) -> Self {
        Self { promise: promise.into(), checked, of, broken: Vec::new() }
    }

    pub(super) fn broken_by<I: ToString>(
        &mut self,
        ids: impl IntoIterator<Item = I>,
        expected: impl Into<String>,
        seen: impl Into<String>,
    ) {
        let ids = ids.into_iter().map(|id| id.to_string()).collect();
        self.broken.push(Finding { ids, expected: expected.into(), seen: seen.into() });
    }
}

/// A fault, and the time in which clients may see of it what it is allowed to spoil.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) fault: String,
    pub(crate) group: Group,
    pub(crate) about: String,
    /// From the beginning of the run.
    pub(crate) from: Duration,
    /// When everything was there again.
    pub(crate) to: Duration,
    pub(crate) blast: Blast,
    pub(crate) note: String,
    /// What the fault itself saw broken.
    pub(crate) broken: Vec<String>,
    /// The events that it sent to the dead letters.
    pub(crate) letters: BTreeSet<String>,
}

/// What payment and its provider say differently.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compared {
    /// How many payments were compared.
    pub(crate) compared: u64,
    pub(crate) differences: Vec<Difference>,
}

/// Everything that is judged.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) witness: &'a Witness,
    pub(crate) windows: &'a [Window],
    pub(crate) evidence: &'a Evidence,
    pub(crate) watched: &'a Seen,
    pub(crate) audit: &'a towpath_audit::Report,
    pub(crate) provider: &'a Compared,
}

/// Looks at all of them.
pub(crate) fn judge(case: &Case<'_>) -> Vec<Promise> {
    let mut promises =
        vec![keys::answered(case.witness, &case.evidence.placed), keys::once(case.witness, &case.evidence.placed)];
    promises.extend(case.audit.invariants.iter().map(invariant));
    promises.push(provider(case.provider));
    promises.extend([
        events::published(case.evidence),
        events::ordered(case.evidence),
        letters::judge(case.evidence, case.windows),
        rest::sessions(&case.evidence.sessions),
        rest::leases(&case.evidence.leases),
        rest::timers(&case.evidence.timers),
        rest::fences(case.watched),
        clients::allowed(case.witness, case.windows),
        clients::in_time(case.witness, case.windows),
        faults(case.windows),
    ]);
    promises
}

/// Whether what a stack comes to by itself has come: its publishers, its timers, its transactions.
pub(crate) fn at_rest(evidence: &Evidence) -> bool {
    let rest = [rest::sessions(&evidence.sessions), rest::leases(&evidence.leases), rest::timers(&evidence.timers)];
    rest.iter().all(|promise| promise.broken.is_empty())
}

/// One of the five of the audit.
fn invariant(invariant: &towpath_audit::Invariant) -> Promise {
    let mut promise = Promise::new(invariant.promise, invariant.examined, invariant.of);
    for finding in &invariant.broken {
        promise.broken_by([&finding.id], invariant.promise, &finding.what);
    }
    promise
}

/// What `audit --provider` finds.
fn provider(Compared { compared, differences }: &Compared) -> Promise {
    let promised = "the payment provider says the same of every payment and refund";
    let mut promise = Promise::new(promised, usize::try_from(*compared).unwrap_or(usize::MAX), "payments");
    // What payment is still going to ask about is no fault.
    for difference in differences.iter().filter(|difference| !difference.in_flight) {
        let order = difference.order_id.map(|order| order.to_string());
        let ids = order.into_iter().chain([difference.reference.clone()]);
        promise.broken_by(ids, "the same on both sides", difference.to_string());
    }
    promise
}

/// What the faults themselves looked at while they lasted.
fn faults(windows: &[Window]) -> Promise {
    let mut promise = Promise::new("what must hold during each fault held", windows.len(), "faults");
    for window in windows {
        for broken in &window.broken {
            promise.broken_by([&window.fault], &window.about, broken);
        }
    }
    promise
}

#[cfg(test)]
mod tests {
    use towpath_audit::provider::Kind;

    use super::*;

    #[test]
    fn a_broken_invariant_is_a_broken_promise() {
        let broken = vec![towpath_audit::Finding { id: "o".into(), what: "has no lines".into(), lasting: true }];
        let one =
            towpath_audit::Invariant { number: 1, promise: "p", of: "orders", examined: 3, broken, in_flight: vec![] };
        let promise = invariant(&one);
        assert_eq!((promise.checked, promise.of), (3, "orders"));
        assert_eq!(promise.broken[0].ids, ["o"]);
        assert_eq!(promise.broken[0].seen, "has no lines");
    }

    #[test]
    fn what_the_provider_says_otherwise_is_told() {
        assert_eq!(provider(&Compared { compared: 3, differences: vec![] }).broken, []);
        let difference = Difference {
            provider: "sandbox",
            kind: Kind::Status,
            order_id: None,
            payment_id: None,
            reference: "pi_1".into(),
            what: "is captured here, canceled at the provider".into(),
            in_flight: false,
        };
        let promise = provider(&Compared { compared: 3, differences: vec![difference] });
        assert_eq!((promise.checked, &promise.broken[0].ids), (3, &vec!["pi_1".to_owned()]));
        assert!(promise.broken[0].seen.contains("canceled at the provider"), "{promise:?}");
    }

    #[test]
    fn what_a_fault_saw_broken_is_told() {
        let window = Window { broken: vec!["published while stalled".into()], ..clients::tests::window(1, 2) };
        assert_eq!(faults(&[clients::tests::window(3, 4)]).broken, []);
        assert_eq!(faults(&[window]).broken[0].seen, "published while stalled");
    }
}
