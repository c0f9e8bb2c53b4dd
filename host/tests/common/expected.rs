//! What must come of frames that a client sends.

use super::frames::{Frames, GOAWAY, HEADERS, RST_STREAM};

const PROTOCOL_ERROR: u32 = 1;

/// What the host must do.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// Close the connection, with GOAWAY of one of these codes if it says anything. PROTOCOL_ERROR will do for each: the
    /// library reports what it cannot read with it.
    Closes(&'static [u32]),
    /// Reset the stream with one of these codes, or close the connection.
    Resets(&'static [u32]),
    /// Answer the request of this stream with 200.
    Serves(u32),
}
use Expected::{Closes, Resets, Serves};

/// What came of a case, where that is not what must come of it.
pub fn fault(client: &mut Frames, expected: Expected) -> Option<String> {
    loop {
        let frame = client.next();
        let codes = match expected {
            Closes(codes) | Resets(codes) => codes,
            Serves(_) => &[],
        };
        match (expected, frame) {
            (Closes(_) | Resets(_), None) => return None,
            (Serves(_), None) => return Some("it closed the connection".to_owned()),
            (_, Some(frame)) if frame.kind == GOAWAY => {
                let is_right = frame.code() == PROTOCOL_ERROR || codes.contains(&frame.code());
                return (!is_right).then(|| format!("GOAWAY of {}", frame.code()));
            }
            (Resets(_), Some(frame)) if frame.kind == RST_STREAM => {
                return (!codes.contains(&frame.code())).then(|| format!("RST_STREAM of {}", frame.code()));
            }
            // A malformed request may be answered with 400 (section 8.1.1); 200 is wrong.
            (Resets(_), Some(frame)) if frame.kind == HEADERS && frame.payload[0] == 0x8c => return None,
            (Resets(_) | Closes(_), Some(frame)) if frame.kind == HEADERS && frame.payload[0] == 0x88 => {
                return Some("it answered 200".to_owned());
            }
            (Serves(stream), Some(frame)) if frame.kind == HEADERS && frame.stream == stream => {
                return (frame.payload[0] != 0x88).then(|| format!("an answer of {:x?}", frame.payload));
            }
            (Serves(stream), Some(frame)) if frame.kind == RST_STREAM && frame.stream == stream => {
                return Some(format!("RST_STREAM of {}", frame.code()));
            }
            _ => {}
        }
    }
}
