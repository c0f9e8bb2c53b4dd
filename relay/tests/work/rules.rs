//! The rules of a unit of work.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use towpath_relay::db::Session;
use towpath_wire::Code;

use super::Work;
use super::support::eventually;

const STOCK: &str = "CREATE TABLE stock (sku text PRIMARY KEY, n int NOT NULL CHECK (n >= 0));
    INSERT INTO stock VALUES ('a', 5), ('b', 5)";

fn take(sku: &str, n: i64) -> Value {
    json!({"sql": "UPDATE stock SET n = n - $2 WHERE sku = $1 AND n >= $2", "params": [sku, n],
           "expect": {"exactly": 1}, "label": "insufficient_stock"})
}

#[tokio::test]
async fn all_or_nothing_and_one_answer() {
    let work = Work::new(STOCK).await;
    let answer = work
        .run(json!({"steps": [
            take("a", 2),
            {"sql": "INSERT INTO stock VALUES ('c', 1) RETURNING sku, n"},
            {"sql": "SELECT sku FROM stock ORDER BY sku"},
        ], "events": [{"topic": work.topic(), "key": "k", "type": "t", "data": {"n": 1}}]}))
        .await
        .expect("it commits");
    assert_eq!(answer.results[0].affected, 1);
    assert_eq!((&answer.results[1].columns, &answer.results[1].rows), (&vec!["sku".into(), "n".into()], &vec![vec![json!("c"), json!(1)]]));
    assert_eq!(answer.results[2].affected, 3);
    assert_eq!(answer.event_ids.len(), 1);
    assert_eq!(work.see("SELECT n FROM stock WHERE sku = 'a'").await, "3");
    let failed = work.refused(Code::ConstraintViolation, json!({"steps": [
        take("a", 1), {"sql": "INSERT INTO stock VALUES ('a', 1)", "label": "twice"}],
        "events": [{"topic": work.topic(), "key": "k", "type": "t"}]})).await;
    assert_eq!(failed.problem.constraint.as_deref(), Some("stock_pkey"));
    assert_eq!(failed.problem.sqlstate.as_deref(), Some("23505"));
    let step = failed.problem.step.expect("the step");
    assert_eq!((step.index, step.label.as_deref()), (1, Some("twice")));
    assert_eq!(work.see("SELECT n FROM stock WHERE sku = 'a'").await, "3");
    assert_eq!(work.see("SELECT count(*) FROM towpath.outbox").await, "1");
}

#[tokio::test]
async fn an_event_that_is_refused_stops_the_unit_before_it_runs() {
    let work = Work::new(STOCK).await;
    for (event, code) in [
        (json!({"topic": "another.topic", "key": "k", "type": "t"}), Code::Forbidden),
        (json!({"topic": work.topic(), "key": "", "type": "t"}), Code::MalformedRequest),
        (json!({"topic": work.topic(), "key": "k".repeat(256), "type": "t"}), Code::MalformedRequest),
        (json!({"topic": work.topic(), "key": "k", "type": ""}), Code::MalformedRequest),
        (json!({"topic": work.topic(), "key": "k\u{0}", "type": "t"}), Code::MalformedRequest),
    ] {
        work.refused(code, json!({"steps": [take("a", 1)], "events": [event]})).await;
    }
    assert_eq!(work.see("SELECT n FROM stock WHERE sku = 'a'").await, "5");
}

#[tokio::test]
async fn an_expectation_that_is_not_met_rolls_back_and_names_the_step() {
    let work = Work::new(STOCK).await;
    let unit = json!({"steps": [take("b", 1), take("a", 6)]});
    let failure = work.refused(Code::ExpectationFailed, unit).await;
    let step = failure.problem.step.expect("the step");
    assert_eq!((step.index, step.label.as_deref(), step.affected), (1, Some("insufficient_stock"), Some(0)));
    assert_eq!(work.see("SELECT n FROM stock WHERE sku = 'b'").await, "5");
    let at_least = |n: u64| json!({"steps": [{"sql": "SELECT 1 FROM stock", "expect": {"at_least": n}}]});
    work.run(at_least(2)).await.expect("two rows are there");
    work.refused(Code::ExpectationFailed, at_least(3)).await;
    // The first that isn't as it must be decides, also where a later one fails of itself.
    let unit = json!({"steps": [take("a", 6), {"sql": "INSERT INTO stock VALUES ('a', 1)"}]});
    work.refused(Code::ExpectationFailed, unit).await;
}

#[tokio::test]
async fn fifty_pieces_are_sold_to_fifty_of_two_hundred() {
    let work = Work::new("CREATE TABLE stock (sku text PRIMARY KEY, n int); INSERT INTO stock VALUES ('a', 50)").await;
    let sold = join_all((0..200).map(|_| work.run(json!({"steps": [take("a", 1)]})))).await;
    assert_eq!(sold.iter().filter(|answer| answer.is_ok()).count(), 50);
    assert_eq!(work.see("SELECT n FROM stock").await, "0");
}

#[tokio::test]
async fn the_first_answer_is_stored_and_replayed() {
    let work = Work::new(STOCK).await;
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
    assert_eq!(work.see("SELECT n FROM stock WHERE sku = 'a'").await, "4");
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
async fn serialization_failures_and_deadlocks_are_retried() {
    let work = Work::with("contention_attempts = 50", STOCK).await;
    // Each reads the sum and adds to one row: under SERIALIZABLE no two of them may overlap.
    let serial = |sku: &str| json!({"isolation": "serializable", "steps": [
        {"sql": "SELECT sum(n) FROM stock"}, {"sql": "UPDATE stock SET n = n + 1 WHERE sku = $1", "params": [sku]}]});
    let done = join_all((0..20).map(|i| work.run(serial(if i % 2 == 0 { "a" } else { "b" })))).await;
    assert!(done.iter().all(Result::is_ok), "retried until it works: {done:?}");
    assert_eq!(work.see("SELECT sum(n) FROM stock").await, "30");
    // Crosswise locks: PostgreSQL ends one of two, and the relay begins that one again.
    let both = |first: &str, second: &str| json!({"steps": [
        {"sql": "UPDATE stock SET n = n + 1 WHERE sku = $1", "params": [first]},
        {"sql": "SELECT pg_sleep(0.05)"},
        {"sql": "UPDATE stock SET n = n + 1 WHERE sku = $1", "params": [second]}]});
    let done = join_all((0..6).map(|i| work.run(if i % 2 == 0 { both("a", "b") } else { both("b", "a") }))).await;
    assert!(done.iter().all(Result::is_ok), "retried until it works: {done:?}");
    assert_eq!(work.see("SELECT sum(n) FROM stock").await, "42");
}

#[tokio::test]
async fn contention_ends_after_as_many_tries_as_the_limit_says() {
    let work = Work::with("contention_attempts = 3\ncontention_backoff_ms = 1", "CREATE SEQUENCE tries;
        CREATE FUNCTION app.conflict() RETURNS int LANGUAGE plpgsql AS $$
        BEGIN PERFORM nextval('app.tries'); RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$").await;
    let failure = work.refused(Code::Contention, json!({"steps": [{"sql": "SELECT conflict()"}]})).await;
    assert_eq!(failure.problem.sqlstate.as_deref(), Some("40001"));
    assert_eq!(work.see("SELECT last_value FROM tries").await, "3");
}

#[tokio::test]
async fn isolation_is_what_was_asked_for() {
    let work = Work::new("").await;
    for (isolation, name) in [("read_committed", "read committed"), ("repeatable_read", "repeatable read"), ("serializable", "serializable")] {
        let unit = json!({"isolation": isolation, "steps": [{"sql": "SELECT current_setting('transaction_isolation')"}]});
        let answer = work.run(unit).await.expect("it commits");
        assert_eq!(answer.results[0].rows, [[json!(name)]]);
    }
}

/// Whatever ends a unit, the one connection that the pool has is free and clean again.
#[tokio::test]
async fn a_connection_never_goes_back_with_a_transaction_open() {
    let limits = "statement_timeout_ms = 200\nlock_timeout_ms = 100\ntransaction_timeout_ms = 400\nrows = 10\nresult_bytes = 2000";
    let work = Work::changed(limits, STOCK, |postgres| postgres.pool_size = 1).await;
    let unit = |sql: &str| json!({"steps": [take("a", 1), {"sql": sql}]});
    let claim = json!({"inbox": "e", "idempotency": {"key": "k", "request_hash": "h", "answer": 1}});
    work.run(claim.clone()).await.expect("it commits");
    let reused = json!({"steps": [take("a", 1)], "idempotency": {"key": "k", "request_hash": "other", "answer": 1}});
    let too_long = json!({"steps": [take("a", 1), {"sql": "SELECT pg_sleep(0.15)"}, {"sql": "SELECT pg_sleep(0.15)"}, {"sql": "SELECT pg_sleep(0.15)"}]});
    let killed = unit("SELECT pg_sleep(0.1)");
    for (code, unit) in [
        (Code::ExpectationFailed, json!({"steps": [take("b", 1), take("a", 100)]})),
        (Code::ConstraintViolation, unit("INSERT INTO stock VALUES ('a', 1)")),
        (Code::StatementFailed, unit("SELECT nothing")),
        (Code::StatementFailed, unit("SELECT 1 / 0")),
        (Code::InvalidParameter, json!({"steps": [take("a", 1), {"sql": "SELECT $1::int", "params": ["x"]}]})),
        (Code::StatementRefused, unit("SELECT point(1, 2)")),
        (Code::StatementTimeout, unit("SELECT pg_sleep(10)")),
        (Code::StatementTimeout, too_long),
        (Code::LimitExceeded, unit("SELECT generate_series(1, 1000000)")),
        (Code::LimitExceeded, unit("SELECT repeat('x', 1000000)")),
        (Code::IdempotencyReused, reused),
    ] {
        work.refused(code, unit).await;
        assert_eq!(work.open_transactions().await, "0", "{code:?}");
        let next = work.run(json!({"steps": [{"sql": "SELECT pg_current_xact_id_if_assigned() IS NULL"}]})).await;
        assert_eq!(next.expect("the connection works").results[0].rows, [[json!(true)]], "{code:?}");
    }
    assert!(work.run(claim).await.expect("it is known").duplicate);
    for (code, sql) in [
        (Code::StatementFailed, "SELECT 1 / 0"),
        (Code::StatementTimeout, "SELECT pg_sleep(10)"),
        (Code::LimitExceeded, "SELECT generate_series(1, 1000000)"),
        (Code::StatementRefused, "WITH x AS (DELETE FROM stock RETURNING 1) SELECT * FROM x"),
        (Code::StatementRefused, "SELECT * FROM stock FOR UPDATE"),
    ] {
        assert_eq!(work.query(json!({"sql": sql})).await.expect_err(sql).code(), code, "{sql}");
        assert_eq!(work.open_transactions().await, "0", "{sql}");
    }
    // A connection that dies under a unit: nothing was committed, so the unit runs again on another.
    let (ended, ()) = tokio::join!(work.run(killed), async {
        let end = "SELECT coalesce(bool_or(pg_terminate_backend(pid)), false) FROM pg_stat_activity \
            WHERE usename LIKE '%_app' AND datname = current_database() AND query LIKE '%pg_sleep(0.1)%' AND state = 'active'";
        eventually("the backend is ended", async || match work.see(end).await.as_str() {
            "true" => Ok(()),
            other => Err(other.to_owned()),
        })
        .await;
    });
    ended.expect("it ran again");
    assert_eq!((work.see("SELECT n FROM stock WHERE sku = 'a'").await.as_str(), work.see("SELECT n FROM stock WHERE sku = 'b'").await.as_str()), ("4", "5"));
    assert_eq!(work.open_transactions().await, "0");
}

#[tokio::test]
async fn a_unit_goes_on_when_its_caller_is_gone() {
    let work = Work::new("CREATE TABLE t (id int)").await;
    let unit = json!({"steps": [{"sql": "SELECT pg_sleep(0.3)"}, {"sql": "INSERT INTO t VALUES (1)"}]});
    let request = work.relay.request("alpha", "POST", "/v1/transactions").json(&unit);
    let call = tokio::spawn(request.send());
    eventually("the unit has begun", async || match work.open_transactions().await.as_str() {
        "1" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    call.abort();
    eventually("it commits all the same", async || match work.see("SELECT count(*) FROM t").await.as_str() {
        "1" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    assert_eq!(work.open_transactions().await, "0");
}

#[tokio::test]
async fn a_panic_and_a_dropped_future_close_the_connection() {
    let work = Work::new(STOCK).await;
    let service = work.service();
    let pool = service.database().expect("a database").app.clone();
    let begun = async |pool| {
        let mut session = Session::take(&pool).await.expect("a connection");
        session.opens();
        session.client().batch_execute("BEGIN; UPDATE stock SET n = 0").await.expect("an update");
        session
    };
    let panicking = pool.clone();
    let task = tokio::spawn(async move {
        let _session = begun(panicking).await;
        panic!("on purpose");
    });
    assert!(task.await.expect_err("it panics").is_panic());
    let session = begun(pool.clone()).await;
    let sleeping = async { session.client().batch_execute("SELECT pg_sleep(60)").await };
    assert!(tokio::time::timeout(Duration::from_millis(50), sleeping).await.is_err());
    let began = Instant::now();
    drop(session);
    eventually("both transactions have ended", async || match work.open_transactions().await.as_str() {
        "0" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(10), "the sleeping statement was cancelled");
    work.run(json!({"steps": [take("a", 1)]})).await.expect("no row is locked");
    assert_eq!(pool.status().size, pool.status().available);
}

#[tokio::test]
async fn limits_are_errors_that_name_them() {
    let limits = "steps = 2\nparameters = 2\nstatement_bytes = 1024\nevents = 1\nevent_bytes = 1024\nrows = 3\nresult_bytes = 1024\n\
        key_bytes = 16\ncache_tags = 1\nwakeup_keys = 1";
    let work = Work::with(limits, "").await;
    let step = json!({"sql": "SELECT 1"});
    let event = json!({"topic": work.topic(), "key": "k", "type": "t", "data": "x".repeat(1100)});
    for (name, unit) in [
        ("steps", json!({"steps": [step, step, step]})),
        ("parameters", json!({"steps": [{"sql": "SELECT $1, $2, $3", "params": [1, 2, 3]}]})),
        ("statement_bytes", json!({"steps": [{"sql": format!("SELECT 1 {}", " ".repeat(1100))}]})),
        ("events", json!({"events": [event, event]})),
        ("event_bytes", json!({"events": [event]})),
        ("rows", json!({"steps": [{"sql": "SELECT generate_series(1, 100000)"}]})),
        ("result_bytes", json!({"steps": [{"sql": "SELECT repeat('x', 2000)"}]})),
        ("result_bytes", json!({"steps": [{"sql": "SELECT repeat('x', 600)"}, {"sql": "SELECT repeat('x', 600)"}]})),
        ("key_bytes", json!({"notify": ["x".repeat(17)]})),
        ("cache_tags", json!({"invalidate": ["a", "b"]})),
        ("wakeup_keys", json!({"notify": ["a", "b"]})),
    ] {
        let failure = work.refused(Code::LimitExceeded, unit).await;
        assert!(failure.problem.detail.contains(&format!("limits.{name} =")), "{name}: {}", failure.problem.detail);
    }
    let rows = json!({"steps": [{"sql": "SELECT generate_series(1, 3)"}]});
    assert_eq!(work.run(rows).await.expect("as many as allowed").results[0].affected, 3);
    let keys = json!({"inbox": "x".repeat(256)});
    work.refused(Code::MalformedRequest, keys).await;
    let many = work.query(json!({"sql": "SELECT generate_series(1, 4)"})).await.expect_err("too many");
    assert_eq!(many.code(), Code::LimitExceeded);
    assert_eq!(work.open_transactions().await, "0");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_ends() {
    let work = Work::with("statement_timeout_ms = 200\nlock_timeout_ms = 100", STOCK).await;
    let failure = work.refused(Code::StatementTimeout, json!({"steps": [{"sql": "SELECT pg_sleep(10)"}]})).await;
    assert_eq!((failure.problem.sqlstate.as_deref(), failure.problem.retryable), (Some("57014"), true));
    assert_eq!(failure.problem.step.expect("the step").index, 0);
    let other = work.setup.admin("alpha").await;
    other.batch_execute("BEGIN; UPDATE app.stock SET n = 1").await.expect("a lock");
    let failure = work.refused(Code::Contention, json!({"steps": [take("a", 1)]})).await;
    assert_eq!(failure.problem.sqlstate.as_deref(), Some("55P03"));
    assert_eq!(work.see("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.usename LIKE '%_app' AND NOT granted AND a.datname = current_database()").await, "0");
}

/// Units that publish one key don't interleave between the number and the commit: whatever anybody sees of the key is
/// a beginning of what it will be.
#[tokio::test]
async fn order_per_key_is_the_commit_order() {
    let work = Work::new("CREATE TABLE t (id int)").await;
    let keys = ["k", "another", "third"];
    let unit = |writer: usize, n: usize| {
        // Several keys at once, in an order that differs: no deadlock comes of it.
        let events: Vec<_> = (0..3)
            .map(|i| json!({"topic": work.topic(), "key": keys[(writer + i) % 3], "type": "t", "data": [writer, n]}))
            .collect();
        json!({"steps": [{"sql": "INSERT INTO t VALUES (1)"}], "events": events})
    };
    let admin = work.setup.admin("alpha").await;
    let look = async || {
        let sql = "SELECT array_agg(seq ORDER BY seq) FROM towpath.outbox WHERE key = 'k'";
        admin.query_one(sql, &[]).await.expect("a look").get::<_, Option<Vec<i64>>>(0).unwrap_or_default()
    };
    let writers = join_all((0..16).map(|writer| {
        let (work, unit) = (&work, &unit);
        async move {
            for n in 0..10 {
                work.run(unit(writer, n)).await.expect("it commits");
            }
        }
    }));
    tokio::pin!(writers);
    let mut seen = Vec::new();
    loop {
        tokio::select! {
            biased;
            snapshot = look() => seen.push(snapshot),
            _ = &mut writers => break,
        }
    }
    let all = look().await;
    assert_eq!(all.len(), 160);
    let lengths: BTreeSet<usize> = seen.iter().map(Vec::len).collect();
    assert!(lengths.len() > 5, "looked in between: {lengths:?}");
    for snapshot in seen {
        assert_eq!(snapshot, all[..snapshot.len()], "a lower number appeared after a higher one");
    }
}

#[tokio::test]
async fn the_events_of_a_unit_stand_in_its_order_with_all_that_belongs_to_them() {
    let work = Work::new("").await;
    let parent = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01";
    let exact: Value = serde_json::from_str("1.10").expect("a number");
    let events = json!({"events": [
        {"topic": work.topic(), "key": "b", "type": "second.kind", "data": {"n": exact}, "subject": "s"},
        {"topic": work.topic(), "key": "a", "type": "first.kind", "id": "given", "data": "\u{0}"},
        {"topic": work.topic(), "key": "b", "type": "third.kind"},
    ]});
    let request = work.relay.request("alpha", "POST", "/v1/transactions").header("traceparent", parent).json(&events);
    let answer = super::support::answer(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["event_ids"][1], "given");
    let rows = work
        .see("SELECT string_agg(concat_ws('|', topic = (SELECT min(topic) FROM towpath.outbox), key, type, source, subject, data, \
              left(traceparent, 35), id = 'given'), E'\\n' ORDER BY seq) FROM towpath.outbox")
        .await;
    let expected = format!(
        "t|b|second.kind|/alpha|s|{{\"n\":1.10}}|{0}|f\nt|a|first.kind|/alpha|\"\\u0000\"|{0}|t\nt|b|third.kind|/alpha|null|{0}|f",
        &parent[..35]
    );
    assert_eq!(rows, expected);
    assert_eq!(work.see("SELECT count(DISTINCT shard) <= 2 AND bool_and(shard BETWEEN 0 AND 15) FROM towpath.outbox").await, "true");
}

/// What was sent ahead and waits for a lock doesn't hold up the answer to what failed before it.
#[tokio::test]
async fn a_step_that_waits_does_not_delay_the_failure_of_one_before_it() {
    let work = Work::new(STOCK).await;
    let other = work.setup.admin("alpha").await;
    other.batch_execute("BEGIN; UPDATE app.stock SET n = 1 WHERE sku = 'b'").await.expect("a lock");
    let began = Instant::now();
    work.refused(Code::ExpectationFailed, json!({"steps": [take("a", 100), take("b", 1)]})).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(work.open_transactions().await, "0");
}
