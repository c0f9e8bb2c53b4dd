//! Kafka's own producer benchmark: the most that the broker takes from one client that does nothing else.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use towpath_stack::home::write_atomically;
use towpath_stack::kafka::Kafka;
use towpath_stack::programs;
use uuid::Uuid;

/// Records in a run: a few seconds' worth.
const RECORDS: &str = "200000";
/// About the size of an event with its data.
const RECORD_BYTES: &str = "300";

/// Records per second into a topic of its own, `acks=all` and idempotent as the relay's producer.
pub(super) async fn run(jars: &Path, kafka: &Kafka) -> Result<f64> {
    let topic = format!("bench.{}", Uuid::now_v7().simple());
    let class_path = format!("{}/*", jars.display());
    let program = programs::java()?.0;
    let java = |class: &str, arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["-Xmx256m", "-cp", &class_path, class]).args(arguments);
        command
    };
    // In a file that this user alone reads: a command line is there for all to see.
    let login = Login::write(kafka)?;
    let servers = ["--bootstrap-server", &kafka.address, "--command-config", login.path()?, "--topic", &topic];
    let create = [&["--create", "--partitions", "8", "--replication-factor", "1"][..], &servers].concat();
    output(java("org.apache.kafka.tools.TopicCommand", &create)).await?;
    let size = ["--num-records", RECORDS, "--record-size", RECORD_BYTES, "--throughput", "-1"];
    let produce = [&size[..], &["--command-property", "acks=all"], &servers].concat();
    let said = output(java("org.apache.kafka.tools.ProducerPerformance", &produce)).await?;
    output(java("org.apache.kafka.tools.TopicCommand", &[&["--delete"][..], &servers].concat())).await?;
    records_per_second(&said).with_context(|| format!("no rate in: {said}"))
}

/// A file with the super user's login, which goes with this.
struct Login(PathBuf);

impl Login {
    fn write(kafka: &Kafka) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("towpath-bench-{}.properties", Uuid::now_v7().simple()));
        write_atomically(&path, &kafka.properties(), 0o600)?;
        Ok(Self(path))
    }

    fn path(&self) -> Result<&str> {
        self.0.to_str().context("the folder for temporary files has a name that is no text")
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
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
