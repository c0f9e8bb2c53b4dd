//! The server is no longer the primary, or the relay's own tables refuse: nobody's event is to blame, so no answer says so.

use serde_json::{Value, json};
use tokio_postgres::NoTls;
use towpath_wire::{Code, Fault};

use super::postgres_server::PostgresServer;
use super::support::{TestRelay, eventually};
use super::{Work, postgres_of, relay, setup};

const TABLE: &str = "CREATE TABLE t (id int)";

/// A unit that writes everywhere: claims, a step, an event.
fn unit(work: &Work) -> Value {
    json!({
        "inbox": "event-1",
        "idempotency": {"key": "key-1", "request_hash": "h", "answer": 1},
        "steps": [{"sql": "INSERT INTO t VALUES (1)"}],
        "events": [{"topic": work.topic(), "key": "k", "type": "t"}],
    })
}

/// From now on every insert into this table is refused with this SQLSTATE, at once or at COMMIT.
async fn refuse(work: &Work, table: &str, sqlstate: &str, at_commit: bool) {
    let (kind, when, each) = if at_commit {
        ("CONSTRAINT TRIGGER", "AFTER", "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW")
    } else {
        ("TRIGGER", "BEFORE", "")
    };
    let sql = format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'cannot execute INSERT here' USING ERRCODE = '{sqlstate}'; END $$;
         CREATE {kind} refuse {when} INSERT ON {table} {each} EXECUTE FUNCTION refuse()"
    );
    work.setup.execute("alpha", &sql).await;
}

async fn take(work: &Work, table: &str) {
    work.setup.execute("alpha", &format!("DROP TRIGGER refuse ON {table}")).await;
}

#[tokio::test]
async fn a_write_that_a_server_may_not_do_is_unavailable_and_its_connection_is_closed() {
    let work = Work::changed("", TABLE, |postgres| postgres.pool_size = 1).await;
    for (table, at_commit) in [
        ("towpath.inbox", false),
        ("towpath.idempotency", false),
        ("app.t", false),
        ("towpath.outbox", false),
        ("app.t", true),
        ("towpath.outbox", true),
    ] {
        refuse(&work, table, "25006", at_commit).await;
        let failure = work.refused(Code::Unavailable, unit(&work)).await;
        assert!(failure.problem.retryable && failure.problem.detail.contains("primary"), "{table}: {failure}");
        assert_eq!(work.connections(), 0, "{table}: the next request finds out who the primary is");
        take(&work, table).await;
    }
    work.run(unit(&work)).await.expect("nothing of all that happened");
    assert_eq!(work.see("SELECT count(*) FROM t").await, "1");
}

/// Whoever hears a refusal gives the event up; the relay's own tables are no reason for that.
#[tokio::test]
async fn what_the_relays_own_tables_refuse_is_never_the_callers_fault() {
    let work = Work::new(TABLE).await;
    for table in ["towpath.inbox", "towpath.idempotency", "towpath.outbox"] {
        for sqlstate in ["23514", "42P01", "42501", "22023", "P0001", "25006", "57014"] {
            refuse(&work, table, sqlstate, false).await;
            let failure = work.run(unit(&work)).await.expect_err("refused");
            assert_eq!(failure.code().fault(), Fault::Dependency, "{table} {sqlstate}: {failure}");
            assert!(failure.problem.retryable, "{table} {sqlstate}: {failure}");
            take(&work, table).await;
        }
    }
    work.run(unit(&work)).await.expect("nothing of all that happened");
    assert_eq!(work.see("SELECT count(*) FROM t").await, "1");
}

/// A query that tries to write is its caller's mistake, whatever the SQLSTATE says elsewhere, and costs no connection.
#[tokio::test]
async fn a_query_that_writes_is_refused_and_costs_no_connection() {
    let work = Work::changed("", TABLE, |postgres| postgres.pool_size = 1).await;
    let pid = async || work.query(json!({"sql": "SELECT pg_backend_pid()"})).await.expect("a number").rows;
    let before = pid().await;
    let write = json!({"sql": "WITH x AS (INSERT INTO t VALUES (1) RETURNING id) SELECT id FROM x"});
    let failure = work.query(write).await.expect_err("it writes");
    assert_eq!((failure.code(), failure.problem.sqlstate.as_deref()), (Code::StatementRefused, Some("25006")));
    assert_eq!(pid().await, before);
}

/// Waits until `/readyz` says that the database takes what the relay does there, or that it is a standby.
async fn is_seen(relay: &TestRelay, as_primary: bool) {
    eventually("/readyz says what the server is", async || {
        let seen = relay.readiness().await["dependencies"]["postgres.alpha"].clone();
        let is_standby = seen["detail"].as_str().is_some_and(|detail| detail.contains("standby"));
        if (seen["up"] == true, is_standby) == (as_primary, !as_primary) { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_became_a_standby_is_unavailable_until_it_is_promoted() {
    let mut server = PostgresServer::start().await;
    let mut setup = setup("");
    setup.servers.postgres = server.url.clone();
    let setup = setup.databases().await;
    setup.execute("alpha", TABLE).await;
    let mut config = setup.config("relay");
    let postgres = postgres_of(&mut config);
    postgres.replica_url = Some(postgres.url.clone());
    let work = Work { relay: relay(config), setup };
    let insert = json!({"steps": [{"sql": "INSERT INTO t VALUES (1)"}]});
    work.run(insert.clone()).await.expect("it is the primary");
    let watched = work.setup.start().await;
    is_seen(&watched, true).await;

    server.become_standby().await;
    is_seen(&watched, false).await;
    for _ in 0..2 {
        let failure = work.refused(Code::Unavailable, insert.clone()).await;
        assert!(failure.problem.detail.contains("primary"), "{failure}");
    }
    let count = |consistency: &str| json!({"sql": "SELECT count(*) FROM t", "consistency": consistency});
    let strong = work.query(count("strong")).await.expect_err("it may be old");
    assert_eq!(strong.code(), Code::Unavailable, "{strong}");
    assert_eq!(work.query(count("replica")).await.expect("that one may be").rows, [[json!("1")]]);

    // Why a BEGIN that fails is no word about the caller's statement: PostgreSQL calls it a missing feature.
    let (client, connection) = tokio_postgres::connect(&work.setup.app_url("alpha"), NoTls).await.expect("it answers");
    tokio::spawn(connection);
    let error = client.batch_execute("BEGIN READ WRITE").await.expect_err("a standby");
    assert_eq!(error.code().map(|code| code.code()), Some("0A000"));

    server.promote().await;
    is_seen(&watched, true).await;
    work.run(insert).await.expect("it is the primary again");
    assert_eq!(work.query(count("strong")).await.expect("and is asked").rows, [[json!("2")]]);
}
