#![doc = include_str!("../README.md")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use spin_sdk::http::body::IncomingBodyExt;
use spin_sdk::http::{BoxBody, FullBody, Request, Response, StatusCode, box_body};
use spin_sdk::wasip3::http::types::{ErrorCode, RequestOptions};
use spin_sdk::wasip3::http_compat::RequestOptionsExtension;
use spin_sdk::{http_service, variables};

/// How often this instance was called: shows when the host reuses an instance and when it makes a new one.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// Memory that is never given back.
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

#[http_service]
async fn handle(request: Request) -> Result<Response<BoxBody>, ErrorCode> {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let query = Query::of(&request);
    match last_segment(request.uri().path()) {
        "hello" => Ok(Response::new(box_body(FullBody::new(Bytes::from_static(b"Hello"))))),
        "echo" => echo(request).await,
        "calls" => answer(json!({ "calls": calls })),
        "trap" => panic!("asked to trap"),
        "events" => event(request).await,
        "spin" => spin(),
        "fail" => Err(ErrorCode::InternalError(Some("asked to fail".into()))),
        "wait" => wait(&query, calls).await,
        "fetch" => fetch(request, &query).await,
        "variable" => variable(&query).await,
        "allocate" => allocate(query.number("mib")),
        "print" => print(&query),
        "environment" => answer(std::env::vars().map(|(name, value)| (name, Value::from(value))).collect()),
        "stream" => Ok(stream(query.number("lines"))),
        "sum" => sum(request).await,
        "sized" => Ok(sized(&query)),
        _ => Ok(with_status(404, json!({ "path": request.uri().path() }))),
    }
}

/// What arrived, as JSON.
async fn echo(request: Request) -> Result<Response<BoxBody>, ErrorCode> {
    let headers: Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    let (method, uri) = (request.method().to_string(), request.uri().to_string());
    let body = request.into_body().bytes().await?;
    answer(json!({ "method": method, "uri": uri, "headers": headers, "body": String::from_utf8_lossy(&body) }))
}

/// The length of the body, read piece by piece, or how reading it failed.
async fn sum(request: Request) -> Result<Response<BoxBody>, ErrorCode> {
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => length += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => return Ok(with_status(413, json!({ "error": format!("{error:?}") }))),
        }
    }
    answer(json!({ "length": length }))
}

/// Accepts an event, and traps on the one that the variable `trap_on` names: its key and the number in its data.
async fn event(request: Request) -> Result<Response<BoxBody>, ErrorCode> {
    let key = request.headers().get("towpath-event-key").cloned();
    let key = key.as_ref().and_then(|key| key.to_str().ok()).unwrap_or_default();
    let data: Value = serde_json::from_slice(&request.into_body().bytes().await?).unwrap_or_default();
    let trap_on = variables::get("trap_on").await.unwrap_or_default();
    assert!(format!("{key}:{}", data["n"]) != trap_on, "asked to trap on this event");
    answer(json!({}))
}

/// Computes for ever.
fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// Says that it begins, and how many calls the instance had by then.
async fn wait(query: &Query, calls: u32) -> Result<Response<BoxBody>, ErrorCode> {
    println!("waiting");
    spin_sdk::time::sleep(Duration::from_millis(query.number("ms"))).await;
    answer(json!({ "waited": query.number("ms"), "calls": calls }))
}

/// Calls `url` and tells what came of it: the answer, or the error code. `forward` sends the own headers along.
async fn fetch(request: Request, query: &Query) -> Result<Response<BoxBody>, ErrorCode> {
    let mut call = Request::builder().uri(query.text("url"));
    if let Some(headers) = call.headers_mut().filter(|_| query.has("forward")) {
        for (name, value) in request.headers().iter().filter(|(name, _)| name.as_str().starts_with("trace")) {
            headers.insert(name, value.clone());
        }
    }
    if query.has("forged") {
        call = call.header("spin-client-addr", "6.6.6.6:6").header("spin-path-match-forged", "yes");
    }
    if query.has("sized") {
        call = call.method("POST").header("content-length", query.text("body").len());
    }
    if query.has("first_byte_ms") {
        let options = RequestOptions::new();
        let _ = options.set_first_byte_timeout(Some(query.number("first_byte_ms") * 1_000_000));
        call = call.extension(RequestOptionsExtension(options));
    }
    let call = call
        .body(FullBody::new(Bytes::copy_from_slice(query.text("body").as_bytes())))
        .map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    match spin_sdk::http::send(call).await {
        Err(code) => answer(json!({ "error": format!("{code:?}") })),
        Ok(response) => {
            let status = response.status().as_u16();
            let body = response.into_body().bytes().await?;
            let text = String::from_utf8_lossy(&body).into_owned();
            let body = serde_json::from_str(&text).unwrap_or(Value::from(text));
            answer(json!({ "status": status, "body": body }))
        }
    }
}

async fn variable(query: &Query) -> Result<Response<BoxBody>, ErrorCode> {
    match variables::get(query.text("name")).await {
        Ok(value) => answer(json!({ "value": value })),
        Err(error) => answer(json!({ "error": format!("{error:?}") })),
    }
}

fn allocate(mib: u64) -> Result<Response<BoxBody>, ErrorCode> {
    let Ok(mut kept) = KEPT.lock() else { return Err(ErrorCode::InternalError(None)) };
    kept.push(vec![1; (mib as usize) << 20]);
    answer(json!({ "mib": kept.iter().map(Vec::len).sum::<usize>() >> 20 }))
}

fn print(query: &Query) -> Result<Response<BoxBody>, ErrorCode> {
    println!("{}", query.text("out"));
    eprintln!("{}", query.text("err"));
    answer(json!({}))
}

/// A body that is still being written when the answer has begun.
fn stream(lines: u64) -> Response<BoxBody> {
    let (mut sender, body) = spin_sdk::http::body::stream::<String>();
    spin_sdk::wasip3::spawn(async move {
        for line in 0..lines {
            if sender.send(format!("{line}\n")).await.is_err() {
                break;
            }
        }
    });
    Response::new(box_body(body))
}

/// A body of `bytes` bytes that says it has `length`.
fn sized(query: &Query) -> Response<BoxBody> {
    let body = vec![b'x'; query.number("bytes") as usize];
    let mut response = Response::new(box_body(FullBody::new(Bytes::from(body))));
    response.headers_mut().insert("content-length", query.number("length").into());
    response
}

fn answer(body: Value) -> Result<Response<BoxBody>, ErrorCode> {
    Ok(with_status(200, body))
}

fn with_status(status: u16, body: Value) -> Response<BoxBody> {
    let mut response = Response::new(box_body(FullBody::new(Bytes::from(body.to_string()))));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The query string's pairs; a value is percent-decoded as far as the tests need it.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &Request) -> Self {
        let text = request.uri().query().unwrap_or_default();
        Self(
            text.split('&')
                .filter_map(|pair| pair.split_once('=').or((!pair.is_empty()).then_some((pair, ""))))
                .map(|(name, value)| (name.to_owned(), decoded(value)))
                .collect(),
        )
    }

    fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
