//! A migration runs while requests go through: what was prepared before it is prepared anew, and no caller hears of it.

use futures::future::join_all;
use serde_json::{Value, json};
use towpath_relay::postgres::Session;
use towpath_wire::Code;

use super::Work;
use super::gate::{AT_THE_GATE, Gate, PATIENT};

const CONNECTIONS: usize = 6;

async fn work(tables: &str) -> Work {
    Work::changed(PATIENT, tables, |postgres| postgres.pool_size = CONNECTIONS).await
}

fn step(sql: &str, params: &[Value]) -> Value {
    json!({"sql": sql, "params": params})
}

/// Has every connection prepare this statement: all are at the gate at the same time.
async fn prepare_on_all(work: &Work, statement: &Value) {
    let gate = Gate::close(work).await;
    // The gate comes first: at the statement they may wait for each other.
    let unit = json!({"steps": [{"sql": AT_THE_GATE}, statement]});
    let run = async || work.run(unit.clone()).await.unwrap_or_else(|failure| panic!("{statement}: {failure}"));
    tokio::join!(join_all((0..CONNECTIONS).map(|_| run())), async {
        gate.reached_by(CONNECTIONS).await;
        gate.open().await;
    });
}

/// Every connection of the pool has the statement from before, and each is met: they come in turn.
#[tokio::test]
async fn a_changed_column_costs_no_request_on_any_connection() {
    let work = work("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 7)").await;
    let select = step("SELECT id, v FROM t", &[]);
    for (change, seen) in [
        ("ALTER TABLE t ALTER v TYPE bigint", json!("7")),
        ("ALTER TABLE t ALTER v TYPE text", json!("7")),
        ("ALTER TABLE t ALTER v TYPE int USING v::int", json!(7)),
    ] {
        for read in [false, true] {
            prepare_on_all(&work, &select).await;
            work.setup.execute("alpha", change).await;
            for n in 0..CONNECTIONS * 2 {
                let rows = if read {
                    work.query(json!({"sql": "SELECT id, v FROM t"})).await.map(|answer| answer.rows)
                } else {
                    work.run(json!({"steps": [select]})).await.map(|mut answer| answer.results.remove(0).rows)
                };
                assert_eq!(rows.expect(change), [[json!(1), seen.clone()]], "{change}, {n}");
            }
            work.setup.execute("alpha", "ALTER TABLE t ALTER v TYPE smallint USING v::smallint").await;
        }
    }
}

/// Where a parameter went into a column of another type before, the statement is what it is now.
#[tokio::test]
async fn a_parameter_is_of_the_type_that_its_column_has_now() {
    let id = "0198c0de-0000-7000-8000-000000000001";
    for (before, change, sql, old, new) in [
        ("int", "bigint", "UPDATE t SET v = $1", json!(1), json!("3000000000")),
        ("int", "text", "UPDATE t SET v = $1", json!(1), json!("one")),
        ("int", "text", "UPDATE t SET n = 1 WHERE v = $1", json!(1), json!("1")),
        ("text", "uuid USING NULL", "UPDATE t SET v = $1", json!("one"), json!(id)),
        ("text", "uuid USING NULL", "UPDATE t SET n = 1 WHERE v = $1", json!("one"), json!(id)),
        ("varchar(3)", "varchar(9)", "UPDATE t SET v = $1", json!("one"), json!("longer")),
        ("numeric(4,1)", "numeric(6,3)", "UPDATE t SET v = $1", json!("1.5"), json!("1.125")),
    ] {
        let what = format!("{before} -> {change}: {sql}");
        let work = work(&format!("CREATE TABLE t (n int, v {before}); INSERT INTO t VALUES (0, NULL)")).await;
        prepare_on_all(&work, &step(sql, &[old])).await;
        work.setup.execute("alpha", &format!("ALTER TABLE t ALTER v TYPE {change}")).await;
        for n in 0..CONNECTIONS {
            let ended = work.run(json!({"steps": [step(sql, std::slice::from_ref(&new))]})).await;
            ended.unwrap_or_else(|failure| panic!("{what}, {n}: {failure}"));
        }
    }
}

#[tokio::test]
async fn what_was_dropped_and_made_again_is_found_again() {
    let table = "CREATE TABLE t (id int, c colour DEFAULT 'red')";
    let made = format!("CREATE TYPE colour AS ENUM ('red'); {table}; INSERT INTO t VALUES (1, 'red')");
    let work = work(&made).await;
    let statements = [
        step("INSERT INTO t (id, c) VALUES (2, $1)", &[json!("red")]),
        step("SELECT id, c FROM t WHERE id = 1", &[]),
        step("UPDATE t SET id = id WHERE c = $1", &[json!("red")]),
        step("DELETE FROM t WHERE id = 2", &[]),
    ];
    for again in [format!("DROP TABLE t; {table}"), format!("DROP TABLE t; DROP TYPE colour; {made}")] {
        for statement in &statements {
            prepare_on_all(&work, statement).await;
        }
        work.setup.execute("alpha", &again).await;
        for _ in 0..CONNECTIONS {
            work.run(json!({"steps": statements})).await.expect(&again);
        }
    }
}

/// The server has forgotten what was prepared, as after a DISCARD that somebody's function does.
#[tokio::test]
async fn statements_that_the_server_forgot_are_prepared_again() {
    let work = Work::changed("", "", |postgres| postgres.pool_size = 1).await;
    let select = json!({"steps": [step("SELECT 1", &[])]});
    let pid = async || work.query(json!({"sql": "SELECT pg_backend_pid()"})).await.expect("a number").rows;
    let before = pid().await;
    for _ in 0..2 {
        work.run(select.clone()).await.expect("it commits");
        let session = Session::take(&work.service().database().expect("a database").app).await.expect("a connection");
        session.client().batch_execute("DEALLOCATE ALL").await.expect("it forgets");
        drop(session);
        work.run(select.clone()).await.expect("it is prepared again");
        assert_eq!(pid().await, before, "on the same connection");
    }
}

/// What is wrong stays wrong, also where it was right when it was prepared.
#[tokio::test]
async fn a_statement_that_became_wrong_is_refused() {
    let work = Work::changed("", "CREATE TABLE t (id int)", |postgres| postgres.pool_size = 1).await;
    let insert = json!({"steps": [step("INSERT INTO t VALUES ($1)", &[json!(1)])]});
    work.run(insert.clone()).await.expect("it commits");
    work.setup.execute("alpha", "DROP TABLE t").await;
    for _ in 0..2 {
        let failure = work.refused(Code::StatementFailed, insert.clone()).await;
        assert_eq!(failure.problem.sqlstate.as_deref(), Some("42P01"));
        assert_eq!(work.query(json!({"sql": "SELECT 1"})).await.expect("the connection works").rows.len(), 1);
    }
    assert_eq!(work.connections(), 1);
}

/// Nothing of the try that met the change remains.
#[tokio::test]
async fn a_unit_that_meets_a_change_happens_once() {
    let work =
        work("CREATE TABLE t (id int, v int); INSERT INTO t VALUES (1, 7); CREATE TABLE log (id serial, v int)").await;
    let (write, read) = (step("INSERT INTO log (v) VALUES (1)", &[]), step("SELECT v FROM t", &[]));
    prepare_on_all(&work, &read).await;
    prepare_on_all(&work, &write).await;
    work.setup.execute("alpha", "DELETE FROM log; ALTER TABLE t ALTER v TYPE text").await;
    let unit = json!({
        "inbox": "event-1",
        "steps": [write, read],
        "events": [{"topic": work.topic(), "key": "k", "type": "t"}],
    });
    assert!(!work.run(unit.clone()).await.expect("it commits").duplicate);
    assert!(work.run(unit).await.expect("it is known").duplicate);
    assert_eq!(work.see("SELECT count(*) FROM log").await, "1");
    assert_eq!(work.see("SELECT count(*) FROM towpath.outbox").await, "1");
}

/// A component that sends wrong statements for ever leaves nothing of them on its connection.
#[tokio::test]
async fn what_is_prepared_beside_a_wrong_statement_is_kept_and_not_prepared_again_and_again() {
    let work = Work::changed("", "CREATE TABLE t (id int)", |postgres| postgres.pool_size = 1).await;
    let unit = json!({"steps": [step("SELECT id FROM t", &[]), step("SELECT nothing FROM t", &[])]});
    for _ in 0..20 {
        work.refused(Code::StatementFailed, unit.clone()).await;
    }
    let count = json!({"sql": "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT id FROM t'"});
    assert_eq!(work.query(count).await.expect("a count").rows, [[json!("1")]]);
}
