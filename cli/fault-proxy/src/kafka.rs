//! Kafka's [protocol](https://kafka.apache.org/protocol): frames with a length, and answers that name the broker's own
//! address. Clients follow that address, so the proxy puts its own port in the place of the broker's.

use std::io;

use crate::Protocol;
use crate::protocol::{Ports, length, malformed};

/// Kafka, for a cluster of one broker that advertises itself as `127.0.0.1`, without TLS.
#[derive(Debug)]
pub enum Kafka {}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What kind of request it is, such as [`PRODUCE`].
    pub api_key: i16,
    /// The version of its form, and so of its answer's.
    pub version: i16,
    /// What its answer begins with.
    pub correlation: i32,
    /// What the client calls itself: its `client.id`.
    pub client: String,
}

/// The kind of request that brings records.
pub const PRODUCE: i16 = 0;

/// The kind of request that asks who leads which partition.
pub const METADATA: i16 = 3;

/// The kind of request that asks who coordinates a group.
pub const FIND_COORDINATOR: i16 = 10;

/// The kind of request by which a member of a group says that it lives.
pub const HEARTBEAT: i16 = 12;

/// The host that a broker on this machine advertises.
const HOST: &[u8] = b"127.0.0.1";
/// API key, its version, the correlation id and the length of the client's name.
const MIN_REQUEST_BYTES: usize = 10;

impl Protocol for Kafka {
    type Request = Request;
    type State = ();

    fn request((): &mut (), bytes: &[u8]) -> io::Result<Option<(usize, Request)>> {
        let Some(length) = length(bytes, MIN_REQUEST_BYTES)? else { return Ok(None) };
        let Some(frame) = bytes.get(4..4 + length) else { return Ok(None) };
        let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        // A client without a name says that it has -1 bytes.
        let name = usize::try_from(number(8)).unwrap_or_default();
        let name = frame
            .get(MIN_REQUEST_BYTES..MIN_REQUEST_BYTES + name)
            .ok_or_else(|| malformed("a client id that goes on beyond its frame"))?;
        let client = String::from_utf8_lossy(name).into_owned();
        let correlation = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        Ok(Some((4 + length, Request { api_key: number(0), version: number(2), correlation, client })))
    }

    fn answer(bytes: &mut [u8], ports: Ports) -> io::Result<usize> {
        let mut whole = 0;
        while let Some(length) = length(&bytes[whole..], 0)? {
            match bytes.get(whole..whole + 4 + length) {
                Some(frame) => whole += frame.len(),
                None => break,
            }
        }
        let address = |port: u16| [HOST, &u32::from(port).to_be_bytes()].concat();
        replace(&mut bytes[..whole], &address(ports.server), &address(ports.proxy));
        Ok(whole)
    }
}

/// Replaces what has the same length.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(old.len()).position(|window| window == old) {
        bytes[at + found..][..old.len()].copy_from_slice(new);
        at += found + old.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { proxy: 1, server: 9092 };

    fn frame(body: &[u8]) -> Vec<u8> {
        [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    }

    #[test]
    fn a_request_says_what_it_is_and_whose() {
        let whole = frame(b"\0\0\0\x09\0\0\0\x07\0\x03abcrecords");
        for cut in 0..whole.len() {
            assert_eq!(Kafka::request(&mut (), &whole[..cut]).unwrap(), None);
        }
        let (length, request) = Kafka::request(&mut (), &[&whole[..], b"next"].concat()).unwrap().unwrap();
        let expected = Request { api_key: PRODUCE, version: 9, correlation: 7, client: "abc".to_owned() };
        assert_eq!((length, request), (whole.len(), expected));
        let nameless = frame(b"\0\x12\0\0\0\0\0\x01\xff\xff");
        assert_eq!(Kafka::request(&mut (), &nameless).unwrap().unwrap().1.client, "");
        assert!(Kafka::request(&mut (), &frame(b"\0\0\0\0\0\0\0\0\0\x09short")).is_err());
        assert!(Kafka::request(&mut (), b"GET / HTTP/1.1").is_err());
    }

    #[test]
    fn only_whole_frames_go_on_and_the_brokers_port_in_them_is_the_proxys() {
        let broker = frame(b"a\0\x09127.0.0.1\0\0\x23\x84b\0\x09127.0.0.1\0\0\x23\x84\0\x09127.0.0.1\0\0\x23\x85");
        let proxy = frame(b"a\0\x09127.0.0.1\0\0\0\x01b\0\x09127.0.0.1\0\0\0\x01\0\x09127.0.0.1\0\0\x23\x85");
        let mut bytes = [&broker[..], &broker[..broker.len() - 1]].concat();
        assert_eq!(Kafka::answer(&mut bytes, PORTS).unwrap(), broker.len());
        assert_eq!(bytes, [&proxy[..], &broker[..broker.len() - 1]].concat());
    }
}
