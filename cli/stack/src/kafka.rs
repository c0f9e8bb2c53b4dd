//! How programs beside the relay reach the Kafka of a stack: as its super user, with a password of this home.
use std::fmt;

/// Kafka's super user: the broker itself, and whoever owns the home. No service and no relay knows its password.
pub const ADMIN: &str = "admin";

/// A Kafka, and its super user's password. Its `Debug` shows the address alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port`
    pub address: String,
    /// The password of [`ADMIN`].
    pub password: String,
}

impl Kafka {
    /// The settings of a client of librdkafka that logs in.
    pub fn settings(&self) -> impl Iterator<Item = (String, String)> {
        let own = ["bootstrap.servers", "security.protocol", "sasl.mechanism", "sasl.username", "sasl.password"];
        let values = [self.address.as_str(), "SASL_PLAINTEXT", "SCRAM-SHA-512", ADMIN, &self.password];
        own.map(str::to_owned).into_iter().zip(values.map(str::to_owned))
    }

    /// The same for Kafka's own tools, as the content of a properties file. It holds the password.
    #[must_use]
    pub fn properties(&self) -> String {
        format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config={}\n",
            jaas(&self.password)
        )
    }
}

/// What Kafka's Java programs log in with as the super user.
#[must_use]
pub fn jaas(password: &str) -> String {
    let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
    format!("{module} required username=\"{ADMIN}\" password=\"{password}\";")
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("address", &self.address).finish_non_exhaustive()
    }
}
