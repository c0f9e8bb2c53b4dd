use bytes::Bytes;
use proptest::prelude::*;
use rdkafka::message::Headers;
use serde_json::json;

use super::http::encode;
use super::kafka::{Attributes, read};
use super::*;
use crate::kafka::RecordHeader;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(pairs: &[(&str, &str)]) -> Vec<RecordHeader> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Some(Bytes::copy_from_slice(value.as_bytes())))).collect()
}

fn minimal(more: &[(&str, &str)]) -> Vec<RecordHeader> {
    let mut all = headers(&[("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/a"), ("ce_type", "t")]);
    all.extend(headers(more));
    all
}

fn structured(document: &serde_json::Value) -> Result<Event, Malformed> {
    let value = Bytes::from(document.to_string());
    read(&headers(&[("Content-Type", "application/cloudevents+json; charset=UTF-8")]), Some(value))
}

#[test]
fn what_is_written_reads_back() {
    let trace = TraceContext::new(PARENT, Some("a=1")).unwrap();
    let attributes = Attributes {
        id: "0190",
        source: "/alpha",
        kind: "thing.created",
        subject: Some("a b"),
        time: "2026-01-02T03:04:05Z",
        trace: Some(&trace),
    };
    let written = attributes.headers();
    let headers: Vec<RecordHeader> =
        written.iter().map(|header| (header.key.to_owned(), header.value.map(Bytes::copy_from_slice))).collect();
    let event = read(&headers, Some(Bytes::from_static(b"{\"a\":1}"))).unwrap();
    assert_eq!((event.id.as_str(), event.source.as_str(), event.kind.as_str()), ("0190", "/alpha", "thing.created"));
    assert_eq!(event.attributes["subject"], "a b");
    assert_eq!(event.attributes["time"], "2026-01-02T03:04:05Z");
    assert_eq!(event.attributes["traceparent"], PARENT);
    assert_eq!(event.content_type.as_deref(), Some("application/json"));
    assert_eq!(event.data, "{\"a\":1}");
    assert_eq!(event.trace, Some(trace));
}

#[test]
fn an_event_goes_out_in_binary_mode() {
    let event = read(
        &minimal(&[
            ("ce_subject", "Straße 7 \"%\""),
            ("ce_myext", "é"),
            ("content-type", "text/plain"),
            ("traceparent", PARENT),
        ]),
        Some(Bytes::from_static(b"x")),
    )
    .unwrap();
    let mut map = ::http::HeaderMap::new();
    event.write_http(&mut map);
    let text = |name: &str| map[name].to_str().unwrap().to_owned();
    assert_eq!(text("ce-specversion"), "1.0");
    assert_eq!(text("ce-id"), "1");
    assert_eq!(text("ce-source"), "/a");
    assert_eq!(text("ce-type"), "t");
    assert_eq!(text("ce-subject"), "Stra%C3%9Fe%207%20%22%25%22");
    assert_eq!(text("ce-myext"), "%C3%A9");
    assert_eq!(text("content-type"), "text/plain");
    assert_eq!(text("traceparent"), PARENT);
    assert_eq!(text("towpath-traceparent"), PARENT);
}

#[test]
fn a_missing_attribute_is_named() {
    for (index, name) in ["specversion", "id", "source", "type"].into_iter().enumerate() {
        let mut without = minimal(&[]);
        without.remove(index);
        assert_eq!(read(&without, None), Err(Malformed::Missing(name)));
        let mut empty = minimal(&[]);
        empty[index].1 = Some(Bytes::new());
        assert!(read(&empty, None).is_err(), "{name}");
        let mut null = minimal(&[]);
        null[index].1 = None;
        assert_eq!(read(&null, None), Err(Malformed::Missing(name)));
    }
    assert_eq!(read(&[], None), Err(Malformed::Missing("specversion")));
}

#[test]
fn another_version_is_refused() {
    let mut headers = minimal(&[]);
    headers[0].1 = Some(Bytes::from_static(b"0.3"));
    assert_eq!(read(&headers, None), Err(Malformed::Version("0.3".into())));
}

#[test]
fn what_is_not_utf_8_is_refused() {
    let mut headers = minimal(&[]);
    headers.push(("ce_bad".into(), Some(Bytes::from_static(&[0xff]))));
    assert_eq!(read(&headers, None), Err(Malformed::Attribute("bad".into(), "UTF-8")));
}

#[test]
fn names_that_cannot_travel_are_left_out() {
    let event =
        read(&minimal(&[("ce_Bad", "x"), ("ce_under_score", "x"), ("ce_", "x"), ("other", "x")]), None).unwrap();
    assert_eq!(event.attributes, BTreeMap::new());
    assert_eq!(event.content_type, None);
    assert!(event.data.is_empty());
}

#[test]
fn the_structured_mode_is_read() {
    let event = structured(&json!({
        "specversion": "1.0", "id": "7", "source": "/b", "type": "t", "subject": "s", "count": 3, "flag": true,
        "nothing": null, "traceparent": PARENT, "data": {"n": 12345678901234567890u64}
    }))
    .unwrap();
    assert_eq!(event.data, "{\"n\":12345678901234567890}");
    assert_eq!(event.content_type.as_deref(), Some("application/json"));
    assert_eq!((event.attributes["count"].as_str(), event.attributes["flag"].as_str()), ("3", "true"));
    assert!(!event.attributes.contains_key("nothing"));
    assert_eq!(event.trace.unwrap().traceparent, PARENT);
}

#[test]
fn structured_data_comes_in_three_ways() {
    let with = |more: serde_json::Value| {
        let mut document = json!({"specversion": "1.0", "id": "7", "source": "/b", "type": "t"});
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        structured(&document)
    };
    assert_eq!(with(json!({"data_base64": "AP8="})).unwrap().data, &[0u8, 0xff][..]);
    assert_eq!(with(json!({"datacontenttype": "text/plain", "data": "hi"})).unwrap().data, "hi");
    assert_eq!(with(json!({"datacontenttype": "application/x+json", "data": "hi"})).unwrap().data, "\"hi\"");
    assert!(with(json!({})).unwrap().data.is_empty());
    assert!(with(json!({"data": 1, "data_base64": "AP8="})).is_err());
    assert!(with(json!({"data_base64": "*"})).is_err());
    assert!(with(json!({"subject": {"a": 1}})).is_err());
}

#[test]
fn other_formats_are_refused() {
    for media in ["application/cloudevents-batch+json", "application/cloudevents+avro", "application/cloudevents"] {
        let result = read(&headers(&[("content-type", media)]), Some(Bytes::from_static(b"{}")));
        assert_eq!(result, Err(Malformed::Format(media.into())));
    }
    for document in ["", "[]", "{", "null", "{\"specversion\":\"1.0\"}"] {
        assert!(read(&headers(&[("content-type", "application/cloudevents+json")]), Some(document.into())).is_err());
    }
}

proptest! {
    #[test]
    fn nothing_in_a_record_stops_the_relay(
        pairs in proptest::collection::vec(("(ce_)?[a-z_]{0,12}|content-type|traceparent", proptest::option::of(any::<Vec<u8>>())), 0..8),
        structured: bool,
        value in proptest::option::of(any::<Vec<u8>>()),
    ) {
        let mut all: Vec<RecordHeader> = pairs.into_iter().map(|(name, value)| (name, value.map(Bytes::from))).collect();
        if structured {
            all.insert(0, ("content-type".into(), Some(Bytes::from_static(b"application/cloudevents+json"))));
        }
        if let Ok(event) = read(&all, value.map(Bytes::from)) {
            event.write_http(&mut ::http::HeaderMap::new());
        }
    }

    #[test]
    fn encoding_loses_nothing(value in any::<Vec<u8>>()) {
        let text = encode(&value);
        prop_assert!(text.bytes().all(|b| (0x21..=0x7e).contains(&b) && b != b'"'));
        let mut back = Vec::new();
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let hex: String = [bytes.next().unwrap(), bytes.next().unwrap()].into_iter().map(char::from).collect();
                back.push(u8::from_str_radix(&hex, 16).unwrap());
            } else {
                back.push(byte);
            }
        }
        prop_assert_eq!(back, value);
    }
}
