//! A Redis of the test's own, that it may stop and kill.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::support::{eventually, free_port, send_signal, variable};

pub(crate) struct RedisServer {
    pub(crate) url: String,
    port: u16,
    folder: PathBuf,
    child: Child,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("towpath-redis-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let child = spawn(port, &folder);
        let server = Self { url: format!("redis://127.0.0.1:{port}"), port, folder, child };
        server.answers().await;
        server
    }

    async fn answers(&self) {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        eventually("redis-server answers", async || client.get_multiplexed_async_connection().await.map(drop)).await;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        command.query_async(&mut connection).await.unwrap()
    }

    /// It becomes the replica of another, and has what that one has.
    pub(crate) async fn follows(&self, master: &Self) {
        self.ask::<()>(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(master.port)).await;
        eventually("it follows", async || {
            let info: String = self.ask(redis::cmd("INFO").arg("replication")).await;
            if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
        })
        .await;
    }

    /// It is the replica of nobody.
    pub(crate) async fn leads(&self) {
        self.ask::<()>(redis::cmd("REPLICAOF").arg("NO").arg("ONE")).await;
    }

    /// How many keys it has.
    pub(crate) async fn keys(&self) -> usize {
        self.ask(&redis::cmd("DBSIZE")).await
    }

    /// It stands still: connections stay open, nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        send_signal(self.child.id(), signal);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// On the same port.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(self.port, &self.folder);
        self.answers().await;
    }
}

fn spawn(port: u16, folder: &PathBuf) -> Child {
    let program = variable("TOWPATH_TEST_REDIS_SERVER");
    Command::new(&program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--repl-diskless-sync-delay", "0", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|cause| panic!("{program} doesn't start: {cause}"))
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
