//! What the relay reads: its callers' requests, statements and values, events in Kafka, and its configuration.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use serde_json::Value;
use tokio_postgres::types::{IsNull, ToSql, Type};
use towpath_relay::config::Config;
use towpath_relay::events::cloudevents::{Event, http::encode as percent_encode, kafka};
use towpath_relay::kafka::RecordHeader;
use towpath_relay::postgres::codec::{Form, encode};
use towpath_relay::postgres::statement;
use towpath_relay::telemetry::TraceContext;
use towpath_wire::{CachePut, Problem, QueryRequest, QueryResponse, RateLimitRequest, TransactionRequest};

use crate::input::{headers, message, reads_back};
use crate::target;

const JSON: &[&str] = &[
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "-0",
    "1e400",
    "9223372036854775808",
    "0.1",
    "\\u0000",
    "\\ud800",
    ",",
    ":",
    "\"steps\":",
    "\"expect\":{\"exactly\":1}",
    "\"isolation\":\"serializable\"",
    "\"wait\":{}",
    "[[[[[[[[",
];

target!(
    /// A unit of work: what is read is what was meant, and every part of it is looked at without a panic.
    "relay" transaction(read_transaction), JSON
);

fn read_transaction(bytes: &[u8]) {
    let Some(request) = reads_back::<TransactionRequest>(bytes) else { return };
    for step in &request.steps {
        let allowed = statement::check(&step.sql);
        assert!(statement::check_read(&step.sql).is_err() || allowed.is_ok(), "{:?}", step.sql);
        let _ = statement::assignments(&step.sql);
        for value in &step.params {
            encode_as_everything(value);
        }
    }
}

target!(
    /// A read, a cached value, a bucket, and the answers that a component reads.
    "relay" requests(read_requests), JSON
);

fn read_requests(bytes: &[u8]) {
    let _ = reads_back::<QueryRequest>(bytes);
    let _ = reads_back::<QueryResponse>(bytes);
    let _ = reads_back::<CachePut>(bytes);
    let _ = reads_back::<RateLimitRequest>(bytes);
    if let Some(problem) = reads_back::<Problem>(bytes) {
        assert_eq!(problem.code.as_str().parse::<u64>().ok(), None);
    }
}

target!(
    /// A statement that is allowed stays so with a comment before it, and never with another one behind it.
    "relay" statement(check_statement),
    &["SELECT", "INSERT INTO", "WITH a AS (", ")", ";", "--", "/*", "*/", "'", "\"", "$$", "$a$", "E'\\'", "U&'", "towpath", "\n", "INTO", "$1", "0x"]
);

fn check_statement(bytes: &[u8]) {
    let Ok(sql) = std::str::from_utf8(bytes) else { return };
    let _ = statement::assignments(sql);
    let Ok(verb) = statement::check(sql) else { return };
    assert_eq!(statement::check(&format!("/* a /* nested */ comment */ -- and another\n{sql}")), Ok(verb));
    assert_eq!(statement::check(&format!("{sql}\n;")), Ok(verb));
    for another in ["SELECT 1", "COMMIT", "DROP TABLE things"] {
        assert!(statement::check(&format!("{sql}\n;{another}")).is_err(), "{sql:?} takes another behind it");
    }
}

target!(
    /// A value either fits a type exactly or is refused with the reason.
    "relay" value(read_value), JSON
);

fn read_value(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        encode_as_everything(&value);
    }
}

fn encode_as_everything(value: &Value) {
    let raw = serde_json::value::to_raw_value(value).expect("JSON");
    let types = [
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::OID,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::NUMERIC,
        Type::TEXT,
        Type::NAME,
        Type::UUID,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMP,
        Type::DATE,
        Type::TIME,
        Type::TIMETZ,
        Type::INTERVAL,
        Type::JSON,
        Type::JSONB,
        Type::BYTEA,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::JSONB_ARRAY,
    ];
    for kind in types {
        match encode(&raw, &Form::of(&kind)) {
            Err(unfit) => assert!(!unfit.0.is_empty(), "{kind}: no reason"),
            Ok(parameter) => {
                let mut text = BytesMut::new();
                let null = matches!(parameter.to_sql(&kind, &mut text), Ok(IsNull::Yes));
                assert_eq!(null, value.is_null(), "{kind}");
                if !null {
                    is_exact(value, &kind, std::str::from_utf8(&text).unwrap());
                }
            }
        }
    }
}

/// What PostgreSQL gets says the same as the value.
fn is_exact(value: &Value, kind: &Type, text: &str) {
    assert!(!text.contains('\0'), "{kind}: {text:?}");
    match *kind {
        Type::BOOL => assert_eq!(Some(text == "t"), value.as_bool()),
        Type::INT2 => drop(text.parse::<i16>().unwrap()),
        Type::INT4 => drop(text.parse::<i32>().unwrap()),
        Type::INT8 => drop(text.parse::<i64>().unwrap()),
        // PostgreSQL takes `-0`, as JSON does.
        Type::OID => assert!((0..=i64::from(u32::MAX)).contains(&text.parse::<i64>().unwrap())),
        Type::TEXT => assert_eq!(value.as_str(), Some(text)),
        Type::JSON | Type::JSONB => assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), value),
        Type::BYTEA => assert!(text.starts_with("\\x") && text.len().is_multiple_of(2), "{text}"),
        Type::UUID => assert_eq!(text.len(), 36, "{text}"),
        _ => {}
    }
}

target!(
    /// A record of a topic is an event or is refused with the reason; an event is the same after another journey, and
    /// what a component gets of it are headers that say the same.
    "relay" event(read_event),
    &["ce_", "ce_id: 1\n", "ce_specversion: 1.0\n", "content-type: application/cloudevents+json\n", "\n\n", "{", "\"data\":", "data_base64", "traceparent: ", "00-", "\u{e9}", "%", "\u{7f}"]
);

fn read_event(bytes: &[u8]) {
    let (fields, data) = message(bytes);
    let record: Vec<RecordHeader> =
        fields.into_iter().map(|(name, value)| (name, value.map(Bytes::copy_from_slice))).collect();
    match kafka::read(&record, Some(Bytes::copy_from_slice(data))) {
        Err(malformed) => assert!(!malformed.to_string().is_empty()),
        Ok(event) => {
            assert!(!event.id.is_empty() && !event.source.is_empty() && !event.kind.is_empty());
            travels_on(&event);
            is_told_to_a_component(&event);
        }
    }
}

/// Written in binary mode and read again.
fn travels_on(event: &Event) {
    let header = |name: &str, value: &str| (name.to_owned(), Some(Bytes::copy_from_slice(value.as_bytes())));
    let mut record = vec![header("ce_specversion", "1.0"), header("ce_id", &event.id)];
    record.extend([header("ce_source", &event.source), header("ce_type", &event.kind)]);
    record.extend(event.attributes.iter().map(|(name, value)| header(&format!("ce_{name}"), value)));
    // A media type that names the structured mode would make it that.
    let structured = |media: &str| media.to_ascii_lowercase().starts_with("application/cloudevents");
    let Some(media) = event.content_type.as_deref().filter(|media| !structured(media)) else { return };
    record.push(header("content-type", media));
    if let Some(trace) = &event.trace {
        record.push(header("traceparent", &trace.traceparent));
        record.extend(trace.tracestate.as_deref().map(|state| header("tracestate", state)));
    }
    assert_eq!(kafka::read(&record, Some(event.data.clone())).as_ref(), Ok(event));
}

fn is_told_to_a_component(event: &Event) {
    let mut told = HeaderMap::new();
    event.write_http(&mut told);
    for (name, value) in [("ce-id", &event.id), ("ce-source", &event.source), ("ce-type", &event.kind)] {
        assert_eq!(told[name].to_str().unwrap(), percent_encode(value.as_bytes()));
        assert_eq!(percent_decode(told[name].as_bytes()), value.as_bytes());
    }
    for (name, value) in &event.attributes {
        // `ce-id` and its like are the event's own.
        if !["id", "source", "type", "specversion"].contains(&name.as_str()) {
            assert_eq!(percent_decode(told[format!("ce-{name}")].as_bytes()), value.as_bytes(), "{name}");
        }
    }
    if let Some(trace) = &event.trace {
        assert_eq!(TraceContext::from_headers(&told).map(|told| told.traceparent), Some(trace.traceparent.clone()));
    }
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let hex = std::str::from_utf8(&rest[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &rest[2..];
        } else {
            bytes.push(first);
        }
    }
    bytes
}

target!(
    /// The trace of a request: what is taken on is written on unchanged.
    "relay" trace(read_trace), &["traceparent: ", "towpath-traceparent: ", "tracestate: ", "00-", "-01", "ff-", "0000000000000000"]
);

fn read_trace(bytes: &[u8]) {
    let (fields, _) = message(bytes);
    if let Some(trace) = TraceContext::from_headers(&headers(&fields)) {
        let mut written = HeaderMap::new();
        trace.write(&mut written);
        assert_eq!(TraceContext::from_headers(&written), Some(trace));
    }
}

/// What `${...}` in a configuration is replaced by: must be in no message about a token or a database.
const SECRET: &str = "a-secret-that-nobody-may-read";

target!(
    /// relay.toml: every fault has its reason and stands where it is, and none tells a secret.
    "relay" config(read_config),
    &["[", "]", "[[", "=", "\"", "${SECRET}", "${", "\n", "{ file = \"x\" }", "0", "-1", "99999999999999999999", "[limits]\n", "body_bytes", "_ms = ", "services.", "true", "'''", "\u{feff}"]
);

fn read_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let environment = |name: &str| name.starts_with(|c: char| c.is_ascii_uppercase()).then(|| SECRET.to_owned());
    let parse = || Config::parse("relay.toml", text, Path::new("/nowhere"), &environment);
    match parse() {
        Ok(config) => {
            assert_eq!(format!("{:?}", parse().unwrap()), format!("{config:?}"));
        }
        Err(faults) => {
            assert!(!faults.faults.is_empty());
            for fault in &faults.faults {
                let secret = fault.path.ends_with(".token") || fault.path.contains(".postgres.");
                assert!(!fault.message.is_empty(), "{fault:?}");
                assert!(!secret || !fault.message.contains(SECRET), "{fault:?}");
                assert!(fault.line.is_none_or(|line| (1..=text.lines().count() + 1).contains(&line)), "{fault:?}");
            }
            assert_eq!(parse().unwrap_err().to_string(), faults.to_string());
        }
    }
}
