//! Kafka's own producer benchmark: the most that the broker takes from one client that does nothing else.

use std::path::Path;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use towpath_stack::programs;
use uuid::Uuid;

/// Records in a run: a few seconds' worth.
const RECORDS: &str = "200000";
/// About the size of an event with its data.
const RECORD_BYTES: &str = "300";

/// Records per second into a topic of its own, `acks=all` and idempotent as the relay's producer.
pub(super) async fn run(jars: &Path, brokers: &str) -> Result<f64> {
    let topic = format!("bench.{}", Uuid::now_v7().simple());
    let class_path = format!("{}/*", jars.display());
    let program = programs::java()?.0;
    let java = |class: &str, arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["-Xmx256m", "-cp", &class_path, class]).args(arguments);
        command
    };
    let servers = ["--bootstrap-server", brokers, "--topic", &topic];
    let create = [&["--create", "--partitions", "8", "--replication-factor", "1"][..], &servers].concat();
    output(java("org.apache.kafka.tools.TopicCommand", &create)).await?;
    let size = ["--num-records", RECORDS, "--record-size", RECORD_BYTES, "--throughput", "-1"];
    let produce = [&size[..], &["--command-property", "acks=all"], &servers].concat();
    let said = output(java("org.apache.kafka.tools.ProducerPerformance", &produce)).await?;
    output(java("org.apache.kafka.tools.TopicCommand", &[&["--delete"][..], &servers].concat())).await?;
    records_per_second(&said).with_context(|| format!("no rate in: {said}"))
}

async fn output(mut command: Command) -> Result<String> {
    let output = command.output().await.context("cannot run java")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("Kafka's tool: {}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(said)
}

/// The rate of the whole run: the last that it prints.
fn records_per_second(said: &str) -> Option<f64> {
    let line = said.lines().rev().find(|line| line.contains(" records/sec"))?;
    line.split(" records/sec").next()?.rsplit([' ', ',']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_the_whole_run_is_the_last_one() {
        let said = "1 records sent, 0.5 records/sec (0.0 MB/sec), 1.0 ms avg latency\n\
                    200000 records sent, 98765.4 records/sec (28.26 MB/sec), 12.3 ms avg latency, 50th.\n";
        assert_eq!(records_per_second(said), Some(98765.4));
        assert_eq!(records_per_second("nothing"), None);
    }
}
