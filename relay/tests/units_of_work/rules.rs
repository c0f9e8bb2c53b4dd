//! The rules of a unit of work: all or nothing, expectations, claims, retries.

use futures::future::join_all;
use serde_json::{Value, json};
use towpath_wire::Code;

use super::Work;
use super::gate::{AT_THE_GATE, Gate, PATIENT};

pub(crate) const JARS: &str = "CREATE TABLE jars (name text PRIMARY KEY, n int NOT NULL CHECK (n >= 0));
    INSERT INTO jars VALUES ('a', 5), ('b', 5)";

pub(crate) fn take(name: &str, n: i64) -> Value {
    json!({"sql": "UPDATE jars SET n = n - $2 WHERE name = $1 AND n >= $2", "params": [name, n],
           "expect": {"exactly": 1}, "label": "too_few"})
}

#[tokio::test]
async fn all_or_nothing_and_one_answer() {
    let work = Work::new(JARS).await;
    let answer = work
        .run(json!({"steps": [
            take("a", 2),
            {"sql": "INSERT INTO jars VALUES ('c', 1) RETURNING name, n"},
            {"sql": "SELECT name FROM jars ORDER BY name"},
        ], "events": [{"topic": work.topic(), "key": "k", "type": "t", "data": {"n": 1}}]}))
        .await
        .expect("it commits");
    assert_eq!(answer.results[0].affected, 1);
    assert_eq!(
        (&answer.results[1].columns, &answer.results[1].rows),
        (&vec!["name".into(), "n".into()], &vec![vec![json!("c"), json!(1)]])
    );
    assert_eq!(answer.results[2].affected, 3);
    assert_eq!(answer.event_ids.len(), 1);
    assert_eq!(work.see("SELECT n FROM jars WHERE name = 'a'").await, "3");
    let failed = work
        .refused(
            Code::ConstraintViolation,
            json!({"steps": [
        take("a", 1), {"sql": "INSERT INTO jars VALUES ('a', 1)", "label": "twice"}],
        "events": [{"topic": work.topic(), "key": "k", "type": "t"}]}),
        )
        .await;
    assert_eq!(failed.problem.constraint.as_deref(), Some("jars_pkey"));
    assert_eq!(failed.problem.sqlstate.as_deref(), Some("23505"));
    let step = failed.problem.step.expect("the step");
    assert_eq!((step.index, step.label.as_deref()), (1, Some("twice")));
    assert_eq!(work.see("SELECT n FROM jars WHERE name = 'a'").await, "3");
    assert_eq!(work.see("SELECT count(*) FROM towpath.outbox").await, "1");
}

#[tokio::test]
async fn an_event_that_is_refused_stops_the_unit_before_it_runs() {
    let work = Work::new(JARS).await;
    for (event, code) in [
        (json!({"topic": "another.topic", "key": "k", "type": "t"}), Code::Forbidden),
        (json!({"topic": work.topic(), "key": "", "type": "t"}), Code::MalformedRequest),
        (json!({"topic": work.topic(), "key": "k".repeat(256), "type": "t"}), Code::MalformedRequest),
        (json!({"topic": work.topic(), "key": "k", "type": ""}), Code::MalformedRequest),
        (json!({"topic": work.topic(), "key": "k\u{0}", "type": "t"}), Code::MalformedRequest),
    ] {
        work.refused(code, json!({"steps": [take("a", 1)], "events": [event]})).await;
    }
    assert_eq!(work.see("SELECT n FROM jars WHERE name = 'a'").await, "5");
}

#[tokio::test]
async fn an_expectation_that_is_not_met_rolls_back_and_names_the_step() {
    let work = Work::new(JARS).await;
    let unit = json!({"steps": [take("b", 1), take("a", 6)]});
    let failure = work.refused(Code::ExpectationFailed, unit).await;
    let step = failure.problem.step.expect("the step");
    assert_eq!((step.index, step.label.as_deref(), step.affected), (1, Some("too_few"), Some(0)));
    assert_eq!(work.see("SELECT n FROM jars WHERE name = 'b'").await, "5");
    let at_least = |n: u64| json!({"steps": [{"sql": "SELECT 1 FROM jars", "expect": {"at_least": n}}]});
    work.run(at_least(2)).await.expect("two rows are there");
    work.refused(Code::ExpectationFailed, at_least(3)).await;
    // The first that isn't as it must be decides, also where a later one fails of itself.
    let unit = json!({"steps": [take("a", 6), {"sql": "INSERT INTO jars VALUES ('a', 1)"}]});
    work.refused(Code::ExpectationFailed, unit).await;
}

#[tokio::test]
async fn fifty_pieces_go_to_fifty_of_two_hundred() {
    let work = Work::new("CREATE TABLE jars (name text PRIMARY KEY, n int); INSERT INTO jars VALUES ('a', 50)").await;
    let served = join_all((0..200).map(|_| work.run(json!({"steps": [take("a", 1)]})))).await;
    assert_eq!(served.iter().filter(|answer| answer.is_ok()).count(), 50);
    assert_eq!(work.see("SELECT n FROM jars").await, "0");
}

#[tokio::test]
async fn the_first_answer_is_stored_and_replayed() {
    let work = Work::new(JARS).await;
    let unit = |hash: &str, n: i64| {
        json!({"steps": [take("a", n)], "idempotency": {"key": "k", "request_hash": hash, "answer": {"n": n, "big": 12_345_678_901_234_567_890_u64}},
               "events": [{"topic": work.topic(), "key": "k", "type": "t"}]})
    };
    let first = work.run(unit("h", 1)).await.expect("it commits");
    assert!(!first.replayed && first.results.len() == 1);
    let again = work.run(unit("h", 2)).await.expect("it is replayed");
    assert!(again.replayed && again.results.is_empty() && again.event_ids.is_empty());
    assert_eq!(again.answer, Some(json!({"n": 1, "big": 12_345_678_901_234_567_890_u64})));
    work.refused(Code::IdempotencyReused, unit("other", 1)).await;
    assert_eq!(work.see("SELECT n FROM jars WHERE name = 'a'").await, "4");
    assert_eq!(work.see("SELECT count(*) FROM towpath.outbox").await, "1");
    // A unit that failed has used no key.
    let failed = json!({"steps": [take("a", 100)], "idempotency": {"key": "k2", "request_hash": "h", "answer": null}});
    work.refused(Code::ExpectationFailed, failed).await;
    let works = json!({"steps": [take("a", 1)], "idempotency": {"key": "k2", "request_hash": "h", "answer": null}});
    assert!(!work.run(works.clone()).await.expect("it commits").replayed);
    assert_eq!(work.run(works).await.expect("it is replayed").answer, Some(Value::Null));
}

#[tokio::test]
async fn a_key_in_flight_is_refused() {
    let work = Work::new("CREATE TABLE t (id int)").await;
    let other = work.setup.admin("alpha").await;
    other.batch_execute("BEGIN; SELECT towpath.idempotency_claim('k', 'h', '1')").await.expect("a claim");
    let unit = json!({"steps": [{"sql": "INSERT INTO t VALUES (1)"}], "idempotency": {"key": "k", "request_hash": "h", "answer": 2}});
    let failure = work.refused(Code::IdempotencyInFlight, unit.clone()).await;
    assert!(failure.problem.retryable && failure.problem.status == 409);
    other.batch_execute("ROLLBACK").await.expect("a rollback");
    assert!(!work.run(unit).await.expect("the key is free").replayed);
}

#[tokio::test]
async fn twenty_at_once_with_one_key_run_once() {
    for isolation in ["read_committed", "repeatable_read", "serializable"] {
        let work = Work::new("CREATE TABLE t (id int)").await;
        let unit = json!({"steps": [{"sql": "INSERT INTO t VALUES (1)"}], "isolation": isolation,
            "idempotency": {"key": "k", "request_hash": "h", "answer": 7}});
        let answers = join_all((0..20).map(|_| work.run(unit.clone()))).await;
        let ran = answers.iter().filter(|a| matches!(a, Ok(answer) if !answer.replayed)).count();
        for answer in &answers {
            match answer {
                Ok(answer) if answer.replayed => assert_eq!(answer.answer, Some(json!(7))),
                Ok(_) => {}
                Err(failure) => assert_eq!(failure.code(), Code::IdempotencyInFlight, "{isolation}"),
            }
        }
        assert_eq!((ran, work.see("SELECT count(*) FROM t").await.as_str()), (1, "1"), "{isolation}");
    }
}

#[tokio::test]
async fn a_known_event_is_a_duplicate_and_runs_nothing() {
    let work = Work::new("CREATE TABLE t (id int); CREATE SEQUENCE s").await;
    let unit = json!({"steps": [{"sql": "INSERT INTO t VALUES (nextval('s'))"}], "inbox": "event-1"});
    assert!(!work.run(unit.clone()).await.expect("it commits").duplicate);
    let again = work.run(unit.clone()).await.expect("it is known");
    assert!(again.duplicate && again.results.is_empty());
    // A sequence isn't rolled back: what it says ran.
    assert_eq!(work.see("SELECT last_value FROM s").await, "1");
    // A statement that would fail doesn't get to fail.
    let broken = json!({"steps": [{"sql": "SELECT 1 / 0"}], "inbox": "event-1"});
    assert!(work.run(broken.clone()).await.expect("it is known").duplicate);
    let fresh = json!({"steps": [{"sql": "SELECT 1 / 0"}], "inbox": "event-2"});
    work.refused(Code::StatementFailed, fresh).await;
    assert_eq!(work.see("SELECT count(*) FROM towpath.inbox").await, "1");
}

#[tokio::test]
async fn twenty_deliveries_of_one_event_at_once_have_one_effect() {
    for isolation in ["read_committed", "repeatable_read", "serializable"] {
        let work = Work::new("CREATE TABLE t (id int)").await;
        let unit = json!({"steps": [{"sql": "INSERT INTO t VALUES (1)"}], "inbox": "e", "isolation": isolation});
        let answers = join_all((0..20).map(|_| work.run(unit.clone()))).await;
        let ran = answers.iter().filter(|a| !a.as_ref().expect("each is answered").duplicate).count();
        assert_eq!((ran, work.see("SELECT count(*) FROM t").await.as_str()), (1, "1"), "{isolation}");
    }
}

#[tokio::test]
async fn serialization_failures_are_retried() {
    let work = Work::with("contention_attempts = 50", JARS).await;
    // Each reads the sum and adds to one row: under SERIALIZABLE no two of them may overlap.
    let serial = |name: &str| {
        json!({"isolation": "serializable", "steps": [
        {"sql": "SELECT sum(n) FROM jars"}, {"sql": "UPDATE jars SET n = n + 1 WHERE name = $1", "params": [name]}]})
    };
    let done = join_all((0..20).map(|i| work.run(serial(if i % 2 == 0 { "a" } else { "b" })))).await;
    assert!(done.iter().all(Result::is_ok), "retried until it works: {done:?}");
    assert_eq!(work.see("SELECT sum(n) FROM jars").await, "30");
}

#[tokio::test]
async fn the_victim_of_a_deadlock_is_begun_again() {
    let work = Work::with(PATIENT, &format!("{JARS}; CREATE SEQUENCE tries")).await;
    let gate = Gate::close(&work).await;
    let both = |first: &str, second: &str| {
        json!({"steps": [
        {"sql": "SELECT nextval('tries')"},
        {"sql": "UPDATE jars SET n = n + 1 WHERE name = $1", "params": [first]},
        {"sql": AT_THE_GATE},
        {"sql": "UPDATE jars SET n = n + 1 WHERE name = $1", "params": [second]}]})
    };
    // Two only: finding a deadlock takes PostgreSQL a second (deadlock_timeout), and with a third of the kind the
    // victim would be back in time for the next one.
    let crossed = async {
        gate.reached_by(2).await;
        gate.open().await;
    };
    let (one, other, ()) = tokio::join!(work.run(both("a", "b")), work.run(both("b", "a")), crossed);
    one.expect("it commits");
    other.expect("it commits");
    assert_eq!(work.see("SELECT sum(n) FROM jars").await, "14");
    assert_eq!(work.see("SELECT last_value FROM tries").await, "3", "PostgreSQL ends one of the two");
}

#[tokio::test]
async fn contention_ends_after_as_many_tries_as_the_limit_says() {
    let work = Work::with(
        "contention_attempts = 3\ncontention_backoff_ms = 1",
        "CREATE SEQUENCE tries;
        CREATE FUNCTION app.conflict() RETURNS int LANGUAGE plpgsql AS $$
        BEGIN PERFORM nextval('app.tries'); RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$",
    )
    .await;
    let failure = work.refused(Code::Contention, json!({"steps": [{"sql": "SELECT conflict()"}]})).await;
    assert_eq!(failure.problem.sqlstate.as_deref(), Some("40001"));
    assert_eq!(work.see("SELECT last_value FROM tries").await, "3");
}

#[tokio::test]
async fn isolation_is_what_was_asked_for() {
    let work = Work::new("").await;
    for (isolation, name) in
        [("read_committed", "read committed"), ("repeatable_read", "repeatable read"), ("serializable", "serializable")]
    {
        let unit =
            json!({"isolation": isolation, "steps": [{"sql": "SELECT current_setting('transaction_isolation')"}]});
        let answer = work.run(unit).await.expect("it commits");
        assert_eq!(answer.results[0].rows, [[json!(name)]]);
    }
}
