//! Export of traces over OTLP (HTTP, protobuf).

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::TraceContext;

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER_BYTES: usize = 1 << 20;

pub(super) fn provider(endpoint: &str, instance: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Exporter {
            client: Client::builder(TokioExecutor::new()).build_http(),
            runtime: Handle::current(),
        })
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .with_timeout(TIMEOUT)
        .build()
        .context("telemetry.otlp_endpoint")?;
    let resource = Resource::builder()
        .with_service_name("towpath-relay")
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampler).with_resource(resource).build())
}

pub(super) fn follow(span: &Span, incoming: Option<&TraceContext>) -> Option<TraceContext> {
    if let Some(parent) = incoming.and_then(remote) {
        span.set_parent(Context::new().with_remote_span_context(parent)).ok()?;
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    own.is_valid().then(|| {
        let (trace, id, flags) = (own.trace_id(), own.span_id(), own.trace_flags().to_u8());
        let state = own.trace_state().header();
        TraceContext {
            traceparent: format!("00-{trace}-{id}-{flags:02x}"),
            tracestate: Some(state).filter(|state| !state.is_empty()),
        }
    })
}

fn remote(context: &TraceContext) -> Option<SpanContext> {
    let text = &context.traceparent;
    let trace = TraceId::from_hex(text.get(3..35)?).ok()?;
    let span = SpanId::from_hex(text.get(36..52)?).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(text.get(53..55)?, 16).ok()?);
    let state = context.tracestate.as_deref().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    Some(SpanContext::new(trace, span, flags, true, state))
}

/// The exporter runs on a thread of its own, outside the runtime that its client needs.
struct Exporter {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

#[async_trait]
impl HttpClient for Exporter {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let response = client.request(request.map(Full::new)).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        self.runtime.spawn(async { tokio::time::timeout(TIMEOUT, exchange).await? }).await?
    }
}
