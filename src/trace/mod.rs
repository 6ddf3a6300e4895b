//! One request as part of a trace over several programs. <https://www.w3.org/TR/trace-context/>
//!
//! Every build continues a trace: who called tells its id, log lines carry it, and whom we call for that request is told. Built with the feature `otel`,
//! and where a layer for spans is installed ([`record`]), the request and its steps are spans of that trace. Nothing is in a span but its name and the few
//! attributes below: no person, no token, no URL.

mod parent;

#[cfg(feature = "otel")]
mod spans;
#[cfg(not(feature = "otel"))]
mod without;

use http::{HeaderMap, HeaderName, HeaderValue};

#[cfg(not(feature = "otel"))]
use self::without as spans;

pub use self::parent::Parent;
#[cfg(feature = "otel")]
pub use self::spans::{Rules, record};
pub use self::spans::{call, step};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The target of spans. Logs have others, so that neither is ever taken for the other.
pub const TARGET: &str = "steps";

tokio::task_local! {
    /// The trace that the request under way came with.
    static CAME_WITH: Parent;
}

/// What a request's span says, besides its name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    pub status: u16,
    /// A name that is registered.
    pub client: Option<&'a str>,
    /// An OAuth error code.
    pub error: Option<&'a str>,
}

/// A request that is being answered.
pub struct Request {
    span: spans::Span,
    came_with: Option<Parent>,
}

impl Request {
    /// `name` is for all requests of one kind; `route` is a template.
    pub fn arrived(name: &'static str, method: &http::Method, route: &str, headers: &HeaderMap) -> Self {
        let came_with = Parent::of(headers);
        Self { span: spans::Span::of_request(name, method, route, came_with.as_ref()), came_with }
    }

    /// Answers it: what `work` asks of others belongs to this trace.
    pub async fn answer<F: Future>(&self, work: F) -> F::Output {
        let work = self.span.around(work);
        match &self.came_with {
            Some(parent) => CAME_WITH.scope(parent.clone(), work).await,
            None => work.await,
        }
    }

    /// The id of its trace, for the log: 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<String> {
        self.span.trace_id().or_else(|| self.came_with.as_ref().map(Parent::trace_id))
    }

    pub fn told(&self, told: Told<'_>) {
        self.span.tell(told);
    }
}

/// The headers that tell whom we call which trace it is; none where there is no trace. W3C Trace Context §3.2, §3.3.
pub fn onward() -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Without a span of our own it goes on as it came, and what others added to it does not: it may hold anything.
    let (parent, state) = spans::onward().unwrap_or_else(|| (CAME_WITH.try_with(Parent::traceparent).ok(), None));
    for (name, value) in [(TRACEPARENT, parent), (TRACESTATE, state)] {
        if let Some(value) = value.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAME: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[tokio::test]
    async fn without_spans_a_trace_goes_on_as_it_came_and_alone() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(CAME));
        headers.insert(TRACESTATE, HeaderValue::from_static("who=ola"));
        let request = Request::arrived("test", &http::Method::GET, "/", &headers);
        let onward = request.answer(async { onward() }).await;
        assert_eq!((onward.len(), onward.get(TRACEPARENT).unwrap().to_str().unwrap()), (1, CAME));
        assert_eq!(request.trace_id().as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));

        let request = Request::arrived("test", &http::Method::GET, "/", &HeaderMap::new());
        assert!(request.answer(async { super::onward() }).await.is_empty() && request.trace_id().is_none());
        assert!(super::onward().is_empty(), "outside of every request");
    }
}
