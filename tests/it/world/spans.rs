//! Every span of every server of this process: looked through for secrets, and kept where a test follows its trace.

use std::collections::BTreeMap;
use std::sync::Mutex;

use helsebro::trace::{self, Rules};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter, Tracer};

use super::leaks;

/// The traces that tests follow, by their ids.
static FOLLOWED: Mutex<BTreeMap<String, Vec<SpanData>>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Seen;

impl SpanExporter for Seen {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        for span in batch {
            leaks::look("a span", &text(&span));
            if let Some(kept) = FOLLOWED.lock().unwrap().get_mut(&span.span_context.trace_id().to_string()) {
                kept.push(span);
            }
        }
        Ok(())
    }
}

/// Whatever a span says, without ids and times.
fn text(span: &SpanData) -> String {
    let attributes: Vec<String> = span.attributes.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
    format!("{} {} {:?} {:?} {}", span.name, attributes.join(" "), span.status, span.events, span.span_context.trace_state().header())
}

/// Where the spans of this process go.
pub fn tracer() -> Tracer {
    trace::record(Rules { one_in: 1, trust_parent: false });
    let provider = SdkTracerProvider::builder().with_simple_exporter(Seen).with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn))).build();
    provider.tracer("tests")
}

/// A trace that begins at a caller.
pub struct Trace {
    id: String,
}

impl Trace {
    /// With this id: 32 hexadecimal digits, of no other test.
    pub fn follow(id: &str) -> Self {
        FOLLOWED.lock().unwrap().insert(id.to_owned(), Vec::new());
        Self { id: id.to_owned() }
    }

    /// What has ended of it.
    pub fn spans(&self) -> Vec<SpanData> {
        FOLLOWED.lock().unwrap()[&self.id].clone()
    }
}
