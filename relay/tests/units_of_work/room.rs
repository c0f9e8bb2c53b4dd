//! The server answers and has no room: its disk is full, its memory or its connections are taken. `/readyz` names it within
//! seconds, nobody's request is to blame, and all is well again once there is room.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_postgres::NoTls;

use super::postgres_server::PostgresServer;
use super::setup;
use super::support::{Answer, Setup, TestRelay, eventually};

const TABLE: &str = "CREATE TABLE t (id int)";

async fn insert(relay: &TestRelay) -> Answer {
    relay.transaction("alpha", json!({"steps": [{"sql": "INSERT INTO t VALUES (1)"}]})).await
}

async fn dependency(relay: &TestRelay) -> Value {
    relay.readiness().await["dependencies"]["postgres.alpha"].clone()
}

/// Waits until `/readyz` names the database, with these words.
async fn is_named(relay: &TestRelay, words: &str) {
    eventually(words, async || {
        let seen = dependency(relay).await;
        let is_named = seen["detail"].as_str().is_some_and(|detail| detail.contains(words));
        if is_named && seen["up"] == false { Ok(()) } else { Err(seen) }
    })
    .await;
}

async fn is_well(relay: &TestRelay) {
    eventually("the database is well", async || {
        let seen = dependency(relay).await;
        if seen["up"] == true { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// From now on the server has no room for rows of this table, or its disk fails.
async fn fill(setup: &Setup, table: &str, sqlstate: &str) {
    let message = format!("could not extend file ({sqlstate})");
    let sql = format!(
        "CREATE OR REPLACE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{sqlstate}'; END $$;
         CREATE TRIGGER fill BEFORE INSERT ON {table} EXECUTE FUNCTION fill()"
    );
    setup.execute("alpha", &sql).await;
}

#[tokio::test]
async fn a_full_disk_is_named_and_forgotten_once_there_is_room() {
    let setup = setup("").databases().await;
    setup.execute("alpha", TABLE).await;
    let relay = setup.start().await;
    assert_eq!(insert(&relay).await.status, 200);
    is_well(&relay).await;
    for sqlstate in ["53100", "53200", "58030", "XX001"] {
        fill(&setup, "app.t", sqlstate).await;
        let said = insert(&relay).await;
        assert_eq!((said.status, said.code()), (503, "unavailable"), "{said:?}");
        assert!(!said.header("retry-after").is_empty(), "{said:?}");
        is_named(&relay, sqlstate).await;
        setup.execute("alpha", "DROP TRIGGER fill ON app.t").await;
        is_well(&relay).await;
        assert_eq!(insert(&relay).await.status, 200);
    }
    relay.stop().await;
}

/// Nobody asks for anything any more, so only the relay's own writes can tell.
#[tokio::test]
async fn a_disk_that_stays_full_stays_named() {
    let setup = setup("").databases().await;
    setup.execute("alpha", TABLE).await;
    let relay = setup.start().await;
    is_well(&relay).await;
    for table in ["app.t", "towpath.retention"] {
        fill(&setup, table, "53100").await;
    }
    assert_eq!(insert(&relay).await.status, 503);
    is_named(&relay, "53100").await;
    // For longer than a failure counts by itself.
    let began = Instant::now();
    eventually("time passes", async || {
        assert_eq!(dependency(&relay).await["up"], false);
        if began.elapsed() > Duration::from_secs(15) { Ok(()) } else { Err(()) }
    })
    .await;
    for table in ["app.t", "towpath.retention"] {
        setup.execute("alpha", &format!("DROP TRIGGER fill ON {table}")).await;
    }
    is_well(&relay).await;
    assert_eq!(insert(&relay).await.status, 200);
    relay.stop().await;
}

#[tokio::test]
async fn a_server_that_takes_no_more_connections_is_named_until_it_does() {
    let server = PostgresServer::start().await;
    let mut setup = setup("");
    setup.servers.postgres = server.url.clone();
    let setup = setup.databases().await;
    setup.execute("alpha", TABLE).await;
    let relay = setup.start().await;
    is_well(&relay).await;
    let url = setup.app_url("alpha");
    let mut taken = Vec::new();
    eventually("all are taken", async || match tokio_postgres::connect(&url, NoTls).await {
        Ok((client, connection)) => {
            tokio::spawn(connection);
            taken.push(client);
            Err(taken.len())
        }
        Err(error) if error.code().is_some_and(|code| code.code() == "53300") => Ok(()),
        Err(error) => panic!("{error}"),
    })
    .await;
    let said = insert(&relay).await;
    assert_eq!((said.status, said.code()), (503, "unavailable"), "{said:?}");
    is_named(&relay, "connection").await;
    drop(taken);
    is_well(&relay).await;
    eventually("units go on", async || {
        let said = insert(&relay).await;
        if said.status == 200 { Ok(()) } else { Err(said) }
    })
    .await;
    relay.stop().await;
}
