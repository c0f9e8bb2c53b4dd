//! A unit of work whose answer is an error has changed nothing, also where BEGIN itself fails: its statements are on the
//! wire behind it by then.

use bytes::Bytes;
use serde_json::{Value, json};
use towpath_fault_proxy::{Fate, Postgres, PostgresMessage, Proxy};
use towpath_relay::postgres::Session;
use towpath_wire::Code;

use super::Work;

const TABLES: &str = "CREATE TABLE t (id int); CREATE SEQUENCE s";

/// What the server says to a statement that it has cancelled, outside of a transaction.
fn cancelled() -> Bytes {
    let fields = b"SERROR\0VERROR\0C57014\0Mcanceling statement due to user request\0\0";
    let length = u32::try_from(fields.len() + 4).expect("a short message").to_be_bytes();
    [&b"E"[..], &length, fields, b"Z\0\0\0\x05I"].concat().into()
}

/// The server never sees BEGIN: it runs what comes behind it as if BEGIN had failed.
fn begin_fails(message: &PostgresMessage) -> bool {
    message.sql.starts_with("BEGIN")
}

fn always(proxy: &Proxy<Postgres>) {
    proxy.rule(|message| if begin_fails(message) { Fate::Answered(cancelled()) } else { Fate::Pass });
}

/// Everything that a unit may write.
fn unit(work: &Work, isolation: &str) -> Value {
    json!({
        "isolation": isolation,
        "inbox": "event-1",
        "idempotency": {"key": "key-1", "request_hash": "h", "answer": 1},
        "steps": [{"sql": "INSERT INTO t VALUES (1)"}, {"sql": "SELECT nextval('s')"}],
        "events": [{"topic": work.topic(), "key": "k", "type": "t"}],
    })
}

async fn written(work: &Work) -> String {
    let tables = ["app.t", "towpath.inbox", "towpath.idempotency", "towpath.outbox"];
    let counts: Vec<String> = tables.iter().map(|table| format!("(SELECT count(*) FROM {table})")).collect();
    work.see(&format!("SELECT concat_ws(' ', {}, (SELECT is_called FROM app.s))", counts.join(", "))).await
}

#[tokio::test]
async fn where_begin_fails_nothing_behind_it_is_written() {
    let (proxy, work) = Work::behind_a_proxy("", TABLES).await;
    for isolation in ["read_committed", "repeatable_read", "serializable"] {
        always(&proxy);
        let failure = work.refused(Code::Unavailable, unit(&work, isolation)).await;
        assert!(failure.problem.retryable);
        assert_eq!(written(&work).await, "0 0 0 0 f", "{isolation}");
    }
    assert_eq!(work.connections(), 0, "no connection on which BEGIN failed is used again");
    proxy.pass();
    work.run(unit(&work, "read_committed")).await.expect("it is as if it had never been sent");
    assert_eq!(written(&work).await, "1 1 1 1 t");
}

#[tokio::test]
async fn a_begin_that_fails_once_costs_no_request() {
    let (proxy, work) = Work::behind_a_proxy("", TABLES).await;
    proxy.once(0, Fate::Answered(cancelled()), begin_fails);
    work.run(unit(&work, "read_committed")).await.expect("on another connection");
    assert_eq!((written(&work).await.as_str(), proxy.struck()), ("1 1 1 1 t", 1));
    proxy.once(0, Fate::Answered(cancelled()), begin_fails);
    let rows = work.query(json!({"sql": "SELECT count(*) FROM t"})).await.expect("on another connection").rows;
    assert_eq!((rows, proxy.struck()), (vec![vec![json!("1")]], 2));
}

#[tokio::test]
async fn a_query_whose_begin_fails_writes_nothing_either() {
    let (proxy, work) = Work::behind_a_proxy("", TABLES).await;
    always(&proxy);
    let write = json!({"sql": "WITH x AS (INSERT INTO t VALUES (1) RETURNING id) SELECT id FROM x"});
    assert_eq!(work.query(write).await.expect_err("it writes").code(), Code::Unavailable);
    assert_eq!(written(&work).await, "0 0 0 0 f");
}

/// What the rule stands on: a session of the service's role can't write by itself, nor can a function in it that runs as its
/// owner.
#[tokio::test]
async fn a_session_writes_nothing_unless_a_transaction_was_begun_for_it() {
    let work = Work::new(
        "CREATE TABLE t (id int);
         CREATE FUNCTION sneak() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
             $$ BEGIN SET TRANSACTION READ WRITE; INSERT INTO app.t VALUES (1); RETURN true; END $$;
         CREATE FUNCTION sneak_too() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET transaction_read_only = off AS
             $$ BEGIN INSERT INTO app.t VALUES (1); RETURN true; END $$;",
    )
    .await;
    let service = work.service();
    let session = Session::take(&service.database().expect("a database").app).await.expect("a connection");
    for (sql, sqlstate) in [
        ("INSERT INTO t VALUES (1)", "25006"),
        ("SELECT towpath.inbox_claim('a')", "25006"),
        ("SELECT towpath.idempotency_claim('a', 'b', 'c')", "25006"),
        ("SELECT sneak()", "25001"),
        ("SELECT sneak_too()", "25001"),
        ("CREATE TEMP TABLE x (id int)", "25006"),
    ] {
        let error = session.client().query(sql, &[]).await.expect_err(sql);
        assert_eq!(error.code().map(|code| code.code()), Some(sqlstate), "{sql}: {error:?}");
    }
    drop(session);
    for unit in ["INSERT INTO t VALUES (1)", "SELECT sneak()", "SELECT sneak_too()"] {
        work.run(json!({"steps": [{"sql": unit}]})).await.expect(unit);
    }
    assert_eq!(work.see("SELECT count(*) FROM t").await, "3");
}
