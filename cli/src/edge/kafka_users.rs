//! Kafka's users: a password for each, and what relay.toml needs each to be allowed.
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use futures::FutureExt;
use towpath_kafka_admin::{Acl, Admin, Login};
use towpath_stack::kafka::{ADMIN, Kafka};
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_stack::surroundings::Surroundings;

use super::relay_command;
use crate::servers::run;
use crate::supervisor::spec::Task;

/// As relays wait for it.
pub(crate) const TASK: &str = "kafka-users";

/// Makes the users, once Kafka answers. On a Kafka that has them already it sets what `secrets.env` and relay.toml say now.
pub(crate) fn task(surroundings: &Surroundings<'_>) -> Result<Task> {
    let logins = logins(surroundings.services, surroundings.secrets)?;
    let kafka = surroundings.kafka()?;
    let environment = surroundings.relay(1, false)?;
    Ok(Task {
        name: TASK.to_owned(),
        after: vec!["kafka".to_owned()],
        work: async move { make(&kafka, &logins, environment).await.context("Kafka's users can't be made") }.boxed(),
    })
}

async fn make(kafka: &Kafka, logins: &[Login], environment: BTreeMap<String, String>) -> Result<()> {
    let acls = needed(environment).await?;
    let mut admin = Admin::connect(&kafka.address, &Login::new(ADMIN, &kafka.password)).await?;
    admin.set_passwords(logins).await?;
    let users: Vec<String> = logins.iter().map(|login| login.user.clone()).collect();
    admin.allow_exactly(&users, &acls).await?;
    admin.until_coordinated().await
}

/// What the relay says that its users need.
async fn needed(environment: BTreeMap<String, String>) -> Result<BTreeSet<Acl>> {
    let mut launch = relay_command("kafka-acls")?.args(["--json"]);
    launch.environment = environment;
    let said = run(&launch).await?;
    said.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not an ACL: {line}"))).collect()
}

/// All users of relay.toml with their passwords.
pub(crate) fn logins(services: &Services, secrets: &Secrets) -> Result<Vec<Login>> {
    let Some(relay) = services.kafka_user() else {
        bail!(
            "relay.toml names no user of Kafka, and the Kafka of `up` lets in nobody without one: write user = \"relay\" and \
             password = \"${{TOWPATH_KAFKA_PASSWORD}}\" under [kafka]"
        );
    };
    let mut logins = vec![Login::new(relay, secrets.kafka_relay())];
    logins.extend(services.kafka_users().map(|(service, user)| Login::new(user, secrets.kafka(service))));
    let mut users = BTreeSet::from([ADMIN]);
    for login in &logins {
        ensure!(
            users.insert(&login.user),
            "relay.toml names the user {} of Kafka twice, or it is the super user",
            login.user
        );
    }
    Ok(logins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_stack::testing::with_surroundings;

    #[test]
    fn each_user_has_a_password_of_its_own() {
        with_surroundings(|surroundings, secrets| {
            let logins = logins(surroundings.services, secrets).unwrap();
            let passwords: BTreeSet<&str> = logins.iter().map(|login| login.password.as_str()).collect();
            assert_eq!((logins.len(), passwords.len()), (5, 5), "{logins:?}");
            assert!(!passwords.contains(secrets.kafka_admin()));
        });
    }
}
