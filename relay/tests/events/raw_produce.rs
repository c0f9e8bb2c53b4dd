//! Writes records as Kafka's protocol allows them and the client library of these tests doesn't: with any bytes as the name of a
//! header, and compressed in a way that the library doesn't unpack.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_Produce> (version 7),
//! <https://kafka.apache.org/documentation/#recordbatch> (magic 2), and RFC 1952 for gzip.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use towpath_kafka_admin::Connection;

use crate::support::{eventually, kafka_admin};

const UNCOMPRESSED: i16 = 0;
const GZIP: i16 = 1;

/// Writes one record into a partition that Kafka can read and its client can't: compressed with gzip whose header has a flag
/// that is reserved, which zlib refuses and Java doesn't look at. The client says so.
pub(crate) async fn produce_unreadable(
    brokers: &str,
    topic: &str,
    partition: i32,
    key: &[u8],
    headers: &[(&[u8], &[u8])],
    value: &[u8],
) {
    const RESERVED: u8 = 0x20;
    send(brokers, topic, partition, GZIP, 1, &gzip(&record(0, key, headers, value), RESERVED)).await;
}

/// Writes a batch of records into a partition that Kafka can read and its client can't: compressed as two members of gzip, the
/// first of which ends within a record. Java unpacks both, the client the first one; it says nothing, and asks again for ever.
pub(crate) async fn produce_torn(
    brokers: &str,
    topic: &str,
    partition: i32,
    headers: &[(&[u8], &[u8])],
    keys: &[&[u8]],
    torn: usize,
) {
    let records: Vec<_> = (0_i64..).zip(keys).map(|(delta, key)| record(delta, key, headers, b"{}")).collect();
    let whole: usize = records[..torn].iter().map(Vec::len).sum();
    let all = records.concat();
    let (first, second) = all.split_at(whole + records[torn].len() / 2);
    let members = [gzip(first, 0), gzip(second, 0)].concat();
    send(brokers, topic, partition, GZIP, keys.len(), &members).await;
}

/// A member of gzip with one block, the last, that holds the bytes as they are.
fn gzip(bytes: &[u8], flags: u8) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("few bytes");
    let mut gzip = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255, 1];
    gzip.extend([length, !length].map(u16::to_le_bytes).concat());
    gzip.extend(bytes);
    gzip.extend(crc(0xedb8_8320, bytes).to_le_bytes());
    gzip.extend(u32::from(length).to_le_bytes());
    gzip
}

/// Writes one record into a partition.
pub(crate) async fn produce_raw(
    brokers: &str,
    topic: &str,
    partition: i32,
    key: &[u8],
    headers: &[(&[u8], &[u8])],
    value: &[u8],
) {
    send(brokers, topic, partition, UNCOMPRESSED, 1, &record(0, key, headers, value)).await;
}

/// Sends a batch of so many records.
async fn send(brokers: &str, topic: &str, partition: i32, codec: i16, count: usize, records: &[u8]) {
    let mut batch = Vec::new();
    // From the attributes to the end: what the checksum covers.
    let mut covered = Vec::new();
    covered.extend(codec.to_be_bytes());
    covered.extend((count as i32 - 1).to_be_bytes());
    let now = jiff::Timestamp::now().as_millisecond();
    covered.extend(now.to_be_bytes());
    covered.extend(now.to_be_bytes());
    covered.extend((-1_i64).to_be_bytes());
    covered.extend((-1_i16).to_be_bytes());
    covered.extend((-1_i32).to_be_bytes());
    covered.extend((count as i32).to_be_bytes());
    covered.extend(records);
    batch.extend(0_i64.to_be_bytes());
    batch.extend((covered.len() as i32 + 9).to_be_bytes());
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    // Castagnoli's, RFC 3720.
    batch.extend(crc(0x82f6_3b78, &covered).to_be_bytes());
    batch.extend(covered);

    let mut request = Vec::new();
    // Produce, version 7, correlation 7, without a client id.
    request.extend([0_i16, 7].map(i16::to_be_bytes).concat());
    request.extend(7_i32.to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    // No transaction, acknowledged by all, within 30 s; one topic with one partition.
    request.extend([-1_i16, -1].map(i16::to_be_bytes).concat());
    request.extend([30_000_i32, 1].map(i32::to_be_bytes).concat());
    request.extend((topic.len() as i16).to_be_bytes());
    request.extend(topic.as_bytes());
    request.extend([1_i32, partition, batch.len() as i32].map(i32::to_be_bytes).concat());
    request.extend(batch);

    eventually("Kafka takes the record", async || match exchange(brokers, topic, &request).await {
        0 => Ok(()),
        // A topic that was just made has no leader yet.
        code => Err(code),
    })
    .await;
}

/// Sends a request. Answers the error of its only partition.
async fn exchange(brokers: &str, topic: &str, request: &[u8]) -> i16 {
    let connection = Connection::open(brokers, &kafka_admin()).await.expect("the broker");
    let mut stream = connection.into_stream();
    stream.write_all(&(request.len() as i32).to_be_bytes()).await.expect("a request");
    stream.write_all(request).await.expect("a request");
    let length = stream.read_i32().await.expect("an answer");
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.expect("an answer");
    // Correlation, topics, the topic's name, partitions, the partition; then the error.
    let error = 4 + 4 + 2 + topic.len() + 4 + 4;
    i16::from_be_bytes(answer[error..error + 2].try_into().expect("two bytes"))
}

/// The record that stands so far behind the first of its batch.
fn record(delta: i64, key: &[u8], headers: &[(&[u8], &[u8])], value: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    varint(&mut body, 0);
    varint(&mut body, delta);
    bytes(&mut body, key);
    bytes(&mut body, value);
    varint(&mut body, headers.len() as i64);
    for (name, value) in headers {
        bytes(&mut body, name);
        bytes(&mut body, value);
    }
    let mut out = Vec::new();
    bytes(&mut out, &body);
    out
}

fn bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    varint(to, bytes.len() as i64);
    to.extend(bytes);
}

/// A number in zig-zag form, seven bits a byte.
fn varint(to: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left > 0x7f {
        to.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    to.push(left as u8);
}

/// The checksum with this polynomial, its bits reversed, bit by bit.
fn crc(polynomial: u32, bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ polynomial } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
}
