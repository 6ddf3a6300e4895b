//! Spans, sent to an OpenTelemetry collector: OTLP over HTTP with protobuf, by an HTTP client like our others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Tracer};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Tracing;
use crate::trace::{self, Rules};

const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the end of the process waits for what was not sent yet.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// An answer of a collector is a few bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Spans on their way; what waits is sent when this is dropped.
pub struct Spans(SdkTracerProvider);

impl Drop for Spans {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_WORDS) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// The way to the collector, for a layer. Must be called on a runtime, which does the sending.
///
/// # Errors
/// One sentence: settings that make no exporter.
pub fn open(tracing: &Tracing) -> Result<(Spans, Tracer), String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new(tracing)?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(tracing.endpoint.as_str())
        .with_timeout(TIMEOUT)
        .build()
        .map_err(|error| error.to_string())?;
    // A caller's trace comes with our own decision, not with its (`trace::Rules`); so what has a parent may follow it.
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(1.0 / f64::from(tracing.one_in))));
    // Nothing about the machine: what is not asked for is not sent.
    let resource = Resource::builder_empty()
        .with_service_name(tracing.service_name.clone())
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampler).with_resource(resource).build();
    let tracer = provider.tracer("helsebro");
    trace::record(Rules { one_in: tracing.one_in, trust_parent: tracing.trust_parent });
    Ok((Spans(provider), tracer))
}

/// Spans and nothing of the log; and of the code they stand in, nothing.
pub fn layer<S>(tracer: Tracer) -> tracing_subscriber::filter::Filtered<OpenTelemetryLayer<S, Tracer>, FilterFn, S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    use tracing_subscriber::Layer as _;
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    layer
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_level(false)
        .with_target(false)
        .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == trace::TARGET))
}

/// The collector. Its caller runs on a thread of the exporter's own, so the runtime does the work.
#[derive(Debug)]
struct Collector {
    http: reqwest::Client,
    runtime: tokio::runtime::Handle,
    failing: AtomicBool,
}

impl Collector {
    fn new(tracing: &Tracing) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &tracing.headers {
            let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value.expose())) else { continue };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy().default_headers(headers).build();
        Ok(Self { http: http.map_err(|error| error.to_string())?, runtime: tokio::runtime::Handle::current(), failing: AtomicBool::new(false) })
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (http, request) = (self.http.clone(), reqwest::Request::try_from(request)?);
        let exchanged = self.runtime.spawn(async move {
            let mut response = http.execute(request).await?;
            let (status, mut body) = (response.status(), BytesMut::new());
            while let Some(chunk) = response.chunk().await? {
                if body.len() + chunk.len() > LONGEST_ANSWER {
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>((status, body.freeze()))
        });
        let (status, body) = exchanged.await??;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Ok(response)
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outcome = self.exchange(request).await;
        let why = match &outcome {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        // Said when it begins and when it ends; spans that were not taken are gone.
        match (&why, self.failing.swap(why.is_some(), Ordering::Relaxed)) {
            (Some(why), false) => tracing::warn!(why, "the collector does not take our spans"),
            (None, true) => tracing::info!("the collector takes our spans again"),
            (Some(_), true) | (None, false) => {}
        }
        outcome
    }
}
