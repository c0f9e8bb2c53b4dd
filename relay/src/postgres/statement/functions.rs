//! The functions that a statement may not call, because they reach beyond its transaction: what they do stays on the
//! connection, which the next request uses, or happens although the unit of work rolls back.
//!
//! `migrate` takes those that PostgreSQL brings from the service's role too, but a managed server doesn't let it; and what an
//! extension brings is for its owner to grant. PostgreSQL: "System Administration Functions", "Large Objects", `dblink`,
//! `tablefunc`, `pg_trgm`.

use super::scan::Token;

/// Those that PostgreSQL itself brings, all in `pg_catalog`.
pub(crate) const OF_POSTGRES: &[&str] = &[
    // Settings of the session.
    "set_config",
    "setseed",
    // Locks that outlive the transaction. Those with `xact` in their name end with it.
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_shared",
    "pg_advisory_unlock_all",
    // What reaches other sessions, or the log that they all write.
    "pg_notify",
    "pg_cancel_backend",
    "pg_terminate_backend",
    "pg_export_snapshot",
    "pg_logical_emit_message",
    // Large objects belong to no schema; some can be written even where a transaction only reads.
    "lo_close",
    "lo_creat",
    "lo_create",
    "lo_export",
    "lo_from_bytea",
    "lo_get",
    "lo_import",
    "lo_lseek",
    "lo_lseek64",
    "lo_open",
    "lo_put",
    "lo_tell",
    "lo_tell64",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "loread",
    "lowrite",
    // What runs SQL that it is given as text, which this check doesn't see.
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "table_to_xml",
    "table_to_xmlschema",
    "table_to_xml_and_xmlschema",
    "schema_to_xml",
    "schema_to_xmlschema",
    "schema_to_xml_and_xmlschema",
    "database_to_xml",
    "database_to_xmlschema",
    "database_to_xml_and_xmlschema",
    "ts_stat",
];

/// What runs SQL that it is given as text, where it has two arguments; with three it has none.
const TS_REWRITE: &str = "ts_rewrite";

/// What sets a setting of the session where it has one argument (`pg_trgm`).
const SET_LIMIT: &str = "set_limit";

/// How those of extensions begin: connections of their own (`dblink`, `postgres_fdw`), other processes (`pg_background`), SQL
/// given as text (`tablefunc`, `xml2`, `citus`), variables of the session (`pg_variables`, `orafce`), indexes that only the session
/// sees (`hypopg`).
const OF_EXTENSIONS: &[&str] = &[
    "dblink",
    "postgres_fdw_",
    "pg_background",
    "crosstab",
    "connectby",
    "xpath_table",
    "run_command_on_",
    "pgv_",
    "hypopg_",
];

/// Schemas of extensions whose functions keep something for the session, or reach other sessions (`orafce`).
const SCHEMAS_OF_EXTENSIONS: &[&str] =
    &["dbms_alert", "dbms_output", "dbms_pipe", "dbms_random", "plvsubst", "plvdate"];

/// The first function in a statement that it may not call.
pub(super) fn find<'t>(tokens: &'t [Token<'_>]) -> Option<&'t str> {
    tokens.iter().enumerate().find_map(|(at, token)| {
        let name = token.identifier()?;
        let called = tokens.get(at + 1) == Some(&Token::Punct(b'('));
        let beyond = || reaches_beyond(name, &tokens[at + 2..]) || schema(&tokens[..at]).is_some_and(keeps_something);
        (called && beyond()).then_some(name)
    })
}

/// The schema that these tokens end with, before a dot.
fn schema<'t>(before: &'t [Token<'_>]) -> Option<&'t str> {
    let [.., schema, Token::Punct(b'.')] = before else { return None };
    schema.identifier()
}

fn keeps_something(schema: &str) -> bool {
    SCHEMAS_OF_EXTENSIONS.contains(&schema)
}

fn reaches_beyond(name: &str, arguments: &[Token<'_>]) -> bool {
    OF_POSTGRES.contains(&name)
        || OF_EXTENSIONS.iter().any(|family| name.starts_with(family))
        || name == TS_REWRITE && count(arguments) == 2
        || name == SET_LIMIT && count(arguments) == 1
}

/// How many arguments there are up to the parenthesis that closes the call.
fn count(arguments: &[Token<'_>]) -> usize {
    let (mut depth, mut count) = (0, 1);
    for token in arguments {
        match token {
            Token::Punct(b'(' | b'[') => depth += 1,
            Token::Punct(b')' | b']') if depth > 0 => depth -= 1,
            Token::Punct(b')') => break,
            Token::Punct(b',') if depth == 0 => count += 1,
            _ => {}
        }
    }
    count
}

/// Whether an UPDATE or MERGE names the view whose every change is a SET.
pub(super) fn writes_settings(tokens: &[Token<'_>]) -> bool {
    tokens.iter().enumerate().any(|(at, token)| {
        matches!(token, Token::Word("update" | "into")) && table(&tokens[at + 1..]) == Some("pg_settings")
    })
}

/// The last part of the table's name that stands here: `[ONLY] [(] [schema.]table`.
fn table<'t>(tokens: &'t [Token<'_>]) -> Option<&'t str> {
    let mut rest = tokens;
    while let [Token::Word("only") | Token::Punct(b'('), after @ ..] = rest {
        rest = after;
    }
    while let [_, Token::Punct(b'.'), after @ ..] = rest {
        rest = after;
    }
    rest.first()?.identifier()
}
