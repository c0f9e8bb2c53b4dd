//! A TCP proxy before one broker, that can be cut. A broker names its own address in its answers, and clients follow it;
//! so the proxy puts its own port in its place.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Up,
    /// Nobody gets through, and who is connected is cut off.
    Down,
    /// What clients send arrives; what the broker answers is lost, and the connection breaks.
    Deaf,
}

pub(crate) struct KafkaProxy {
    /// What clients connect to.
    pub(crate) address: String,
    line: Arc<watch::Sender<Line>>,
    server: tokio::task::JoinHandle<()>,
}

impl KafkaProxy {
    pub(crate) async fn start(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let line = Arc::new(watch::Sender::new(Line::Up));
        let (broker, state) = (broker.to_owned(), Arc::clone(&line));
        let server = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                if *state.borrow() == Line::Down {
                    continue;
                }
                tokio::spawn(carry(client, broker.clone(), port, state.subscribe()));
            }
        });
        Self { address: format!("127.0.0.1:{port}"), line, server }
    }

    pub(crate) fn cut(&self) {
        self.line.send_replace(Line::Down);
    }

    /// Cuts the line behind the next request of each connection: it arrives, and its answer doesn't.
    pub(crate) fn cut_answers(&self) {
        self.line.send_replace(Line::Deaf);
    }

    pub(crate) fn mend(&self) {
        self.line.send_replace(Line::Up);
    }
}

impl Drop for KafkaProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn carry(client: TcpStream, broker: String, port: u16, mut line: watch::Receiver<Line>) {
    let Ok(server) = TcpStream::connect(&broker).await else { return };
    let broker_port: u16 = broker.rsplit(':').next().and_then(|port| port.parse().ok()).expect("host:port");
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answers = line.clone();
    tokio::select! {
        () = copy(from_client, to_server) => {}
        () = rewrite(from_server, to_client, broker_port, port, answers) => {}
        _ = line.wait_for(|line| *line == Line::Down) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

/// Carries answers, frame by frame.
async fn rewrite(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, old: u16, new: u16, line: watch::Receiver<Line>) {
    let address = |port: u16| [b"127.0.0.1".as_slice(), &u32::from(port).to_be_bytes()].concat();
    let (old, new) = (address(old), address(new));
    loop {
        let Ok(length) = from.read_u32().await else { return };
        let mut frame = vec![0; length as usize];
        if from.read_exact(&mut frame).await.is_err() {
            return;
        }
        if *line.borrow() == Line::Deaf {
            return;
        }
        let mut at = 0;
        while let Some(found) = frame[at..].windows(old.len()).position(|window| window == old) {
            frame[at + found..at + found + old.len()].copy_from_slice(&new);
            at += found + old.len();
        }
        if to.write_u32(length).await.is_err() || to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// The proxy by itself: a client sees only it, and what it cuts is cut.
#[tokio::test]
async fn clients_stay_behind_the_proxy() {
    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let servers = crate::support::Servers::from_env();
    let proxy = KafkaProxy::start(&servers.kafka).await;
    let metadata = async |address: String| {
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer =
                ClientConfig::new().set("bootstrap.servers", &address).create().expect("a consumer");
            let metadata = consumer.fetch_metadata(None, Duration::from_secs(2)).ok()?;
            let broker = &metadata.brokers()[0];
            Some(format!("{}:{}", broker.host(), broker.port()))
        })
        .await
        .expect("asks")
    };
    assert_eq!(metadata(proxy.address.clone()).await, Some(proxy.address.clone()));
    proxy.cut();
    assert_eq!(metadata(proxy.address.clone()).await, None);
    proxy.mend();
    assert_eq!(metadata(proxy.address.clone()).await, Some(proxy.address.clone()));
}
