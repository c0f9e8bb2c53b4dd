//! One connection to a broker, logged in by SCRAM-SHA-512.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scram::Scram;
use crate::{Login, text};

const MECHANISM: &str = "SCRAM-SHA-512";
/// How long one question may take. The broker asks its controller for some.
const PATIENCE: Duration = Duration::from_secs(15);
/// All rights of a cluster with some thousand topics take less.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A connection on which a user has logged in.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    last: i32,
}

impl Connection {
    /// Connects to a broker (`host:port`) and logs in.
    ///
    /// # Errors
    /// Where nobody answers, or the broker doesn't know this user with this password.
    pub async fn open(address: &str, login: &Login) -> Result<Self> {
        let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(address));
        let stream =
            connecting.await.context("no connection in time")?.with_context(|| format!("no Kafka at {address}"))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, last: 0 };
        connection.log_in(login).await.with_context(|| format!("{} can't log in at {address}", login.user))?;
        Ok(connection)
    }

    async fn log_in(&mut self, login: &Login) -> Result<()> {
        let handshake = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(MECHANISM));
        check(self.ask(&handshake, 1).await?.error_code, None)?;
        let (scram, first) = Scram::begin(&login.user);
        let challenge = self.authenticate(first.into_bytes()).await?;
        let (proof, signature) = scram.answer(&login.password, std::str::from_utf8(&challenge)?)?;
        let last = self.authenticate(proof.into_bytes()).await?;
        ensure!(
            signature.is_shown_by(std::str::from_utf8(&last)?),
            "the server doesn't know the password: this is not Kafka"
        );
        Ok(())
    }

    async fn authenticate(&mut self, message: Vec<u8>) -> Result<Bytes> {
        let answer = self.ask(&SaslAuthenticateRequest::default().with_auth_bytes(message.into()), 1).await?;
        check(answer.error_code, answer.error_message.as_deref())?;
        Ok(answer.auth_bytes)
    }

    /// Sends a request in this version, and waits for its answer.
    pub(crate) async fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(request, version)).await;
        answer.unwrap_or_else(|_| bail!("Kafka doesn't answer in time"))
    }

    async fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.last = self.last.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.last)
            .with_client_id(Some(text("towpath")));
        let mut body = BytesMut::new();
        header.encode(&mut body, R::header_version(version))?;
        request.encode(&mut body, version)?;
        let mut frame = i32::try_from(body.len())?.to_be_bytes().to_vec();
        frame.extend(&body);
        self.stream.write_all(&frame).await?;
        let length = usize::try_from(self.stream.read_i32().await?)?;
        ensure!(length <= MAX_ANSWER_BYTES, "an answer of {length} bytes: is this Kafka?");
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        let mut answer = Bytes::from(answer);
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
        ensure!(header.correlation_id == self.last, "an answer to another question");
        R::Response::decode(&mut answer, version)
    }

    /// The connection, for requests of one's own.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// Fails with what Kafka says of this error code.
pub(crate) fn check(code: i16, message: Option<&str>) -> Result<()> {
    let Some(error) = ResponseError::try_from_code(code) else { return Ok(()) };
    match message {
        Some(message) => bail!("{message}"),
        None => bail!("{error}"),
    }
}
