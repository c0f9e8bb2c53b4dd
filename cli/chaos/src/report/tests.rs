//! The report of a run that never was.

use std::time::Duration;

use super::*;
use crate::evidence::{Counters, Evidence, Placed, Seen as Watched};
use crate::fault::Blast;
use crate::judge::{Finding, Window};
use crate::record::{Lag, Outcome, Reply, Seen};

fn seen(at_ms: u64, status: u16, attempt: usize) -> Seen {
    Seen {
        at: Duration::from_millis(at_ms),
        took: Duration::from_millis(100),
        call: Call::Place,
        key: Some("k".into()),
        about: "k".into(),
        replica: 1,
        wait: Duration::ZERO,
        attempt,
        outcome: Outcome::Answered(Reply { status, replayed: attempt > 1, ..Reply::default() }),
    }
}

fn window() -> Window {
    Window {
        fault: "kill-kafka".into(),
        group: Group::Kill,
        about: "SIGKILL of kafka".into(),
        from: Duration::from_secs(2),
        to: Duration::from_secs(4),
        blast: Blast::none(),
        note: "killed kafka (pid 7)".into(),
        broken: Vec::new(),
        letters: std::collections::BTreeSet::new(),
    }
}

fn report(promises: Vec<Promise>) -> Report {
    let witness = Witness {
        seen: vec![seen(1_000, 202, 1), seen(2_500, 503, 1), seen(3_000, 202, 2), seen(5_900, 202, 1)],
        lags: vec![Lag { of: Resource::Disk, at: Duration::from_secs(9), late: Duration::from_millis(2_040) }],
        ..Witness::default()
    };
    let placed = Placed { key: "k".into(), id: uuid::Uuid::nil(), status: "confirmed".into() };
    let evidence = Evidence { placed: vec![placed], handled: 7, ..Evidence::default() };
    let counters = Counters([("events delivered", 1_009), (DUPLICATES, 3)].into());
    let watched = Watched { counters, ..Watched::default() };
    let audit = towpath_audit::Report { invariants: Vec::new() };
    let windows = [window()];
    let provider = crate::judge::Compared::default();
    let (witness, evidence, watched, audit, provider) = (&witness, &evidence, &watched, &audit, &provider);
    let case = Case { witness, windows: &windows, evidence, watched, audit, provider };
    let settings = Settings { seed: 7, rate: 10.0, replicas: 2, again: "towpath chaos --seed 7".into() };
    Report::of(settings, Duration::from_secs(61), &case, promises)
}

fn promise(broken: usize) -> Promise {
    let finding = |n| Finding { ids: vec![format!("order-{n}")], expected: "one".into(), seen: "two".into() };
    Promise {
        promise: "no key has two orders".into(),
        checked: 4_321,
        of: "orders",
        broken: (0..broken).map(finding).collect(),
    }
}

#[test]
fn a_clean_run_is_told_in_full() {
    let text = report(vec![promise(0)]).to_string();
    for line in [
        "Seed 7: 01:01 min, 10 orders/s, 2 replicas",
        "00:02  kill-kafka: SIGKILL of kafka",
        "killed kafka (pid 7) (2.0 s in all)",
        // Looked at for five seconds, though it took two. Silent from 1.1 s to 3.1 s, and from then to 6.0 s.
        "clients saw 2 × 202, 1 × 503; longest silence 2.9 s, slowest refusal 0.1 s",
        "1 orders: 1 × confirmed",
        "4 answers: 3 × 202, 1 × 503",
        "1 repeated calls, 1 answers given once more",
        "7 events handled, 3 duplicates",
        "1,009 events delivered",
        "the machine itself stood still for 2.0 s (disk) and 0.0 s (processor) at the longest",
        "Every promise was kept.",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.lines().any(|line| line.starts_with("✓ no key has two orders") && line.ends_with("4,321 orders")));
}

#[test]
fn a_broken_promise_is_told_with_its_ids_and_how_to_see_it_again() {
    let report = report(vec![promise(0), promise(12)]);
    assert!(!report.is_kept());
    let text = report.to_string();
    for line in [
        "✗ no key",
        "4,321 orders, broken by 12",
        "    order-0\n",
        "expected: one",
        "and 2 more",
        "towpath chaos --seed 7",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_program_gets_all_of_it() {
    let json = serde_json::to_value(report(vec![promise(12)])).unwrap();
    assert_eq!((&json["seed"], &json["kept"]), (&7.into(), &false.into()));
    assert_eq!(json["promises"][0]["broken"].as_array().unwrap().len(), 12);
    assert_eq!(json["faults"][0]["answers"]["503"], 1);
    assert_eq!(json["totals"]["relays"]["events delivered"], 1_009);
}
