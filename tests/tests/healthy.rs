//! What a stack logs in which all is well: nothing that looks like trouble, or real trouble drowns. The stack is this binary's own,
//! from its first start to its stop.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use towpath_tests::{OwnStack, Shop, assert_refused};

/// All lines of a stack's logs, by the part.
fn logs(home: &Path) -> BTreeMap<String, Vec<String>> {
    let entries = fs::read_dir(home.join("logs")).expect("its logs");
    let files = entries.map(|entry| entry.expect("a log").path());
    files
        .map(|file| {
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            let text = String::from_utf8_lossy(&fs::read(&file).expect("readable")).into_owned();
            let part = name.strip_suffix(".log").unwrap_or_else(|| panic!("{name} is no log of a part"));
            (part.to_owned(), text.lines().map(str::to_owned).collect())
        })
        .collect()
}

/// Whether a line of this part's log tells of trouble.
fn tells_of_trouble(part: &str, line: &str) -> bool {
    let words = |words: &[&str]| words.iter().any(|word| line.contains(word));
    match part {
        part if part.starts_with("postgres-") => words(&["ERROR:", "FATAL:", "PANIC:", "WARNING:"]),
        "kafka" => words(&[" WARN ", " ERROR ", " FATAL ", "Exception", "OpenJDK 64-Bit Server VM warning"]),
        // `pid:role date time.ms level message`
        "redis" => line.split_whitespace().nth(5) == Some("#"),
        part if part.starts_with("relay") => serde_json::from_str::<Value>(line).map_or_else(
            |_| !line.starts_with("--- towpath"),
            |line| line["level"] == "WARN" || line["level"] == "ERROR",
        ),
        _ => words(&["WARN", "ERROR", "panicked"]),
    }
}

/// Runs the command while this test's own sessions come to their ends.
async fn meanwhile(own: OwnStack, arguments: &[&str]) -> OwnStack {
    let running = own.towpath_meanwhile(arguments);
    let ended = tokio::task::spawn_blocking(move || running.join()).await.expect("no panic");
    ended.expect("the command succeeds");
    own
}

/// The page that explains lines of servers which mean nothing.
fn operations() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    fs::read_to_string(page).expect("docs/operations.md")
}

/// What `line` says, as far as the page has it in backticks.
fn is_explained(page: &str, line: &str) -> bool {
    let section = page.split("\n## ").find(|part| part.starts_with("Logs of a stack")).expect("the section");
    section.replace('\n', " ").split('`').skip(1).step_by(2).any(|text| text.len() > 12 && line.contains(text))
}

#[tokio::test]
async fn a_stack_in_which_all_is_well_logs_no_trouble() {
    let own = OwnStack::start_with(&["--replicas", "2"], &[]);
    let shop = Shop::open_in(&own.stack);
    // What the README does: a product, its stock, an order that is paid; and what clients do wrong, which is no trouble either.
    let sku = shop.sku(10).await;
    let order = shop.place_and_wait(&shop.order_for(&sku, 2)).await;
    assert_eq!(order.status, "confirmed");
    shop.api.cancel(order.id).await.and_then(|answer| answer.expect(202)).expect("it is cancelled");
    shop.settled(order.id).await;
    let declined = shop.place_and_wait(&shop.order_for(&sku, 1).by("pm_card_chargeDeclined")).await;
    assert_eq!(declined.status, "rejected");
    let too_many = shop.place_and_wait(&shop.order_for(&sku, 11)).await;
    assert_eq!(too_many.status, "rejected");
    let nothing = shop.api.adjust_stock("NOTHING-LIKE-IT", 1, "first delivery", &Shop::fresh_key()).await;
    let _ = assert_refused(&nothing.expect("an answer"), 404, "unknown_sku");
    let too_few = shop.api.adjust_stock(&sku, -1000, "a mistake", &Shop::fresh_key()).await;
    let _ = assert_refused(&too_few.expect("an answer"), 409, "insufficient_stock");
    let key = Shop::fresh_key();
    for status in [201, 201, 422] {
        let pieces = if status == 422 { 2 } else { 1 };
        let answer = shop.api.adjust_stock(&sku, pieces, "once", &key).await.expect("an answer");
        assert_eq!(answer.status(), status, "{}", answer.text());
    }
    own.towpath(&["migrate"]);
    own.towpath(&["status"]);
    shop.close().await;
    let own = meanwhile(own, &["restart", "relay-2"]).await;
    // And once more, with the data that are there.
    let own = meanwhile(own, &["down"]).await.start_again();
    let own = meanwhile(own, &["down"]).await;

    let page = operations();
    let logs = logs(&own.stack.home);
    for part in ["kafka", "redis", "relay", "relay-2", "host", "host-2", "migrate", "up", "postgres-order"] {
        assert!(logs.get(part).is_some_and(|lines| !lines.is_empty()), "{part} has logged nothing: {:?}", logs.keys());
    }
    let trouble = logs.iter().flat_map(|(part, lines)| {
        let told = lines.iter().filter(|line| tells_of_trouble(part, line) && !is_explained(&page, line));
        told.map(move |line| format!("{part}: {line}"))
    });
    let trouble: Vec<String> = trouble.collect();
    assert!(trouble.is_empty(), "{} lines:\n{}", trouble.len(), trouble.join("\n"));
}
