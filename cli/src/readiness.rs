//! What the relays' `/readyz` says, for `up` and `status`.
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use towpath_stack::ports::Ports;
use towpath_stack::replica;

/// One answer may take this long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// An answer of `/readyz`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Readiness {
    /// Whether requests may be sent there: the answer's status is 200.
    pub(crate) serves: bool,
    /// The answer as it came.
    pub(crate) said: Value,
    read: Read,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Read {
    status: String,
    #[serde(default)]
    dependencies: BTreeMap<String, Dependency>,
    #[serde(default)]
    starting: Vec<String>,
    #[serde(default)]
    standing: BTreeMap<String, Standing>,
    #[serde(default)]
    dead_letters: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Dependency {
    up: bool,
    detail: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Standing {
    seconds: u64,
    cause: String,
}

impl Readiness {
    /// Asks a relay.
    ///
    /// # Errors
    /// Where nothing answers there, or something else than a relay.
    pub(crate) async fn of(url: &str) -> Result<Self> {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let answer = client.get(url).send().await.map_err(|error| unheard(&error, PATIENCE))?;
        let serves = answer.status().is_success();
        let said: Value = answer.json().await.context("an answer that is not a relay's")?;
        Self::read(serves, said)
    }

    pub(crate) fn read(serves: bool, said: Value) -> Result<Self> {
        let read = Read::deserialize(&said).context("an answer that is not a relay's")?;
        Ok(Self { serves, said, read })
    }

    /// `ready`, `degraded`, `starting`, `unready` or `stopping`.
    pub(crate) fn status(&self) -> &str {
        &self.read.status
    }

    /// Whether nothing is missing.
    pub(crate) fn is_ready(&self) -> bool {
        self.read.status == "ready"
    }

    /// What waits for a person: open dead letters, one line for each service.
    pub(crate) fn open(&self) -> Vec<String> {
        let letters = |(service, open): (&String, &u64)| {
            let letters = if *open == 1 { "letter is" } else { "letters are" };
            format!("{open} dead {letters} open: `towpath dlq list --service {service}`")
        };
        self.read.dead_letters.iter().map(letters).collect()
    }

    /// What is missing, one line each.
    pub(crate) fn missing(&self) -> Vec<String> {
        let Read { dependencies, starting, standing, .. } = &self.read;
        let starting = starting.iter().map(|part| format!("{part} has not begun yet"));
        let away = dependencies.iter().filter(|(_, dependency)| !dependency.up).map(|(name, dependency)| {
            format!("{name} does not work: {}", dependency.detail.as_deref().unwrap_or("no cause is known"))
        });
        let still = standing
            .iter()
            .map(|(name, part)| format!("{name} has stood still for {} s: {}", part.seconds, part.cause));
        starting.chain(away).chain(still).collect()
    }
}

/// Why nothing came from a server that was asked for so long, without the layers of the client.
pub(crate) fn unheard(error: &reqwest::Error, patience: Duration) -> anyhow::Error {
    if error.is_timeout() {
        return anyhow!("nothing was heard for {} s", patience.as_secs());
    }
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    anyhow!("no answer: {}", causes.last().map(ToString::to_string).unwrap_or_default())
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.read.status)?;
        let missing = self.missing();
        if missing.is_empty() { Ok(()) } else { write!(f, ": {}", missing.join("; ")) }
    }
}

/// Where the relays of a stack tell of themselves, by the relay's name.
pub(crate) fn addresses(ports: &Ports) -> Vec<(String, String)> {
    let of = |pair| {
        let admin = ports.address(&replica::named("relay-admin", pair)).ok()?;
        Some((replica::named("relay", pair), format!("http://{admin}/readyz")))
    };
    (1..).map_while(of).collect()
}

/// Waits until every relay is ready, for this long at most. Answers what is missing then, one line each.
pub(crate) async fn wait(relays: &[(String, String)], patience: Duration) -> Vec<String> {
    let until = Instant::now() + patience;
    loop {
        let mut missing = Vec::new();
        for (relay, url) in relays {
            match Readiness::of(url).await {
                Ok(readiness) if readiness.is_ready() => {}
                Ok(readiness) => missing.push(format!("{relay} is {readiness}")),
                Err(error) => missing.push(format!("{relay}: {error:#}")),
            }
        }
        if missing.is_empty() || Instant::now() >= until {
            return missing;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_is_named_with_its_cause() {
        let said = json!({
            "status": "degraded",
            "dependencies": {
                "kafka": {"up": true},
                "postgres.order": {"up": false, "detail": "the service's role: password authentication failed"},
            },
            "standing": {"order.deliveries": {"seconds": 7, "cause": "401", "replaced": 0}},
        });
        let readiness = Readiness::read(true, said).unwrap();
        assert!(!readiness.is_ready());
        let wanted = "degraded: postgres.order does not work: the service's role: password authentication failed; \
                      order.deliveries has stood still for 7 s: 401";
        assert_eq!(readiness.to_string(), wanted);
        let starting = json!({"status": "starting", "dependencies": {}, "starting": ["order.outbox"]});
        assert_eq!(Readiness::read(false, starting).unwrap().to_string(), "starting: order.outbox has not begun yet");
        let ready = Readiness::read(true, json!({"status": "ready", "dependencies": {}})).unwrap();
        assert!(ready.is_ready() && ready.missing().is_empty());
        assert!(Readiness::read(true, json!({"ok": 1})).is_err());
    }

    #[test]
    fn every_relay_has_its_address() {
        let ports = Ports::defaults(&towpath_stack::testing::services(), 2);
        let address = |port: u16| format!("http://127.0.0.1:{port}/readyz");
        let wanted = [("relay".to_owned(), address(7071)), ("relay-2".to_owned(), address(7073))];
        assert_eq!(addresses(&ports), wanted);
    }
}
