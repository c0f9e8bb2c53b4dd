//! The environment of relay and host: the variables that relay.toml and spin.toml ask for.
use std::collections::BTreeMap;

use anyhow::Result;

use crate::kafka::Kafka;
use crate::ports::{self, Ports};
use crate::replica;
use crate::secrets::Secrets;
use crate::services::{Services, environment_name, spin_variable};
use crate::state::Servers;

/// Everything that the environments of relay and edge are made from.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The ports of all parts.
    pub ports: &'a Ports,
    /// The services of relay.toml.
    pub services: &'a Services,
    /// Passwords and tokens.
    pub secrets: &'a Secrets,
    /// How the servers run: containers have another Kafka listener.
    pub servers: Servers,
}

impl Surroundings<'_> {
    /// Kafka, as its super user.
    pub fn kafka(&self) -> Result<Kafka> {
        // A container tells clients its own name on the INTERNAL listener.
        let listener = if self.servers == Servers::Compose { "kafka-external" } else { "kafka" };
        Ok(Kafka { address: self.ports.address(listener)?, password: self.secrets.kafka_admin().to_owned() })
    }

    /// What relay.toml asks for, in this pair. `admin` adds what only `migrate` may know: the superusers' passwords.
    pub fn relay(&self, pair: usize, admin: bool) -> Result<BTreeMap<String, String>> {
        let (ports, secrets) = (self.ports, self.secrets);
        let own = |name: &str| ports.address(&replica::named(name, pair));
        let redis = format!("redis://:{}@{}", secrets.redis(), ports.address("redis")?);
        let mut variables = BTreeMap::from([
            ("TOWPATH_RELAY_LISTEN".to_owned(), own("relay")?),
            ("TOWPATH_RELAY_ADMIN_LISTEN".to_owned(), own("relay-admin")?),
            ("TOWPATH_REDIS_URL".to_owned(), redis),
            ("TOWPATH_KAFKA".to_owned(), self.kafka()?.address),
            ("TOWPATH_COMPONENTS_URL".to_owned(), format!("http://{}", ports.deliveries(pair)?)),
        ]);
        for service in self.services.databases() {
            let address = ports.address(&ports::database(service))?;
            let url = |role: &str, password: &str| format!("postgres://{role}:{password}@{address}/{service}");
            let name = format!("TOWPATH_POSTGRES_{}", environment_name(service));
            variables.insert(name.clone(), url(&format!("{service}_app"), secrets.app(service)));
            variables.insert(format!("{name}_RELAY"), url("towpath_relay", secrets.relay(service)));
            if admin {
                variables.insert(format!("{name}_ADMIN"), url("postgres", secrets.postgres(service)));
            }
        }
        if self.services.kafka_user().is_some() {
            variables.insert("TOWPATH_KAFKA_PASSWORD".to_owned(), secrets.kafka_relay().to_owned());
        }
        for (service, _) in self.services.kafka_users() {
            let name = format!("TOWPATH_KAFKA_PASSWORD_{}", environment_name(service));
            variables.insert(name, secrets.kafka(service).to_owned());
        }
        for service in self.services.callers() {
            let name = format!("TOWPATH_TOKEN_{}", environment_name(service));
            variables.insert(name, secrets.token(service).to_owned());
            if let Some(secondary) = secrets.secondary_token(service) {
                let name = format!("TOWPATH_SECONDARY_TOKEN_{}", environment_name(service));
                variables.insert(name, secondary.to_owned());
            }
        }
        for service in self.services.receivers() {
            let name = format!("TOWPATH_DELIVERY_TOKEN_{}", environment_name(service));
            variables.insert(name, secrets.delivery_token(service).to_owned());
        }
        Ok(variables)
    }

    /// The variables of spin.toml, in this pair.
    pub fn spin(&self, pair: usize) -> Result<BTreeMap<String, String>> {
        let relay = format!("http://{}", self.ports.address(&replica::named("relay", pair))?);
        let mut variables = BTreeMap::from([(spin_variable("relay_url"), relay)]);
        for service in self.services.callers() {
            variables.insert(spin_variable(&format!("{service}_token")), self.secrets.token(service).to_owned());
        }
        for service in self.services.receivers() {
            let name = spin_variable(&format!("{service}_delivery_token"));
            variables.insert(name, self.secrets.delivery_token(service).to_owned());
            if let Some(secondary) = self.secrets.secondary_delivery_token(service) {
                let name = spin_variable(&format!("{service}_delivery_token_secondary"));
                variables.insert(name, secondary.to_owned());
            }
        }
        Ok(variables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{root, with_surroundings};

    /// Every variable that the repository's relay.toml asks for is given.
    #[test]
    fn relay_toml_gets_what_it_asks_for() {
        let text = std::fs::read_to_string(root().join("relay.toml")).unwrap();
        with_surroundings(|surroundings, _| {
            let given = surroundings.relay(1, true).unwrap();
            let text: String = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
            let given = |name: &str| given.contains_key(name) || name.starts_with("TOWPATH_SECONDARY_TOKEN_");
            for asked in text.split("${").skip(1).filter_map(|rest| rest.split('}').next()) {
                assert!(given(asked), "{asked} is not given");
            }
            let without = surroundings.relay(1, false).unwrap();
            assert!(without.keys().all(|name| !name.ends_with("_ADMIN")), "a running relay knows no superuser");
        });
    }

    /// While tokens are rotated, each side that checks one is given both.
    #[test]
    fn whoever_checks_a_token_knows_both_while_it_is_rotated() {
        with_surroundings(|surroundings, secrets| {
            let mut secrets = secrets.clone();
            secrets.announce_tokens(surroundings.services.callers(), surroundings.services.receivers());
            let rotating = Surroundings { secrets: &secrets, ..*surroundings };
            let (relay, spin) = (rotating.relay(1, false).unwrap(), rotating.spin(1).unwrap());
            for service in surroundings.services.callers() {
                let name = format!("TOWPATH_SECONDARY_TOKEN_{}", environment_name(service));
                assert_eq!(relay[&name], secrets.secondary_token(service).unwrap());
            }
            for service in surroundings.services.receivers() {
                let name = format!("SPIN_VARIABLE_{}_DELIVERY_TOKEN_SECONDARY", environment_name(service));
                assert_eq!(spin[&name], secrets.secondary_delivery_token(service).unwrap());
            }
        });
    }

    fn differing<'a>(one: &'a BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<&'a str> {
        one.iter().filter(|(name, value)| other[*name] != **value).map(|(name, _)| name.as_str()).collect()
    }

    /// Each relay knows its own host alone, and each host its own relay; what both pairs share is the same.
    #[test]
    fn pairs_keep_to_themselves() {
        with_surroundings(|surroundings, _| {
            let relay = |pair| surroundings.relay(pair, false).unwrap();
            let own = ["TOWPATH_COMPONENTS_URL", "TOWPATH_RELAY_ADMIN_LISTEN", "TOWPATH_RELAY_LISTEN"];
            assert_eq!(differing(&relay(1), &relay(2)), own);
            assert_eq!(relay(2)["TOWPATH_COMPONENTS_URL"], "http://127.0.0.1:3101");
            let host = |pair| surroundings.spin(pair).unwrap();
            assert_eq!(differing(&host(1), &host(2)), ["SPIN_VARIABLE_RELAY_URL"]);
            assert_eq!(host(2)["SPIN_VARIABLE_RELAY_URL"], format!("http://{}", relay(2)["TOWPATH_RELAY_LISTEN"]));
        });
    }

    /// Every required variable of the repository's spin.toml is given.
    #[test]
    fn spin_toml_gets_what_it_asks_for() {
        let manifest: toml::Table = std::fs::read_to_string(root().join("spin.toml")).unwrap().parse().unwrap();
        with_surroundings(|surroundings, secrets| {
            let given = surroundings.spin(1).unwrap();
            for (name, variable) in manifest["variables"].as_table().unwrap() {
                let required = variable.get("required").and_then(toml::Value::as_bool).unwrap_or_default();
                let variable = format!("SPIN_VARIABLE_{}", name.to_uppercase());
                assert!(!required || given.contains_key(&variable), "{variable} is not given");
            }
            assert_eq!(given["SPIN_VARIABLE_ORDER_TOKEN"], secrets.token("order"));
        });
    }
}
