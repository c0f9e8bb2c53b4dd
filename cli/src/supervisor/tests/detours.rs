//! Parts that are told something else for a while.

use std::collections::BTreeMap;

use towpath_stack::control::{self, Environments};

use super::*;

/// Parts of the three tiers that write down with which variable they start, and that they end.
fn tellers(stage: &Stage) -> Vec<PartSpec> {
    let script = |name: &str| {
        format!(
            "echo start {name} $WHERE >> told; trap 'echo stop {name} >> told; rm {name}.ready; exit 0' TERM; \
             touch {name}.ready; while :; do sleep 0.01; done"
        )
    };
    let parts = [("server", Tier::Server), ("relay", Tier::Relay), ("edge", Tier::Edge)].map(|(name, tier)| {
        let mut part = stage.part(name, &script(name));
        part.tier = tier;
        part.launch = part.launch.env("WHERE", "home");
        part
    });
    parts.to_vec()
}

fn told(stage: &Stage) -> Vec<String> {
    std::fs::read_to_string(stage.file("told")).unwrap().lines().map(str::to_owned).collect()
}

fn to(wheres: &[(&str, &str)]) -> Environments {
    let variables = |place: &str| BTreeMap::from([("WHERE".to_owned(), place.to_owned())]);
    wheres.iter().map(|(part, place)| ((*part).to_owned(), variables(place))).collect()
}

const WAY_OUT: [&str; 4] = ["stop edge", "stop relay", "start relay away", "start edge far"];
const WAY_BACK: [&str; 4] = ["stop edge", "stop relay", "start relay home", "start edge home"];

#[tokio::test]
async fn a_detour_holds_until_it_is_ended_and_is_the_only_one() {
    let stage = Stage::new();
    let supervisor = stage.supervisor(tellers(&stage));
    supervisor.boot(Vec::new()).await.unwrap();
    std::fs::write(stage.file("told"), "").unwrap();
    let server = stage.wait_for("server", |state, _| state == PartState::Ready).await;

    let away = to(&[("relay", "away"), ("edge", "far")]);
    let held = control::detour(&stage.home, away.clone()).await.unwrap();
    assert_eq!(told(&stage), WAY_OUT);
    let error = control::detour(&stage.home, away.clone()).await.unwrap_err().to_string();
    assert!(error.contains("one at a time"), "{error}");
    // Whoever starts a part meanwhile starts it on its detour.
    let home = stage.home.clone();
    let restart = Request::Restart { part: "edge".to_owned() };
    tokio::task::spawn_blocking(move || ask(&home, &restart)).await.unwrap().unwrap();
    assert_eq!(told(&stage)[4..], ["stop edge", "start edge far"]);
    held.end().await.unwrap();
    assert_eq!(told(&stage)[6..], WAY_BACK);

    control::detour(&stage.home, away).await.unwrap().end().await.unwrap();
    assert_eq!(stage.wait_for("server", |state, _| state == PartState::Ready).await, server, "it was not asked for");
    shut_down(supervisor).await;
}

#[tokio::test]
async fn a_detour_goes_with_who_asked_for_it() {
    let stage = Stage::new();
    let supervisor = stage.supervisor(tellers(&stage));
    supervisor.boot(Vec::new()).await.unwrap();
    let home = stage.home.clone();
    let stop = Request::Stop { part: "edge".to_owned() };
    tokio::task::spawn_blocking(move || ask(&home, &stop)).await.unwrap().unwrap();
    std::fs::write(stage.file("told"), "").unwrap();

    let held = control::detour(&stage.home, to(&[("relay", "away"), ("edge", "far")])).await.unwrap();
    let first = stage.wait_for("relay", |state, _| state == PartState::Ready).await;
    drop(held);
    stage.wait_for("relay", |state, process| state == PartState::Ready && process != first.as_ref()).await;
    let wanted = ["stop relay", "start relay away", "stop relay", "start relay home"];
    assert_eq!(told(&stage), wanted, "what was stopped stays stopped");
    shut_down(supervisor).await;
}

#[tokio::test]
async fn a_detour_that_cannot_be_is_refused_and_changes_nothing() {
    let stage = Stage::new();
    let mut parts = tellers(&stage);
    // Away from home it dies.
    parts[1].launch.arguments[1] = "[ $WHERE = home ] || exit 7; touch relay.ready; exec sleep 300".into();
    let supervisor = stage.supervisor(parts);
    supervisor.boot(Vec::new()).await.unwrap();
    let refused =
        async |wheres: &[(&str, &str)]| control::detour(&stage.home, to(wheres)).await.unwrap_err().to_string();
    let error = refused(&[("edge", "far"), ("nobody", "far")]).await;
    assert!(error.contains("no part is called nobody") && error.contains("server, relay, edge"), "{error}");
    let misspelt = BTreeMap::from([("edge".to_owned(), BTreeMap::from([("WERE".to_owned(), String::new())]))]);
    let error = control::detour(&stage.home, misspelt).await.unwrap_err().to_string();
    assert!(error.contains("WERE") && error.contains("it reads WHERE"), "{error}");
    // Nothing but the boot, in which they start at the same time.
    let mut all = told(&stage);
    all.sort();
    assert_eq!(all, ["start edge home", "start server home"]);

    std::fs::remove_file(stage.file("relay.ready")).unwrap();
    let error = refused(&[("relay", "away")]).await;
    assert!(error.contains("given up") && error.contains("exit status 7"), "{error}");
    stage.wait_for("relay", |state, _| state == PartState::Ready).await;
    shut_down(supervisor).await;
}

#[tokio::test]
async fn a_detour_does_not_start_what_is_being_shut_down() {
    let stage = Stage::new();
    let supervisor = stage.supervisor(tellers(&stage));
    supervisor.boot(Vec::new()).await.unwrap();
    let held = control::detour(&stage.home, to(&[("edge", "far")])).await.unwrap();
    std::fs::write(stage.file("told"), "").unwrap();
    shut_down(supervisor).await;
    assert!(held.end().await.unwrap_err().to_string().contains("ended before it answered"));
    assert_eq!(told(&stage), ["stop edge", "stop relay", "stop server"]);
}

/// Every relay and host there can be, with more and longer addresses than there are.
#[tokio::test]
async fn the_longest_detour_is_heard() {
    let stage = Stage::new();
    let names: Vec<String> = (1..=16).map(|number| format!("part{number}")).collect();
    let variables: Vec<String> = (1..=20).map(|number| format!("TOWPATH_POSTGRES_INVENTORY_{number}")).collect();
    let parts = names.iter().map(|name| {
        let mut part = stage.part(name, &format!("touch {name}.ready; exec sleep 300"));
        part.launch.optional = variables.iter().cloned().collect();
        part
    });
    let supervisor = stage.supervisor(parts.collect());
    let url = format!("postgres://inventory_app:{}@127.0.0.1:65000/inventory", "x".repeat(150));
    let diverted = variables.into_iter().map(|name| (name, url.clone())).collect::<BTreeMap<_, _>>();
    let environments = names.into_iter().map(|name| (name, diverted.clone())).collect();
    control::detour(&stage.home, environments).await.unwrap().end().await.unwrap();
    shut_down(supervisor).await;
}
