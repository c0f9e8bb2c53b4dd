//! A server that says nothing, whatever the relay waits for: the wait ends, and the connection with it.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;
use towpath_fault_proxy::{Fate, Postgres, PostgresMessage, Proxy};
use towpath_wire::Code;

use super::Work;
use super::rules::{JARS, take};
use super::support::{eventually, send_signal};

/// Nothing takes so long but a wait without an end.
const FOR_EVER: Duration = Duration::from_secs(60);
/// The relay's own deadlines are the only ones: PostgreSQL's come later.
const IMPATIENT: &str = "statement_timeout_ms = 2000\ntransaction_timeout_ms = 2000\noutcome_timeout_ms = 2000";

/// Picks a message that gets no answer.
type Which = fn(&PostgresMessage) -> bool;

fn ignore(proxy: &Proxy<Postgres>, mut which: impl FnMut(&PostgresMessage) -> bool + Send + 'static) {
    proxy.rule(move |message| if which(message) { Fate::Ignored } else { Fate::Pass });
}

async fn code_of<T: std::fmt::Debug>(request: impl Future<Output = Result<T, towpath_relay::Failure>>) -> Code {
    timeout(FOR_EVER, request).await.expect("the wait ends").expect_err("no answer").code()
}

#[tokio::test]
async fn every_wait_of_a_unit_of_work_for_the_server_ends() {
    let tables = format!("{JARS}; CREATE TYPE colour AS ENUM ('red'); CREATE TABLE t (c colour, v varchar(3))");
    let (proxy, work) = Work::behind_a_proxy(IMPATIENT, &tables).await;
    let replayed = json!({"steps": [take("a", 1)], "idempotency": {"key": "k", "request_hash": "h", "answer": 1}});
    work.run(replayed.clone()).await.expect("it commits");
    let cases: [(&str, Which, Value); 6] = [
        ("prepare", |m| m.prepares.contains("FROM jars"), json!({"steps": [{"sql": "SELECT * FROM jars"}]})),
        ("its types", |m| m.prepares.contains("pg_catalog.pg_type"), json!({"steps": [{"sql": "SELECT c FROM t"}]})),
        (
            "its columns",
            |m| m.prepares.contains("pg_catalog.pg_attribute"),
            json!({"steps": [{"sql": "INSERT INTO t (v) VALUES ($1)", "params": ["x"]}]}),
        ),
        ("BEGIN", |m| m.sql.starts_with("BEGIN"), json!({"steps": [take("a", 1)]})),
        ("COMMIT", |m| m.sql == "COMMIT", json!({"steps": [take("a", 1)]})),
        ("the first answer", |m| m.prepares.contains("idempotency_answer"), replayed.clone()),
    ];
    for (what, which, unit) in cases {
        ignore(&proxy, which);
        let code = code_of(work.run(unit)).await;
        let expected = match what {
            // Its line is cut, so the server ends the transaction, and the relay learns of it over a new one.
            "COMMIT" => [Code::Unavailable, Code::OutcomeUnknown],
            _ => [Code::Unavailable, Code::StatementTimeout],
        };
        assert!(expected.contains(&code), "{what}: {code:?}");
        assert!(proxy.struck() > 0, "{what} was waited for");
        assert_eq!(work.connections(), 0, "{what}: a connection that waits for an answer isn't used again");
        proxy.pass();
        timeout(FOR_EVER, work.run(json!({"steps": [{"sql": "SELECT 1"}]}))).await.expect("it ends").expect(what);
    }
    assert!(timeout(FOR_EVER, work.run(replayed)).await.expect("it ends").expect("it is known").replayed);
}

#[tokio::test]
async fn every_wait_of_a_query_for_the_server_ends() {
    let (proxy, work) = Work::behind_a_proxy(IMPATIENT, JARS).await;
    for sql in ["BEGIN READ ONLY", "COMMIT"] {
        ignore(&proxy, move |message| message.sql == sql);
        assert_eq!(code_of(work.query(json!({"sql": "SELECT 1"}))).await, Code::Unavailable, "{sql}");
        assert_eq!(work.connections(), 0, "{sql}");
        proxy.pass();
    }
    ignore(&proxy, |message| message.prepares.contains("jars"));
    assert_eq!(code_of(work.query(json!({"sql": "SELECT * FROM jars"}))).await, Code::Unavailable);
    proxy.pass();
    assert_eq!(work.query(json!({"sql": "SELECT * FROM jars"})).await.expect("an answer").rows.len(), 2);
}

/// The failure is told although the server doesn't confirm that it has rolled back.
#[tokio::test]
async fn a_rollback_without_an_answer_costs_the_connection() {
    let (proxy, work) = Work::behind_a_proxy("", JARS).await;
    ignore(&proxy, |message| message.sql == "ROLLBACK");
    assert_eq!(code_of(work.run(json!({"steps": [take("a", 100)]}))).await, Code::ExpectationFailed);
    assert_eq!((work.connections(), proxy.struck()), (0, 1));
}

/// The rest of the server is well, so the unit ends well, on another connection.
#[tokio::test]
async fn a_backend_that_stands_still_costs_its_connection_alone() {
    let limits = "statement_timeout_ms = 300\ntransaction_timeout_ms = 60000";
    let work = Work::changed(limits, JARS, |postgres| postgres.pool_size = 1).await;
    let pid = json!({"steps": [{"sql": "SELECT pg_backend_pid()"}]});
    let answer = work.run(pid).await.expect("a number").results.remove(0).rows.remove(0).remove(0);
    let frozen = Frozen::new(serde_json::from_value(answer).expect("a process id"));
    let unit = json!({"steps": [take("a", 1), {"sql": "SELECT 'not prepared yet'"}]});
    timeout(FOR_EVER, work.run(unit)).await.expect("the wait ends").expect("on another connection");
    drop(frozen);
    assert_eq!(work.see("SELECT n FROM jars WHERE name = 'a'").await, "4");
    eventually("nothing of the frozen one is left", async || match work.open_transactions().await.as_str() {
        "0" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
}

/// A process that stands still until this is dropped.
struct Frozen(u32);

impl Frozen {
    fn new(pid: u32) -> Self {
        send_signal(pid, Signal::STOP);
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        send_signal(self.0, Signal::CONT);
    }
}
