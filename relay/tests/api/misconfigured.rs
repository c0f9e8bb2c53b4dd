//! What is right by its form and wrong in the world: it is told, it blames no caller, and it heals once it is mended.

use serde_json::{Value, json};

use crate::redis_server::RedisServer;
use crate::support::{Answer, ServiceSetup, Setup, TestRelay, eventually, free_port};

async fn with_table() -> (Setup, TestRelay) {
    let setup = Setup::new().service(ServiceSetup::new("alpha").database()).databases().await;
    setup.execute("alpha", "CREATE TABLE things (id int PRIMARY KEY); INSERT INTO things VALUES (1)").await;
    let relay = setup.start().await;
    (setup, relay)
}

async fn unit(relay: &TestRelay) -> Answer {
    let body = json!({"steps": [{"sql": "UPDATE things SET id = id"}], "inbox": uuid::Uuid::now_v7().to_string()});
    relay.transaction("alpha", body).await
}

/// Waits until `/readyz` says of a dependency that it is down, for a cause with these words.
async fn is_down(relay: &TestRelay, dependency: &str, words: &[&str]) -> Value {
    eventually(&format!("{dependency} is down"), async || {
        let said = relay.readiness().await;
        let detail = said["dependencies"][dependency]["detail"].as_str().unwrap_or_default().to_owned();
        if words.iter().all(|word| detail.contains(word)) { Ok(said) } else { Err(said) }
    })
    .await
}

async fn is_ready(relay: &TestRelay) {
    eventually("the relay is ready", async || {
        let said = relay.readiness().await;
        if said["status"] == "ready" { Ok(()) } else { Err(said) }
    })
    .await;
}

/// The caller is told that nothing happened, that it isn't to blame, and that the same works later.
#[track_caller]
fn is_unavailable(said: &Answer) {
    assert_eq!((said.status, said.code()), (503, "unavailable"), "{said:?}");
    assert_eq!((&said.body["fault"], &said.body["retryable"]), (&json!("dependency"), &json!(true)), "{said:?}");
    assert_eq!(said.header("retry-after"), "1", "{said:?}");
}

#[tokio::test]
async fn a_password_that_was_changed_is_told_and_heals() {
    let (setup, relay) = with_table().await;
    is_ready(&relay).await;
    let (server, role) = (setup.server().await, setup.app_role("alpha"));
    server.batch_execute(&format!("ALTER ROLE {role} PASSWORD 'another'")).await.unwrap();
    let said = is_down(&relay, "postgres.alpha", &["the service's role", "password authentication failed"]).await;
    assert_eq!(said["status"], "unready", "no request can be served once its connections are gone: {said}");
    assert!(!said.to_string().contains("test@") && !said.to_string().contains(":test"), "no secret is told: {said}");
    // Connections that stand go on; new ones are refused.
    let end = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{role}'");
    let said = eventually("a unit of work needs a new connection", async || {
        server.query_one(&end, &[]).await.unwrap();
        let said = unit(&relay).await;
        if said.status == 503 { Ok(said) } else { Err(said) }
    })
    .await;
    is_unavailable(&said);
    server.batch_execute(&format!("ALTER ROLE {role} PASSWORD 'test'")).await.unwrap();
    is_ready(&relay).await;
    assert_eq!(unit(&relay).await.status, 200);
    relay.stop().await;
}

#[tokio::test]
async fn a_wrong_password_of_the_relays_own_role_is_told_at_its_start() {
    let setup = Setup::new().service(ServiceSetup::new("alpha").database()).databases().await;
    let role = format!("{}_relay", setup.id);
    let server = setup.server().await;
    server.batch_execute(&format!("ALTER ROLE {role} PASSWORD 'another'")).await.unwrap();
    let relay = setup.start().await;
    let said = is_down(&relay, "postgres.alpha", &["the relay's role", "password authentication failed"]).await;
    assert_eq!(said["status"], "unready", "{said}");
    server.batch_execute(&format!("ALTER ROLE {role} PASSWORD 'test'")).await.unwrap();
    is_ready(&relay).await;
    relay.stop().await;
}

#[tokio::test]
async fn grants_that_were_lost_are_told_and_are_no_fault_of_the_caller() {
    let (setup, relay) = with_table().await;
    is_ready(&relay).await;
    let (admin, role) = (setup.admin("alpha").await, setup.app_role("alpha"));
    for (taken, given, words) in [
        ("UPDATE ON app.things", "UPDATE ON app.things", "UPDATE on the table things"),
        ("USAGE ON SCHEMA app", "USAGE ON SCHEMA app", "USAGE on the schema app"),
        ("USAGE ON SCHEMA towpath", "USAGE ON SCHEMA towpath", "USAGE on the schema towpath"),
        (
            "EXECUTE ON FUNCTION towpath.inbox_claim",
            "EXECUTE ON FUNCTION towpath.inbox_claim",
            "EXECUTE on the function inbox_claim",
        ),
    ] {
        assert_eq!(unit(&relay).await.status, 200);
        admin.batch_execute(&format!("REVOKE {taken} FROM {role}")).await.unwrap();
        is_unavailable(&unit(&relay).await);
        is_down(&relay, "postgres.alpha", &["the service's role", words]).await;
        admin.batch_execute(&format!("GRANT {given} TO {role}")).await.unwrap();
        is_ready(&relay).await;
    }
    admin.batch_execute(&format!("REVOKE SELECT ON app.things FROM {role}")).await.unwrap();
    is_unavailable(&relay.query("alpha", json!({"sql": "SELECT id FROM things"})).await);
    admin.batch_execute(&format!("GRANT SELECT ON app.things TO {role}")).await.unwrap();
    // What was never granted is the caller's own fault.
    let said = relay.transaction("alpha", json!({"steps": [{"sql": "SELECT * FROM pg_authid"}]})).await;
    assert_eq!((said.code(), &said.body["sqlstate"]), ("statement_failed", &json!("42501")), "{said:?}");
    relay.stop().await;
}

#[tokio::test]
async fn a_database_that_was_renamed_is_told_and_heals() {
    let (setup, relay) = with_table().await;
    is_ready(&relay).await;
    let (server, name) = (setup.server().await, setup.database_name("alpha"));
    let end = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'");
    server.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await.unwrap();
    eventually("nobody uses the database", async || {
        server.query_one(&end, &[]).await.unwrap();
        server.batch_execute(&format!("ALTER DATABASE {name} RENAME TO {name}_away")).await
    })
    .await;
    is_down(&relay, "postgres.alpha", &["does not exist"]).await;
    is_unavailable(&unit(&relay).await);
    let back = format!("ALTER DATABASE {name}_away RENAME TO {name}");
    server.batch_execute(&back).await.unwrap();
    server.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await.unwrap();
    is_ready(&relay).await;
    assert_eq!(unit(&relay).await.status, 200);
    relay.stop().await;
}

#[tokio::test]
async fn a_password_of_redis_is_told_and_heals() {
    let redis = RedisServer::start().await;
    let setup = Setup::new().redis(&redis.url).service(ServiceSetup::new("alpha").database()).databases().await;
    let relay = setup.start().await;
    is_ready(&relay).await;
    let client = redis::Client::open(redis.url.as_str()).unwrap();
    let mut own = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("CONFIG").arg(&["SET", "requirepass", "a-new-one"]).query_async::<()>(&mut own).await.unwrap();
    let kill = async |own: &mut redis::aio::MultiplexedConnection| {
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).query_async::<i64>(own).await.unwrap();
    };
    kill(&mut own).await;
    let said = is_down(&relay, "redis", &["NOAUTH"]).await;
    assert_eq!(said["status"], "degraded", "{said}");
    let bucket = json!({"rate": 1, "period_ms": 1000, "burst": 1});
    is_unavailable(&relay.call("alpha", "POST", "/v1/rate-limits/k", bucket).await);
    redis::cmd("CONFIG").arg(&["SET", "requirepass", ""]).query_async::<()>(&mut own).await.unwrap();
    is_ready(&relay).await;
    // A user that may connect and do nothing.
    redis::cmd("ACL").arg(&["SETUSER", "default", "-ping", "-set"]).query_async::<()>(&mut own).await.unwrap();
    kill(&mut own).await;
    is_down(&relay, "redis", &["permissions"]).await;
    redis::cmd("ACL").arg(&["SETUSER", "default", "+@all"]).query_async::<()>(&mut own).await.unwrap();
    is_ready(&relay).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_login_that_kafka_refuses_is_told() {
    let setup = Setup::new().service(ServiceSetup::new("alpha").database()).databases().await;
    let mut config = setup.config("stranger");
    let kafka = config.kafka.as_mut().expect("Kafka");
    for (name, value) in [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", "stranger"),
        ("sasl.password", "of-no-one-at-all"),
    ] {
        kafka.properties.insert(name.to_owned(), towpath_relay::config::Secret::new(value));
    }
    let relay = setup.start_with(config).await;
    let said = is_down(&relay, "kafka", &["SASL"]).await;
    assert_eq!(said["status"], "degraded", "requests are served: {said}");
    assert!(!said.to_string().contains("of-no-one-at-all"), "no secret is told: {said}");
    assert_eq!(relay.transaction("alpha", json!({"steps": [{"sql": "SELECT 1"}]})).await.status, 200);
    relay.stop().await;
}

#[tokio::test]
async fn a_component_that_cannot_be_reached_degrades_the_relay_until_it_can() {
    let address = format!("127.0.0.1:{}", free_port());
    let subscription = "[[services.alpha.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/events\"";
    let alpha = ServiceSetup::new("alpha").component(&format!("http://{address}/_relay/alpha")).toml(subscription);
    let beta = ServiceSetup::new("beta").database();
    let setup = Setup::new().service(alpha).service(beta).declare("things").databases().await;
    let relay = setup.start().await;
    let said = is_down(&relay, "component.alpha", &[&address]).await;
    assert_ne!(said["status"], "unready", "everything else is served: {said}");
    let _component = tokio::net::TcpListener::bind(&address).await.unwrap();
    is_ready(&relay).await;
    relay.stop().await;
}
