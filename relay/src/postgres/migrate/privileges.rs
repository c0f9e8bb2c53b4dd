//! Who may do what within the database.
//!
//! The service's role may read and write the tables of `app`, and execute the functions of `towpath` that are made for
//! it. By default PUBLIC may execute many functions that change the session or the server, or that run SQL given as
//! text; those are taken from PUBLIC, because a session is shared by all units of work and statements are checked by
//! their text.

use tokio_postgres::Client;

use super::{During, ErrorKind, Result, SERVICE_HISTORY, quote_name};
use crate::config::PostgresConfig;
use crate::postgres::statement::functions::OF_POSTGRES;

/// The functions of `towpath` that the service's role may execute.
pub(in crate::postgres) const FOR_THE_SERVICE: [&str; 5] =
    ["inbox_claim", "idempotency_claim", "idempotency_answer", "outbox_append", "left_trace"];

/// The functions of `pg_catalog` that PUBLIC may execute and no service needs: those that the check of statements refuses.
const TAKEN_AWAY: &str = "
    SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace = 'pg_catalog'::regnamespace
      AND has_function_privilege('public', p.oid, 'EXECUTE')
      AND (p.proname::text = ANY ($1) OR p.oid = to_regprocedure('pg_catalog.ts_rewrite(tsquery,text)'))
    ORDER BY 1";

/// Schemas and what objects made from now on are open to. Answers what couldn't be closed.
pub(super) async fn before(client: &Client, postgres: &PostgresConfig) -> Result<Vec<String>> {
    let database = quote_name(postgres.url.database());
    let (app, relay) = (quote_name(postgres.url.user()), quote_name(postgres.relay_url.user()));
    become_member(client, &relay).await?;
    let statements = format!(
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC;
         GRANT CONNECT ON DATABASE {database} TO {app}, {relay};
         ALTER DATABASE {database} SET search_path = app;
         REVOKE ALL ON SCHEMA public FROM PUBLIC;
         CREATE SCHEMA IF NOT EXISTS app;
         GRANT USAGE ON SCHEMA app TO {app};
         ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app};
         ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT USAGE ON SEQUENCES TO {app};
         CREATE SCHEMA IF NOT EXISTS towpath AUTHORIZATION {relay};
         ALTER DEFAULT PRIVILEGES FOR ROLE {relay} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;"
    );
    client
        .batch_execute(&format!("SET client_min_messages = error; {statements}"))
        .await
        .during("granting privileges")?;
    owned_by(client, postgres).await?;
    take_away(client).await
}

/// An admin who isn't a superuser must be a member of the relay's role to act for it.
async fn become_member(client: &Client, relay: &str) -> Result<()> {
    let is_superuser: bool = client
        .query_one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", &[])
        .await
        .during("looking at the admin's role")?
        .get(0);
    if is_superuser {
        return Ok(());
    }
    client.batch_execute(&format!("GRANT {relay} TO CURRENT_USER")).await.during("acting for the relay's role")
}

/// The walls stand only where the service's role owns nothing, and the relay's owns what is the relay's.
async fn owned_by(client: &Client, postgres: &PostgresConfig) -> Result<()> {
    let (app, relay) = (postgres.url.user(), postgres.relay_url.user());
    let row = client
        .query_one(
            "SELECT n.nspowner = (SELECT oid FROM pg_roles WHERE rolname = $1),
                    EXISTS (SELECT FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
                            WHERE r.rolname = $2 AND d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o')
             FROM pg_namespace n WHERE n.nspname = 'towpath'",
            &[&relay, &app],
        )
        .await
        .during("looking at owners")?;
    if !row.get::<_, bool>(0) {
        return Err(ErrorKind::Role(format!("the schema towpath doesn't belong to {relay}; give it that owner")));
    }
    if row.get::<_, bool>(1) {
        return Err(ErrorKind::Role(format!(
            "{app} owns objects; give them to the admin: REASSIGN OWNED BY {app} TO ..."
        )));
    }
    Ok(())
}

async fn take_away(client: &Client) -> Result<Vec<String>> {
    let list = || async {
        let rows = client.query(TAKEN_AWAY, &[&OF_POSTGRES]).await.during("looking at functions")?;
        Ok::<_, ErrorKind>(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>())
    };
    let open = list().await?;
    if !open.is_empty() {
        let revoke = format!("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC", open.join(", "));
        // An admin who isn't a superuser gets an error or a warning here; the report names what stays open.
        if let Err(error) = client.batch_execute(&revoke).await {
            tracing::debug!(%error, "functions couldn't be taken from PUBLIC");
        }
    }
    // An UPDATE of this view is a SET.
    if let Err(error) = client.batch_execute("REVOKE UPDATE ON pg_catalog.pg_settings FROM PUBLIC").await {
        tracing::debug!(%error, "pg_settings couldn't be closed");
    }
    let left = list().await?;
    if left.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![format!("PUBLIC may still execute {}; a superuser must revoke that", left.join(", "))])
}

/// Grants access to what exists now, and revokes the rest.
pub(super) async fn after(client: &Client, postgres: &PostgresConfig) -> Result<()> {
    let (app, relay) = (quote_name(postgres.url.user()), quote_name(postgres.relay_url.user()));
    let functions = FOR_THE_SERVICE.map(|name| format!("towpath.{name}")).join(", ");
    let statements = format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO {app};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA app TO {app};
         REVOKE ALL ON {SERVICE_HISTORY} FROM {app};
         SET ROLE {relay};
         REVOKE ALL ON ALL FUNCTIONS IN SCHEMA towpath FROM PUBLIC;
         GRANT USAGE ON SCHEMA towpath TO {app};
         GRANT EXECUTE ON FUNCTION {functions} TO {app};
         RESET ROLE;"
    );
    client.batch_execute(&statements).await.during("granting privileges")
}
