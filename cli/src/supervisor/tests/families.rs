//! Parts whose work is done by what they start in turn, as `spin up`, `sh -c` and `npx` do.

use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;

use super::*;

/// Listens on a port until it is told to end, and writes down that it was told.
const SERVER: &str = r"
import signal, socket, sys, time
def end(*_):
    open('told', 'w').close()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
open('wrapped.ready', 'w').close()
while True:
    time.sleep(1)
";

/// A port that nobody has.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A shell that waits for a server, which it starts with the words of `before`.
fn wrapped(stage: &Stage, before: &str, port: u16) -> PartSpec {
    std::fs::write(stage.file("server.py"), SERVER).unwrap();
    stage.part("wrapped", &format!("{before} python3 server.py {port} & echo $! > server; wait"))
}

fn server(stage: &Stage) -> Option<Identity> {
    Identity::of(std::fs::read_to_string(stage.file("server")).ok()?.trim().parse().ok()?)
}

async fn gone(process: &Identity) {
    let gone = async {
        while process.is_alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, gone).await.expect("it ends");
}

/// Kills the first process of the part, and sees that another server has its port then.
async fn dies_and_comes_back(before: &str) {
    let (stage, port) = (Stage::new(), free_port());
    let supervisor = stage.supervisor(vec![wrapped(&stage, before, port)]);
    supervisor.boot(Vec::new()).await.unwrap();
    let (shell, first) = (stage.wait_for("wrapped", ready).await.unwrap(), server(&stage).unwrap());
    // The next one makes its own.
    std::fs::remove_file(stage.file("wrapped.ready")).unwrap();
    assert!(shell.signal(Signal::KILL));
    gone(&first).await;
    stage.wait_for("wrapped", |state, process| ready(state, process) && process.is_some_and(|now| *now != shell)).await;
    let second = server(&stage).unwrap();
    assert!(second.is_alive() && TcpStream::connect(("127.0.0.1", port)).is_ok());
    let said = std::fs::read_to_string(stage.home.log("wrapped")).unwrap();
    assert!(!said.contains("in use"), "{said}");
    assert!(!stage.file("told").exists(), "what a dead part has left is killed");
    shut_down(supervisor).await;
    assert!(!second.is_alive() && stage.file("told").exists(), "what a part has started is asked to end, and does");
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
}

fn ready(state: PartState, _: Option<&Identity>) -> bool {
    state == PartState::Ready
}

#[tokio::test]
async fn what_a_dead_part_has_started_dies_with_it() {
    dies_and_comes_back("").await;
}

#[tokio::test]
async fn what_a_dead_part_has_started_dies_with_it_also_outside_of_its_group() {
    dies_and_comes_back("setsid").await;
}

/// It may have ended by itself and well: what it has left has nobody who waits for it.
#[tokio::test]
async fn a_part_that_leaves_something_behind_says_so() {
    let stage = Stage::new();
    let supervisor = stage.supervisor(vec![stage.part("hasty", "sleep 300 & echo $! > server; exit 7")]);
    let error = supervisor.boot(Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("exit status 7") && error.contains("what it had left is killed: sleep (pid"), "{error}");
    shut_down(supervisor).await;
    assert_eq!(server(&stage), None);
}

/// As after `kill -9` of `towpath up`, where the kernel's signal reaches the first process of each part alone.
#[tokio::test]
async fn the_next_supervisor_ends_what_the_parts_of_a_killed_one_had_started() {
    let (stage, port) = (Stage::new(), free_port());
    let part = wrapped(&stage, "setsid", port);
    let mut shell = part.launch.command(StopSignal::Terminate);
    let mut shell = shell.env(towpath_stack::process::MARK, stage.home.log("wrapped")).spawn().unwrap();
    let ready = async {
        while !stage.file("wrapped.ready").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, ready).await.expect("it listens");
    let left = server(&stage).unwrap();
    shell.kill().await.unwrap();
    assert!(left.is_alive());
    let lock = stage.home.lock().unwrap().unwrap();
    assert_eq!(stop_leftovers(&stage.home, &lock).await.unwrap(), ["wrapped"]);
    assert!(!left.is_alive() && stage.file("told").exists());
    assert!(stop_leftovers(&stage.home, &lock).await.unwrap().is_empty());
}

/// What listens there answers in the part's place, and the part can't: its own last words would be all that one sees.
#[tokio::test]
async fn who_holds_the_port_of_a_part_that_dies_again_and_again_is_named_in_the_state() {
    let stage = Stage::new();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut part = stage.part("hasty", "exit 7");
    part.address = stranger.local_addr().unwrap().to_string();
    let supervisor = stage.supervisor(vec![part]);
    let error = supervisor.boot(Vec::new()).await.unwrap_err().to_string();
    let held = format!("died (exit status 7); {} is held by ", stranger.local_addr().unwrap());
    let named = format!("(pid {})", std::process::id());
    assert!(error.contains(&held) && error.contains(&named), "{error}");
    // While it starts, it is what the probe said.
    let said = async {
        loop {
            let state = State::load(&stage.home).unwrap().unwrap();
            let row = crate::screen::table(&crate::commands::status::rows(&state)).remove(0);
            if row.contains(&held) && row.contains("deaths in a row") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, said).await.expect("`status` says it");
    shut_down(supervisor).await;
}
