//! The grants of a service's role: those that [`migrate`](super::migrate) gives it, and that somebody may have taken away.

use tokio::time::timeout;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};
use towpath_wire::Code;

use super::migrate::FOR_THE_SERVICE;
use super::{Pool, Session};
use crate::config::Limits;
use crate::failure::Failure;

/// What the connected role lacks, three things at most. A table of `app` that another role than the migrations' owns is none of
/// the service's.
const MISSING: &str = "
    WITH tables AS (
        SELECT c.oid, c.relname, c.relkind FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = to_regnamespace('app') AND c.relname <> 'schema_history'
          AND c.relowner = (SELECT h.relowner FROM pg_catalog.pg_class AS h
              WHERE h.relnamespace = to_regnamespace('app') AND h.relname = 'schema_history')
    )
    SELECT what FROM (
        SELECT 'USAGE on the schema ' || nspname AS what FROM pg_catalog.pg_namespace
        WHERE nspname IN ('app', 'towpath') AND NOT has_schema_privilege(oid, 'USAGE')
        UNION ALL
        SELECT privilege || ' on the table ' || relname FROM tables,
            unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
        WHERE relkind IN ('r', 'p') AND NOT has_table_privilege(oid, privilege)
        UNION ALL
        SELECT 'USAGE on the sequence ' || relname FROM tables
        -- In this order: the function refuses what is no sequence.
        WHERE CASE WHEN relkind = 'S' THEN NOT has_sequence_privilege(oid, 'USAGE') ELSE false END
        UNION ALL
        SELECT 'EXECUTE on the function ' || proname FROM pg_catalog.pg_proc
        WHERE pronamespace = to_regnamespace('towpath') AND proname = ANY ($1)
          AND NOT has_function_privilege(oid, 'EXECUTE')
    ) AS missing LIMIT 3";

/// What the connected role lacks of the grants that it needs: the first three things.
///
/// # Errors
/// Where the server can't be asked.
pub(crate) async fn missing(client: &Client) -> Result<Vec<String>, Error> {
    let rows = client.query_typed(MISSING, &[(&FOR_THE_SERVICE.as_slice(), Type::TEXT_ARRAY)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What PostgreSQL says where a role lacks a grant. A table, a function or a sequence in a schema that the role may not use isn't
/// denied: it isn't found.
const DENIED: [&str; 4] = ["42501", "42P01", "42883", "3F000"];

/// A failure, as its caller is told it. What is wrong with the server is noted for `/readyz`.
///
/// A statement that PostgreSQL denied is the caller's fault, unless the role has lost grants: then it is nobody's who calls, and
/// works again once they are given back.
pub(crate) async fn judged(pool: &Pool, limits: &Limits, failure: Failure) -> Failure {
    pool.manager().distress().note_failure(&failure);
    if !failure.problem.sqlstate.as_deref().is_some_and(|sqlstate| DENIED.contains(&sqlstate)) {
        return failure;
    }
    let Ok(mut session) = Session::take(pool).await else { return failure };
    // A connection whose answer didn't come is not used again.
    session.opens();
    let Ok(Ok(missing)) = timeout(limits.postgres_patience(), missing(session.client())).await else { return failure };
    session.closed();
    if missing.is_empty() {
        return failure;
    }
    let detail = "The service's role in the database has lost grants; the relay's log says which";
    let cause = anyhow::anyhow!("the role lacks {}: {failure}", missing.join(", "));
    Failure::new(Code::Unavailable, detail).because(cause)
}
