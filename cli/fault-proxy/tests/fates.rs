//! Every fate on real sockets: what the client sees, and what the server got.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use towpath_fault_proxy::{Fate, Http, Proxy, Tcp, answer};

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that counts requests and answers with their number, and a proxy before it.
struct Counting {
    proxy: Proxy<Http>,
    client: reqwest::Client,
    requests: watch::Receiver<usize>,
    connections: Arc<AtomicUsize>,
}

impl Counting {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (count, requests) = watch::channel(0);
        let connections = Arc::new(AtomicUsize::new(0));
        let app = Router::new().fallback(number).with_state(count);
        let counted = Arc::clone(&connections);
        let listener = axum::serve::ListenerExt::tap_io(listener, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        let proxy = Proxy::before(&address).await.expect("a proxy");
        Self { proxy, client: reqwest::Client::new(), requests, connections }
    }

    /// Status and body of the answer; none where the connection breaks.
    async fn ask(&self, body: &'static str) -> Option<(u16, String)> {
        let request = self.client.post(format!("http://{}/path", self.proxy.address())).body(body);
        let answer = tokio::time::timeout(PATIENCE, request.send()).await.expect("an answer or an end").ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    async fn is_told(&mut self, count: usize) {
        let told = tokio::time::timeout(PATIENCE, self.requests.wait_for(|requests| *requests >= count)).await;
        told.expect("the server gets the request").expect("the server runs");
    }
}

async fn number(State(count): State<watch::Sender<usize>>, body: String) -> (StatusCode, String) {
    count.send_modify(|count| *count += 1);
    let number = *count.borrow();
    (StatusCode::OK, format!("{number} {body}"))
}

fn ok(text: &str) -> Option<(u16, String)> {
    Some((200, text.to_owned()))
}

#[tokio::test]
async fn what_is_not_broken_passes_on_one_connection() {
    let server = Counting::start().await;
    for round in 1..=3 {
        assert_eq!(server.ask("a").await, ok(&format!("{round} a")));
    }
    assert_eq!((server.connections.load(Ordering::SeqCst), server.proxy.struck()), (1, 0));
}

#[tokio::test]
async fn a_lost_request_never_arrives() {
    for fate in [Fate::Lost, Fate::LostUnnoticed] {
        let server = Counting::start().await;
        server.proxy.once(1, fate, |_| true);
        assert_eq!(server.ask("a").await, ok("1 a"));
        assert_eq!(server.ask("b").await, None);
        assert_eq!(server.ask("c").await, ok("2 c"));
        assert_eq!((server.connections.load(Ordering::SeqCst), server.proxy.struck()), (2, 1));
    }
}

#[tokio::test]
async fn a_server_that_is_not_told_keeps_its_side_open() {
    for (fate, told) in [(Fate::Lost, true), (Fate::LostUnnoticed, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::<Tcp>::before(&listener.local_addr().unwrap().to_string()).await.unwrap();
        proxy.rule(move |_| fate.clone());
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap_or(0), 0, "the client sees the end");
        if told {
            assert_eq!(server.read(&mut [0; 8]).await.unwrap_or(0), 0);
        } else {
            let nothing = server.try_read(&mut [0; 8]).expect_err("it is open and silent");
            assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
            drop(proxy);
            assert_eq!(server.read(&mut [0; 8]).await.unwrap_or(0), 0, "until the proxy goes");
        }
    }
}

#[tokio::test]
async fn an_answer_is_lost_after_its_request_arrived() {
    for fate in [Fate::Unanswered, Fate::AnswerLost] {
        let mut server = Counting::start().await;
        server.proxy.once(0, fate.clone(), |_| true);
        assert_eq!(server.ask("a").await, None, "{fate:?}");
        if fate == Fate::AnswerLost {
            server.is_told(1).await;
            assert_eq!(server.ask("b").await, ok("2 b"));
        }
    }
}

#[tokio::test]
async fn an_unanswered_request_is_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::<Tcp>::before(&listener.local_addr().unwrap().to_string()).await.unwrap();
    proxy.once(0, Fate::UnansweredForGood, |_| true);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"all of it").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut got = String::new();
    server.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "all of it");
    assert_eq!(client.read(&mut [0; 8]).await.unwrap_or(0), 0);
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(next.read(&mut [0; 8]).await.unwrap_or(0), 0, "nobody gets through any more");
}

#[tokio::test]
async fn the_proxy_answers_in_the_servers_place_on_a_connection_that_lives_on() {
    let server = Counting::start().await;
    assert_eq!(server.ask("a").await, ok("1 a"));
    server.proxy.once(0, Fate::Answered(answer(StatusCode::UNPROCESSABLE_ENTITY, "no")), |_| true);
    assert_eq!(server.ask("b").await, Some((422, "no".to_owned())));
    assert_eq!(server.ask("c").await, ok("2 c"), "the server has never heard of b");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_ignored_request_waits_as_long_as_its_client() {
    let server = Counting::start().await;
    server.proxy.once(0, Fate::Ignored, |_| true);
    tokio::select! {
        answer = server.ask("a") => panic!("{answer:?}"),
        () = server.proxy.until_struck(1) => {}
    }
    assert_eq!(server.ask("b").await, ok("1 b"));
}

#[tokio::test]
async fn a_rule_sees_each_request_and_pass_ends_it() {
    let server = Counting::start().await;
    let teapot = Fate::Answered(answer(StatusCode::IM_A_TEAPOT, ""));
    server.proxy.rule(move |request| if request.uri().path() == "/path" { teapot.clone() } else { Fate::Pass });
    assert_eq!(server.ask("a").await, Some((418, String::new())));
    assert_eq!(server.ask("b").await, Some((418, String::new())));
    server.proxy.pass();
    assert_eq!(server.ask("c").await, ok("1 c"));
    assert_eq!(server.proxy.struck(), 2);
}

#[tokio::test]
async fn a_shut_line_cuts_who_is_there_and_lets_nobody_in() {
    let server = Counting::start().await;
    assert_eq!(server.ask("a").await, ok("1 a"));
    let mut idle = TcpStream::connect(server.proxy.address()).await.unwrap();
    server.proxy.shut();
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(server.ask("b").await, None);
    server.proxy.open();
    assert_eq!(server.ask("c").await, ok("2 c"));
}

#[tokio::test]
async fn clients_of_a_server_that_is_down_are_refused_until_it_is_there() {
    // Until it listens, connections to it are refused.
    let server = TcpSocket::new_v4().unwrap();
    server.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let proxy = Proxy::<Tcp>::before(&server.local_addr().unwrap().to_string()).await.unwrap();
    let mut first = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(first.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(proxy.address()).await.is_err());
    let server = server.listen(16).unwrap();
    let looked_for = server.accept();
    let (_, mut client) = tokio::join!(looked_for, async {
        loop {
            match TcpStream::connect(proxy.address()).await {
                Ok(client) => return client,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    client.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    server.accept().await.unwrap().0.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
}

#[tokio::test]
async fn a_server_that_dies_takes_all_its_clients_with_it_and_those_who_come_back_at_once() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::<Tcp>::before(&server.local_addr().unwrap().to_string()).await.unwrap();
    let (mut clients, mut served) = (JoinSet::new(), Vec::new());
    for _ in 0..50 {
        let address = proxy.address();
        clients.spawn(async move {
            let mut client = TcpStream::connect(&address).await.unwrap();
            assert_eq!(client.read(&mut [0; 8]).await.unwrap_or(0), 0);
            // Refused, or hung up on.
            if let Ok(mut again) = TcpStream::connect(&address).await {
                assert_eq!(again.read(&mut [0; 8]).await.unwrap_or(0), 0);
            }
        });
        served.push(server.accept().await.unwrap());
    }
    drop((server, served));
    tokio::time::timeout(PATIENCE, clients.join_all()).await.expect("nobody is left waiting");
}

/// A server that stands still, with its queue full: whoever wants to connect to it waits.
async fn standing_still() -> io::Result<(TcpListener, Vec<TcpStream>)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(1)?;
    let address = listener.local_addr()?;
    let mut queue = Vec::new();
    // The kernel takes one or two more than it was told.
    while let Ok(taken) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
        queue.push(taken?);
    }
    Ok((listener, queue))
}

#[tokio::test]
async fn clients_do_not_wait_for_those_who_came_before_them_to_a_server_that_stands_still() {
    let (server, queue) = standing_still().await.unwrap();
    let proxy = Proxy::<Tcp>::before(&server.local_addr().unwrap().to_string()).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(TcpStream::connect(proxy.address()).await.unwrap());
    }
    // Only a proxy that isn't busy with the first of them lets go of all.
    proxy.shut();
    for mut client in clients {
        let end = tokio::time::timeout(PATIENCE, client.read(&mut [0; 8])).await;
        assert_eq!(end.expect("an end").unwrap_or(0), 0);
    }
    drop((server, queue));
}

#[tokio::test]
async fn much_passes_in_both_directions_at_once_and_each_ends_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::<Tcp>::before(&listener.local_addr().unwrap().to_string()).await.unwrap();
    let (there, back) = (vec![1; 8 << 20], vec![2; 8 << 20]);
    let say = async |stream: TcpStream, words: &[u8]| {
        let (mut read, mut write) = stream.into_split();
        let mut heard = Vec::new();
        let speaking = async {
            write.write_all(words).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(speaking, read.read_to_end(&mut heard));
        read.unwrap();
        heard
    };
    let client = async { say(TcpStream::connect(proxy.address()).await.unwrap(), &there).await };
    let server = async { say(listener.accept().await.unwrap().0, &back).await };
    let (heard_by_client, heard_by_server) = tokio::join!(client, server);
    assert!(heard_by_client == back && heard_by_server == there);
}
