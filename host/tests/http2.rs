//! HTTP/2 frame by frame: what RFC 9113 forbids or allows in its sections 4 to 8, and what must come of it. The list of
//! cases follows h2spec.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use common::expected::Expected::{self, Closes, Resets, Serves};
use common::expected::fault;
use common::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
};
use common::{Host, Setup};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// What a client does, and what must come of it.
type Case = (&'static str, fn(&mut Frames), Expected);

fn get(client: &mut Frames, stream: u32) {
    client.request(stream, "GET", "/hello", &[], END_STREAM);
}

fn post(client: &mut Frames, stream: u32, fields: &[(&str, &str)]) {
    client.request(stream, "POST", "/sum", fields, 0);
}

/// Sends a header block as it is.
fn head(client: &mut Frames, fields: &[(&str, &str)]) {
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
}

const PSEUDO: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/hello"), (":authority", "a")];

fn head_with(client: &mut Frames, fields: &[(&str, &str)]) {
    head(client, &[&PSEUDO[..], fields].concat());
}

/// Waits until the host has answered a stream, so that it is closed.
fn answered(client: &mut Frames, stream: u32) {
    let ends = |frame: &Frame| frame.stream == stream && frame.flags & END_STREAM != 0;
    while !ends(&client.next().expect("the host answers")) {}
}

const CASES: &[Case] = &[
    // 4: frames
    (
        "4.1 an unknown frame is ignored",
        |c| {
            c.send(0xfe, 0, 0, b"what");
            get(c, 1)
        },
        Serves(1),
    ),
    (
        "4.1 unknown flags are ignored",
        |c| {
            c.send(PING, 0x16, 0, &[0; 8]);
            get(c, 1)
        },
        Serves(1),
    ),
    (
        "4.1 the reserved bit is ignored",
        |c| {
            c.send(PING, 0, 1 << 31, &[0; 8]);
            get(c, 1)
        },
        Serves(1),
    ),
    (
        "4.2 DATA as long as allowed",
        |c| {
            post(c, 1, &[]);
            c.send(DATA, END_STREAM, 1, &[1; 16 << 10])
        },
        Serves(1),
    ),
    (
        "4.2 DATA that is too long",
        |c| {
            post(c, 1, &[]);
            c.send(DATA, END_STREAM, 1, &[1; (16 << 10) + 1])
        },
        Resets(&[FRAME_SIZE_ERROR]),
    ),
    (
        "4.2 HEADERS that are too long",
        |c| c.send(HEADERS, END_HEADERS, 1, &[0; (16 << 10) + 1]),
        Closes(&[FRAME_SIZE_ERROR]),
    ),
    (
        "4.3 a header block that is none",
        |c| c.send(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 20]),
        Closes(&[COMPRESSION_ERROR]),
    ),
    (
        "4.3 another frame within a header block",
        |c| {
            c.send(HEADERS, END_STREAM, 1, &block(&PSEUDO));
            c.send(PRIORITY, 0, 3, &[0; 5]);
            c.send(CONTINUATION, END_HEADERS, 1, &[]);
        },
        Closes(&[PROTOCOL_ERROR]),
    ),
    (
        "4.3 an unknown frame within a header block",
        |c| {
            c.send(HEADERS, END_STREAM, 1, &block(&PSEUDO));
            c.send(0xfe, 0, 1, &[]);
            c.send(CONTINUATION, END_HEADERS, 1, &[]);
        },
        Closes(&[PROTOCOL_ERROR]),
    ),
    // 5.1: states of a stream
    ("5.1 DATA on an idle stream", |c| c.send(DATA, END_STREAM, 1, b"x"), Closes(&[PROTOCOL_ERROR, STREAM_CLOSED])),
    ("5.1 RST_STREAM on an idle stream", |c| c.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes()), Closes(&[PROTOCOL_ERROR])),
    (
        "5.1 WINDOW_UPDATE on an idle stream",
        |c| c.send(WINDOW_UPDATE, 0, 1, &100_u32.to_be_bytes()),
        Closes(&[PROTOCOL_ERROR]),
    ),
    (
        "5.1 CONTINUATION on an idle stream",
        |c| c.send(CONTINUATION, END_HEADERS, 1, &block(&PSEUDO)),
        Closes(&[PROTOCOL_ERROR]),
    ),
    (
        "5.1 DATA on a half-closed stream",
        |c| {
            c.request(1, "GET", "/wait?ms=2000", &[], END_STREAM);
            c.send(DATA, END_STREAM, 1, b"x")
        },
        Resets(&[STREAM_CLOSED]),
    ),
    (
        "5.1 HEADERS on a half-closed stream",
        |c| {
            c.request(1, "GET", "/wait?ms=2000", &[], END_STREAM);
            get(c, 1)
        },
        Resets(&[STREAM_CLOSED]),
    ),
    (
        "5.1 CONTINUATION on a half-closed stream",
        |c| {
            c.request(1, "GET", "/wait?ms=2000", &[], END_STREAM);
            c.send(CONTINUATION, END_HEADERS, 1, &block(&PSEUDO))
        },
        Resets(&[STREAM_CLOSED, PROTOCOL_ERROR]),
    ),
    (
        "5.1 HEADERS on a closed stream",
        |c| {
            get(c, 1);
            answered(c, 1);
            get(c, 1)
        },
        Closes(&[STREAM_CLOSED, PROTOCOL_ERROR]),
    ),
    (
        "5.1 RST_STREAM and PRIORITY on a closed stream are ignored",
        |c| {
            get(c, 1);
            answered(c, 1);
            c.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
            c.send(PRIORITY, 0, 1, &[0; 5]);
            get(c, 3);
        },
        Serves(3),
    ),
    ("5.1.1 a stream of an even number", |c| get(c, 2), Closes(&[PROTOCOL_ERROR])),
    (
        "5.1.1 a stream of a lower number",
        |c| {
            get(c, 5);
            answered(c, 5);
            get(c, 3)
        },
        Closes(&[PROTOCOL_ERROR, STREAM_CLOSED]),
    ),
    (
        "5.1.2 more streams than allowed",
        |c| {
            for stream in (1..=401).step_by(2) {
                post(c, stream, &[]);
            }
        },
        Resets(&[PROTOCOL_ERROR, 7]),
    ),
    // 6.1: DATA
    ("6.1 DATA on stream 0", |c| c.send(DATA, 0, 0, b"x"), Closes(&[PROTOCOL_ERROR])),
    (
        "6.1 padded DATA",
        |c| {
            post(c, 1, &[]);
            c.send(DATA, PADDED | END_STREAM, 1, b"\x02abc\0\0")
        },
        Serves(1),
    ),
    (
        "6.1 more padding than frame",
        |c| {
            post(c, 1, &[]);
            c.send(DATA, PADDED | END_STREAM, 1, b"\x09abc")
        },
        Closes(&[PROTOCOL_ERROR]),
    ),
    // 6.2: HEADERS
    ("6.2 HEADERS on stream 0", |c| get(c, 0), Closes(&[PROTOCOL_ERROR])),
    (
        "6.2 more padding than frame",
        |c| c.send(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, b"\xffabc"),
        Closes(&[PROTOCOL_ERROR]),
    ),
    (
        "6.2 HEADERS with a priority",
        |c| c.send(HEADERS, 0x20 | END_HEADERS | END_STREAM, 1, &[&[0, 0, 0, 0, 9], &block(&PSEUDO)[..]].concat()),
        Serves(1),
    ),
    // 6.3: PRIORITY
    ("6.3 PRIORITY on stream 0", |c| c.send(PRIORITY, 0, 0, &[0; 5]), Closes(&[PROTOCOL_ERROR])),
    ("6.3 PRIORITY of a wrong length", |c| c.send(PRIORITY, 0, 1, &[0; 4]), Resets(&[FRAME_SIZE_ERROR])),
    // 6.4: RST_STREAM
    ("6.4 RST_STREAM on stream 0", |c| c.send(RST_STREAM, 0, 0, &[0; 4]), Closes(&[PROTOCOL_ERROR])),
    (
        "6.4 RST_STREAM of a wrong length",
        |c| {
            post(c, 1, &[]);
            c.send(RST_STREAM, 0, 1, &[0; 3])
        },
        Closes(&[FRAME_SIZE_ERROR]),
    ),
    // 6.5: SETTINGS
    ("6.5 SETTINGS on a stream", |c| c.send(SETTINGS, 0, 1, &[]), Closes(&[PROTOCOL_ERROR])),
    ("6.5 an acknowledgement with a payload", |c| c.send(SETTINGS, ACK, 0, &[0; 6]), Closes(&[FRAME_SIZE_ERROR])),
    ("6.5 SETTINGS of a wrong length", |c| c.send(SETTINGS, 0, 0, &[0; 5]), Closes(&[FRAME_SIZE_ERROR])),
    ("6.5.2 ENABLE_PUSH of 2", |c| c.send(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), Closes(&[PROTOCOL_ERROR])),
    (
        "6.5.2 a window that is too large",
        |c| c.send(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
        Closes(&[FLOW_CONTROL_ERROR]),
    ),
    (
        "6.5.2 a frame size that is too small",
        |c| c.send(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff]),
        Closes(&[PROTOCOL_ERROR]),
    ),
    (
        "6.5.2 a frame size that is too large",
        |c| c.send(SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0]),
        Closes(&[PROTOCOL_ERROR]),
    ),
    (
        "6.5.2 an unknown setting is ignored",
        |c| {
            c.send(SETTINGS, 0, 0, &[0, 0xff, 0, 0, 0, 1]);
            get(c, 1)
        },
        Serves(1),
    ),
    // 6.6: PUSH_PROMISE
    (
        "6.6 a client that pushes",
        |c| {
            post(c, 1, &[]);
            c.send(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], &block(&PSEUDO)[..]].concat())
        },
        Closes(&[PROTOCOL_ERROR]),
    ),
    // 6.7: PING
    ("6.7 PING on a stream", |c| c.send(PING, 0, 1, &[0; 8]), Closes(&[PROTOCOL_ERROR])),
    ("6.7 PING of a wrong length", |c| c.send(PING, 0, 0, &[0; 6]), Closes(&[FRAME_SIZE_ERROR])),
    (
        "6.7 an unasked acknowledgement",
        |c| {
            c.send(PING, ACK, 0, &[9; 8]);
            get(c, 1)
        },
        Serves(1),
    ),
    // 6.8: GOAWAY
    ("6.8 GOAWAY on a stream", |c| c.send(GOAWAY, 0, 1, &[0; 8]), Closes(&[PROTOCOL_ERROR])),
    // 6.9: WINDOW_UPDATE
    ("6.9 an increment of 0 on the connection", |c| c.send(WINDOW_UPDATE, 0, 0, &[0; 4]), Closes(&[PROTOCOL_ERROR])),
    (
        "6.9 an increment of 0 on a stream",
        |c| {
            post(c, 1, &[]);
            c.send(WINDOW_UPDATE, 0, 1, &[0; 4])
        },
        Resets(&[PROTOCOL_ERROR]),
    ),
    ("6.9 WINDOW_UPDATE of a wrong length", |c| c.send(WINDOW_UPDATE, 0, 0, &[0; 3]), Closes(&[FRAME_SIZE_ERROR])),
    (
        "6.9.1 a connection window beyond 2^31-1",
        |c| {
            for _ in 0..2 {
                c.send(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())
            }
        },
        Closes(&[FLOW_CONTROL_ERROR]),
    ),
    (
        "6.9.1 a stream's window beyond 2^31-1",
        |c| {
            post(c, 1, &[]);
            for _ in 0..2 {
                c.send(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes())
            }
        },
        Resets(&[FLOW_CONTROL_ERROR]),
    ),
    (
        "5.1 DATA on a stream that never began",
        |c| {
            c.request(1, "POST", "/wait?ms=2000", &[], 0);
            for _ in 0..40 {
                c.send(DATA, 0, 3, &[]);
            }
        },
        Closes(&[PROTOCOL_ERROR, STREAM_CLOSED]),
    ),
    // 6.10: CONTINUATION
    (
        "6.10 a header block in pieces",
        |c| {
            let block = block(&PSEUDO);
            c.send(HEADERS, END_STREAM, 1, &block[..10]);
            c.send(CONTINUATION, 0, 1, &block[10..20]);
            c.send(CONTINUATION, END_HEADERS, 1, &block[20..]);
        },
        Serves(1),
    ),
    (
        "6.10 CONTINUATION on stream 0",
        |c| {
            c.send(HEADERS, END_STREAM, 1, &block(&PSEUDO));
            c.send(CONTINUATION, END_HEADERS, 0, &[])
        },
        Closes(&[PROTOCOL_ERROR]),
    ),
    (
        "6.10 CONTINUATION of another stream",
        |c| {
            c.send(HEADERS, END_STREAM, 1, &block(&PSEUDO));
            c.send(CONTINUATION, END_HEADERS, 3, &[])
        },
        Closes(&[PROTOCOL_ERROR]),
    ),
    (
        "6.10 CONTINUATION after END_HEADERS",
        |c| {
            post(c, 1, &[]);
            c.send(CONTINUATION, END_HEADERS, 1, &block(&[("x", "y")]))
        },
        Closes(&[PROTOCOL_ERROR]),
    ),
    // 7: error codes
    (
        "7 an unknown error code is taken",
        |c| {
            post(c, 1, &[]);
            c.send(RST_STREAM, 0, 1, &0xff_u32.to_be_bytes());
            get(c, 3)
        },
        Serves(3),
    ),
    // 8: messages
    (
        "8.1 HEADERS that end nothing after DATA",
        |c| {
            post(c, 1, &[]);
            c.send(DATA, 0, 1, b"x");
            c.send(HEADERS, END_HEADERS, 1, &block(&[("x", "y")]))
        },
        Resets(&[PROTOCOL_ERROR]),
    ),
    (
        "8.1 trailers",
        |c| {
            post(c, 1, &[]);
            c.send(DATA, 0, 1, b"x");
            c.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x", "y")]))
        },
        Serves(1),
    ),
    (
        "8.1 a pseudo-header in trailers is dropped",
        |c| {
            post(c, 1, &[]);
            c.send(DATA, 0, 1, b"x");
            c.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":method", "GET")]))
        },
        Serves(1),
    ),
    (
        "8.1.1 a length that is not the body's",
        |c| {
            post(c, 1, &[("content-length", "2")]);
            c.send(DATA, END_STREAM, 1, b"x")
        },
        Resets(&[PROTOCOL_ERROR]),
    ),
    (
        "8.1.1 a length that several frames exceed",
        |c| {
            post(c, 1, &[("content-length", "2")]);
            c.send(DATA, 0, 1, b"x");
            c.send(DATA, END_STREAM, 1, b"yz")
        },
        Resets(&[PROTOCOL_ERROR]),
    ),
    ("8.2.1 a name in upper case", |c| head_with(c, &[("X-A", "b")]), Resets(&[PROTOCOL_ERROR])),
    ("8.2.1 a value with a line break", |c| head_with(c, &[("x", "a\r\nb: c")]), Resets(&[PROTOCOL_ERROR])),
    ("8.2.2 a header of the connection", |c| head_with(c, &[("connection", "close")]), Resets(&[PROTOCOL_ERROR])),
    ("8.2.2 transfer-encoding", |c| head_with(c, &[("transfer-encoding", "chunked")]), Resets(&[PROTOCOL_ERROR])),
    ("8.2.2 te that is no trailers", |c| head_with(c, &[("te", "gzip")]), Resets(&[PROTOCOL_ERROR])),
    ("8.2.2 te of trailers", |c| head_with(c, &[("te", "trailers")]), Serves(1)),
    ("8.2.3 cookies in pieces", |c| head_with(c, &[("cookie", "a=b"), ("cookie", "c=d")]), Serves(1)),
    (
        "8.3 an unknown pseudo-header",
        |c| head(c, &[&PSEUDO[..], &[(":what", "x")]].concat()),
        Resets(&[PROTOCOL_ERROR]),
    ),
    (
        "8.3 a pseudo-header of responses",
        |c| head(c, &[&PSEUDO[..], &[(":status", "200")]].concat()),
        Resets(&[PROTOCOL_ERROR]),
    ),
    (
        "8.3 a pseudo-header after a header",
        |c| head(c, &[&[("x", "y")], &PSEUDO[..]].concat()),
        Resets(&[PROTOCOL_ERROR]),
    ),
    ("8.3.1 an empty path", |c| head(c, &[PSEUDO[0], PSEUDO[1], (":path", ""), PSEUDO[3]]), Resets(&[PROTOCOL_ERROR])),
    ("8.3.1 no method", |c| head(c, &PSEUDO[1..]), Resets(&[PROTOCOL_ERROR])),
    ("8.3.1 no scheme", |c| head(c, &[PSEUDO[0], PSEUDO[2], PSEUDO[3]]), Resets(&[PROTOCOL_ERROR])),
    ("8.3.1 no path", |c| head(c, &[PSEUDO[0], PSEUDO[1], PSEUDO[3]]), Resets(&[PROTOCOL_ERROR])),
    ("8.3.1 two methods", |c| head(c, &[&PSEUDO[..], &[(":method", "POST")]].concat()), Resets(&[PROTOCOL_ERROR])),
    ("8.3.1 two schemes", |c| head(c, &[&PSEUDO[..], &[(":scheme", "https")]].concat()), Resets(&[PROTOCOL_ERROR])),
    ("8.3.1 two paths", |c| head(c, &[&PSEUDO[..], &[(":path", "/")]].concat()), Resets(&[PROTOCOL_ERROR])),
];

#[tokio::test]
async fn frames_of_http_2_get_the_answer_that_the_rfc_names() {
    let host = Setup::new().args(&["--header-timeout", "2s"]).start().await;
    let mut wrong = Vec::new();
    for (name, act, expected) in CASES {
        let mut client = Frames::to(&host);
        act(&mut client);
        if let Some(fault) = fault(&mut client, *expected) {
            wrong.push(format!("{name}: expected {expected:?}, not {fault}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(host.get("/hello").await.0, 200, "none of them harms others");
}

#[tokio::test]
async fn a_preface_that_is_none_is_refused() {
    let host = Host::start().await;
    let mut client = Frames::bare(host.address());
    client.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(PING, 0, 0, &[0; 8]);
    assert_eq!(fault(&mut client, Closes(&[PROTOCOL_ERROR])), None, "3.4 the first frame must be SETTINGS");
}

#[tokio::test]
async fn the_response_to_head_has_no_body() {
    let host = Host::start().await;
    for path in ["/hello", "/sized?bytes=5&length=5", "/.well-known/spin/other", "/.well-known/spin/health"] {
        let mut client = Frames::to(&host);
        client.request(1, "HEAD", path, &[], END_STREAM);
        let ended = std::iter::from_fn(|| client.next()).filter(|frame| frame.stream == 1).find(|frame| {
            assert!(frame.kind != DATA || frame.payload.is_empty(), "{path}");
            frame.flags & END_STREAM != 0
        });
        assert!(ended.is_some(), "{path}");
    }
}
