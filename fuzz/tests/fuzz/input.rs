//! Formats of inputs that several targets share. A person can read a corpus in them and add to it.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A name, and a value if there is one.
type Field<'a> = (String, Option<&'a [u8]>);

/// Reads `name: value` lines, an empty line, and a body: an HTTP message with line ends of one byte. A line without a colon
/// is a name without a value.
pub(crate) fn message(bytes: &[u8]) -> (Vec<Field<'_>>, &[u8]) {
    let mut fields = Vec::new();
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let (line, after) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
        if line.is_empty() {
            return (fields, after);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let name = String::from_utf8_lossy(&line[..colon.unwrap_or(line.len())]).into_owned();
        fields.push((name, colon.map(|at| line[at + 1..].trim_ascii_start())));
        rest = after;
    }
}

/// The fields that are valid HTTP headers.
pub(crate) fn headers(fields: &[(String, Option<&[u8]>)]) -> HeaderMap {
    let header = |(name, value): &(String, Option<&[u8]>)| {
        Some((HeaderName::try_from(name.as_str()).ok()?, HeaderValue::from_bytes(value.unwrap_or_default()).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().filter_map(header) {
        headers.append(name, value);
    }
    headers
}

/// Reads JSON of this type, and checks that it reads back the same after it is written.
pub(crate) fn reads_back<T>(bytes: &[u8]) -> Option<T>
where
    T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    let read: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<T>(&written).expect("what was written can be read"), read);
    Some(read)
}

/// Two lines. The second may be absent.
pub(crate) fn two_lines(bytes: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.split_once('\n').unwrap_or((text, "")))
}
