//! `towpath-relay dlq`, as a person uses it.

use axum::response::IntoResponse;
use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::relay_command::RelayCommand;
use crate::subscriber::{Heard, Subscriber};
use crate::support::{Setup, TestRelay, eventually};
use crate::{TOPIC, say_numbers, subscribing};

async fn open_letters(dlq: &RelayCommand, count: usize) -> Vec<Value> {
    eventually("so many letters are open", async || {
        let open = dlq.json("list").await;
        if open.len() == count { Ok(open) } else { Err(open.len()) }
    })
    .await
}

/// Two keys of three events each are dead letters; what a third key says is taken.
async fn with_letters() -> (Subscriber, Setup, TestRelay, RelayCommand) {
    let subscriber = Subscriber::start().await;
    subscriber.answer(|heard: Heard| async move {
        if heard.key == "key-0" { StatusCode::OK.into_response() } else { (StatusCode::CONFLICT, "no").into_response() }
    });
    let setup = subscribing(&subscriber.url, "").await;
    let relay = setup.start().await;
    say_numbers(&setup, &relay, 3, 0, 3).await;
    subscriber.accepts(3).await;
    let dlq = RelayCommand::new(&setup, "dlq");
    (subscriber, setup, relay, dlq)
}

#[tokio::test]
async fn letters_are_listed_and_shown() {
    let (_subscriber, setup, _relay, dlq) = with_letters().await;
    let open = open_letters(&dlq, 6).await;
    let of_key = dlq.json("list --key key-1").await;
    assert_eq!(of_key.len(), 3);
    let first = &of_key[0];
    for (name, value) in [("service", "beta"), ("key", "key-1"), ("type", "thing.happened"), ("reason", "refused")] {
        assert_eq!(first[name], value, "{first}");
    }
    assert_eq!((&first["attempts"], &first["status"], &first["replays"]), (&json!(1), &json!(409), &json!(0)));
    let id = first["id"].as_str().expect("an id");
    let origin = first["origin"].as_str().expect("an origin");
    assert!(origin.starts_with(&format!("{}/", setup.topic(TOPIC))), "{origin}");

    let table = dlq.says("list").await;
    assert_eq!(table.lines().count(), 7, "{table}");
    assert!(table.starts_with("ID ") && table.contains(id) && table.contains("409: no"), "{table}");
    let topic = setup.topic(TOPIC);
    for every in ["--since 1h", "--reason refused", "--service beta", &format!("--topic {topic}")] {
        assert_eq!(dlq.json(&format!("list {every}")).await, open, "{every}");
    }
    for none in ["--until 1h", "--reason failed", "--key another", "--since 2100-01-01T00:00:00Z"] {
        assert_eq!(dlq.says(&format!("list {none}")).await, "", "{none}");
    }

    let whole = dlq.json(&format!("show {id}")).await.remove(0);
    assert_eq!((&whole["data"], &whole["headers"]["ce_id"]), (&json!({"n": 0}), &first["event_id"]));
    let shown = dlq.says(&format!("show {id}")).await;
    assert!(shown.contains("refused: 409: no") && shown.contains("\"n\": 0"), "{shown}");
}

#[tokio::test]
async fn what_can_not_be_meant_is_refused() {
    let (_subscriber, setup, _relay, dlq) = with_letters().await;
    open_letters(&dlq, 6).await;
    dlq.refuses("list --service gamma", 1, &["\"gamma\"", "there are beta"]).await;
    dlq.refuses("list --topic misspelt", 1, &["\"misspelt\"", &setup.topic(TOPIC)]).await;
    dlq.refuses("list --since yesterday", 2, &["2h"]).await;
    dlq.refuses("list --reason bored", 2, &["malformed"]).await;
    for all in ["replay", "drop", "drop --yes"] {
        dlq.refuses(all, 1, &["which letters?", "--all"]).await;
    }
    dlq.refuses("replay --all --key key-1", 2, &["cannot be used with"]).await;
    for missing in ["list", "show", "replay", "drop --yes"] {
        dlq.refuses(&format!("{missing} nowhere.dlq/7"), 1, &["no open letter nowhere.dlq/7"]).await;
    }
    dlq.refuses("drop --key key-1", 1, &["nothing was dropped", "--yes", "3 letters"]).await;
    open_letters(&dlq, 6).await;
}

#[tokio::test]
async fn replay_keeps_the_order_of_a_key_and_leaves_the_others() {
    let (subscriber, _setup, _relay, dlq) = with_letters().await;
    let open = open_letters(&dlq, 6).await;
    let of_key_2 = open.iter().find(|letter| letter["key"] == "key-2").expect("one of key-2");
    let dropped = of_key_2["id"].as_str().expect("an id");
    assert_eq!(dlq.says(&format!("drop --yes {dropped}")).await, "beta: 1 letter dropped\n");
    dlq.refuses(&format!("drop --yes {dropped}"), 1, &["no open letter"]).await;

    subscriber.answer_status(StatusCode::OK);
    let said = dlq.json("replay --key key-1").await;
    assert_eq!((said.len(), &said[0]["service"], &said[0]["count"]), (1, &json!("beta"), &json!(3)));
    assert_eq!(said[0]["ids"].as_array().map(Vec::len), Some(3));
    subscriber.accepts(6).await;
    let accepted = |key: &str| -> Vec<usize> {
        subscriber.accepted().into_iter().filter(|(heard, _)| heard == key).map(|(_, n)| n).collect()
    };
    assert_eq!((accepted("key-1"), accepted("key-2")), (vec![0, 1, 2], vec![]));
    assert!(open_letters(&dlq, 2).await.iter().all(|letter| letter["key"] == "key-2"));

    assert_eq!(dlq.says("replay --all").await, "beta: 2 letters replayed\n");
    subscriber.accepts(8).await;
    assert_eq!(accepted("key-2"), [1, 2]);
    let (status, stdout, stderr) = dlq.run("list").await;
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (Some(0), "", "No dead letters.\n"));
}

/// One that refuses connections, and one that takes them and says nothing, as a stopped process does.
#[tokio::test]
async fn kafka_that_is_away_is_named_and_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let addresses = ["127.0.0.1:1".to_owned(), silent.local_addr().expect("its address").to_string()];
    let checks = addresses.iter().map(async |brokers| {
        let setup = subscribing("http://127.0.0.1:1", "").await.kafka(brokers);
        let dlq = RelayCommand::new(&setup, "dlq");
        let (waits, away) = (format!("Waiting for Kafka at {brokers}"), format!("Kafka at {brokers} doesn't answer"));
        let said = [waits.as_str(), away.as_str()];
        let lines = ["list", "show a/1", "replay --all", "drop --all", "drop --all --yes"];
        join_all(lines.map(|line| dlq.refuses(line, 1, &said))).await;
    });
    join_all(checks).await;
}

#[tokio::test]
async fn a_login_that_kafka_refuses_is_no_silence() {
    let (_subscriber, setup, _relay, dlq) = with_letters().await;
    open_letters(&dlq, 6).await;
    let text = setup.text("dlq").replace("password = \"test\"", "password = \"guessed\"");
    let wrong = RelayCommand::with(&setup, "dlq", &text);
    wrong.refuses("list", 1, &[&format!("Kafka at {}", setup.servers.kafka), "refuses the login"]).await;
}
