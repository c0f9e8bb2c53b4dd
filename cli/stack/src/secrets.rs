//! Passwords and tokens of one stack: generated once, kept in `secrets.env` (0600) under the home.
use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};
use rand::RngExt;

use crate::formats::is_plain;
use crate::home::{Home, write_atomically};
use crate::services::{Services, environment_name};

/// All secrets by name. Its `Debug` shows names alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Reads the secrets, and makes those that don't exist yet.
    pub fn load_or_create(home: &Home, services: &Services) -> Result<Self> {
        let file = home.secrets_file();
        let known = match std::fs::read_to_string(&file) {
            Ok(text) => parse(&text).with_context(|| format!("{} is damaged", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Some(part) = first_data_folder(home) {
                    bail!(
                        "{} is gone, but the data of {part} was made with its passwords: put it back, or start anew \
                         with `{}`",
                        file.display(),
                        home.command("reset")
                    );
                }
                BTreeMap::new()
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        let mut all = known.clone();
        for name in names(services) {
            all.entry(name).or_insert_with(random);
        }
        if all != known {
            write_atomically(&file, &render(&all), 0o600)?;
        }
        Ok(Self(all))
    }

    /// Reads the secrets of a stack that exists.
    pub fn load(home: &Home) -> Result<Self> {
        let file = home.secrets_file();
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}: `towpath up` makes it", file.display()))?;
        Ok(Self(parse(&text).with_context(|| format!("{} is damaged", file.display()))?))
    }

    /// The superuser's password of a service's PostgreSQL.
    pub fn postgres(&self, service: &str) -> &str {
        self.get(&postgres_name("ADMIN", service))
    }

    /// The password of the role that a service's own SQL runs as.
    pub fn app(&self, service: &str) -> &str {
        self.get(&postgres_name("APP", service))
    }

    /// The password of the role of the relay's own work.
    pub fn relay(&self, service: &str) -> &str {
        self.get(&postgres_name("RELAY", service))
    }

    /// Redis's password.
    pub fn redis(&self) -> &str {
        self.get("REDIS_PASSWORD")
    }

    /// What somebody else gave for this stack and a person wrote here, such as a payment provider's key.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The password of Kafka's super user, [`kafka::ADMIN`](crate::kafka::ADMIN).
    pub fn kafka_admin(&self) -> &str {
        self.get(KAFKA_ADMIN)
    }

    /// The password of the relay's own user in Kafka.
    pub fn kafka_relay(&self) -> &str {
        self.get(KAFKA_RELAY)
    }

    /// The password of a service's user in Kafka.
    pub fn kafka(&self, service: &str) -> &str {
        self.get(&kafka_name(service))
    }

    /// Another password for the relay's own user in Kafka (`None`), or a service's.
    pub fn renew_kafka(&mut self, service: Option<&str>) {
        self.0.insert(service.map_or_else(|| KAFKA_RELAY.to_owned(), kafka_name), random());
    }

    /// What a component shows to the relay.
    pub fn token(&self, service: &str) -> &str {
        self.get(&token_name(service))
    }

    /// What the relay shows to a component.
    pub fn delivery_token(&self, service: &str) -> &str {
        self.get(&delivery_token_name(service))
    }

    /// What a component may show to the relay beside its token while that is rotated.
    pub fn secondary_token(&self, service: &str) -> Option<&str> {
        self.secondary(&token_name(service))
    }

    /// What the relay may show to a component beside its token while that is rotated.
    pub fn secondary_delivery_token(&self, service: &str) -> Option<&str> {
        self.secondary(&delivery_token_name(service))
    }

    fn secondary(&self, name: &str) -> Option<&str> {
        [NEXT, PREVIOUS].iter().find_map(|state| self.0.get(&format!("{state}{name}"))).map(String::as_str)
    }

    /// First step of a rotation: the tokens of these services get a successor, which is accepted and not shown yet. A successor
    /// that is there already, since a rotation was broken off, is kept.
    pub fn announce_tokens<'a>(
        &mut self,
        callers: impl Iterator<Item = &'a str>,
        receivers: impl Iterator<Item = &'a str>,
    ) {
        for name in callers.map(token_name).chain(receivers.map(delivery_token_name)) {
            self.0.entry(format!("{NEXT}{name}")).or_insert_with(random);
        }
    }

    /// Second step: each successor is shown from now on, and the token before it is still accepted.
    pub fn switch_tokens(&mut self) {
        for name in self.names_with(NEXT) {
            let next = self.0.remove(&format!("{NEXT}{name}")).unwrap_or_default();
            if let Some(before) = self.0.insert(name.clone(), next) {
                self.0.insert(format!("{PREVIOUS}{name}"), before);
            }
        }
    }

    /// Third step: the tokens from before the rotation are accepted no more.
    pub fn retire_tokens(&mut self) {
        self.0.retain(|name, _| !name.starts_with(PREVIOUS));
    }

    /// Whether a rotation was broken off after its second step.
    pub fn has_previous_tokens(&self) -> bool {
        !self.names_with(PREVIOUS).is_empty()
    }

    /// Writes them down. Parts read them when they start.
    pub fn save(&self, home: &Home) -> Result<()> {
        write_atomically(&home.secrets_file(), &render(&self.0), 0o600)
    }

    fn names_with(&self, state: &str) -> Vec<String> {
        self.0.keys().filter_map(|name| Some(name.strip_prefix(state)?.to_owned())).collect()
    }

    fn get(&self, name: &str) -> &str {
        // `names` lists every name that the callers above form for a service of relay.toml.
        self.0.get(name).map_or("", String::as_str)
    }
}

/// What the name of a token begins with that is accepted beside the one that is shown.
const NEXT: &str = "NEXT_";
const PREVIOUS: &str = "PREVIOUS_";

fn postgres_name(role: &str, service: &str) -> String {
    format!("POSTGRES_{role}_PASSWORD_{}", environment_name(service))
}

const KAFKA_ADMIN: &str = "KAFKA_ADMIN_PASSWORD";
const KAFKA_RELAY: &str = "KAFKA_RELAY_PASSWORD";

fn kafka_name(service: &str) -> String {
    format!("KAFKA_PASSWORD_{}", environment_name(service))
}

fn token_name(service: &str) -> String {
    format!("TOKEN_{}", environment_name(service))
}

fn delivery_token_name(service: &str) -> String {
    format!("DELIVERY_TOKEN_{}", environment_name(service))
}

fn names(services: &Services) -> Vec<String> {
    let databases =
        services.databases().flat_map(|service| ["ADMIN", "APP", "RELAY"].map(|role| postgres_name(role, service)));
    let tokens = services.callers().map(token_name).chain(services.receivers().map(delivery_token_name));
    let kafka = services.kafka_users().map(|(service, _)| kafka_name(service));
    let single = ["REDIS_PASSWORD", KAFKA_ADMIN, KAFKA_RELAY].map(str::to_owned);
    databases.chain(tokens).chain(kafka).chain(single).collect()
}

/// 192 bits as hex: safe in a URL, a header, a configuration file and a shell, without quoting.
fn random() -> String {
    let bytes: [u8; 24] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(text: &str) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty())
        else {
            bail!("line {} is not NAME=VALUE", number + 1);
        };
        if !is_plain(value) {
            bail!(
                "line {}: the value of {name} may have ASCII letters, digits, `-`, `.`, `_` and `~` only: it stands in \
                 URLs, files and headers",
                number + 1
            );
        }
        found.insert(name.to_owned(), value.to_owned());
    }
    Ok(found)
}

fn render(secrets: &BTreeMap<String, String>) -> String {
    let mut text = String::from("# Made by `towpath up`, once. The data folders were made with these passwords.\n");
    for (name, value) in secrets {
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}

fn first_data_folder(home: &Home) -> Option<String> {
    let entries = std::fs::read_dir(home.data()).ok()?;
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .find(|name| name.starts_with("postgres-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, services};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_are_made_once_and_closed_to_others() {
        let folder = TempDir::new();
        let home = folder.home();
        let first = Secrets::load_or_create(&home, &services()).unwrap();
        let mode = std::fs::metadata(home.secrets_file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Secrets::load_or_create(&home, &services()).unwrap(), first);
        assert_eq!(Secrets::load(&home).unwrap(), first);
        for service in services().databases() {
            let all = [first.postgres(service), first.app(service), first.relay(service), first.token(service)];
            assert!(all.iter().all(|secret| secret.len() == 48), "{service}");
        }
        for service in services().receivers() {
            assert_eq!(first.delivery_token(service).len(), 48, "{service}");
        }
        for (service, _) in services().kafka_users() {
            assert_eq!(first.kafka(service).len(), 48, "{service}");
        }
        assert_eq!((first.kafka_admin().len(), first.kafka_relay().len()), (48, 48));
        assert_ne!(first.token("gateway"), first.token("order"));
        assert_eq!(first.redis().len(), 48);
    }

    #[test]
    fn a_rotation_has_two_tokens_until_it_ends() {
        let folder = TempDir::new();
        let home = folder.home();
        let before = Secrets::load_or_create(&home, &services()).unwrap();
        let mut secrets = before.clone();
        let announce = |secrets: &mut Secrets| secrets.announce_tokens(["order"].into_iter(), ["order"].into_iter());
        announce(&mut secrets);
        let announced = secrets.clone();
        announce(&mut secrets);
        assert_eq!(secrets, announced, "a rotation that goes on keeps what it has announced");
        assert_eq!(secrets.token("order"), before.token("order"), "it is not shown yet");
        let next = secrets.secondary_token("order").unwrap().to_owned();
        let next_delivery = secrets.secondary_delivery_token("order").unwrap().to_owned();
        assert_eq!(secrets.secondary_token("payment"), None);
        assert!(!secrets.has_previous_tokens());

        secrets.switch_tokens();
        assert_eq!((secrets.token("order"), secrets.delivery_token("order")), (&*next, &*next_delivery));
        assert_eq!(secrets.secondary_token("order"), Some(before.token("order")));
        assert_eq!(secrets.secondary_delivery_token("order"), Some(before.delivery_token("order")));
        assert!(secrets.has_previous_tokens());
        secrets.save(&home).unwrap();
        assert_eq!(Secrets::load_or_create(&home, &services()).unwrap(), secrets, "`up` leaves a rotation as it is");

        secrets.retire_tokens();
        assert_eq!((secrets.secondary_token("order"), secrets.secondary_delivery_token("order")), (None, None));
        assert_eq!(secrets.token("order"), next);
        assert_eq!(secrets.token("payment"), before.token("payment"));
    }

    #[test]
    fn a_secret_that_is_new_joins_the_old_ones() {
        let folder = TempDir::new();
        let home = folder.home();
        std::fs::write(home.secrets_file(), "REDIS_PASSWORD=kept\n").unwrap();
        let secrets = Secrets::load_or_create(&home, &services()).unwrap();
        assert_eq!(secrets.redis(), "kept");
        assert_eq!(secrets.token("order").len(), 48);
    }

    #[test]
    fn lost_secrets_of_existing_data_are_an_error_with_a_way_out() {
        let folder = TempDir::new();
        let home = folder.home();
        std::fs::create_dir(home.data().join("postgres-order")).unwrap();
        let error = Secrets::load_or_create(&home, &services()).unwrap_err().to_string();
        assert!(error.contains("postgres-order") && error.contains("towpath reset"), "{error}");
    }

    #[test]
    fn a_damaged_file_names_its_line_and_debug_shows_no_value() {
        let folder = TempDir::new();
        let home = folder.home();
        std::fs::write(home.secrets_file(), "REDIS_PASSWORD=kept\nnonsense\n").unwrap();
        let error = format!("{:#}", Secrets::load_or_create(&home, &services()).unwrap_err());
        assert!(error.contains("line 2"), "{error}");
        std::fs::write(home.secrets_file(), "REDIS_PASSWORD=hidden\n").unwrap();
        assert!(!format!("{:?}", Secrets::load(&home).unwrap()).contains("hidden"));
    }
}
