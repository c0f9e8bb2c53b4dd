use proptest::prelude::*;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio_postgres::types::Type;

use super::*;

/// As a request has it.
fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).expect("JSON")
}

fn check(column: Declared, value: &Value) -> Result<(), Unfit> {
    column.check(&raw(value))
}

fn refused(value: Value, form: &Form) -> String {
    let Unfit(why) = encode(&raw(&value), form).expect_err(&value.to_string());
    why
}

fn accepted(value: Value, form: &Form) -> String {
    format!("{:?}", encode(&raw(&value), form).unwrap_or_else(|why| panic!("{value}: {why}")))
}

fn text(value: Value, form: &Form) -> String {
    let shown = accepted(value, form);
    shown
        .trim_start_matches("TextParameter(Some(\"")
        .trim_end_matches("\"))")
        .replace("\\\"", "\"")
        .replace("\\\\", "\\")
}

const INT4: Form = Form::Small(i32::MIN as i64, i32::MAX as i64);

#[test]
fn whole_numbers_are_exact_and_within_their_range() {
    for (value, form) in [
        (json!(7), INT4),
        (json!("-7"), INT4),
        (json!("+7"), INT4),
        (json!(i32::MIN), INT4),
        (json!(i64::MAX), Form::Int8),
        (json!("-9223372036854775808"), Form::Int8),
        (json!(4_294_967_295_u32), Form::of(&Type::OID)),
    ] {
        accepted(value, &form);
    }
    assert!(refused(json!(2_147_483_648_u32), &INT4).contains("-2147483648 to 2147483647"));
    assert!(refused(json!(-1), &Form::of(&Type::OID)).contains("0 to"));
    assert!(refused(json!(32_768), &Form::of(&Type::INT2)).contains("32767"));
    assert!(refused(json!("9223372036854775808"), &Form::Int8).contains("out of range"));
    for value in [json!(1.5), json!("1e3"), json!(""), json!("-"), json!(" 7"), json!("0x7"), json!("7_0")] {
        assert!(refused(value, &INT4).contains("whole number"));
    }
    for value in [json!(true), json!({}), json!([1])] {
        assert!(refused(value, &INT4).contains("expected a whole number, got"));
    }
}

#[test]
fn floats_neither_overflow_nor_vanish() {
    for value in [json!(1.5), json!("NaN"), json!("-Infinity"), json!("1e-300"), json!(0), json!("0.000e-999")] {
        accepted(value, &Form::Float8);
    }
    assert!(refused(json!("1e400"), &Form::Float8).contains("too large"));
    assert!(refused(json!("1e-400"), &Form::Float8).contains("close to zero"));
    assert!(refused(json!(1e39), &Form::Float4).contains("too large"));
    assert!(refused(json!("inf"), &Form::Float8).contains("expected a number"));
    assert!(refused(json!("0x1p3"), &Form::Float8).contains("expected a number"));
}

#[test]
fn numbers_keep_their_text() {
    let long: Value = serde_json::from_str("12345678901234567890123456789.10").expect("a number");
    assert_eq!(text(long, &Form::Numeric), "12345678901234567890123456789.10");
    assert_eq!(text(serde_json::from_str("1.10").expect("a number"), &Form::Numeric), "1.10");
    assert_eq!(text(json!("NaN"), &Form::Numeric), "NaN");
    for value in ["", ".", "1.2.3", "1e", "e1", "1e1e1", "--1", "inf", "1e99999999999999999999"] {
        refused(json!(value), &Form::Numeric);
    }
    let document: Value = serde_json::from_str(r#"{"a": 1e400, "b": 0.10}"#).expect("JSON");
    assert_eq!(text(document, &Form::Jsonb), r#"{"a":1e+400,"b":0.10}"#);
}

#[test]
fn strings_are_checked_where_postgres_would_cut_them() {
    assert!(refused(json!("a\0b"), &Form::Text).contains("U+0000"));
    assert!(refused(json!(["a\0"]), &Form::Array(Box::new(Form::Text))).contains("U+0000"));
    assert!(refused(json!("a".repeat(64)), &Form::of(&Type::NAME)).contains("63 bytes"));
    assert!(refused(json!("ab"), &Form::of(&Type::CHAR)).contains("1 bytes"));
    assert!(refused(json!(7), &Form::Text).contains("expected a string, got a number"));
    assert!(refused(json!("not"), &Form::Uuid).contains("UUID"));
    assert!(refused(json!("YQ"), &Form::Bytea).contains("base64"));
    assert_eq!(text(json!("YWI="), &Form::Bytea), "\\x6162");
    assert!(refused(json!("true"), &Form::Bool).contains("true or false"));
}

#[test]
fn times_must_exist_and_say_what_the_type_wants() {
    assert_eq!(text(json!("2026-01-31T23:59:59.5+02:00"), &Form::TimestampTz), "2026-01-31 21:59:59.500000+00");
    assert_eq!(text(json!("-000043-03-15T12:00:00Z"), &Form::TimestampTz), "0044-03-15 12:00:00+00 BC");
    assert_eq!(text(json!("infinity"), &Form::Date), "infinity");
    assert_eq!(text(json!("24:00:00"), &Form::Time), "24:00:00");
    for value in [
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-01T24:00:01Z",
        "2026-1-1T0:0:0Z",
        "2026-01-01T23:59:60Z",
        "2026-01-01",
        "now",
        "",
        "2026-01-01T00:00:00Zx",
        "2026-01-01T00:00:00+2:00",
        "12026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.Z",
        "🦀",
    ] {
        assert!(refused(json!(value), &Form::TimestampTz).contains("expected a time"), "{value}");
    }
    assert!(refused(json!("2026-01-01T00:00:00"), &Form::TimestampTz).contains("no offset"));
    assert!(refused(json!("2026-01-01T00:00:00Z"), &Form::Timestamp).contains("keeps no offset"));
    assert!(refused(json!("2026-01-01T00:00:00.1234567Z"), &Form::TimestampTz).contains("microseconds"));
    accepted(json!("2026-01-01T00:00:00.1234560000Z"), &Form::TimestampTz);
    assert!(refused(json!("+294277-01-01T00:00:00Z"), &Form::TimestampTz).contains("out of range"));
    assert!(refused(json!("+9999999-01-01T00:00:00Z"), &Form::TimestampTz).contains("out of range"));
    assert!(refused(json!("-004713-11-23"), &Form::Date).contains("out of range"));
    accepted(json!("-004713-11-24"), &Form::Date);
    accepted(json!("+5874897-12-31"), &Form::Date);
    assert!(refused(json!("+5874898-01-01"), &Form::Date).contains("out of range"));
    assert!(refused(json!("12:00:00+16:00"), &Form::TimeTz).contains("16 hours"));
}

#[test]
fn arrays_are_rectangular() {
    let ints = Form::Array(Box::new(INT4));
    let texts = Form::Array(Box::new(Form::Text));
    assert_eq!(text(json!([]), &ints), "{}");
    assert_eq!(text(json!([1, null]), &ints), "{\"1\",NULL}");
    assert_eq!(text(json!([[1], [2]]), &ints), "{{\"1\"},{\"2\"}}");
    assert_eq!(text(json!(["NULL", "a\"\\,{}"]), &texts), "{\"NULL\",\"a\\\"\\\\,{}\"}");
    for ragged in [json!([[1], [2, 3]]), json!([[1], 2]), json!([1, [2]]), json!([[[1]], [2]])] {
        assert!(refused(ragged, &ints).contains("same length"));
    }
    assert!(refused(json!([[]]), &ints).contains("can't be empty"));
    assert!(refused(json!([[[[[[[1]]]]]]]), &ints).contains("6 dimensions"));
    assert!(refused(json!([1, "x"]), &ints).contains("element 1: expected a whole number"));
    assert!(refused(json!(1), &ints).contains("expected an array"));
    let documents = Form::Array(Box::new(Form::Jsonb));
    assert_eq!(text(json!([[1, 2], [3]]), &documents), "{\"[1,2]\",\"[3]\"}");
}

#[test]
fn null_is_null_everywhere() {
    for form in [INT4, Form::Jsonb, Form::Array(Box::new(Form::Text)), Form::Foreign] {
        assert_eq!(accepted(Value::Null, &form), "TextParameter(None)");
    }
}

#[test]
fn a_column_takes_what_it_was_declared_for() {
    let varchar = Declared::of(&Form::Text, 3 + 4).expect("varchar(3)");
    check(varchar, &json!("äöü")).expect("three characters");
    assert!(check(varchar, &json!("abcd")).expect_err("four").0.contains("3 characters, the value has 4"));
    check(varchar, &Value::Null).expect("NULL fits everywhere");
    let modifier = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
    let price = Declared::of(&Form::Numeric, modifier(5, 2)).expect("numeric(5,2)");
    assert_eq!(price, Declared::Digits { precision: 5, scale: 2 });
    for fits in
        [json!("999.99"), json!("-999.99"), json!("0001.5000"), json!(0), json!("1e2"), json!("1250e-1"), json!("NaN")]
    {
        check(price, &fits).expect("fits");
    }
    assert!(check(price, &json!("1000")).expect_err("too large").0.contains("3 digits before"));
    assert!(check(price, &json!("0.005")).expect_err("too fine").0.contains("would round"));
    assert!(check(price, &json!("Infinity")).expect_err("infinite").0.contains("infinite"));
    let hundreds = Declared::of(&Form::Numeric, modifier(2, -2)).expect("numeric(2,-2)");
    assert_eq!(hundreds, Declared::Digits { precision: 2, scale: -2 });
    check(hundreds, &json!("9900")).expect("fits");
    check(hundreds, &json!("0.0")).expect("zero fits");
    assert!(check(hundreds, &json!("9950")).expect_err("too fine").0.contains("would round"));
    let small = Declared::of(&Form::Numeric, modifier(2, 4)).expect("numeric(2,4)");
    check(small, &json!("0.0099")).expect("fits");
    assert!(check(small, &json!("0.01")).is_err());
    assert_eq!(Declared::of(&Form::Numeric, -1), None);
    assert_eq!(Declared::of(&Form::Jsonb, 8), None);
    let texts = Declared::of(&Form::Array(Box::new(Form::Text)), 3 + 4).expect("varchar(3)[]");
    assert!(check(texts, &json!(["abc", ["abcd"]])).is_err());
}

proptest! {
    #[test]
    fn every_time_that_is_written_is_read_back(micros in -211_813_488_000_000_000_i64..9_223_371_331_200_000_000) {
        let written = time::write_timestamp(micros, "");
        let read = text(json!(written), &Form::Timestamp);
        let zoned = text(json!(time::write_timestamp(micros, "Z")), &Form::TimestampTz);
        prop_assert_eq!(zoned.replace("+00", ""), read);
    }

    #[test]
    fn no_text_makes_the_readers_of_times_fail(value in "[-+0-9:.TZ ]{0,32}|\\PC{0,20}") {
        for form in [Form::TimestampTz, Form::Timestamp, Form::Date, Form::Time, Form::TimeTz, Form::Numeric, Form::Float8] {
            let _ = encode(&raw(&json!(value)), &form);
        }
        let _ = check(Declared::Digits { precision: 5, scale: 2 }, &json!(value));
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = numeric::decode(&bytes);
    }
}
