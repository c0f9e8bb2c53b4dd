//! What a service's database role can't do: the second wall behind the check of statements.

use serde_json::json;
use tokio_postgres::NoTls;
use towpath_wire::Code;

use super::Work;
use super::support::{ServiceSetup, Setup};

async fn connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn sqlstate(error: &tokio_postgres::Error) -> String {
    error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())
}

#[tokio::test]
async fn the_role_owns_nothing_and_creates_nothing() {
    let setup = super::setup("").databases().await;
    setup.execute("alpha", "CREATE TABLE t (id serial PRIMARY KEY, n int); CREATE VIEW v AS SELECT * FROM t").await;
    let client = connect(&setup.app_url("alpha")).await.expect("the role may log in");
    for sql in [
        "CREATE TABLE app.x (id int)",
        "CREATE TABLE public.x (id int)",
        "CREATE TEMP TABLE x (id int)",
        "SELECT 1 AS a INTO app.x",
        "SELECT 1 AS a INTO TEMP x",
        "CREATE SCHEMA x",
        "CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP TABLE app.t",
        "ALTER TABLE app.t ADD COLUMN x int",
        "TRUNCATE app.t",
        "CREATE INDEX ON app.t (n)",
        "CREATE EXTENSION dblink",
        "CREATE ROLE x",
        &format!("ALTER DATABASE {} SET search_path = public", setup.database_name("alpha")),
        "ALTER TABLE app.t OWNER TO CURRENT_USER",
        "COPY app.t FROM '/etc/passwd'",
        "COPY app.t TO PROGRAM 'cat'",
        "SELECT * FROM app.schema_history",
        "UPDATE app.schema_history SET checksum = '1'",
        "SELECT setval('app.t_id_seq', 1)",
    ] {
        let error = client.batch_execute(sql).await.expect_err(sql);
        assert!(["42501", "42601"].contains(&sqlstate(&error).as_str()), "{sql}: {error:?}");
    }
    client
        .batch_execute("INSERT INTO t (n) VALUES (1); UPDATE t SET n = 2; SELECT * FROM t, v; DELETE FROM t")
        .await
        .expect("its own tables");
    let owned = "SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid WHERE d.deptype = 'o' AND r.rolname = current_user";
    assert_eq!(client.query_one(owned, &[]).await.expect("a look").get::<_, i64>(0), 0);
}

#[tokio::test]
async fn the_relays_tables_are_reached_through_their_functions_alone() {
    let setup = super::setup("").databases().await;
    let client = connect(&setup.app_url("alpha")).await.expect("the role may log in");
    let tables = [
        "outbox",
        "inbox",
        "idempotency",
        "shard_lease",
        "timer",
        "schema_history",
        "held_key",
        "held_event",
        "retention",
    ];
    for table in tables {
        for sql in [
            format!("SELECT * FROM towpath.{table}"),
            format!("DELETE FROM towpath.{table}"),
            format!(
                "CREATE TRIGGER x BEFORE INSERT ON towpath.{table} EXECUTE FUNCTION suppress_redundant_updates_trigger()"
            ),
        ] {
            assert_eq!(sqlstate(&client.batch_execute(&sql).await.expect_err(&sql)), "42501", "{sql}");
        }
    }
    for sql in [
        "SELECT towpath.purge(now(), now(), now(), 1000)",
        "SELECT towpath.outbox_settle(1::smallint, 'x', 1, ARRAY[1])",
        "SELECT towpath.held_drop(1)",
        "CREATE TABLE towpath.x (id int)",
    ] {
        assert_eq!(sqlstate(&client.batch_execute(sql).await.expect_err(sql)), "42501", "{sql}");
    }
    client.batch_execute("SELECT towpath.inbox_claim('a')").await.expect("a function that is made for it");
    // The functions run as the relay's role, which is no superuser and reaches nothing of the service.
    let relay = connect(&setup.relay_url("alpha")).await.expect("the relay's role may log in");
    setup.execute("alpha", "CREATE TABLE t (id int)").await;
    assert_eq!(sqlstate(&relay.batch_execute("SELECT * FROM app.t").await.expect_err("not the relay's")), "42501");
    relay.batch_execute("SELECT * FROM towpath.outbox, towpath.timer").await.expect("its own tables");
}

#[tokio::test]
async fn the_role_touches_no_file_no_setting_and_no_other_session() {
    let work = Work::new("CREATE TABLE t (id int)").await;
    // What the check of statements lets pass, the role may not do.
    for sql in [
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM pg_ls_dir('/')",
        "SELECT pg_stat_file('/etc/passwd') IS NULL",
        "SELECT pg_reload_conf()",
        "SELECT pg_switch_wal()::text",
        "SELECT * FROM pg_authid",
        "SELECT rolpassword FROM pg_authid",
        "SELECT * FROM pg_hba_file_rules",
    ] {
        let failure = work.refused(Code::StatementFailed, json!({"steps": [{"sql": sql}]})).await;
        assert_eq!(failure.problem.sqlstate.as_deref(), Some("42501"), "{sql}: {}", failure.problem.detail);
    }
    // These are refused before they reach PostgreSQL, and again there.
    let role = connect(&work.setup.app_url("alpha")).await.expect("the role may log in");
    for sql in [
        "SELECT set_config('statement_timeout', '0', false)",
        "UPDATE pg_settings SET setting = '0' WHERE name = 'statement_timeout'",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT pg_notify('a', 'b')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock_shared(1, 2)",
        "SELECT pg_advisory_unlock_all()",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_cancel_backend(1)",
        "SELECT pg_logical_emit_message(false, 'a', 'b')::text",
        "SELECT query_to_xml('SELECT 1', true, true, '')::text",
        "SELECT query_to_xml_and_xmlschema('SELECT 1', true, true, '')::text",
        "SELECT * FROM ts_stat('SELECT 1')",
        "SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, ''b''::tsquery')::text",
        "SELECT pg_export_snapshot()",
        "SELECT setseed(0.5)",
    ] {
        let failure = work.refused(Code::StatementRefused, json!({"steps": [{"sql": sql}]})).await;
        assert_eq!(failure.problem.sqlstate, None, "{sql}: {}", failure.problem.detail);
        assert_eq!(sqlstate(&role.batch_execute(sql).await.expect_err(sql)), "42501", "{sql}");
    }
    work.run(json!({"steps": [{"sql": "SELECT pg_sleep(0)"}, {"sql": "SELECT pg_advisory_xact_lock(1)"}]}))
        .await
        .expect("these end by themselves");
    let timeout = work.run(json!({"steps": [{"sql": "SELECT current_setting('statement_timeout')"}]})).await;
    assert_eq!(timeout.expect("an answer").results[0].rows, [[json!("5s")]]);
}

/// On a server whose owner can't take functions from PUBLIC, the check of statements stands alone; and it stands before what
/// extensions bring.
#[tokio::test]
async fn nothing_is_left_on_a_connection_where_the_role_may_execute_everything() {
    let work = Work::changed("", "CREATE TABLE t (id int)", |postgres| postgres.pool_size = 1).await;
    let grant = "DO $$ DECLARE f text; BEGIN
        FOR f IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
                AND proname IN ('set_config', 'pg_advisory_lock', 'pg_notify', 'lo_create', 'query_to_xml', 'setseed')
            LOOP EXECUTE 'GRANT EXECUTE ON FUNCTION ' || f || ' TO PUBLIC'; END LOOP; END $$;
        GRANT UPDATE ON pg_settings TO PUBLIC";
    work.setup.execute("alpha", grant).await;
    for sql in [
        "SELECT set_config('work_mem', '7MB', false)",
        "SELECT PG_CATALOG.\"set_config\" /* */ ('work_mem', '7MB', false)",
        "WITH x AS (SELECT set_config('work_mem', '7MB', false)) SELECT * FROM x",
        "UPDATE pg_settings SET setting = '7168' WHERE name = 'work_mem'",
        "SELECT pg_advisory_lock(7)::text",
        "INSERT INTO t SELECT 1 WHERE pg_catalog.pg_advisory_lock(7) IS NULL",
        "SELECT pg_notify('a', 'b')::text",
        "SELECT lo_create(0)",
        "SELECT query_to_xml('SELECT set_config(''work_mem'', ''7MB'', false)', true, true, '')::text",
        "SELECT 1 AS a INTO TEMP x",
        "CREATE TEMP TABLE x (id int)",
        "LISTEN a",
    ] {
        work.refused(Code::StatementRefused, json!({"steps": [{"sql": sql}]})).await;
        let query = work.query(json!({"sql": sql})).await.expect_err(sql);
        assert_eq!(query.code(), Code::StatementRefused, "{sql}");
    }
    let left = "SELECT current_setting('work_mem') <> '7MB', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND pid = pg_backend_pid()), (SELECT count(*) FROM pg_largeobject_metadata), pg_my_temp_schema()::int";
    let rows = work.query(json!({"sql": left})).await.expect("an answer").rows;
    assert_eq!(rows, [[json!(true), json!("0"), json!("0"), json!(0)]]);
}

#[tokio::test]
async fn the_role_reaches_no_other_database() {
    let setup = Setup::new()
        .service(ServiceSetup::new("alpha").database())
        .service(ServiceSetup::new("beta").database())
        .databases()
        .await;
    let of_alpha = setup.app_url("alpha");
    for database in [setup.database_name("beta"), "postgres".into(), "template1".into()] {
        let mut url = reqwest::Url::parse(&of_alpha).expect("a URL");
        url.set_path(&database);
        let error = connect(url.as_str()).await.err().unwrap_or_else(|| panic!("connected to {database}"));
        assert_eq!(sqlstate(&error), "42501", "{database}: {error:?}");
    }
}
