//! Bodies of requests: what they may take together, and what they may not say.

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Config, Process};
use crate::support::{ServiceSetup, Setup, answer, eventually};

/// `[1,1,...]` in so many bytes.
fn small_values(bytes: usize) -> String {
    format!("[{}1]", "1,".repeat(bytes / 2 - 1))
}

/// What docs/limits.md says: ten times the bodies. Before, a body of 1 MiB took 51 MiB.
#[tokio::test]
async fn bodies_of_small_values_take_a_bounded_memory() {
    const BODIES_MIB: f64 = 16.0;
    let setup = Setup::new().service(ServiceSetup::new("alpha").database()).toml("[limits]\nbodies_bytes = 16_777_216");
    let setup = setup.databases().await;
    let config = Config::new(&setup.text("one"));
    let relay = Process::start(&config).await.read_on();
    let (client, url) = (reqwest::Client::new(), format!("http://{}/v1/queries", relay.address));
    let query = async |param: String| {
        let body = format!("{{\"sql\": \"SELECT $1::jsonb IS NULL AS no\", \"params\": [{param}]}}");
        let request = client.post(&url).bearer_auth(setup.token("alpha")).header("content-type", "application/json");
        answer(request.body(body)).await
    };
    for said in join_all((0..64).map(|n| query(n.to_string()))).await {
        assert_eq!(said.status, 200, "{said:?}");
    }
    let before = relay.memory_mib("VmRSS");
    let large = (1 << 20) - 200;
    for _ in 0..3 {
        let answers = join_all((0..96).map(|_| query(small_values(large)))).await;
        let served = answers.iter().filter(|said| said.status == 200).count();
        assert!(served > 0, "{:?}", answers[0]);
        for refused in answers.iter().filter(|said| said.status != 200) {
            assert!(matches!((refused.status, refused.code()), (503, "overloaded")), "{refused:?}");
        }
        assert_eq!(query("[1]".into()).await.status, 200, "what is over is free again");
    }
    let most = relay.memory_mib("VmHWM");
    assert!(most - before < 10.0 * BODIES_MIB, "{before} MiB before, {most} MiB at the most");
    eventually("the memory is given back", async || {
        let now = relay.memory_mib("VmRSS");
        let kept = (now - before) / (most - before);
        if kept < 0.25 { Ok(()) } else { Err(format!("{before} MiB before, {most} at the most, {now} now")) }
    })
    .await;
}

#[tokio::test]
async fn the_bodies_of_a_service_have_a_bound_that_others_do_not_share() {
    let setup = Setup::new().service(ServiceSetup::new("alpha")).service(ServiceSetup::new("beta"));
    let setup = setup.toml("[limits]\nbody_bytes = 4096\nbodies_bytes = 8192");
    let relay = setup.start().await;
    let begin = async |head: &str| {
        let mut stream = TcpStream::connect(relay.running.address).await.unwrap();
        let token = setup.token("alpha");
        let text = format!("PUT /v1/cache/k HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{head}\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    let entry = json!({"value": "v", "ttl_ms": 1000});
    // One that says how long it is, and one that doesn't and so counts as the longest. Neither comes.
    let held = [begin("content-length: 4096").await, begin("transfer-encoding: chunked").await];
    let refused = eventually("the bytes are taken", async || {
        let said = relay.call("alpha", "PUT", "/v1/cache/k", entry.clone()).await;
        if said.status == 503 { Ok(said) } else { Err(said) }
    });
    let refused = refused.await;
    assert_eq!(refused.code(), "overloaded");
    assert!(refused.body["detail"].as_str().unwrap().contains("limits.bodies_bytes"), "{refused:?}");
    assert_eq!(relay.call("beta", "PUT", "/v1/cache/k", entry.clone()).await.status, 204, "others have their own");
    drop(held);
    eventually("they are free again", async || {
        let said = relay.call("alpha", "PUT", "/v1/cache/k", entry.clone()).await;
        if said.status == 204 { Ok(()) } else { Err(said) }
    })
    .await;
    relay.stop().await;
}

#[tokio::test]
async fn a_member_that_comes_twice_is_refused() {
    let setup = Setup::new().service(ServiceSetup::new("alpha").database()).databases().await;
    let relay = setup.start().await;
    for (method, path, body, named) in [
        ("POST", "/v1/queries", r#"{"sql": "SELECT 1", "sql": "SELECT 2"}"#, "`sql`"),
        ("POST", "/v1/queries", r#"{"sql": "SELECT $1::jsonb", "params": [{"a": 1, "\u0061": 2}]}"#, "params[0].a"),
        (
            "POST",
            "/v1/transactions",
            r#"{"steps": [{"sql": "SELECT $1::json", "params": [[{"b": 1, "b": 1}]]}]}"#,
            "steps[0].params[0][0].b",
        ),
        ("PUT", "/v1/cache/k", r#"{"value": {"c": {"d": 1, "d": 2}}, "ttl_ms": 1000}"#, "value.c.d"),
        ("POST", "/v1/rate-limits/k", r#"{"rate": 1, "period_ms": 1000, "burst": 1, "burst": 2}"#, "`burst`"),
    ] {
        let request = relay.request("alpha", method, path).header("content-type", "application/json");
        let said = answer(request.body(body)).await;
        assert_eq!((said.status, said.code()), (400, "malformed_request"), "{body}: {said:?}");
        assert!(said.body["detail"].as_str().unwrap().contains(named), "{body}: {said:?}");
    }
    relay.stop().await;
}

#[tokio::test]
async fn a_web_page_and_a_second_host_are_refused() {
    let setup = Setup::new().service(ServiceSetup::new("alpha"));
    let relay = setup.start().await;
    let entry: Value = json!({"value": 1, "ttl_ms": 1000});
    for origin in ["https://evil.example", "null", "http://localhost:7070"] {
        let request = relay.request("alpha", "PUT", "/v1/cache/k").header("origin", origin);
        let said = answer(request.json(&entry)).await;
        assert_eq!((said.status, said.code()), (403, "forbidden"), "{origin}: {said:?}");
    }
    let mut stream = TcpStream::connect(relay.running.address).await.unwrap();
    let token = setup.token("alpha");
    let head = format!("GET /v1/cache/k HTTP/1.1\r\nhost: a\r\nhost: b\r\nauthorization: Bearer {token}\r\n");
    stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 400") && said.contains("malformed_request"), "{said}");
    relay.stop().await;
}
