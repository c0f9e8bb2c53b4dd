//! A configuration of a test's own, its databases, and relays that run with it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::OnceCell;
use towpath_kafka_admin::{Acl, Admin, Login};
use towpath_relay::Running;
use towpath_relay::config::Config;
use towpath_relay::kafka::acls;
use uuid::Uuid;

use super::{Servers, kafka_admin, kafka_client};

/// What one service of a test has.
pub struct ServiceSetup {
    name: String,
    database: bool,
    toml: String,
    topics: Vec<String>,
    component: Option<String>,
}

impl ServiceSetup {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), database: false, toml: String::new(), topics: Vec::new(), component: None }
    }

    /// Gives it a database.
    pub fn database(mut self) -> Self {
        self.database = true;
        self
    }

    /// Lets it publish to a topic. The topic that exists is [`Setup::topic`] of this name.
    pub fn publishes(mut self, topic: &str) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Where the relay calls it.
    pub fn component(mut self, url: &str) -> Self {
        self.component = Some(url.into());
        self
    }

    /// Further TOML that follows `[services.NAME]` and its tables, such as `[[services.NAME.timers]]`. `TOPIC(x)` in it
    /// becomes the topic that is called x in this setup.
    pub fn toml(mut self, toml: &str) -> Self {
        self.toml.push_str(toml);
        self.toml.push('\n');
        self
    }
}

/// Everything that a test has for itself.
pub struct Setup {
    /// Unique: part of every name.
    pub id: String,
    pub servers: Servers,
    services: Vec<ServiceSetup>,
    toml: String,
    topics: Vec<String>,
    made: Vec<String>,
    relays: AtomicU32,
    users_are_made: OnceCell<()>,
}

impl Setup {
    pub fn new() -> Self {
        let id = format!("t{}", &Uuid::now_v7().simple().to_string()[8..]);
        let servers = Servers::from_env();
        Self {
            id,
            servers,
            services: vec![],
            toml: String::new(),
            topics: vec![],
            made: vec![],
            relays: AtomicU32::new(0),
            users_are_made: OnceCell::new(),
        }
    }

    pub fn service(mut self, service: ServiceSetup) -> Self {
        self.services.push(service);
        self
    }

    /// Further TOML at the top level, such as `[limits]`.
    pub fn toml(mut self, toml: &str) -> Self {
        self.toml.push_str(toml);
        self.toml.push('\n');
        self
    }

    /// Declares a topic under `[kafka.topics]`; [`topic`](Self::topic) is its real name.
    pub fn declare(mut self, topic: &str) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Another Redis than the common one.
    pub fn redis(mut self, url: &str) -> Self {
        self.servers.redis = url.into();
        self
    }

    /// Another Kafka than the common one.
    pub fn kafka(mut self, brokers: &str) -> Self {
        self.servers.kafka = brokers.into();
        self
    }

    /// The real name of a topic of this setup.
    pub fn topic(&self, topic: &str) -> String {
        format!("{}.{topic}", self.id)
    }

    /// The name of a service's database.
    pub fn database_name(&self, service: &str) -> String {
        format!("{}_{service}", self.id)
    }

    /// The service's role, as its statements run.
    pub fn app_role(&self, service: &str) -> String {
        format!("{}_{service}_app", self.id)
    }

    /// What a service's component shows to the relay.
    pub fn token(&self, service: &str) -> String {
        format!("token-of-{service}-{}", self.id)
    }

    /// What the relay shows to a service's component.
    pub fn delivery_token(&self, service: &str) -> String {
        format!("delivery-token-of-{service}-{}", self.id)
    }

    fn postgres_url(&self, user: Option<&str>, database: &str) -> String {
        let mut url = Url::parse(&self.servers.postgres).expect("TOWPATH_TEST_POSTGRES is a URL");
        if let Some(user) = user {
            url.set_username(user).expect("a user");
            url.set_password(Some("test")).expect("a password");
        }
        url.set_path(database);
        url.into()
    }

    /// A superuser's URL to a service's database.
    pub fn admin_url(&self, service: &str) -> String {
        self.postgres_url(None, &self.database_name(service))
    }

    /// The URL that a service's statements run as.
    pub fn app_url(&self, service: &str) -> String {
        self.postgres_url(Some(&self.app_role(service)), &self.database_name(service))
    }

    /// The URL that the relay's background work runs as.
    pub fn relay_url(&self, service: &str) -> String {
        self.postgres_url(Some(&format!("{}_relay", self.id)), &self.database_name(service))
    }

    /// The whole relay.toml.
    pub fn text(&self, instance: &str) -> String {
        let mut out = format!(
            "[relay]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ninstance = \"{instance}\"\n\
             [redis]\nurl = \"{}\"\nprefix = \"{}\"\n[kafka]\nbrokers = \"{}\"\nprefix = \"{}\"\n\
             user = \"{}\"\npassword = \"test\"\n",
            self.servers.redis,
            self.id,
            self.servers.kafka,
            self.id,
            self.kafka_user("relay-itself")
        );
        for topic in &self.topics {
            let topic = self.topic(topic);
            let _ = write!(out, "[kafka.topics.\"{topic}\"]\npartitions = 4\nreplication_factor = 1\n");
        }
        for service in &self.services {
            self.write_service(&mut out, service);
        }
        out + &self.toml
    }

    fn write_service(&self, out: &mut String, service: &ServiceSetup) {
        let name = &service.name;
        let user = self.kafka_user(name);
        let _ = write!(out, "[services.{name}]\ntoken = \"{}\"\n", self.token(name));
        let _ = writeln!(out, "kafka = {{ user = \"{user}\", password = \"test\" }}");
        if service.database {
            let (url, relay, admin) = (self.app_url(name), self.relay_url(name), self.admin_url(name));
            let _ = write!(
                out,
                "[services.{name}.postgres]\nurl = \"{url}\"\nrelay_url = \"{relay}\"\nadmin_url = \"{admin}\"\n"
            );
        }
        if !service.topics.is_empty() {
            let topics: Vec<String> = service.topics.iter().map(|topic| self.topic(topic)).collect();
            let _ = write!(out, "[services.{name}.publish]\ntopics = {topics:?}\n");
        }
        if let Some(url) = &service.component {
            let token = self.delivery_token(name);
            let _ = write!(out, "[services.{name}.component]\nurl = \"{url}\"\ntoken = \"{token}\"\n");
        }
        let mut toml = service.toml.clone();
        while let Some(at) = toml.find("TOPIC(") {
            let end = at + toml[at..].find(')').expect("a topic in parentheses");
            toml.replace_range(at..=end, &self.topic(&toml[at + 6..end]));
        }
        out.push_str(&toml);
    }

    /// The configuration, for a relay of this name.
    pub fn config(&self, instance: &str) -> Config {
        parse(&self.text(instance))
    }

    /// A service's user in Kafka. Its password is "test".
    pub fn kafka_user(&self, service: &str) -> String {
        format!("{}.{service}", self.id)
    }

    /// Makes the users of Kafka, and allows them what the relay says that they need. Does it once.
    pub async fn users(&self) {
        // On the heap: the future of a test stands on a stack of 2 MiB.
        self.users_are_made.get_or_init(|| Box::pin(self.make_users())).await;
    }

    async fn make_users(&self) {
        let config = self.config("users");
        let users: Vec<String> = acls::users(&config).into_iter().map(str::to_owned).collect();
        let logins: Vec<Login> = users.iter().map(|user| Login::new(user, "test")).collect();
        let mut admin = self.kafka_admin().await;
        admin.set_passwords(&logins).await.expect("the users are made");
        admin.allow_exactly(&users, &self.acls()).await.expect("the users are allowed what they need");
    }

    /// Gives all users again what they need.
    pub async fn allow_all(&self) {
        let users: Vec<String> = acls::users(&self.config("users")).into_iter().map(str::to_owned).collect();
        let given = self.kafka_admin().await.allow_exactly(&users, &self.acls()).await;
        given.expect("the users are allowed what they need");
    }

    /// What the relay says that this setup's users need.
    pub fn acls(&self) -> BTreeSet<Acl> {
        let needed = acls::acls(&self.config("acls"));
        let line = |acl| serde_json::to_value(acl).and_then(serde_json::from_value).expect("an ACL");
        needed.iter().map(line).collect()
    }

    /// The super user of the common Kafka.
    pub async fn kafka_admin(&self) -> Admin {
        Admin::connect(&Servers::from_env().kafka, &kafka_admin()).await.expect("the super user logs in")
    }

    /// Creates the databases, with the relay's own tables in them, and the users of Kafka.
    pub async fn databases(mut self) -> Self {
        for service in self.services.iter().filter(|service| service.database) {
            self.made.push(self.database_name(&service.name));
        }
        towpath_relay::postgres::migrate::run(&self.config("migrate")).await.expect("the databases are made");
        self.users().await;
        self
    }

    /// Runs SQL in a service's database, as a superuser whose search path is `app`.
    pub async fn execute(&self, service: &str, sql: &str) {
        let admin = connect(&self.admin_url(service)).await;
        admin.batch_execute(&format!("SET search_path TO app; {sql}")).await.expect("SQL of the test");
    }

    /// A connection to the server's own database, as a superuser.
    pub async fn server(&self) -> tokio_postgres::Client {
        connect(&self.servers.postgres).await
    }

    /// A connection to a service's database, as a superuser.
    pub async fn admin(&self, service: &str) -> tokio_postgres::Client {
        connect(&self.admin_url(service)).await
    }

    /// Starts a relay. Several may run at once, as processes beside each other would.
    pub async fn start(&self) -> TestRelay {
        let number = self.relays.fetch_add(1, Ordering::Relaxed);
        let instance = format!("{}-relay-{number}", self.id);
        self.start_with(self.config(&instance)).await
    }

    /// Starts a relay with a configuration that the test has changed.
    pub async fn start_with(&self, config: Config) -> TestRelay {
        self.users().await;
        let running = towpath_relay::start(config).await.expect("the relay starts");
        let tokens = self.services.iter().map(|s| (s.name.clone(), self.token(&s.name))).collect();
        TestRelay {
            url: format!("http://{}", running.address),
            admin_url: format!("http://{}", running.admin_address),
            http: reqwest::Client::new(),
            running,
            tokens,
        }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        if self.made.is_empty() {
            return;
        }
        let (url, made, id) = (self.servers.postgres.clone(), std::mem::take(&mut self.made), self.id.clone());
        let brokers = std::mem::take(&mut self.servers.kafka);
        // A runtime can't be entered twice on one thread, and the test's own may be gone.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let admin = connect(&url).await;
                for name in made {
                    let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
                    let _ = admin.batch_execute(&format!("DROP ROLE IF EXISTS {name}_app")).await;
                }
                let _ = admin.batch_execute(&format!("DROP ROLE IF EXISTS {id}_relay")).await;
                delete_topics(&brokers, &id).await;
            });
        });
        let _ = cleaner.join();
    }
}

/// Deletes the topics whose names start with an id.
async fn delete_topics(brokers: &str, id: &str) {
    let admin: Result<AdminClient<DefaultClientContext>, _> = kafka_client(brokers).create();
    let Ok(admin) = admin else { return };
    let Ok(metadata) = admin.inner().fetch_metadata(None, Duration::from_secs(2)) else { return };
    let names = metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.starts_with(id));
    let names: Vec<&str> = names.collect();
    if !names.is_empty() {
        let _ = admin.delete_topics(&names, &AdminOptions::new()).await;
    }
}

fn parse(text: &str) -> Config {
    Config::parse("test", text, Path::new("."), &|_| None).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

/// A relay in this process.
pub struct TestRelay {
    pub url: String,
    pub admin_url: String,
    pub http: reqwest::Client,
    pub running: Running,
    tokens: std::collections::BTreeMap<String, String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    /// `Null` where the body is empty.
    pub body: Value,
}

impl Answer {
    /// The code of the problem; empty where it is none.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl TestRelay {
    /// A request as a service sends it.
    pub fn request(&self, service: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.tokens[service])
    }

    /// Sends a request with a JSON body (none where it is `Null`) as a service.
    pub async fn call(&self, service: &str, method: &str, path: &str, body: Value) -> Answer {
        let request = self.request(service, method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        answer(request).await
    }

    /// A metric, by its name with labels; 0 where it isn't there yet. The relays of one test program share their metrics: a
    /// test that reads one has a service whose name no other test uses.
    pub async fn metric(&self, line: &str) -> f64 {
        let answer = reqwest::get(format!("{}/metrics", self.admin_url)).await.expect("metrics");
        let text = answer.text().await.expect("text");
        text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok()).unwrap_or_default()
    }

    /// Ends it as a crash would: at once, and giving nothing back.
    pub fn crash(&self) {
        self.running.relay.lifecycle.forced.cancel();
    }

    /// What `/readyz` says.
    pub async fn readiness(&self) -> Value {
        let answer = reqwest::get(format!("{}/readyz", self.admin_url)).await.expect("readiness");
        answer.json().await.expect("JSON")
    }

    /// `POST /v1/transactions`
    pub async fn transaction(&self, service: &str, body: Value) -> Answer {
        self.call(service, "POST", "/v1/transactions", body).await
    }

    /// `POST /v1/queries`
    pub async fn query(&self, service: &str, body: Value) -> Answer {
        self.call(service, "POST", "/v1/queries", body).await
    }

    /// Stops it gracefully. Answers whether everything ended by itself.
    pub async fn stop(self) -> bool {
        self.running.stop().await
    }
}

/// Sends a request and reads the answer.
pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("the relay answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
    Answer { status, headers, body }
}
