//! `towpath rotate-passwords`: new passwords for the users of Kafka that relays log in with.
//!
//! A user of Kafka has one password. So it is written down, then Kafka is told, and then the pairs of relay and host restart one
//! after the other. Meanwhile the connections that a relay has go on; where it needs a new one before its turn, it holds events
//! back and tries again. No request waits for Kafka, so none is refused. A rotation that is broken off is repaired by the next
//! one, and by `up`: both tell Kafka what `secrets.env` says.
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use towpath_kafka_admin::{Admin, Login};
use towpath_stack::home::Home;
use towpath_stack::kafka::ADMIN;
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_stack::state::State;
use towpath_stack::surroundings::Surroundings;
use towpath_stack::terminal::say;

use super::pairs::Pairs;
use crate::edge::kafka_users;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  towpath rotate-passwords               new passwords for the users of every service, and the relay's own
  towpath rotate-passwords order         for the user of this service alone
The pairs of relay and host restart one after the other: with `up --replicas 2` one of them always answers. The super user that
Kafka logs in to itself with keeps its password")]
pub(crate) struct Args {
    /// The services [default: all, and the relay itself]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) async fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    let services = Services::load()?;
    let users: Vec<(&str, &str)> = services.kafka_users().collect();
    for service in &args.services {
        let known: Vec<&str> = users.iter().map(|(service, _)| *service).collect();
        let is_known = known.contains(&service.as_str());
        ensure!(is_known, "no service {service} has a user of Kafka: those that have one are {}", known.join(", "));
    }
    let state = State::running(home)?;
    state.needs(home, &["kafka".to_owned()])?;
    let pairs = Pairs::of(home)?;
    let mut secrets = Secrets::load(home)?;
    let is_chosen = |service: &str| args.services.is_empty() || args.services.iter().any(|name| name == service);
    for (service, _) in users.iter().filter(|(service, _)| is_chosen(service)) {
        secrets.renew_kafka(Some(service));
    }
    if args.services.is_empty() {
        secrets.renew_kafka(None);
    }
    let kafka =
        Surroundings { ports: &state.ports, services: &services, secrets: &secrets, servers: state.servers }.kafka()?;
    let mut admin = Admin::connect(&kafka.address, &Login::new(ADMIN, &kafka.password))
        .await
        .context("nothing is changed: Kafka doesn't answer")?;
    secrets.save(home)?;
    // All of them, so that what an earlier rotation has left is repaired.
    admin.set_passwords(&kafka_users::logins(&services, &secrets)?).await?;
    say("1 of 2: Kafka knows the new passwords");
    pairs.restart(home)?;
    say("2 of 2: the relays use them");
    Ok(ExitCode::SUCCESS)
}
