//! How fast the outbox empties: events that one commit made, until Kafka has the last of them, beside Kafka's own producer
//! benchmark.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use tokio_postgres::{Client, NoTls};
use towpath_stack::running::Running;

use super::cost::{Cost, Meter};
use super::figure::Figure;
use super::producer;

/// A topic that the service `order` publishes to; nobody subscribes to the types of these events.
pub(super) const TOPIC: &str = "order.events";
/// The services whose outboxes are filled, and a topic of each.
const SERVICES: [(&str, &str); 4] =
    [("order", TOPIC), ("inventory", "inventory.events"), ("payment", "payment.events"), ("product", "product.events")];
/// Events that wait.
const BACKLOG: i64 = 200_000;
/// From the commit until Kafka has every event.
const DEADLINE: Duration = Duration::from_secs(600);
/// Fills the outbox as units of work do, with about 300 bytes an event. Parameters: topic; how many.
const FILL: &str = "
SELECT count(towpath.outbox_append(ARRAY[$1::text], ARRAY[(n % 1000)::text], ARRAY[gen_random_uuid()::text],
    ARRAY['bench.moved'], ARRAY[NULL::text], ARRAY[jsonb_build_object('n', n, 'text', repeat('x', 270))::text],
    '/bench', now(), NULL, NULL))
FROM generate_series(1, $2::bigint) AS n";
const WAITS: &str = "SELECT EXISTS (SELECT FROM towpath.outbox WHERE published_at IS NULL AND type = 'bench.moved')";

/// Measures it, with the backlog in one service and shared by four.
pub(super) async fn run(rounds: usize, stack: &Running, meter: &Meter<'_>) -> Result<Vec<Figure>> {
    let mut databases = Vec::new();
    for (service, topic) in SERVICES {
        let (client, connection) = tokio_postgres::connect(&stack.postgres_admin_url(service), NoTls)
            .await
            .with_context(|| format!("cannot reach {service}'s database"))?;
        tokio::spawn(connection);
        databases.push((client, topic));
    }
    let (mut one, mut four, mut producer) = (Vec::new(), Vec::new(), Vec::new());
    let mut costs = Vec::new();
    for _ in 0..rounds {
        if let Some(jars) = stack.kafka_class_path() {
            producer.push(producer::run(&jars, &stack.kafka).await?);
        }
        let (rate, cost) = drain(&databases[..1], meter).await?;
        one.push(rate);
        costs.push(cost);
        four.push(drain(&databases, meter).await?.0);
    }
    let figure = |name: &str, rounds: &[f64]| {
        let figure = Figure::of(format!("events into Kafka, {BACKLOG} waiting in {name}"), "events/s", rounds);
        if producer.is_empty() { figure } else { figure.beside("Kafka's own producer", rounds, &producer) }
    };
    Ok(vec![figure("one service", &one).costing(Cost::mean(&costs)), figure("four services", &four)])
}

/// Fills these outboxes and waits until they are empty: events per second.
async fn drain(databases: &[(Client, &str)], meter: &Meter<'_>) -> Result<(f64, Cost)> {
    let each = BACKLOG / i64::try_from(databases.len())?;
    for (database, topic) in databases {
        // Nothing leaves while it is filled.
        database.batch_execute("BEGIN").await?;
        database.query_one(FILL, &[topic, &each]).await.context("cannot fill the outbox")?;
    }
    let before = meter.read().await?;
    try_join_all(databases.iter().map(|(database, _)| database.batch_execute("COMMIT"))).await?;
    let begun = Instant::now();
    try_join_all(databases.iter().map(|(database, _)| drained(database))).await?;
    let rate = BACKLOG as f64 / begun.elapsed().as_secs_f64();
    Ok((rate, meter.read().await?.each(&before, BACKLOG as f64)))
}

/// Waits until Kafka has all events of the benchmark.
pub(super) async fn drained(database: &Client) -> Result<()> {
    let begun = Instant::now();
    while database.query_one(WAITS, &[]).await?.try_get(0)? {
        if begun.elapsed() > DEADLINE {
            bail!("events are still not in Kafka after {} s", DEADLINE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
