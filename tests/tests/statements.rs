//! Every SQL text of every component, prepared against the schema that the migrations make, as the role that runs it.
//!
//! A misspelt column or a parameter of the wrong type is found here, and not by the first customer.

use std::collections::BTreeSet;
use std::path::Path;

use towpath_component_testing::sources::texts;
use towpath_stack::services::Services;
use towpath_tests::TestDatabases;

/// The texts of each service, by name.
const STATEMENTS: &[(&str, &[Texts])] = &[
    ("product", &[towpath_product::store::STATEMENTS]),
    ("inventory", &[towpath_inventory::store::STATEMENTS]),
    ("order", &[towpath_order::store::STATEMENTS]),
    ("payment", &[towpath_payment::store::STATEMENTS, towpath_payment::provider::sandbox::store::STATEMENTS]),
];
/// Those of one `store.rs`, by name.
type Texts = &'static [(&'static str, &'static str)];

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
        for (name, sql) in statements.concat() {
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
    let looked_at = STATEMENTS.iter().map(|(service, _)| *service).collect::<BTreeSet<_>>();
    assert_eq!(looked_at, databases, "STATEMENTS in tests/tests/statements.rs, and relay.toml");
}

/// The relay writes a time as RFC 3339 and takes no other form back; PostgreSQL's own text of it is another one.
#[test]
fn no_time_is_read_as_the_database_writes_it() {
    for (service, statements) in STATEMENTS {
        for (name, sql) in statements.concat() {
            assert!(!sql.contains("_at::text"), "{service}::{name} can't give that time back to the relay");
        }
    }
}

#[test]
fn no_statement_is_named_twice() {
    for (service, statements) in STATEMENTS {
        let statements = statements.concat();
        let names: BTreeSet<&str> = statements.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), statements.len(), "{service}");
    }
}

/// The relay's rule, looked at from this side: a component sends one statement at a time, and no other kind.
#[test]
fn every_statement_is_of_a_kind_that_the_relay_takes() {
    for (service, statements) in STATEMENTS {
        for (name, sql) in statements.concat() {
            let first = sql.split_whitespace().next().unwrap_or_default();
            let allowed = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "WITH"];
            assert!(allowed.contains(&first), "{service}::{name} begins with {first}");
        }
    }
}

/// Every text of SQL in a component's sources stands in its list, or the tests above don't see it.
#[test]
fn no_statement_is_left_out() {
    let mut faults = Vec::new();
    for (service, statements) in STATEMENTS {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../components").join(service).join("src");
        let mut found = 0;
        for (file, text) in texts(&source).into_iter().filter(|(_, text)| is_sql(text)) {
            found += 1;
            if !file.ends_with("store.rs") {
                faults.push(format!("{}: SQL belongs into store.rs: {text}", file.display()));
            }
            if !statements.iter().copied().flatten().any(|(_, sql)| sql.contains(&text)) {
                faults.push(format!("{}: no statement of STATEMENTS has this text: {text}", file.display()));
            }
        }
        assert!(found > 0, "{service}: no text of SQL was found in its sources");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn texts_of_sql_are_told_from_others() {
    assert!(is_sql("DELETE FROM lines") && is_sql(" FROM products WHERE id = $1") && is_sql("UPDATE x SET y = 1"));
    assert!(!is_sql("/v1/orders") && !is_sql("Select a product first.") && !is_sql("WITH"));
}

/// Whether a text is SQL, or the part of a statement that is put together.
fn is_sql(text: &str) -> bool {
    let begins = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "MERGE ", "WITH ", "VALUES "];
    let has = [" FROM ", " INTO ", " SET ", " WHERE ", " VALUES ", " RETURNING ", " ORDER BY "];
    begins.iter().any(|word| text.trim_start().starts_with(word)) || has.iter().any(|word| text.contains(word))
}
