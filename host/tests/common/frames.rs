//! HTTP/2 frame by frame (RFC 9113), for clients that no library would be.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Host, PATIENCE};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM and GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection that writes and reads frames.
pub struct Frames {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Frames {
    /// Connects, and sends the preface with these settings.
    pub fn connect(address: &str, settings: &[(u16, u32)]) -> Self {
        let mut own = Self::bare(address);
        own.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let settings = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
        own.send(SETTINGS, 0, 0, &settings.collect::<Vec<_>>());
        own
    }

    /// Connects, and sends nothing.
    pub fn bare(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub fn to(host: &Host) -> Self {
        Self::connect(host.address(), &[])
    }

    /// Writes bytes. The host may have hung up already.
    pub fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.raw(&[head.as_slice(), payload].concat());
    }

    /// Sends the head of a request, whole.
    pub fn request(&mut self, stream: u32, method: &str, path: &str, fields: &[(&str, &str)], flags: u8) {
        let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")];
        let block = block(&[&pseudo[..], fields].concat());
        self.send(HEADERS, END_HEADERS | flags, stream, &block);
    }

    /// The next frame; `None` once the host has closed the connection.
    pub fn next(&mut self) -> Option<Frame> {
        let head = self.take(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & (u32::MAX >> 1);
        Some(Frame { kind: head[3], flags: head[4], stream, payload: self.take(length)? })
    }

    /// The next frame of this kind, past others.
    pub fn next_of(&mut self, kind: u8) -> Option<Frame> {
        std::iter::from_fn(|| self.next()).find(|frame| frame.kind == kind)
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.read.len() < count {
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.read.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the host says nothing"),
                Err(_) => return None,
            }
        }
        Some(self.read.drain(..count).collect())
    }
}

/// A header block (RFC 7541): each field as a literal without indexing.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let mut bytes = Vec::new();
        match text.len() {
            length @ 0..127 => bytes.push(length as u8),
            length => {
                bytes.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    bytes.push((rest % 128 + 128) as u8);
                    rest /= 128;
                }
                bytes.push(rest as u8);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}
