//! A Redis of the test's own, that it may stop and kill.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::{eventually, free_port};

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
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill").success());
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
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
