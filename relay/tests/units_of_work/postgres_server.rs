//! A PostgreSQL of the test's own, that it may stop and make a standby.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tokio_postgres::NoTls;

use super::support::{Servers, eventually, free_port, send_signal};

pub(crate) struct PostgresServer {
    /// A superuser's.
    pub(crate) url: String,
    port: u16,
    folder: PathBuf,
    programs: PathBuf,
    owner: (u32, u32),
    child: Child,
}

impl PostgresServer {
    /// With the programs of the common server, and as its user: PostgreSQL doesn't run as root.
    pub(crate) async fn start() -> Self {
        let (client, connection) =
            tokio_postgres::connect(&Servers::from_env().postgres, NoTls).await.expect("a server");
        tokio::spawn(connection);
        let sql = "SELECT (SELECT setting FROM pg_config WHERE name = 'BINDIR'), current_setting('data_directory')";
        let row = client.query_one(sql, &[]).await.expect("where it is");
        let data = std::fs::metadata(row.get::<_, &str>(1)).expect("its folder");
        let (programs, owner) = (PathBuf::from(row.get::<_, &str>(0)), (data.uid(), data.gid()));
        let folder = std::env::temp_dir().join(format!("towpath-postgres-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).expect("a folder");
        chown(&folder, Some(owner.0), Some(owner.1)).expect("its owner");
        let made = program(&programs, "initdb", owner, &folder)
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"])
            .status()
            .expect("initdb runs");
        assert!(made.success(), "initdb: {made}");
        let port = free_port();
        let child = spawn(&programs, owner, &folder, port);
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let server = Self { url, port, folder, programs, owner, child };
        server.answers("f").await;
        server
    }

    /// Restarts as a standby that waits for a log which never comes.
    pub(crate) async fn become_standby(&mut self) {
        send_signal(self.child.id(), Signal::INT);
        self.child.wait().expect("it ends");
        std::fs::write(self.folder.join("standby.signal"), "").expect("a file");
        self.child = spawn(&self.programs, self.owner, &self.folder, self.port);
        self.answers("t").await;
    }

    pub(crate) async fn promote(&self) {
        self.ask("SELECT pg_promote()::text").await.expect("it is promoted");
        self.answers("f").await;
    }

    /// Until it answers, and says whether it is in recovery.
    async fn answers(&self, recovery: &str) {
        eventually("postgres answers", async || match self.ask("SELECT pg_is_in_recovery()::text").await {
            Ok(answer) if answer.starts_with(recovery) => Ok(()),
            other => Err(other),
        })
        .await;
    }

    async fn ask(&self, sql: &str) -> Result<String, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client.query_one(sql, &[]).await?.get(0))
    }
}

fn program(programs: &Path, name: &str, (user, group): (u32, u32), folder: &Path) -> Command {
    let mut command = Command::new(programs.join(name));
    command.uid(user).gid(group).current_dir("/").arg("-D").arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn spawn(programs: &Path, owner: (u32, u32), folder: &Path, port: u16) -> Child {
    let settings = ["fsync=off", "unix_socket_directories=", "listen_addresses=127.0.0.1", "max_connections=50"];
    let settings = settings.into_iter().flat_map(|setting| ["-c", setting]);
    program(programs, "postgres", owner, folder)
        .args(["-p", &port.to_string()])
        .args(settings)
        .spawn()
        .expect("postgres starts")
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // At once: the postmaster takes its children with it.
        send_signal(self.child.id(), Signal::QUIT);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
