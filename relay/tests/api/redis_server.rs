//! A Redis of the test's own, that it may stop and kill.

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
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
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
