//! Whether a part answers. Each kind is asked in its own protocol: an open port alone says nothing.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use towpath_kafka_admin::{Admin, Login};
use towpath_stack::home::Home;
use towpath_stack::kafka::{ADMIN, Kafka};
use towpath_stack::state::{Phase, State};
use towpath_stack::terminal::say;

use crate::readiness::{self, Readiness};

/// One answer may take this long.
const PATIENCE: Duration = Duration::from_secs(2);
/// What takes no longer needs no word.
const MOMENT: Duration = Duration::from_secs(1);
const ASK_EVERY: Duration = Duration::from_millis(200);

/// How to see that a part is ready.
#[derive(Clone)]
pub(crate) enum Probe {
    /// `SELECT 1` as the superuser. Where its lock file can be read, the server is not asked before it says there that it takes
    /// sessions: it would log each question as a fatal error.
    Postgres { url: String, lock: Option<PathBuf> },
    /// The super user logs in, and is told of a broker.
    Kafka(Kafka),
    /// `PING` with the password.
    Redis { address: String, password: String },
    /// A 200 answer.
    Http { url: String },
    /// A 200 answer of a relay's `/readyz`; any other says what is missing.
    Ready { url: String },
    /// Any answer in HTTP: it is there, whatever it thinks of the request.
    Answers { url: String },
    /// The state file of a whole stack of its own.
    Stack { home: PathBuf },
    /// A file that the process makes.
    #[cfg(test)]
    File { path: PathBuf },
}

impl Probe {
    /// Ready, or the reason why not.
    pub(crate) async fn check(&self) -> Result<()> {
        self.check_for(PATIENCE).await
    }

    async fn check_for(&self, patience: Duration) -> Result<()> {
        match tokio::time::timeout(patience, self.ask()).await {
            Ok(answer) => answer,
            Err(_) => bail!("no answer within {} s", patience.as_secs()),
        }
    }

    /// Asks until the part answers, for this long at most. Says that it waits, where that takes longer than a moment.
    pub(crate) async fn wait(&self, part: &str, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut said = false;
        loop {
            let asked = if said { self.check().await } else { self.check_for(MOMENT).await };
            let Err(error) = asked else { return Ok(()) };
            if begun.elapsed() >= patience {
                return Err(error.context(format!("{part} doesn't answer (waited {} s)", begun.elapsed().as_secs())));
            }
            if !said {
                said = true;
                say(&format!("Waiting for {part}: {error:#}"));
            }
            sleep(ASK_EVERY).await;
        }
    }

    async fn ask(&self) -> Result<()> {
        match self {
            Self::Postgres { url, lock } => postgres(url, lock.as_deref()).await,
            Self::Kafka(place) => kafka(place).await,
            Self::Redis { address, password } => redis(address, password).await,
            Self::Http { url } => http(url).await,
            Self::Ready { url } => ready(url).await,
            Self::Answers { url } => answers(url).await.map(drop),
            Self::Stack { home } => stack(home),
            #[cfg(test)]
            Self::File { path } => {
                ensure!(path.exists(), "no {}", path.display());
                Ok(())
            }
        }
    }
}

async fn postgres(url: &str, lock: Option<&Path>) -> Result<()> {
    if let Some(lock) = lock {
        let text = std::fs::read_to_string(lock).unwrap_or_default();
        ensure!(takes_sessions(&text), "PostgreSQL is starting");
    }
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let answer = client.simple_query("SELECT 1").await;
    connection.abort();
    answer?;
    Ok(())
}

/// Whether `postmaster.pid` says so, in its eighth line. A server that starts writes the file anew before it listens.
fn takes_sessions(lock: &str) -> bool {
    const STATUS: usize = 7;
    lock.lines().nth(STATUS).is_some_and(|status| matches!(status.trim_end(), "ready" | "standby"))
}

async fn redis(address: &str, password: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let commands = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n*1\r\n$4\r\nPING\r\n", password.len());
    stream.write_all(commands.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"+PONG\r\n") {
        ensure!(stream.read_buf(&mut answer).await? > 0, "closed the connection");
        if let Some(line) = answer.split(|byte| *byte == b'\r').find(|line| line.contains(&b'-')) {
            bail!("{}", String::from_utf8_lossy(line).trim());
        }
    }
    Ok(())
}

async fn answers(url: &str) -> Result<reqwest::Response> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    client.get(url).send().await.map_err(|error| readiness::unheard(&error, PATIENCE))
}

async fn http(url: &str) -> Result<()> {
    let answer = answers(url).await?;
    ensure!(answer.status().is_success(), "{url} answers {}", answer.status());
    Ok(())
}

async fn ready(url: &str) -> Result<()> {
    let readiness = Readiness::of(url).await?;
    ensure!(readiness.serves, "the relay is {readiness}");
    Ok(())
}

fn stack(home: &std::path::Path) -> Result<()> {
    let state = State::current(&Home::resolve(Some(home))?)?.context("nothing runs yet")?;
    ensure!(state.phase == Phase::Up, "is {:?}", state.phase);
    Ok(())
}

async fn kafka(place: &Kafka) -> Result<()> {
    let mut admin = Admin::connect(&place.address, &Login::new(ADMIN, &place.password)).await?;
    ensure!(admin.brokers().await? > 0, "no broker is registered yet");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::net::TcpListener;

    /// A server that answers one connection with these bytes.
    async fn answering(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn postgresql_is_not_asked_before_it_takes_sessions() {
        let folder = towpath_stack::testing::TempDir::new();
        let lock = folder.path().join("postmaster.pid");
        let text = |status: &str| format!("4711\n/data\n1764511000\n5432\n\n127.0.0.1\n  5374015   0\n{status}");
        assert!(takes_sessions(&text("ready   \n")) && takes_sessions(&text("standby \n")));
        for status in ["", "starting\n", "stopping\n"] {
            std::fs::write(&lock, text(status)).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("postgres://postgres@{}/postgres", listener.local_addr().unwrap());
            let error = Probe::Postgres { url, lock: Some(lock.clone()) }.check().await.unwrap_err();
            assert_eq!(error.to_string(), "PostgreSQL is starting", "{status:?}");
            assert!(listener.accept().now_or_never().is_none(), "{status:?}: nobody called");
        }
    }

    #[tokio::test]
    async fn redis_must_pong() {
        let password = "secret".to_owned();
        let address = answering(b"+OK\r\n+PONG\r\n").await;
        Probe::Redis { address, password: password.clone() }.check().await.unwrap();
        let address = answering(b"-WRONGPASS invalid username-password pair\r\n").await;
        let error = Probe::Redis { address, password: password.clone() }.check().await.unwrap_err().to_string();
        assert!(error.contains("WRONGPASS"), "{error}");
        let address = answering(b"+OK\r\n-LOADING Redis is loading the dataset in memory\r\n").await;
        let error = Probe::Redis { address, password }.check().await.unwrap_err().to_string();
        assert!(error.contains("LOADING"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_kafka_is_not_taken_for_one() {
        let kafka = |address| Kafka { address, password: "secret".to_owned() };
        let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        let error = Probe::Kafka(kafka(answering(http).await)).check().await.unwrap_err();
        assert!(format!("{error:#}").contains("is this Kafka?"), "{error:#}");
        // A broker that doesn't know the mechanism: correlation 1, error 33, no mechanisms.
        let other = b"\0\0\0\x0a\0\0\0\x01\0\x21\0\0\0\0";
        let error = format!("{:#}", Probe::Kafka(kafka(answering(other).await)).check().await.unwrap_err());
        assert!(error.contains("admin can't log in") && !error.contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn a_relay_that_is_not_ready_says_what_is_missing() {
        let no = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 74\r\n\r\n\
                   {\"status\":\"unready\",\"dependencies\":{\"redis\":{\"up\":false,\"detail\":\"away\"}}}";
        let address = answering(no).await;
        let error = Probe::Ready { url: format!("http://{address}/readyz") }.check().await.unwrap_err().to_string();
        assert_eq!(error, "the relay is unready: redis does not work: away");
    }

    #[tokio::test]
    async fn http_must_succeed() {
        let address = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        Probe::Http { url: format!("http://{address}/readyz") }.check().await.unwrap();
        let address = answering(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
        let error = Probe::Http { url: format!("http://{address}/readyz") }.check().await.unwrap_err().to_string();
        assert!(error.contains("503"), "{error}");
    }
}
