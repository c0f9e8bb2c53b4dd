//! What clients saw: only the faults that they may notice; and no call hangs.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Promise, Window};
use crate::fault::Blast;
use crate::record::{Call, Outcome, Reply, Seen, Witness};

/// For so long after a fault its traces may still be seen: who lost a connection makes a new one.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// An answer that takes longer, and that nobody asked to wait for, is a hang.
const MAX_ANSWER: Duration = Duration::from_secs(2);

/// A machine that stands still for so long during a call may spoil it: then neither the stack nor the fault did.
const STANDSTILL: Duration = Duration::from_millis(500);

/// The faults that went on, or were only just over, while this call lasted.
fn met<'w>(seen: &Seen, windows: &'w [Window]) -> impl Iterator<Item = &'w Window> {
    let (from, to) = (seen.at, seen.ended());
    windows.iter().filter(move |window| from <= window.to + GRACE && to >= window.from)
}

/// What of this call the faults may have spoilt.
fn blast(seen: &Seen, windows: &[Window]) -> Blast {
    met(seen, windows).fold(Blast::none(), |mut all, window| {
        all.refused.extend(&window.blast.refused);
        all.refused_by.extend(&window.blast.refused_by);
        all.unreachable.extend(&window.blast.unreachable);
        all.stalled |= window.blast.stalled;
        all
    })
}

/// The fault that a call fell into, for a person.
fn during(seen: &Seen, windows: &[Window]) -> String {
    let met: BTreeSet<&str> = met(seen, windows).map(|window| window.fault.as_str()).collect();
    match met.len() {
        0 => "outside of any fault".into(),
        _ => format!("during {}", met.into_iter().collect::<Vec<_>>().join(" and ")),
    }
}

/// Clients got what they asked for, or a refusal that a fault explains.
pub(super) fn allowed(witness: &Witness, windows: &[Window]) -> Promise {
    let mut promise = Promise::new("clients saw no more of the faults than they may", witness.seen.len(), "answers");
    for seen in &witness.seen {
        let blast = blast(seen, windows);
        let expected = match &seen.outcome {
            Outcome::Answered(reply) => {
                let stood_still = witness.lag_within(seen.at, seen.ended()) >= STANDSTILL;
                unexpected(seen, reply, &blast, stood_still)
            }
            Outcome::Silent { .. } if blast.stalled || blast.unreachable.contains(&seen.replica) => None,
            Outcome::Silent { .. } => Some("an answer"),
        };
        if let Some(expected) = expected {
            promise.broken_by([&seen.about], expected, format!("{}: {seen}", during(seen, windows)));
        }
    }
    promise
}

/// What should have come instead of this answer; nothing where it is well.
fn unexpected(seen: &Seen, reply: &Reply, blast: &Blast, stood_still: bool) -> Option<&'static str> {
    let call = seen.call;
    match reply.status {
        200..300 => None,
        409 if reply.is_in_flight() => None,
        409 if call == Call::Cancel && reply.code.as_deref() == Some("not_cancellable") => None,
        // Who asks too often is told so at any time.
        429 | 503 if reply.retry_after_s.is_none() => Some("a refusal that says when to come back"),
        429 => None,
        503 if stood_still || blast.stalled || blast.may_refuse(seen.replica, &[call.needs()].into()) => None,
        503 => Some("an answer: nothing that this call needs was away"),
        _ => Some("a success, or a refusal that says when to come back"),
    }
}

/// Nobody waits longer than they asked for, except for what stands still itself.
pub(super) fn in_time(witness: &Witness, windows: &[Window]) -> Promise {
    let mut promise = Promise::new("every answer and every refusal came within 2 s", witness.seen.len(), "answers");
    for seen in &witness.seen {
        let late = witness.lag_within(seen.at, seen.ended());
        if seen.took > MAX_ANSWER + seen.wait + late && !blast(seen, windows).stalled {
            let expected = match seen.wait.as_secs() {
                0 => "an answer within 2 s".to_owned(),
                asked => format!("an answer within 2 s beyond the {asked} s that were asked for"),
            };
            let lag = match late.as_millis() {
                0 => String::new(),
                ms => format!(" (for {ms} ms of it the machine itself stood still)"),
            };
            promise.broken_by([&seen.about], expected, format!("{}: {seen}{lag}", during(seen, windows)));
        }
    }
    promise
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::group::Group;
    use crate::record::{Lag, Resource};
    use crate::service::Service;

    pub(in crate::judge) fn answer(status: u16) -> Outcome {
        Outcome::Answered(Reply { status, ..Reply::default() })
    }

    pub(in crate::judge) fn seen(call: Call, at_s: f64, took_s: f64) -> Seen {
        Seen {
            at: Duration::from_secs_f64(at_s),
            took: Duration::from_secs_f64(took_s),
            call,
            key: None,
            about: "x".into(),
            replica: 1,
            wait: Duration::ZERO,
            attempt: 1,
            outcome: answer(200),
        }
    }

    pub(in crate::judge) fn window(from_s: u64, to_s: u64) -> Window {
        Window {
            fault: "kill-postgres-order".into(),
            group: Group::Kill,
            about: "kills it".into(),
            from: Duration::from_secs(from_s),
            to: Duration::from_secs(to_s),
            blast: Blast::refusing([Service::Order]),
            note: String::new(),
            broken: Vec::new(),
            letters: BTreeSet::new(),
        }
    }

    fn broken(seen: Seen, window: Window) -> (usize, usize) {
        let witness = Witness { seen: vec![seen], ..Witness::default() };
        let windows = [window];
        (allowed(&witness, &windows).broken.len(), in_time(&witness, &windows).broken.len())
    }

    fn lag(at_ms: u64, late_ms: u64) -> Lag {
        Lag { of: Resource::Disk, at: Duration::from_millis(at_ms), late: Duration::from_millis(late_ms) }
    }

    fn refusal(call: Call, at_s: f64) -> Seen {
        let reply = Reply { status: 503, retry_after_s: Some(1), ..Reply::default() };
        Seen { outcome: Outcome::Answered(reply), ..seen(call, at_s, 0.5) }
    }

    fn silence(at_s: f64) -> Seen {
        Seen { outcome: Outcome::Silent { why: "reset".into(), unreached: false }, ..seen(Call::Place, at_s, 0.1) }
    }

    #[test]
    fn a_refusal_of_what_is_away_is_well() {
        assert_eq!(broken(refusal(Call::Place, 11.0), window(10, 12)), (0, 0));
        assert_eq!(broken(refusal(Call::Place, 16.0), window(10, 12)), (0, 0), "while it recovers");
        assert_eq!(broken(refusal(Call::Place, 9.6), window(10, 12)), (0, 0), "sent before, answered during");
    }

    #[test]
    fn a_refusal_of_what_is_there_is_found_out() {
        assert_eq!(broken(refusal(Call::Stock, 11.0), window(10, 12)), (1, 0), "another service");
        assert_eq!(broken(refusal(Call::Place, 9.0), window(10, 12)), (1, 0), "before");
        assert_eq!(broken(refusal(Call::Place, 17.5), window(10, 12)), (1, 0), "long after");
    }

    #[test]
    fn a_refusal_that_does_not_say_when_to_come_back_is_found_out() {
        let bare = Seen { outcome: answer(503), ..refusal(Call::Place, 11.0) };
        assert_eq!(broken(bare, window(10, 12)), (1, 0));
    }

    #[test]
    fn any_other_failure_is_found_out() {
        for status in [400, 404, 409, 422, 500, 502, 504] {
            let failed = Seen { outcome: answer(status), ..seen(Call::Place, 11.0, 0.1) };
            assert_eq!(broken(failed, window(10, 12)), (1, 0), "{status}");
        }
    }

    #[test]
    fn what_may_be_said_at_any_time_is_well() {
        let reply = |status, code: &str| Reply { status, code: Some(code.into()), ..Reply::default() };
        let in_flight = Outcome::Answered(reply(409, "idempotency_key_in_flight"));
        let too_late = Outcome::Answered(reply(409, "not_cancellable"));
        assert_eq!(broken(Seen { outcome: in_flight, ..seen(Call::Place, 30.0, 0.1) }, window(1, 2)), (0, 0));
        assert_eq!(broken(Seen { outcome: too_late.clone(), ..seen(Call::Cancel, 30.0, 0.1) }, window(1, 2)), (0, 0));
        assert_eq!(broken(Seen { outcome: too_late, ..seen(Call::Place, 30.0, 0.1) }, window(1, 2)), (1, 0));
    }

    #[test]
    fn silence_is_for_the_replica_that_is_away() {
        let away = |replica: usize| Window {
            blast: Blast { unreachable: [replica].into(), ..Blast::none() },
            ..window(10, 12)
        };
        assert_eq!(broken(silence(11.0), away(1)), (0, 0));
        assert_eq!(broken(silence(11.0), away(2)), (1, 0), "the other one");
        assert_eq!(broken(silence(11.0), window(10, 12)), (1, 0), "a fault behind the edge");
    }

    #[test]
    fn a_hang_is_found_out() {
        assert_eq!(broken(seen(Call::Place, 11.0, 1.9), window(10, 12)), (0, 0));
        assert_eq!(broken(seen(Call::Place, 11.0, 2.1), window(10, 12)), (0, 1));
        let waits = Seen { wait: Duration::from_secs(5), ..seen(Call::Place, 11.0, 6.0) };
        assert_eq!(broken(waits, window(10, 12)), (0, 0), "as it asked to");
    }

    #[test]
    fn what_stands_still_may_keep_its_clients_waiting() {
        let stalled = Window { blast: Blast { stalled: true, ..Blast::none() }, ..window(10, 30) };
        assert_eq!(broken(seen(Call::Place, 11.0, 19.0), stalled.clone()), (0, 0));
        assert_eq!(broken(seen(Call::Place, 40.0, 19.0), stalled), (0, 1), "afterwards not");
    }

    #[test]
    fn a_refusal_while_the_disk_stood_still_is_the_machines() {
        let while_it_stood = |lag| {
            let slow = Seen { took: Duration::from_millis(1_600), ..refusal(Call::Place, 30.0) };
            let witness = Witness { seen: vec![slow], lags: vec![lag], ..Witness::default() };
            allowed(&witness, &[]).broken.len()
        };
        assert_eq!(while_it_stood(lag(32_000, 2_000)), 0, "it goes on after the refusal");
        assert_eq!(while_it_stood(lag(30_450, 2_000)), 1, "only the end of it");
        assert_eq!(while_it_stood(lag(29_900, 2_000)), 1, "before");
    }

    #[test]
    fn the_machines_own_lateness_is_not_the_stacks() {
        let lag = Lag { of: Resource::Processor, ..lag(11_500, 400) };
        let mut witness = Witness { seen: vec![seen(Call::Place, 11.0, 2.3)], lags: vec![lag], ..Witness::default() };
        assert_eq!(in_time(&witness, &[]).broken, []);
        witness.lags[0].at = Duration::from_secs(60);
        assert_eq!(in_time(&witness, &[]).broken.len(), 1);
    }
}
