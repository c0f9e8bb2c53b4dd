//! The real servers, by the environment, and ways to wait for a condition.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use rand::RngExt;
use rdkafka::config::ClientConfig;
use rustix::process::{Pid, Signal, kill_process};
use towpath_kafka_admin::Login;

/// Addresses of servers that tests may use.
pub struct Servers {
    /// A superuser's URL.
    pub postgres: String,
    /// `host:port`
    pub kafka: String,
    /// `redis://host:port`
    pub redis: String,
}

impl Servers {
    pub fn from_env() -> Self {
        Self {
            postgres: variable("TOWPATH_TEST_POSTGRES"),
            kafka: variable("TOWPATH_TEST_KAFKA"),
            redis: variable("TOWPATH_TEST_REDIS"),
        }
    }
}

/// The super user of Kafka.
pub fn kafka_admin() -> Login {
    Login::new("admin", &variable("TOWPATH_TEST_KAFKA_PASSWORD"))
}

/// The settings of a client that logs in as the super user.
pub fn kafka_client(brokers: &str) -> ClientConfig {
    kafka_client_as(brokers, &kafka_admin())
}

/// The same as another user.
pub fn kafka_client_as(brokers: &str, login: &Login) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("security.protocol", "SASL_PLAINTEXT")
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", &login.user)
        .set("sasl.password", &login.password);
    config
}

/// What the tests are told by the environment.
pub fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} isn't set: this test needs real servers; `./towpath test` starts them"))
}

/// Sends a signal to a process that the test has started.
pub fn send_signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    kill_process(pid, signal).expect("the process runs");
}

/// Far more than anything takes, so that a machine under load fails no test.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tries until `look` answers `Some`, and fails with what it last saw.
pub async fn eventually<T, S: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, S>) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if began.elapsed() > PATIENCE => panic!("{what}: not within {PATIENCE:?}; last: {seen:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// A port that nobody listens on, to be used later or never: outside of the range from which Linux takes a port where none
/// is named, so that nobody gets it by chance, and below the stacks' own.
pub fn free_port() -> u16 {
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| rand::rng().random_range(10_000..20_000)).take(200).find(free).expect("a free port")
}
