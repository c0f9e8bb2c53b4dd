//! Whether a part answers. Each kind is asked in its own protocol: an open port alone says nothing.
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use towpath_stack::home::Home;
use towpath_stack::state::{Phase, State};

use crate::readiness::Readiness;

/// One answer may take this long.
const PATIENCE: Duration = Duration::from_secs(2);
/// A metadata answer of one broker without topics is some hundred bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How to see that a part is ready.
#[derive(Clone)]
pub(crate) enum Probe {
    /// `SELECT 1` as the superuser.
    Postgres { url: String },
    /// A metadata answer that lists a broker.
    Kafka { address: String },
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
        match tokio::time::timeout(PATIENCE, self.ask()).await {
            Ok(answer) => answer,
            Err(_) => bail!("no answer within {} s", PATIENCE.as_secs()),
        }
    }

    async fn ask(&self) -> Result<()> {
        match self {
            Self::Postgres { url } => postgres(url).await,
            Self::Kafka { address } => kafka(address).await,
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

async fn postgres(url: &str) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let answer = client.simple_query("SELECT 1").await;
    connection.abort();
    answer?;
    Ok(())
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
    client.get(url).send().await.context("no answer")
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

/// Kafka's `Metadata` request, version 4, for no topic at all.
async fn kafka(address: &str) -> Result<()> {
    const METADATA: i16 = 3;
    const VERSION: i16 = 4;
    let client = b"towpath";
    let mut request = Vec::new();
    request.extend(METADATA.to_be_bytes());
    request.extend(VERSION.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend((client.len() as i16).to_be_bytes());
    request.extend(client);
    request.extend(0_i32.to_be_bytes());
    request.push(0);
    let mut stream = TcpStream::connect(address).await?;
    stream.write_i32(request.len() as i32).await?;
    stream.write_all(&request).await?;
    let length = usize::try_from(stream.read_i32().await?)?;
    ensure!(length <= MAX_ANSWER_BYTES, "an answer of {length} bytes: is this Kafka?");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    let brokers = brokers(&answer).context("an answer that is no metadata: is this Kafka?")?;
    ensure!(brokers > 0, "no broker is registered yet");
    Ok(())
}

/// Correlation id (4 bytes), throttle time (4), then the number of brokers.
fn brokers(answer: &[u8]) -> Option<i32> {
    let count = answer.get(8..12)?.try_into().ok().map(i32::from_be_bytes)?;
    (answer.get(..4)? == 1_i32.to_be_bytes()).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
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
    async fn kafka_must_list_a_broker() {
        let one = b"\0\0\0\x0c\0\0\0\x01\0\0\0\0\0\0\0\x01";
        Probe::Kafka { address: answering(one).await }.check().await.unwrap();
        let none = b"\0\0\0\x0c\0\0\0\x01\0\0\0\0\0\0\0\0";
        let error = Probe::Kafka { address: answering(none).await }.check().await.unwrap_err().to_string();
        assert!(error.contains("no broker"), "{error}");
        let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        assert!(Probe::Kafka { address: answering(http).await }.check().await.is_err());
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
