use proptest::prelude::*;

use super::*;

fn refused(sql: &str) -> String {
    check(sql).expect_err(sql).0
}

#[test]
fn the_six_kinds_are_allowed() {
    for sql in [
        "SELECT 1",
        "select 1;",
        " ; ",
        "\u{c}SeLeCt 1 ; -- done",
        "(select 1) union (select 2)",
        "((values (1)))",
        "VALUES (1), (2)",
        "INSERT INTO t VALUES ($1)",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "MERGE INTO t USING s ON true WHEN MATCHED THEN DO NOTHING",
        "WITH a AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM a",
        "/* a /* nested */ comment */ -- and a line\n select 1",
        "select 1 as into",
        "select t.into from t",
        "select ';', $$;$$, $a$;$$;$a$, \";\" from \"a;\"\"b\"",
        "select E'\\';', 'a\\'",
        "select 'a'\n  -- between\n 'b;'",
        "select e'a'\n'\\';'",
        "select 'towpath.outbox'",
        "select a$b from t -- towpath",
    ] {
        if sql == " ; " {
            assert!(refused(sql).contains("empty"));
        } else {
            check(sql).unwrap_or_else(|why| panic!("{sql}: {why}"));
        }
    }
}

#[test]
fn everything_else_is_refused_by_name() {
    for word in [
        "begin",
        "commit",
        "rollback",
        "abort",
        "start",
        "end",
        "savepoint",
        "release",
        "set",
        "reset",
        "show",
        "copy",
        "do",
        "call",
        "create",
        "alter",
        "drop",
        "truncate",
        "grant",
        "revoke",
        "lock",
        "listen",
        "notify",
        "unlisten",
        "vacuum",
        "analyze",
        "explain",
        "prepare",
        "execute",
        "deallocate",
        "declare",
        "fetch",
        "close",
        "discard",
        "load",
        "refresh",
        "reindex",
        "cluster",
        "checkpoint",
        "security",
        "comment",
        "import",
        "table",
        "move",
        "reassign",
    ] {
        for sql in [
            word.to_owned(),
            format!("{word} x"),
            format!("/* select */ {} x", word.to_uppercase()),
            format!("-- select\r{word} x"),
            format!("( {word} x)"),
        ] {
            let why = refused(&sql);
            assert!(why.contains(&word.to_uppercase()) && why.contains("allowed are"), "{sql}: {why}");
        }
    }
    assert!(refused("").contains("empty"));
    assert!(refused("/* select 1 */").contains("empty"));
    assert!(refused("'select'").contains("doesn't begin"));
    assert!(refused("\"select\" 1").contains("doesn't begin"));
    assert!(refused("(update t set a = 1)").contains("UPDATE"));
}

#[test]
fn more_than_one_statement_is_refused() {
    for sql in [
        "select 1; select 2",
        "select 1; commit",
        "select '\\'; commit; --'",
        "select 1 /* /* */ ; commit; --*/ */; drop table t",
        "select $a$ $b$ $a$; commit --$b$",
        "select $$ $$; commit",
        "select a$b$ ; commit; --$b$",
        "select 'a' 'b; '; commit",
        "select U&'\\'; commit; --'",
        "select n'\\'; commit; --'",
    ] {
        let why = refused(sql);
        assert!(why.contains("more than one") || why.contains("U&"), "{sql}: {why}");
    }
}

#[test]
fn a_text_that_ends_too_early_is_refused() {
    for (sql, what) in [
        ("select 'a", "a string"),
        ("select E'a\\'", "a string"),
        ("select \"a", "a quoted identifier"),
        ("select /* /* */", "a comment"),
        ("select $a$ $b$", "a dollar-quoted string"),
    ] {
        assert!(refused(sql).contains(what), "{sql}: {}", refused(sql));
    }
}

#[test]
fn select_into_is_refused() {
    for sql in [
        "select 1 into t",
        "select * INTO TEMP t from s",
        "with a as (select 1) select * into t from a",
        "select 1 as a into t",
        "values (1) union select 1 into unlogged t",
    ] {
        assert!(refused(sql).contains("SELECT INTO"), "{sql}");
    }
}

#[test]
fn the_relays_schema_is_out_of_reach() {
    for sql in [
        "select * from towpath.outbox",
        "select TowPath.inbox_claim('a')",
        "select * from \"towpath\".outbox",
        "insert into towpath.inbox values ('a')",
    ] {
        assert!(refused(sql).contains("relay's own"), "{sql}");
    }
    assert!(refused("select * from U&\"\\0074owpath\".outbox").contains("U&"));
    check("select * from \"Towpath\".outbox").expect("another schema, as quoted names keep their case");
}

/// Every function that reaches beyond the transaction, in every way to write its name.
#[test]
fn functions_that_leave_something_behind_are_refused() {
    let extensions = [
        "dblink",
        "dblink_exec",
        "dblink_connect_u",
        "postgres_fdw_disconnect_all",
        "crosstab",
        "crosstab4",
        "connectby",
        "pg_background_launch",
        "run_command_on_workers",
        "pgv_set",
        "hypopg_create_index",
        "set_limit",
    ];
    for name in functions::OF_POSTGRES.iter().copied().chain(extensions) {
        for call in [
            format!("{name}('a')"),
            format!("{}('a')", name.to_uppercase()),
            format!("\"{name}\"('a')"),
            format!("pg_catalog.{name}('a')"),
            format!("pg_catalog.\"{name}\" ('a')"),
            format!("pg_catalog /* a */ . -- b\n {name} /* /* c */ */ \n(VARIADIC ARRAY['a'])"),
        ] {
            for sql in [
                format!("SELECT {call}"),
                format!("SELECT * FROM {call} AS x"),
                format!("SELECT * FROM t, LATERAL {call}"),
                format!("SELECT 1 WHERE {call} IS NULL ORDER BY 1"),
                format!("VALUES (1, ({call}))"),
                format!("WITH x AS MATERIALIZED (SELECT {call}) SELECT 1"),
                format!("WITH x AS (UPDATE t SET a = 1 RETURNING {call}) SELECT * FROM x"),
                format!("INSERT INTO t VALUES ({call})"),
                format!("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = {call}"),
                format!("UPDATE t SET a = {call}"),
                format!("DELETE FROM t WHERE {call} = 1"),
                format!("MERGE INTO t USING (SELECT {call}) s ON true WHEN MATCHED THEN DO NOTHING"),
            ] {
                let why = refused(&sql);
                assert!(why.contains(&format!("{name}() isn't for statements")), "{sql}: {why}");
                check_read(&sql).expect_err("no query may either");
            }
        }
    }
    assert!(refused("select dbms_output.put_line('a'), 1").contains("put_line()"));
    assert!(refused("select * from \"dbms_pipe\" . receive_message('a')").contains("receive_message()"));
    assert!(refused("select ts_rewrite('a'::tsquery, (select f(1, 2))::text)").contains("ts_rewrite()"));
}

#[test]
fn what_only_looks_like_such_a_function_is_allowed() {
    for sql in [
        "select set_config from t",
        "select 'set_config(''a'')', $$pg_notify('a')$$, 1 -- lo_create(0)",
        "select \"SET_CONFIG\"(1), my_set_config(1), lo_total(1), set_config_of(1)",
        "select a as pg_notify, (b) from t",
        "insert into lo_parts (a) values (1)",
        "select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(1, 2), pg_sleep(0.1)",
        "select ts_rewrite(a, 'b'::tsquery, f('c', 'd'))",
        "select set_limit(name, 5), put_line(1), dbms_output from t",
        "select name, setting from pg_settings for update",
        "select * from pg_catalog.pg_settings",
        "update t set a = (select setting from pg_settings limit 1)",
    ] {
        check(sql).unwrap_or_else(|why| panic!("{sql}: {why}"));
    }
}

#[test]
fn a_change_of_settings_is_refused() {
    for sql in [
        "update pg_settings set setting = '0'",
        "UPDATE ONLY pg_catalog . /* a */ \"pg_settings\" AS s SET setting = '0'",
        "update only (pg_settings) set setting = '0'",
        "with x as (update pg_settings set setting = '0' returning 1) select * from x",
        "merge into pg_catalog.pg_settings using t on true when matched then update set setting = '0'",
    ] {
        assert!(refused(sql).contains("pg_settings"), "{sql}");
    }
}

#[test]
fn a_query_is_a_read() {
    for sql in ["select 1", "values (1)", "with a as (select 1) select * from a"] {
        check_read(sql).expect(sql);
    }
    for sql in ["insert into t values (1)", "update t set a = 1", "delete from t", "merge into t using s on true"] {
        assert!(check_read(sql).expect_err(sql).0.contains("/v1/transactions"));
    }
}

fn assigned(sql: &str) -> Vec<String> {
    check(sql).expect(sql);
    let assignments = assignments(sql);
    let name = |column: &Column| match column {
        Column::Named(name) => name.clone(),
        Column::Numbered(number) => number.to_string(),
    };
    assignments.iter().map(|a| format!("${} {}:{}", a.parameter, a.table.join("."), name(&a.column))).collect()
}

#[test]
fn parameters_are_followed_into_their_columns() {
    for (sql, expected) in [
        ("insert into t (a, \"B\") values ($1, $2)", &["$1 t:a", "$2 t:B"][..]),
        ("insert into app.t as x (a, b) values ($1, lower($2)), ($3::text, f($4, $5))", &["$1 app.t:a", "$3 app.t:a"]),
        ("insert into t overriding system value values ($2, 1, $1)", &["$2 t:1", "$1 t:3"]),
        ("insert into t (a) select $1", &[]),
        ("update only t as x set a = $1, b = b + $2, c = $3::numeric where d = $4", &["$1 t:a", "$3 t:c"]),
        ("update t set (a, b) = ($1, $2), c = $3", &["$3 t:c"]),
        ("update t set a = array[$1, $2], b = $3 returning a", &["$3 t:b"]),
        ("insert into t (a) values ($1) on conflict (a) do update set b = $2 where t.c = $3", &["$1 t:a", "$2 t:b"]),
        ("with x as (update t set a = $1) insert into u (b) values ($2)", &["$1 t:a", "$2 u:b"]),
        (
            "merge into t using s on s.a = $1 when matched then update set b = $2 when not matched then insert (c) values ($3)",
            &["$2 t:b", "$3 t:c"],
        ),
        ("select * from t where a = $1 for update", &[]),
        ("delete from t where a = $1", &[]),
    ] {
        assert_eq!(assigned(sql), expected, "{sql}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_scanner_fail(sql in "\\PC*") {
        let _ = check(&sql);
    }

    #[test]
    fn no_statement_like_text_makes_it_fail(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("insert into"), Just("t"), Just("("), Just(")"), Just("values"), Just("$1"), Just(","), Just("set"),
                Just("update"), Just("="), Just("::"), Just("'"), Just("\""), Just("$$"), Just("/*"), Just("*/"), Just("--"),
                Just("\n"), Just("as"), Just("."), Just("merge into"), Just("E'"), Just("\\"), Just("1e"), Just("é"),
                Just("overriding"), Just(";"), Just("["), Just("]"), Just("U&'"), Just("$a"), Just("$"),
            ],
            0..40,
        )
    ) {
        let _ = check(&format!("with {}", parts.join(" ")));
        let _ = check(&format!("insert into {}", parts.concat()));
    }
}
