//! What the README says of other applications, and the README of a new one, run word by word. Only addresses differ: the servers of a
//! test have ports of their own.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Outcome, outcome, repository};
use towpath_stack::testing::TempDir;

/// A block of code of a page.
struct Block {
    language: String,
    /// Where the line before it says that it belongs: the last word in backticks, if the line ends with a colon.
    file: Option<String>,
    text: String,
}

/// The blocks of a part of a page: what stands under this title, up to the next one that is no part of it.
fn blocks(page: &str, title: &str) -> Vec<Block> {
    let level = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
    let part = page.split_once(&format!("\n{title}\n")).unwrap_or_else(|| panic!("no {title}")).1;
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = part.lines();
    while let Some(line) = lines.next() {
        if (1..=level(title)).contains(&level(line)) {
            break;
        }
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let named = before.strip_suffix("`:").filter(|_| language != "sh");
            let file = named.and_then(|rest| rest.rsplit('`').next()).map(str::to_owned);
            blocks.push(Block { language: language.to_owned(), file, text: text.join("\n") + "\n" });
        } else if !line.is_empty() {
            before = line;
        }
    }
    blocks
}

/// The commands of these blocks, one after the other, as a shell takes them.
fn commands<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> String {
    blocks.into_iter().filter(|block| block.language == "sh").map(|block| block.text.as_str()).collect()
}

/// The folder of the programs under test.
fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_towpath")).parent().unwrap()
}

/// Runs a script in a folder. It ends at the first command that fails.
fn run(folder: &Path, script: &str, prepare: impl FnOnce(&mut Command)) -> Outcome {
    let mut shell = Command::new("bash");
    shell
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", programs().parent().unwrap());
    for variable in ["TOWPATH_HOME", "TOWPATH_ROOT", "TOWPATH_STEPS", "RUSTC_WORKSPACE_WRAPPER"] {
        shell.env_remove(variable);
    }
    prepare(&mut shell);
    outcome(&mut shell)
}

/// Stops the application's stack, however the test ends.
struct Application(PathBuf);

impl Drop for Application {
    fn drop(&mut self) {
        let stopped = run(&self.0, "towpath down", with_checkout).stderr;
        if std::thread::panicking() {
            eprintln!("the end of the application's stack: {stopped}");
        }
    }
}

fn with_checkout(shell: &mut Command) {
    let path = std::env::var("PATH").unwrap();
    shell.env("PATH", format!("{}:{path}", repository().display())).env("TOWPATH_PORTS", "auto");
}

#[test]
fn a_new_application_does_what_its_readme_says() {
    let home = TempDir::new();
    let folder = home.path().join("shop-reviews");
    let made = run(home.path(), "towpath new shop-reviews", with_checkout).expect(0, &["Made shop-reviews"]);
    assert!(made.stdout.starts_with("  cd shop-reviews\n"), "{}", made.stdout);
    run(home.path(), "towpath new shop-reviews", with_checkout).expect(1, &["is not empty", "--dir"]);
    let application = Application(folder.clone());

    let page = fs::read_to_string(folder.join("README.md")).unwrap();
    let script = commands(&blocks(&page, "## Run it"));
    let linted = |shell: &mut Command| {
        with_checkout(shell);
        // The compiler with clippy's lints: as `cargo clippy` calls it, and without compiling twice.
        shell.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver").env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    };
    let ran = run(&folder, &script, linted).expect(0, &["Towpath is up"]);
    assert!(ran.stdout.contains("test result: ok"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\"words\":4"), "the event has come back: {}", ran.stdout);
    assert!(ran.stdout.contains("the towpath at dawn |     4"), "and is written down: {}", ran.stdout);
    assert!(folder.join(".towpath/data/postgres-shop-reviews").exists(), "its data stand in its own folder");
    // What belongs to the shop is refused by name.
    for command in ["audit", "bench", "chaos", "test"] {
        run(&folder, &format!("towpath {command}"), with_checkout).expect(1, &["is another application"]);
    }
    drop(application);
    run(&folder, "cargo fmt --check", with_checkout).expect(0, &[]);
}

/// On a stack of its own, which a newcomer has from `./towpath up`: only its address differs.
#[test]
fn the_readmes_walk_through_the_api_does_what_it_says() {
    let home = support::Home::new();
    home.towpath(&["up", "--detach", "--no-build", "--ports", "auto"]).expect(0, &["Towpath is up"]);
    let url = home.towpath(&["status", "--json"]).expect(0, &[]).json()["url"].as_str().unwrap().to_owned();
    let page = fs::read_to_string(repository().join("README.md")).unwrap();
    let walk = commands(&blocks(&page, "## A walk through the API"));
    assert!(walk.contains("http://127.0.0.1:3000"), "{walk}");
    let walk = walk.replace("http://127.0.0.1:3000", &url);
    let at_home = |shell: &mut Command| {
        shell.env("TOWPATH_HOME", home.path());
    };
    let ran = run(repository(), &walk, at_home).expect(0, &[]);
    for said in [
        "HTTP/1.1 201 Created",
        "\"sku\":\"LANTERN-1\",\"delta\":10,\"reason\":\"delivery\"",
        "\"status\":\"confirmed\",\"reason\":null,\"total\":{\"amount\":8400,\"currency\":\"EUR\"}",
        "\"type\":\"order.confirmed\"",
        "\"status\":\"captured\"",
        "{\"sku\":\"LANTERN-1\",\"on_hand\":",
        "\"status\":\"cancelled\",\"reason\":\"requested_by_customer\"",
        "UPDATE 1\n",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("\"code\":"), "no answer is a problem: {}", ran.stdout);
    // The first answer again, and a total that is another.
    let order = |key: &str, total: u32| {
        let body = format!(
            "{{\"customer_id\": \"c-1\", \"lines\": [{{\"sku\": \"LANTERN-1\", \"quantity\": 2}}], \
             \"payment_method\": \"pm_card_visa\", \"expected_total\": {{\"amount\": {total}, \"currency\": \"EUR\"}}}}"
        );
        let line = "curl -s $1/v1/orders -H \"idempotency-key: $2\" -H 'content-type: application/json' -d \"$3\"";
        outcome(Command::new("bash").args(["-c", line, "bash", &url, key, &body])).expect(0, &[]).json()
    };
    assert_eq!(order("order-2", 8400)["id"], order("order-2", 8400)["id"]);
    let (first, new) = (order("order-2", 8400)["id"].clone(), order("order-3", 1)["code"].clone());
    assert!(ran.stdout.contains(first.as_str().unwrap()), "order-2 is the order of the walk");
    assert_eq!(new, "price_changed");
}

/// A component in another language than Rust is built from PyPI or npm, which is done by hand: here what needs no network.
fn is_made_in(language: &str, tests: &str, passed: &[&str], missing: &[&str]) {
    let home = TempDir::new();
    let new = format!("towpath new shop-reviews --language {language}");
    let made = run(home.path(), &new, with_checkout).expect(0, &["Made"]);
    assert!(made.stdout.contains(&format!("  {tests}\n")), "{}", made.stdout);
    let folder = home.path().join("shop-reviews");
    let ran = run(&folder, &format!("{tests} 2>&1"), with_checkout).expect(0, &[]);
    assert!(passed.iter().all(|said| ran.stdout.contains(said)), "{}", ran.stdout);
    let services =
        towpath_stack::services::Services::read(&folder.join("relay.toml"), &folder.join("spin.toml")).unwrap();
    assert_eq!(services.components()[0].build.as_deref(), Some("sh build.sh"));
    // Without the language's own program, the build says what is missing.
    run(&folder, "PATH=/nowhere /bin/sh build.sh", with_checkout).expect(1, missing);
}

#[test]
fn a_new_application_in_python_passes_its_tests() {
    let missing = ["Python 3.10 or newer", "apt-get install python3"];
    is_made_in("python", "python3 -m unittest", &["Ran 5 tests", "OK"], &missing);
}

#[test]
fn a_new_application_in_javascript_passes_its_tests() {
    is_made_in("javascript", "node --test", &["pass 5", "fail 0"], &["Node.js 20 or newer with npm", "nodejs.org"]);
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `./towpath test` starts the servers"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_readme_runs_the_relay_alone() {
    let home = TempDir::new();
    let page = fs::read_to_string(repository().join("README.md")).unwrap();
    let blocks = blocks(&page, "### The relay alone");
    let (postgres, ports) = (variable("TOWPATH_TEST_POSTGRES"), [free_port(), free_port()]);
    let postgres = postgres.trim_start_matches("postgres://").trim_end_matches("/postgres");
    let server = postgres.rsplit('@').next().unwrap();
    let here = |text: &str| {
        text.replace("postgres:secret@127.0.0.1:5432", postgres)
            .replace("127.0.0.1:5432", server)
            .replace("127.0.0.1:9092", &variable("TOWPATH_TEST_KAFKA"))
            .replace("redis://127.0.0.1:6379", &variable("TOWPATH_TEST_REDIS"))
            .replace("127.0.0.1:7070", &format!("127.0.0.1:{}", ports[0]))
            .replace("127.0.0.1:7071", &format!("127.0.0.1:{}", ports[1]))
    };
    for block in &blocks {
        if let Some(file) = &block.file {
            let file = home.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, here(&block.text)).unwrap();
        }
    }
    // The relay is left running by the page, and ended by this line.
    let script = format!("trap 'kill %1; wait' EXIT\n{}", here(&commands(&blocks)));
    let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap());
    let ran = run(home.path(), &script, |shell| {
        shell.env("PATH", path);
    })
    .expect(0, &[]);
    assert!(ran.stdout.contains("relay.toml is valid: 1 services"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\"affected\":1") && ran.stdout.contains("\"event_ids\":[\""), "{}", ran.stdout);
}
