//! HTTP/1.1, as far as the end of a request can be found.

use std::io;

use bytes::Bytes;
use http::{Request, StatusCode};
use httparse::{EMPTY_HEADER, Header, Status};

use crate::Protocol;
use crate::protocol::malformed;

/// HTTP/1.1 with kept connections. A request counts once its body is there.
#[derive(Debug)]
pub enum Http {}

/// More than any client sends.
const MAX_HEADERS: usize = 128;

impl Protocol for Http {
    type Request = Request<()>;
    type State = ();

    fn request((): &mut (), bytes: &[u8]) -> io::Result<Option<(usize, Request<()>)>> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let Status::Complete(length) = head.parse(bytes).map_err(malformed)? else { return Ok(None) };
        let Some(body) = body(head.headers, &bytes[length..])? else { return Ok(None) };
        let mut request = Request::builder().method(head.method.unwrap_or_default()).uri(head.path.unwrap_or_default());
        for header in head.headers.iter() {
            request = request.header(header.name, header.value);
        }
        Ok(Some((length + body, request.body(()).map_err(malformed)?)))
    }
}

/// How long the body is at the beginning of these bytes; `None` while a part of it is missing.
fn body(headers: &[Header<'_>], bytes: &[u8]) -> io::Result<Option<usize>> {
    let value = |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    if value("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().ends_with(b"chunked")) {
        return chunks(bytes);
    }
    let length = match value("content-length") {
        None => 0,
        Some(text) => {
            let text = std::str::from_utf8(text).map_err(malformed)?;
            text.trim().parse().map_err(malformed)?
        }
    };
    Ok((bytes.len() >= length).then_some(length))
}

/// The same for a body in chunks.
fn chunks(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let size = httparse::parse_chunk_size(rest).map_err(|_| malformed("a chunk without a size"))?;
        let Status::Complete((line, size)) = size else { return Ok(None) };
        at += line;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).map_err(malformed)?;
        // Each chunk ends with CRLF.
        at = at.checked_add(size).and_then(|end| end.checked_add(2)).ok_or_else(|| malformed("an endless chunk"))?;
    }
    let mut trailers = [EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(&bytes[at..], &mut trailers).map_err(malformed)? {
        Status::Complete((length, _)) => Ok(Some(at + length)),
        Status::Partial => Ok(None),
    }
}

/// An answer in a server's place, for [`Fate::Answered`](crate::Fate::Answered): a status, and a line that says why.
#[must_use]
pub fn answer(status: StatusCode, why: &str) -> Bytes {
    let length = why.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{why}").into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Option<(usize, Request<()>)> {
        Http::request(&mut (), text.as_bytes()).expect("HTTP")
    }

    #[test]
    fn a_request_ends_where_its_body_ends() {
        for text in [
            "GET /a?b HTTP/1.1\r\nhost: x\r\n\r\n",
            "POST /a?b HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
            "POST /a?b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
            "POST /a?b HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n1;x=y\r\nb\r\n3\r\nody\r\n0\r\nt: v\r\n\r\n",
            "PUT /a?b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            for cut in 0..text.len() {
                assert!(whole(&text[..cut]).is_none(), "{cut} bytes of {text:?}");
            }
            let (length, request) = whole(&format!("{text}GET /next")).expect(text);
            assert_eq!((length, request.uri().to_string().as_str()), (text.len(), "/a?b"), "{text:?}");
        }
    }

    #[test]
    fn a_rule_sees_method_and_headers() {
        let (_, request) = whole("POST /events HTTP/1.1\r\nce-id: 7\r\n\r\n").expect("a request");
        assert_eq!((request.method().as_str(), &request.headers()["ce-id"]), ("POST", &"7".parse().expect("a value")));
    }

    #[test]
    fn what_is_no_http_is_an_error() {
        for text in [
            "\0\0\0\x08",
            "GET / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
            "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
            "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            assert!(Http::request(&mut (), text.as_bytes()).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error_or_not_all_there(bytes: Vec<u8>, chunked: Vec<u8>) {
            let head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
            for bytes in [&bytes[..], &[head.as_slice(), &chunked].concat()] {
                if let Ok(Some((length, _))) = Http::request(&mut (), bytes) {
                    prop_assert!(length <= bytes.len());
                }
            }
        }
    }
}
