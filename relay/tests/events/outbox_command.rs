//! `towpath-relay outbox`, as a person uses it.

use serde_json::json;
use tokio::net::TcpListener;

use crate::held::{SMALL, event, held, mend, small, with_a_small_topic};
use crate::kafka::{key_and_number, records, records_now};
use crate::relay_command::RelayCommand;
use crate::say_as;
use crate::support::{ServiceSetup, Setup};

#[tokio::test]
async fn held_events_are_listed_shown_retried_and_dropped() {
    let setup = with_a_small_topic("heldcommand").await;
    let outbox = RelayCommand::new(&setup, "outbox");
    let (status, stdout, stderr) = outbox.run("list").await;
    assert_eq!((status, stdout.as_str()), (Some(0), ""), "{stderr}");
    assert!(stderr.contains("No key is held"), "{stderr}");

    let relay = setup.start_with(small(&setup, "relay")).await;
    for (n, bytes) in [(0, 9000), (1, 10), (2, 10)] {
        say_as("heldcommand", &relay, &[event(&setup, SMALL, "a", n, bytes), event(&setup, SMALL, "b", n, bytes)])
            .await;
    }
    held(&setup, "heldcommand", 2, 6).await;
    let listed = outbox.json("list").await;
    let ids: Vec<&str> = listed.iter().map(|event| event["id"].as_str().expect("an id")).collect();
    assert_eq!(ids, ["heldcommand/1", "heldcommand/2"]);
    let first = &listed[0];
    assert_eq!(
        (&first["key"], &first["topic"], &first["type"]),
        (&json!("a"), &json!(setup.topic(SMALL)), &json!("t"))
    );
    assert_eq!((&first["behind"], first.get("data")), (&json!(2), None));
    assert!(first["cause"].as_str().expect("a cause").contains("too large"), "{first}");
    let table = outbox.says("list --key b").await;
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.starts_with("ID ") && table.contains("heldcommand/2") && table.contains("too large"), "{table}");
    assert_eq!(outbox.json("show heldcommand/2").await[0]["data"]["n"], 0);
    assert!(outbox.says("show heldcommand/2").await.contains("behind   2 events"), "it shows what waits");

    outbox.refuses("list --service nobody", 1, &["\"nobody\"", "there are heldcommand"]).await;
    outbox.refuses("list --topic misspelt", 1, &["\"misspelt\"", &setup.topic(SMALL)]).await;
    outbox.refuses("retry", 1, &["which events?", "--all"]).await;
    outbox.refuses("drop --yes", 2, &["ID"]).await;
    outbox.refuses("drop --all --yes", 2, &["--all"]).await;
    for missing in ["list", "show", "retry", "drop --yes"] {
        // A number that stands behind another is no held event of its own.
        outbox.refuses(&format!("{missing} heldcommand/3"), 1, &["no held event heldcommand/3", "outbox list"]).await;
    }
    outbox.refuses("drop heldcommand/1", 1, &["nothing was dropped", "--yes", "1 event"]).await;
    held(&setup, "heldcommand", 2, 6).await;

    let dropped = outbox.says("drop heldcommand/1 --yes").await;
    assert!(dropped.starts_with("heldcommand: 1 event dropped\n"), "{dropped}");
    assert!(
        dropped.contains("heldcommand/1: t of key a") && dropped.contains("with the 2 events behind it"),
        "{dropped}"
    );
    records(&setup.servers.kafka, &setup.topic(SMALL), 2).await;
    held(&setup, "heldcommand", 1, 3).await;

    mend(&setup).await;
    assert_eq!(outbox.json("retry --key b").await[0]["action"], "retried");
    records(&setup.servers.kafka, &setup.topic(SMALL), 5).await;
    held(&setup, "heldcommand", 0, 0).await;
    let seen = crate::by_key(records_now(&setup.servers.kafka, &setup.topic(SMALL)).await.iter().map(key_and_number));
    assert_eq!((&seen["a"], &seen["b"]), (&vec![1, 2], &vec![0, 1, 2]));
}

/// One that refuses connections, and one that takes them and says nothing; the others are listed nevertheless.
#[tokio::test]
async fn a_database_that_is_away_is_named_and_hides_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let silent = listener.local_addr().expect("its address").port();
    let (one, other) = (ServiceSetup::new("oneaway"), ServiceSetup::new("otheraway"));
    let setup = Setup::new().service(one.database().publishes("a")).service(other.database().publishes("b"));
    let setup = setup.declare("a").declare("b").databases().await;
    for port in [1, silent] {
        let text = setup.text("outbox");
        let own = setup.relay_url("otheraway");
        let (login, place) = own.rsplit_once('@').expect("a URL");
        let away = format!("{login}@127.0.0.1:{port}/{}", place.split_once('/').expect("a database").1);
        let outbox = RelayCommand::with(&setup, "outbox", &text.replace(&own, &away));
        outbox.refuses("list", 1, &["not listed: the database of otheraway: ", "PostgreSQL can't be reached"]).await;
        outbox.says("list --service oneaway").await;
        outbox.refuses("retry --all", 1, &["the database of otheraway: "]).await;
        outbox.refuses("drop otheraway/1 --yes", 1, &["the database of otheraway: "]).await;
    }
}
