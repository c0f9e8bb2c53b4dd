//! What isn't allowed never reaches PostgreSQL, and what PostgreSQL refuses is told well.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use towpath_relay::postgres::statement;
use towpath_wire::Code;

use super::Work;

#[tokio::test]
async fn transaction_control_and_its_like_are_refused_before_anything_runs() {
    let work = Work::new("CREATE TABLE t (id int)").await;
    for sql in [
        "COMMIT",
        "ROLLBACK",
        "begin",
        "SAVEPOINT a",
        "SET statement_timeout = 0",
        "RESET ALL",
        "COPY t FROM '/etc/passwd'",
        "DO $$ BEGIN END $$",
        "CALL p()",
        "CREATE TABLE x (id int)",
        "TRUNCATE t",
        "LISTEN x",
        "LOCK t",
        "EXPLAIN SELECT 1",
        "PREPARE x AS SELECT 1",
        "VACUUM",
        "SELECT 1; COMMIT",
        "/* SELECT */ COMMIT",
        "SELECT 1 INTO x",
        "SELECT * FROM towpath.outbox",
        "",
    ] {
        let unit = json!({"steps": [{"sql": "INSERT INTO t VALUES (1)"}, {"sql": sql, "label": "bad"}]});
        let failure = work.refused(Code::StatementRefused, unit).await;
        assert_eq!((failure.problem.status, failure.problem.step.map(|step| step.index)), (422, Some(1)), "{sql}");
    }
    assert_eq!(work.see("SELECT count(*) FROM t").await, "0");
    let kinds = json!({"steps": [
        {"sql": "INSERT INTO t VALUES (1);"}, {"sql": "UPDATE t SET id = 2"}, {"sql": "DELETE FROM t"}, {"sql": "VALUES (1)"},
        {"sql": "MERGE INTO t USING (VALUES (7)) AS s (id) ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id)"},
        {"sql": "WITH x AS (SELECT id FROM t) SELECT * FROM x"}, {"sql": "(SELECT 1) UNION (SELECT 2)"},
    ]});
    let affected: Vec<u64> = work.run(kinds).await.expect("the six kinds").results.iter().map(|r| r.affected).collect();
    assert_eq!(affected, [1, 1, 1, 1, 1, 1, 2]);
}

#[tokio::test]
async fn errors_say_what_whose_and_where() {
    let work = Work::new("CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, p int CONSTRAINT p_fk REFERENCES parent \
        DEFERRABLE INITIALLY DEFERRED, n int NOT NULL CONSTRAINT positive CHECK (n > 0))").await;
    let code = |unit: Value| {
        let work = &work;
        async move { work.run(unit).await.expect_err("refused").problem }
    };
    let one = |sql: &str| json!({"steps": [{"sql": sql}]});
    for (sql, expected, sqlstate, constraint) in [
        ("INSERT INTO t VALUES (1, NULL, 0)", Code::ConstraintViolation, "23514", Some("positive")),
        ("INSERT INTO t VALUES (1, NULL, NULL)", Code::ConstraintViolation, "23502", None),
        ("INSERT INTO t VALUES (1, 7, 1)", Code::ConstraintViolation, "23503", Some("p_fk")),
        ("SELECT * FROM nothing", Code::StatementFailed, "42P01", None),
        ("SELEC 1", Code::StatementRefused, "", None),
        ("SELECT (", Code::StatementFailed, "42601", None),
        ("SELECT 1 / 0", Code::StatementFailed, "22012", None),
        ("SELECT $1 || $2", Code::InvalidParameter, "", None),
    ] {
        let problem = code(one(sql)).await;
        assert_eq!((problem.code, problem.sqlstate.unwrap_or_default().as_str()), (expected, sqlstate), "{sql}");
        assert_eq!(problem.constraint.as_deref(), constraint, "{sql}");
        assert_eq!(problem.code.fault(), towpath_wire::Fault::Caller, "{sql}");
    }
    let detail = code(one("INSERT INTO parent VALUES (1), (1)")).await.detail;
    assert!(detail.contains("parent_pkey") && !detail.contains("Key (id)"), "no row is quoted: {detail}");
    let misspelt = code(one("SELECT 'ü', o FROM parent")).await;
    assert_eq!((misspelt.position, misspelt.sqlstate.as_deref()), (Some(13), Some("42703")));
    let hinted = code(one("SELECT idd FROM parent")).await;
    assert!(hinted.hint.as_deref().is_some_and(|hint| hint.contains("parent.id")), "{hinted:?}");
    assert_eq!(code(one("INSERT INTO t VALUES (1, NULL, NULL)")).await.column.as_deref(), Some("n"));
    let counted = json!({"steps": [{"sql": "SELECT $1::int, $2::int", "params": [1]}]});
    let problem = code(counted).await;
    assert_eq!((problem.code, problem.parameter), (Code::InvalidParameter, Some(2)));
}

#[tokio::test]
async fn a_type_without_a_form_in_json_asks_for_a_cast() {
    let work = Work::new("").await;
    let failure =
        work.refused(Code::StatementRefused, json!({"steps": [{"sql": "SELECT 1 AS a, point(1, 2) AS place"}]})).await;
    assert!(
        failure.problem.detail.contains("column 2 (\"place\") is of type point")
            && failure.problem.detail.contains("cast it to text")
    );
    let cast =
        work.run(json!({"steps": [{"sql": "SELECT point(1, 2)::text, $1::inet::text", "params": ["10.0.0.1"]}]})).await;
    assert_eq!(cast.expect("cast").results[0].rows, [[json!("(1,2)"), json!("10.0.0.1/32")]]);
}

/// A migration while a relay runs: statements that it has prepared go on working.
#[tokio::test]
async fn statements_survive_a_change_of_the_schema() {
    let work = Work::new("CREATE TABLE t (id int, v varchar(3)); INSERT INTO t VALUES (1, 'a')").await;
    let select = json!({"steps": [{"sql": "SELECT * FROM t"}]});
    let insert = json!({"steps": [{"sql": "INSERT INTO t (id, v) VALUES (2, $1)", "params": ["abcde"]}]});
    assert_eq!(work.run(select.clone()).await.expect("rows").results[0].columns, ["id", "v"]);
    assert_eq!(work.refused(Code::InvalidParameter, insert.clone()).await.problem.parameter, Some(1));
    work.setup.execute("alpha", "ALTER TABLE t ADD COLUMN more int; ALTER TABLE t ALTER v TYPE varchar(5)").await;
    assert_eq!(work.run(select).await.expect("rows").results[0].columns, ["id", "v", "more"]);
    work.run(insert).await.expect("it fits now");
    assert_eq!(work.query(json!({"sql": "SELECT * FROM t"})).await.expect("rows").rows.len(), 2);
    work.setup.execute("alpha", "ALTER TABLE t DROP COLUMN more").await;
    assert_eq!(work.query(json!({"sql": "SELECT * FROM t"})).await.expect("rows").columns, ["id", "v"]);
}

#[tokio::test]
async fn a_connection_keeps_a_bounded_number_of_statements() {
    let work = Work::changed("prepared_statements = 5", "", |postgres| postgres.pool_size = 1).await;
    for n in 0..30 {
        let unit = json!({"steps": [{"sql": format!("SELECT {n}")}, {"sql": "SELECT 'always'"}]});
        work.run(unit).await.expect("it commits");
    }
    let unit = json!({"steps": [{"sql": "SELECT count(*), count(*) FILTER (WHERE statement = 'SELECT ''always''') FROM pg_prepared_statements WHERE statement LIKE 'SELECT%'"}]});
    let rows = work.run(unit).await.expect("a count").results.remove(0).rows;
    let count: u32 = rows[0][0].as_str().expect("a number").parse().expect("a number");
    assert!(count <= 9, "a few of them still on their way to be closed: {count}");
    assert_eq!(rows[0][1], json!("1"), "what is used stays");
}

/// The check takes a text apart as PostgreSQL does. Whatever it lets through is one statement for PostgreSQL too, and
/// one that EXPLAIN takes: no comment, quote or escape hides anything else from it.
#[tokio::test]
async fn the_check_and_postgres_read_a_text_alike() {
    let work = Work::new("CREATE TABLE t (id int)").await;
    let client = work.setup.admin("alpha").await;
    client.batch_execute("SET search_path = app").await.expect("a search path");
    let part = proptest::sample::select(vec![
        "select 1",
        "commit",
        "drop table t",
        "insert into t values (1)",
        "/*",
        "*/",
        "/**/",
        "--",
        "\n",
        "\r",
        "'",
        "''",
        "\"",
        "$$",
        "$a$",
        "$1$",
        "a$",
        "E'",
        "N'",
        "B'",
        "U&'",
        "U&\"",
        "\\",
        "\\'",
        ";",
        "(",
        ")",
        " ",
        ",",
        "as a",
        "as \"a\"",
        "'x'",
        "E'\\''",
        "1",
        "1e",
        "1.",
        "+",
        "-",
        "@-",
        "::text",
    ]);
    let texts = proptest::collection::vec(part, 1..12).prop_map(|parts| parts.concat());
    let mut runner = TestRunner::deterministic();
    let (mut allowed, mut understood) = (0, 0);
    for _ in 0..6000 {
        let text = format!("select {}", texts.new_tree(&mut runner).expect("a text").current());
        if statement::check(&text).is_err() {
            continue;
        }
        allowed += 1;
        if let Err(error) = client.prepare(&text).await {
            let message = error.as_db_error().expect("PostgreSQL's word").message().to_owned();
            assert!(!message.contains("multiple commands"), "{text:?}: {message}");
            continue;
        }
        understood += 1;
        client.prepare(&format!("EXPLAIN {text}")).await.unwrap_or_else(|error| panic!("{text:?}: {error:?}"));
    }
    assert!(allowed > 300 && understood > 30, "{allowed} allowed, {understood} understood");
}
