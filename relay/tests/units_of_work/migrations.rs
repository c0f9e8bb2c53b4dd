//! Migrations: versioned, checked for drift, never backwards, safe at once and again.

use std::path::{Path, PathBuf};

use futures::future::join_all;
use towpath_relay::config::Config;
use towpath_relay::postgres::migrate;

use super::support::{ServiceSetup, Setup};

/// A folder of migrations, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(setup: &Setup) -> Self {
        let path = std::env::temp_dir().join(format!("towpath-{}", setup.id));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, sql: &str) {
        std::fs::write(self.0.join(name), sql).expect("a file");
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.0.join(name)).expect("no file");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn prepared() -> (Setup, Folder, Config) {
    let setup = Setup::new().service(ServiceSetup::new("alpha").database()).databases().await;
    let folder = Folder::new(&setup);
    let config = with_folder(&setup, &folder.0);
    (setup, folder, config)
}

fn with_folder(setup: &Setup, folder: &Path) -> Config {
    let mut config = setup.config("migrate");
    let alpha = config.services.get_mut("alpha").expect("the service");
    alpha.postgres.as_mut().expect("its database").migrations = Some(folder.to_owned());
    config
}

async fn refused(config: &Config) -> String {
    migrate::run(config).await.expect_err("refused").to_string()
}

#[tokio::test]
async fn both_sets_run_once_and_in_order() {
    let (setup, folder, config) = prepared().await;
    folder.write("V1__things.sql", "CREATE TABLE things (id int PRIMARY KEY);");
    folder.write("V2__names.sql", "ALTER TABLE things ADD COLUMN name text; INSERT INTO things VALUES (1, 'a');");
    let report = migrate::run(&config).await.expect("it runs").remove(0);
    assert_eq!((report.relay.len(), report.own), (0, vec!["V1__things".into(), "V2__names".into()]));
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    let again = migrate::run(&config).await.expect("it runs again").remove(0);
    assert!(again.relay.is_empty() && again.own.is_empty() && again.to_string().ends_with("up to date"));
    folder.write("V3__more.sql", "ALTER TABLE things ADD COLUMN more int;");
    assert_eq!(migrate::run(&config).await.expect("it runs").remove(0).own, ["V3__more"]);
    let admin = setup.admin("alpha").await;
    let columns = "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'app.things'::regclass AND attnum > 0";
    assert_eq!(admin.query_one(columns, &[]).await.expect("columns").get::<_, String>(0), "id,name,more");
    assert_eq!(migrate::missing(&admin).await.expect("an answer"), Vec::<&str>::new());
}

#[tokio::test]
async fn drift_is_refused() {
    let (_setup, folder, config) = prepared().await;
    folder.write("V1__things.sql", "CREATE TABLE things (id int);");
    folder.write("V3__other.sql", "CREATE TABLE other (id int);");
    migrate::run(&config).await.expect("it runs");
    folder.write("V1__things.sql", "CREATE TABLE things (id bigint);");
    let why = refused(&config).await;
    assert!(
        why.contains("alpha") && why.contains("V1__things") && why.contains("differs") && why.contains("new file"),
        "{why}"
    );
    folder.write("V1__things.sql", "CREATE TABLE things (id int);");
    folder.write("V2__late.sql", "CREATE TABLE late (id int);");
    assert!(refused(&config).await.contains("lower version"));
    folder.remove("V2__late.sql");
    folder.write("V3__twice.sql", "SELECT 1;");
    assert!(refused(&config).await.contains("V3__other and V3__twice have one version"));
    folder.remove("V3__twice.sql");
    migrate::run(&config).await.expect("it runs again");
}

#[tokio::test]
async fn migrations_do_not_run_backwards() {
    let (setup, folder, config) = prepared().await;
    folder.write("V1__things.sql", "CREATE TABLE things (id int);");
    folder.write("V2__more.sql", "CREATE TABLE more (id int);");
    migrate::run(&config).await.expect("it runs");
    folder.remove("V2__more.sql");
    let why = refused(&config).await;
    assert!(why.contains("V2__more") && why.contains("older than the database"), "{why}");
    // The same of the relay's own: a database that a newer relay has migrated.
    folder.write("V2__more.sql", "CREATE TABLE more (id int);");
    let newer = "INSERT INTO towpath.schema_history VALUES (99, 'future', '2026-01-01T00:00:00Z', '1')";
    setup.execute("alpha", newer).await;
    let why = refused(&config).await;
    assert!(why.contains("the relay's migration V99__future") && why.contains("backwards"), "{why}");
    // But this relay runs on it.
    let relay = setup.admin("alpha").await;
    assert!(migrate::missing(&relay).await.expect("an answer").is_empty());
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_behind() {
    let (setup, folder, config) = prepared().await;
    folder.write("V1__things.sql", "CREATE TABLE things (id int);");
    folder.write("V2__broken.sql", "CREATE TABLE half (id int); SELECT 1 / 0;");
    let why = refused(&config).await;
    assert!(why.contains("V2__broken") && why.contains("division by zero") && why.contains("rolled back"), "{why}");
    let admin = setup.admin("alpha").await;
    let tables = "SELECT to_regclass('app.things') IS NOT NULL, to_regclass('app.half') IS NULL";
    let row = admin.query_one(tables, &[]).await.expect("tables");
    assert!(row.get::<_, bool>(0) && row.get::<_, bool>(1));
    folder.write("V2__broken.sql", "CREATE TABLE half (id int);");
    migrate::run(&config).await.expect("mended, it goes on");
}

#[tokio::test]
async fn a_fault_is_told_once_with_its_place_and_all_that_the_server_says() {
    let (_setup, folder, config) = prepared().await;
    folder.write("V1__things.sql", "CREATE TABLE things (id int NOT NULL, name text);");
    migrate::run(&config).await.expect("it runs");
    folder.write("V2__wrong.sql", "SELECT 'ü';\nUPDATE things\n\tSET nmae = 'x';\n");
    let error = anyhow::Error::new(migrate::run(&config).await.expect_err("refused"));
    let why = format!("{error:#}");
    let place = format!("alpha: {}/V2__wrong.sql:3:6: column \"nmae\" of relation", folder.0.display());
    assert!(why.starts_with(&place) && why.contains("(SQLSTATE 42703); it was rolled back"), "{why}");
    assert!(why.contains("\n3 |  SET nmae = 'x';\n  |      ^"), "{why}");
    assert_eq!(why.matches("nmae\" of relation").count(), 1, "once: {why}");

    folder.write("V2__wrong.sql", "SELECT names FROM things;");
    let why = refused(&config).await;
    assert!(why.contains("V2__wrong.sql:1:8: ") && why.contains("\n  hint: ") && why.contains("things.name"), "{why}");
    folder.write("V2__wrong.sql", "INSERT INTO things (name) VALUES ('x');");
    let why = refused(&config).await;
    assert!(why.contains("V2__wrong.sql: null value") && why.contains("\n  column: id"), "{why}");
    assert!(why.contains("\n  detail: Failing row contains (null, x)."), "{why}");
}

/// It takes connections, as a stopped process does, and says nothing.
#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_with_its_name() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = silent.local_addr().expect("its address");
    let (_setup, _folder, mut config) = prepared().await;
    let alpha = config.services.get_mut("alpha").expect("the service");
    let url = format!("postgres://postgres:x@{address}/alpha").parse().expect("a URL");
    alpha.postgres.as_mut().expect("its database").admin_url = Some(url);
    let why = refused(&config).await;
    assert!(why.contains(&format!("alpha: postgres@{address}/alpha doesn't answer")), "{why}");
}

#[tokio::test]
async fn runs_at_once_wait_for_each_other() {
    let setup = Setup::new().service(ServiceSetup::new("alpha").database()).databases().await;
    let folder = Folder::new(&setup);
    for n in 1..=5 {
        folder.write(&format!("V{n}__t.sql"), &format!("CREATE TABLE t{n} (id int); SELECT pg_sleep(0.02);"));
    }
    let config = with_folder(&setup, &folder.0);
    let reports = join_all((0..4).map(|_| migrate::run(&config))).await;
    let applied: usize = reports.into_iter().map(|report| report.expect("none fails").remove(0).own.len()).sum();
    assert_eq!(applied, 5);
}

#[tokio::test]
async fn a_server_is_made_ready_from_nothing() {
    // `databases()` has done just that; again, with another password, a role that can't log in, and wrong passwords before.
    let setup = Setup::new().service(ServiceSetup::new("alpha").database()).databases().await;
    let role = format!("{}_alpha_app", setup.id);
    setup.execute("alpha", &format!("ALTER ROLE {role} NOLOGIN PASSWORD 'another'")).await;
    migrate::run(&setup.config("migrate")).await.expect("it is mended");
    let login = tokio_postgres::connect(&setup.app_url("alpha"), tokio_postgres::NoTls).await;
    assert!(login.is_ok(), "the password of the URL is the role's");
}

#[tokio::test]
async fn a_role_that_may_too_much_is_refused() {
    let setup = Setup::new().service(ServiceSetup::new("alpha").database()).databases().await;
    let (role, config) = (format!("{}_alpha_app", setup.id), setup.config("migrate"));
    for (give, take) in [
        (format!("ALTER ROLE {role} SUPERUSER"), format!("ALTER ROLE {role} NOSUPERUSER")),
        (format!("ALTER ROLE {role} CREATEROLE"), format!("ALTER ROLE {role} NOCREATEROLE")),
        (format!("GRANT pg_read_server_files TO {role}"), format!("REVOKE pg_read_server_files FROM {role}")),
        (format!("CREATE TABLE owned (id int); ALTER TABLE owned OWNER TO {role}"), "DROP TABLE owned".into()),
    ] {
        setup.execute("alpha", &give).await;
        let why = refused(&config).await;
        assert!(why.contains(&role), "{give}: {why}");
        setup.execute("alpha", &take).await;
    }
    migrate::run(&config).await.expect("it runs");
    let mut same = setup.config("migrate");
    let alpha = same.services.get_mut("alpha").expect("the service").postgres.as_mut().expect("its database");
    alpha.relay_url = alpha.url.clone();
    assert!(refused(&same).await.contains("give each its own"));
    let mut without = setup.config("migrate");
    without.services.get_mut("alpha").expect("the service").postgres.as_mut().expect("its database").admin_url = None;
    assert!(refused(&without).await.contains("admin_url"));
}
