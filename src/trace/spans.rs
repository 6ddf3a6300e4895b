//! Spans for OpenTelemetry.

use std::sync::OnceLock;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Instrument as _;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Parent, TARGET, Told};
use crate::random::{Random, SystemRandom};

/// How traces that begin elsewhere are gone on with. One for the process, as its layer for spans is.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// One of so many traces is recorded.
    pub one_in: u32,
    /// Whether callers decide that for us, and what they added to a trace is passed on.
    pub trust_parent: bool,
}

static RULES: OnceLock<Rules> = OnceLock::new();

/// Says that there is a layer for spans, and what holds for it. The first call counts.
pub fn record(rules: Rules) {
    // A process has one layer; a second one would be the same.
    let _first = RULES.set(rules);
}

pub(super) struct Span(tracing::Span);

impl Span {
    pub(super) fn of_request(name: &'static str, method: &http::Method, route: &str, parent: Option<&Parent>) -> Self {
        let span = tracing::info_span!(
            target: TARGET,
            parent: None,
            "request",
            otel.name = name,
            otel.kind = "server",
            http.request.method = %method,
            http.route = route,
            http.response.status_code = Empty,
            client_id = Empty,
            error = Empty,
            otel.status_code = Empty,
        );
        if let (Some(parent), Some(rules)) = (parent, RULES.get()) {
            // The caller's own ids, but not its word on how much we record: whoever can reach us could fill our collector.
            let sampled = if rules.trust_parent { parent.sampled } else { chosen(rules.one_in, &SystemRandom) };
            let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
            let state = parent.state.as_deref().filter(|_| rules.trust_parent).and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
            let remote = SpanContext::new(TraceId::from_bytes(parent.trace), SpanId::from_bytes(parent.span), flags, true, state);
            // Fails where nobody records this span, and then there is nothing to belong to.
            let _unrecorded = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
        }
        Self(span)
    }

    pub(super) fn around<F: Future>(&self, work: F) -> tracing::instrument::Instrumented<F> {
        work.instrument(self.0.clone())
    }

    pub(super) fn trace_id(&self) -> Option<String> {
        context_of(&self.0).map(|context| context.trace_id().to_string())
    }

    pub(super) fn tell(&self, told: Told<'_>) {
        self.0.record("http.response.status_code", told.status);
        if let Some(client) = told.client {
            self.0.record("client_id", client);
        }
        if let Some(error) = told.error {
            self.0.record("error", error);
        }
        if told.status >= 500 {
            self.0.record("otel.status_code", "ERROR");
        }
    }
}

fn context_of(span: &tracing::Span) -> Option<SpanContext> {
    let context = span.context().span().span_context().clone();
    context.is_valid().then_some(context)
}

/// The current span as `traceparent` and `tracestate`.
pub(super) fn onward() -> Option<(Option<String>, Option<String>)> {
    let context = context_of(&tracing::Span::current())?;
    let parent = Parent { trace: context.trace_id().to_bytes(), span: context.span_id().to_bytes(), sampled: context.is_sampled(), state: None };
    let state = Some(context.trace_state().header()).filter(|state| !state.is_empty());
    Some((Some(parent.traceparent()), state))
}

/// One in so many, by chance of our own.
fn chosen(one_in: u32, random: &dyn Random) -> bool {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    u64::from_le_bytes(bytes) % u64::from(one_in.max(1)) == 0
}

/// A step of a request, by the name that its standard has for it.
pub fn step<F: Future>(name: &'static str, work: F) -> tracing::instrument::Instrumented<F> {
    work.instrument(tracing::info_span!(target: TARGET, "step", otel.name = name))
}

/// The same where somebody else is asked.
pub fn call<F: Future>(name: &'static str, work: F) -> tracing::instrument::Instrumented<F> {
    work.instrument(tracing::info_span!(target: TARGET, "call", otel.name = name, otel.kind = "client"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn one_in_so_many_is_chosen() {
        let random = SeededRandom::new(7);
        let of = |one_in| (0..2000).filter(|_| chosen(one_in, &random)).count();
        assert_eq!(of(1), 2000);
        assert!((120..=280).contains(&of(10)), "one in ten of 2000");
        assert!(of(1_000_000) < 3);
    }
}
