//! Values are lossless, both ways, against real PostgreSQL.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use towpath_relay::Service;
use towpath_wire::Code;

use super::{Work, look};

/// Values as they come back: what was sent must be exactly that.
fn canonical(kind: &str) -> BoxedStrategy<Value> {
    let number = |text: String| serde_json::from_str::<Value>(&text).expect("a number");
    let text = "[^\u{0}]{0,30}".prop_map(Value::String).boxed();
    match kind {
        "bool" => any::<bool>().prop_map(Value::Bool).boxed(),
        "int2" => any::<i16>().prop_map(|n| json!(n)).boxed(),
        "int4" => any::<i32>().prop_map(|n| json!(n)).boxed(),
        "oid" => any::<u32>().prop_map(|n| json!(n)).boxed(),
        "int8" => any::<i64>().prop_map(|n| json!(n.to_string())).boxed(),
        "float8" => prop_oneof![
            any::<f64>()
                .prop_filter("finite", |f| f.is_finite())
                .prop_map(|f| serde_json::to_value(f).expect("finite")),
            Just(json!("NaN")),
            Just(json!("Infinity")),
            Just(json!("-Infinity")),
        ]
        .boxed(),
        "float4" => any::<f32>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(|f| serde_json::to_value(f).expect("finite"))
            .boxed(),
        "numeric" => prop_oneof![
            "-?[1-9][0-9]{0,40}(\\.[0-9]{1,40})?",
            "0\\.0{0,20}[1-9][0-9]{0,20}",
            "[1-9]0{0,60}",
            "NaN|Infinity|-Infinity|0|0\\.000",
        ]
        .prop_map(Value::String)
        .boxed(),
        "text" | "varchar" => text,
        "uuid" => any::<u128>().prop_map(|n| json!(uuid::Uuid::from_u128(n).to_string())).boxed(),
        "timestamptz" => instant().prop_map(|t| json!(format!("{t}Z"))).boxed(),
        "timestamp" => instant().prop_map(Value::String).boxed(),
        "date" => date().prop_map(Value::String).boxed(),
        "time" => time().prop_map(Value::String).boxed(),
        "timetz" => (time(), -15_i32..=15, 0_i32..60)
            .prop_map(|(t, h, m)| json!(format!("{t}{}{:02}:{m:02}", if h < 0 { '-' } else { '+' }, h.abs())))
            .boxed(),
        "bytea" => vec(any::<u8>(), 0..60).prop_map(|bytes| json!(base64(&bytes))).boxed(),
        "jsonb" | "json" => document(number).boxed(),
        other => array(canonical(other.strip_suffix("[]").expect("an array"))),
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn time() -> BoxedStrategy<String> {
    (0..24, 0..60, 0..60, prop_oneof![Just(0), 1..1_000_000])
        .prop_map(
            |(h, m, s, f)| {
                if f == 0 { format!("{h:02}:{m:02}:{s:02}") } else { format!("{h:02}:{m:02}:{s:02}.{f:06}") }
            },
        )
        .boxed()
}

fn date() -> BoxedStrategy<String> {
    let year = prop_oneof![
        (1..=9999).prop_map(|y: i32| format!("{y:04}")),
        (10_000..294_276).prop_map(|y: i32| format!("{y:+07}")),
        (-4711..=0).prop_map(|y: i32| format!("{y:+07}")),
    ];
    (year, 1..=12, 1..=28).prop_map(|(y, m, d)| format!("{y}-{m:02}-{d:02}").replace("+000000-", "+000000-")).boxed()
}

fn instant() -> BoxedStrategy<String> {
    (date(), time()).prop_map(|(date, time)| format!("{date}T{time}")).boxed()
}

/// JSON with numbers that no float holds. `-0` is no number of jsonb, and neither are a fraction's exponents kept.
fn document(number: impl Fn(String) -> Value + Copy + 'static) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        "-?[1-9][0-9]{0,40}(\\.[0-9]{1,30})?".prop_map(number),
        "[^\u{0}]{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            proptest::collection::btree_map("[a-z\"\\\\é]{0,6}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// One or two dimensions, with NULLs.
fn array(element: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let element = prop_oneof![9 => element, 1 => Just(Value::Null)].boxed();
    let inner = element.clone();
    prop_oneof![
        vec(element, 0..6).prop_map(Value::Array),
        (1_usize..4, 1_usize..4).prop_flat_map(move |(rows, columns)| {
            vec(vec(inner.clone(), columns..=columns).prop_map(Value::Array), rows..=rows).prop_map(Value::Array)
        }),
    ]
    .boxed()
}

/// Tries many values, all on one runtime.
fn try_all<S: Strategy>(cases: u32, strategy: S, test: impl AsyncFn(S::Value)) {
    let runtime = tokio::runtime::Handle::current();
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let run = runner.run(&strategy, |value| {
        // The value that failed is shrunk: a panic is a failure like any other.
        runtime.block_on(test(value));
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{failure}");
    }
}

async fn value(service: &Arc<Service>, kind: &str, value: &Value) -> Value {
    let sql = format!("SELECT $1::{kind}");
    match look(service, json!({"sql": sql, "params": [value]})).await {
        Ok(answer) => answer.rows[0][0].clone(),
        Err(failure) => panic!("{kind} {value}: {failure:?}"),
    }
}

async fn on_its_own_thread(test: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(test).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_in_comes_out() {
    let work = Work::new("").await;
    let service = work.service();
    on_its_own_thread(move || {
        for kind in [
            "bool",
            "int2",
            "int4",
            "int8",
            "oid",
            "float4",
            "float8",
            "numeric",
            "text",
            "varchar",
            "uuid",
            "timestamptz",
            "timestamp",
            "date",
            "time",
            "timetz",
            "bytea",
            "json",
            "jsonb",
            "bool[]",
            "int4[]",
            "int8[]",
            "float8[]",
            "numeric[]",
            "text[]",
            "uuid[]",
            "timestamptz[]",
            "bytea[]",
        ] {
            try_all(60, canonical(kind), async |sent| {
                assert_eq!(value(&service, kind, &sent).await, sent, "{kind}");
            });
        }
    })
    .await;
    let service = work.service();
    for kind in ["int4", "jsonb", "text", "numeric", "text[]"] {
        assert_eq!(value(&service, kind, &Value::Null).await, Value::Null);
    }
}

/// What comes out is what PostgreSQL itself writes, for numbers that no parameter made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_out_is_what_postgres_says() {
    let work = Work::new("").await;
    let service = work.service();
    on_its_own_thread(move || {
        try_all(200, ("-?[0-9]{1,30}(\\.[0-9]{0,30})?(e-?[0-9]{1,2})?", 0..30), async |(number, scale)| {
            let sql = "SELECT n, n::text, round(n, $2), round(n, $2)::text FROM (SELECT $1::text::numeric AS n) AS x";
            let answer = look(&service, json!({"sql": sql, "params": [number, scale]})).await.expect("numbers");
            let row = &answer.rows[0];
            assert_eq!((&row[0], &row[2]), (&row[1], &row[3]));
        });
        try_all(100, any::<i64>(), async |micros| {
            let sql = "SELECT i, i::text FROM (SELECT make_interval(months => ($1::int8 % 1000)::int, days => ($1::int8 % 77)::int) \
                + ($1::int8 / 1000) * interval '1 microsecond' AS i) AS x";
            let answer = look(&service, json!({"sql": sql, "params": [micros]})).await.expect("intervals");
            let text = answer.rows[0][0].as_str().expect("text").to_owned();
            // PostgreSQL leaves the zeros at the end of a fraction away; as a value it is the same.
            let again = look(&service, json!({"sql": "SELECT $1::interval = $2::interval, $1::interval", "params": [text, answer.rows[0][1]]})).await;
            assert_eq!(again.expect("intervals").rows[0], [json!(true), json!(text)]);
        });
        try_all(100, any::<u64>(), async |bits| {
            let float = f64::from_bits(bits);
            if float.is_finite() {
                let answer = look(&service, json!({"sql": "SELECT $1::text::float8", "params": [format!("{float:e}")]})).await;
                let number = answer.expect("a float").rows[0][0].to_string();
                assert_eq!(number.parse::<f64>().expect("a number").to_bits(), float.to_bits());
            }
        });
    })
    .await;
}

#[tokio::test]
async fn the_table_of_values_holds() {
    let work = Work::new(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN percent AS numeric(5,2) CHECK (value BETWEEN 0 AND 100);
         CREATE DOMAIN tags AS text[]",
    )
    .await;
    let service = work.service();
    for (kind, sent, got) in [
        ("int8", json!(9_007_199_254_740_993_i64), json!("9007199254740993")),
        ("numeric", serde_json::from_str("0.10").expect("a number"), json!("0.10")),
        ("numeric", json!(7), json!("7")),
        ("int4", json!("7"), json!(7)),
        ("float4", serde_json::from_str("1.1").expect("a number"), serde_json::from_str("1.1").expect("a number")),
        ("uuid", json!("0190A3B2-0000-7000-8000-00000000000A"), json!("0190a3b2-0000-7000-8000-00000000000a")),
        ("timestamptz", json!("2026-01-02T03:04:05.5+02:00"), json!("2026-01-02T01:04:05.500000Z")),
        ("timestamptz", json!("infinity"), json!("infinity")),
        ("timestamp", json!("-infinity"), json!("-infinity")),
        ("date", json!("infinity"), json!("infinity")),
        ("time", json!("24:00:00"), json!("24:00:00")),
        ("interval", json!("P1Y2M3DT4H5M6.7S"), json!("P1Y2M3DT4H5M6.700000S")),
        ("interval", json!("PT0S"), json!("PT0S")),
        ("char(4)", json!("ab"), json!("ab  ")),
        ("name", json!("n"), json!("n")),
        ("\"char\"", json!("c"), json!("c")),
        ("mood", json!("ok"), json!("ok")),
        ("mood[]", json!(["ok", null]), json!(["ok", null])),
        ("percent", json!("12.50"), json!("12.50")),
        ("tags", json!(["a", "b"]), json!(["a", "b"])),
        ("jsonb[]", json!([{"a": 1}, [1, 2], null]), json!([{"a": 1}, [1, 2], null])),
        ("jsonb", json!({"a": null}), json!({"a": null})),
        ("int4[]", json!([[1, 2], [3, 4]]), json!([[1, 2], [3, 4]])),
        ("int4[]", json!([]), json!([])),
    ] {
        assert_eq!(value(&service, kind, &sent).await, got, "{kind} {sent}");
    }
    let literals = json!({"sql": "SELECT '[2:3]={1,2}'::int[], 1.10::numeric, '{\"a\": 1.10, \"b\": 12345678901234567890123}'::jsonb, \
        '4713-01-01 BC'::date, '294276-12-31 23:59:59.999999Z'::timestamptz, 'null'::jsonb, pg_sleep(0), 1e-7::float8"});
    let row = look(&service, literals).await.expect("literals").rows.remove(0);
    let exact: Value = serde_json::from_str(r#"{"a": 1.10, "b": 12345678901234567890123}"#).expect("JSON");
    let tiny = row[7].to_string().parse::<f64>().expect("a number");
    assert_eq!(
        row[..7],
        [
            json!([1, 2]),
            json!("1.10"),
            exact,
            json!("-004712-01-01"),
            json!("+294276-12-31T23:59:59.999999Z"),
            Value::Null,
            Value::Null
        ]
    );
    assert!((tiny - 1e-7).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_the_callers_error_and_says_which() {
    let work = Work::new(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN percent AS numeric CONSTRAINT whole CHECK (value <= 100);
         CREATE TABLE t (i2 int2, i4 int4, i8 int8, n numeric(5,2), v varchar(3), c char(2), u uuid, z timestamptz, j jsonb, b bytea,
                         m mood, vs varchar(2)[], ip inet)",
    )
    .await;
    for (column, bad) in [
        ("i2", json!(40000)),
        ("i4", json!("2147483648")),
        ("i8", json!("9223372036854775808")),
        ("i4", json!(1.5)),
        ("n", json!("1000")),
        ("n", json!("1.001")),
        ("n", json!("x")),
        ("v", json!("abcd")),
        ("c", json!("abc")),
        ("u", json!("not-a-uuid")),
        ("z", json!("2026-02-30T00:00:00Z")),
        ("z", json!("2026-01-01T00:00:00")),
        ("j", json!({"a": "\u{0}"})),
        ("b", json!("***")),
        ("m", json!("happy")),
        ("vs", json!(["ab", "abc"])),
        ("ip", json!("nowhere")),
        ("v", json!("a\u{0}")),
        ("i4", json!([1])),
    ] {
        for sql in
            [format!("INSERT INTO t (i2, {column}) VALUES ($1, $2)"), format!("UPDATE t SET i8 = $1, {column} = $2")]
        {
            let sql = if column == "i2" { sql.replace("(i2, i2)", "(i4, i2)") } else { sql };
            let sql = if column == "i8" { sql.replace("i8 = $1", "i4 = $1") } else { sql };
            let unit = json!({"steps": [{"sql": "SELECT 1"}, {"sql": sql, "params": [1, bad], "label": "here"}]});
            let problem = work.refused(Code::InvalidParameter, unit).await.problem;
            assert_eq!((problem.parameter, problem.status), (Some(2), 422), "{column} {bad}: {}", problem.detail);
            assert_eq!(
                problem.step.map(|step| (step.index, step.label)),
                Some((1, Some("here".into()))),
                "{column} {bad}"
            );
        }
    }
    let domain = json!({"steps": [{"sql": "SELECT $1::percent", "params": ["101"]}]});
    let failure = work.run(domain).await.expect_err("refused");
    assert_eq!((failure.code(), failure.problem.constraint.as_deref()), (Code::ConstraintViolation, Some("whole")));
    // Where the text doesn't tell which value it was, it is at least no fault of anybody else.
    let hidden = json!({"steps": [{"sql": "INSERT INTO t (v) SELECT $1::text", "params": ["abcd"]}]});
    work.refused(Code::InvalidParameter, hidden).await;
    assert_eq!(work.see("SELECT count(*) FROM t").await, "0");
}
