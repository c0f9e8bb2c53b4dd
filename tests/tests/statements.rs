//! Every SQL text of every component, prepared against the schema that the migrations make, as the role that runs it.
//!
//! A misspelt column or a parameter of the wrong type is found here, and not by the first customer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use towpath_stack::services::Services;
use towpath_tests::TestDatabases;

/// The texts of each service, by name.
const STATEMENTS: [(&str, &[(&str, &str)]); 4] = [
    ("product", towpath_product::store::STATEMENTS),
    ("inventory", towpath_inventory::store::STATEMENTS),
    ("order", towpath_order::store::STATEMENTS),
    ("payment", towpath_payment::store::STATEMENTS),
];

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let databases = TestDatabases::migrated().await;
    let mut faults = Vec::new();
    for (service, statements) in STATEMENTS {
        let url = databases.url_of_service(service);
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("the role logs in");
        tokio::spawn(connection);
        assert!(!statements.is_empty(), "{service} names no statement");
        for (name, sql) in statements {
            if let Err(cause) = client.prepare(sql).await {
                faults.push(format!("{service}::{name}: {}", cause.as_db_error().map_or("?", |cause| cause.message())));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_service_with_a_database_is_looked_at() {
    let services = Services::load().expect("relay.toml and spin.toml");
    let databases: BTreeSet<&str> = services.databases().collect();
    let looked_at = BTreeSet::from(STATEMENTS.map(|(service, _)| service));
    assert_eq!(looked_at, databases, "STATEMENTS in tests/tests/statements.rs, and relay.toml");
}

#[test]
fn no_statement_is_named_twice() {
    for (service, statements) in STATEMENTS {
        let names: BTreeSet<&str> = statements.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), statements.len(), "{service}");
    }
}

/// The relay's rule, looked at from this side: a component sends one statement at a time, and no other kind.
#[test]
fn every_statement_is_of_a_kind_that_the_relay_takes() {
    for (service, statements) in STATEMENTS {
        for (name, sql) in statements {
            let first = sql.split_whitespace().next().unwrap_or_default();
            let allowed = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "WITH"];
            assert!(allowed.contains(&first), "{service}::{name} begins with {first}");
        }
    }
}

/// Every text of SQL in a component's sources stands in its list, or the tests above don't see it.
#[test]
fn no_statement_is_left_out() {
    for (service, statements) in STATEMENTS {
        let listed: BTreeSet<&str> = statements.iter().map(|(_, sql)| *sql).collect();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../components").join(service).join("src");
        let (in_store, elsewhere): (Vec<_>, Vec<_>) =
            constants(&source).into_iter().partition(|(file, _)| file.ends_with("store.rs"));
        assert_eq!(in_store.len(), listed.len(), "{service}: texts in store.rs, and in STATEMENTS: {in_store:?}");
        assert!(elsewhere.is_empty(), "{service}: SQL belongs into store.rs: {elsewhere:?}");
    }
}

/// The names of all constants below a folder that are texts of SQL, private ones too, with their files.
fn constants(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for path in folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            found.extend(constants(&path));
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source");
        for (name, rest) in text.split("const ").skip(1).filter_map(|rest| rest.split_once(": &str =")) {
            let value = rest.split(";\n").next().unwrap_or_default().trim_start();
            let value = value.trim_start_matches("concat!(").trim_start_matches('"').trim_start();
            let begins = |word: &&str| value.starts_with(*word);
            if ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "MERGE ", "WITH ", "VALUES ", "select_"].iter().any(begins)
            {
                found.push((path.clone(), name.to_owned()));
            }
        }
    }
    found
}
