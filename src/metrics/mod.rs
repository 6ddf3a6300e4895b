//! What is counted while the server works, in the form Prometheus reads. `docs/operations.md`, Metrics.
//!
//! No label holds anything of a person, nor anything a stranger chose: routes are templates, clients are those that proved who they are, errors
//! and outcomes are words of ours. What a request counts with is found without an allocation.

pub mod facts;
mod process;
mod timings;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

pub use facts::Found;
pub use process::look;
pub use timings::Timings;

/// What the text is, for `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Clients that are told apart; those that come later are counted together as [`OTHER`].
const MOST_CLIENTS: usize = 500;

/// A client that is not told apart.
const OTHER: &str = "other";

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($variant,)+
        }

        impl $name {
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

words! {
    /// What became of a launch.
    LaunchEvent {
        Made = "made",
        Opened = "opened",
        Used = "used",
        Unknown = "unknown",
        Expired = "expired",
        Reused = "reused",
        Misused = "misused",
    }
}

words! {
    /// What became of an authorization request.
    AuthorizationEvent {
        Begun = "begun",
        Granted = "granted",
        Refused = "refused",
    }
}

words! {
    /// What a person was asked, and answered.
    ConsentEvent {
        Shown = "shown",
        Allowed = "allowed",
        Denied = "denied",
    }
}

words! {
    StoreOperation {
        Read = "read",
        Write = "write",
        Remove = "remove",
        List = "list",
        Sweep = "sweep",
    }
}

words! {
    StoreOutcome {
        Ok = "ok",
        Conflict = "conflict",
        Error = "error",
    }
}

words! {
    /// What became of telling an app of a logout.
    Told {
        Done = "told",
        Later = "later",
        Never = "given_up",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRoute {
    route: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    route: Arc<str>,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByError {
    route: Arc<str>,
    error: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClient {
    grant_type: &'static str,
    client: Arc<str>,
}

/// The one label of what is counted by event.
type ByEvent<E> = [(&'static str, E); 1];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByActivity {
    active: bool,
}

/// What one route counts with.
#[derive(Debug)]
pub struct Route {
    /// Its path as it stands in the table, without the path of the issuer.
    pub name: Arc<str>,
    timings: Timings,
    /// By the first digit of the status.
    answers: [Counter; 5],
}

impl Route {
    /// Counts an answer of this status.
    pub fn answered(&self, status: u16, took: Duration) {
        self.timings.record(took);
        if let Some(answers) = self.answers.get(usize::from(status / 100).saturating_sub(1)) {
            answers.inc();
        }
    }
}

const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Everything that is counted in one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    names: Vec<&'static str>,
    facts: Arc<facts::Facts>,
    in_flight: Gauge,
    durations: Family<ByRoute, Timings>,
    answers: Family<ByStatus, Counter>,
    refusals: Family<ByError, Counter>,
    guesses: Counter,
    clients: RwLock<HashMap<Box<str>, HashMap<&'static str, Counter>>>,
    tokens: Family<ByClient, Counter>,
    launches: Family<ByEvent<LaunchEvent>, Counter>,
    authorizations: Family<ByEvent<AuthorizationEvent>, Counter>,
    consents: Family<ByEvent<ConsentEvent>, Counter>,
    introspections: [Counter; 2],
    store: [[Timings; 3]; 5],
    upstream: Family<ByOutcome, Timings>,
    fhir: Family<ByOutcome, Timings>,
    fetches: Family<ByOutcome, Timings>,
    key_sets_at: Gauge,
    logouts: Family<ByEvent<Told>, Counter>,
}

/// Registers with a prefix and remembers the name.
struct Book {
    registry: Registry,
    names: Vec<&'static str>,
}

impl Book {
    fn keep<M: Metric + Clone>(&mut self, name: &'static str, help: &'static str, metric: &M) {
        self.registry.register(name, help, metric.clone());
        self.names.push(name);
    }
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let mut book = Book { registry: Registry::default(), names: Vec::new() };
        let (in_flight, guesses, key_sets_at) = (Gauge::default(), Counter::default(), Gauge::default());
        let (durations, answers, refusals) = (Family::default(), Family::default(), Family::default());
        let (tokens, launches, authorizations, consents) = (Family::default(), Family::default(), Family::default(), Family::default());
        let (introspections, store, logouts) = (Family::<ByActivity, Counter>::default(), Family::<ByOutcome, Timings>::default(), Family::default());
        let (upstream, fhir, fetches) = (Family::default(), Family::default(), Family::default());
        book.keep("helsebro_http_requests_in_flight", "Requests under way at the public listener", &in_flight);
        book.keep("helsebro_http_request_duration_seconds", "From a request's head to its answer's, by route", &durations);
        book.keep("helsebro_http_requests", "Answers by route and kind of status", &answers);
        book.keep("helsebro_refusals", "Refusals by route and the error that was answered; http where it is the status alone", &refusals);
        book.keep("helsebro_guesses_refused", "Failures answered with 429, for there were too many", &guesses);
        book.keep("helsebro_tokens_issued", "Access tokens issued, by grant type and client", &tokens);
        book.keep("helsebro_launches", "What became of launches", &launches);
        book.keep("helsebro_authorizations", "What became of authorization requests", &authorizations);
        book.keep("helsebro_consents", "Consent pages shown, and the answers", &consents);
        book.keep("helsebro_introspections", "Tokens looked at, by whether they were active", &introspections);
        book.keep("helsebro_store_operation_duration_seconds", "Operations of the store", &store);
        book.keep("helsebro_upstream_request_duration_seconds", "Attempts to call the identity provider", &upstream);
        book.keep("helsebro_fhir_request_duration_seconds", "Calls to FHIR servers, without the wait for a turn", &fhir);
        book.keep("helsebro_fetch_duration_seconds", "Documents fetched from, and logouts sent to, addresses of clients", &fetches);
        book.keep(
            "helsebro_key_set_fetched_timestamp_seconds",
            "When a key set of a client or of the identity provider was last fetched well, in seconds since 1970",
            &key_sets_at,
        );
        book.keep("helsebro_logout_attempts", "Attempts to tell an app of a logout", &logouts);
        let facts = Arc::new(facts::Facts::default());
        book.registry.register_collector(Box::new(Arc::clone(&facts)));
        book.names.extend(facts::ALL.iter().map(|described| described.name));
        Arc::new(Self {
            registry: book.registry,
            names: book.names,
            facts,
            in_flight,
            durations,
            answers,
            refusals,
            guesses,
            clients: RwLock::default(),
            tokens,
            launches,
            authorizations,
            consents,
            introspections: [false, true].map(|active| introspections.get_or_create_owned(&ByActivity { active })),
            store: OPERATIONS.map(|operation| {
                OUTCOMES.map(|outcome| match (operation, outcome) {
                    // Only a write can meet another.
                    (StoreOperation::Write, _) | (_, StoreOutcome::Ok | StoreOutcome::Error) => {
                        store.get_or_create_owned(&ByOutcome { operation: operation.as_str(), outcome: outcome.as_str() })
                    }
                    (_, StoreOutcome::Conflict) => Timings::default(),
                })
            }),
            upstream,
            fhir,
            fetches,
            key_sets_at,
            logouts,
        })
    }

    /// The name of every metric, without a counter's `_total`.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Everything as text, with what was found just now.
    pub fn text(&self, found: Found) -> String {
        self.facts.set(found);
        let mut text = String::with_capacity(32 * 1024);
        // Writing to a String cannot fail, and nothing of ours refuses to be written.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// What the route counts with that stands in the table as `template`, of an issuer at `path`. Made once for each endpoint; what has the same name counts
    /// together.
    pub fn route(&self, template: &str, path: &str) -> Route {
        let name: Arc<str> = template.strip_prefix(path).filter(|rest| rest.starts_with('/')).unwrap_or(template).into();
        Route {
            timings: self.durations.get_or_create_owned(&ByRoute { route: Arc::clone(&name) }),
            answers: STATUSES.map(|status| self.answers.get_or_create_owned(&ByStatus { route: Arc::clone(&name), status })),
            name,
        }
    }

    /// Counts a request as under way until what is returned is dropped.
    pub fn under_way(self: &Arc<Self>) -> UnderWay {
        self.in_flight.inc();
        UnderWay(Arc::clone(self))
    }

    pub fn refused(&self, route: &Route, error: &'static str) {
        self.refusals.get_or_create(&ByError { route: Arc::clone(&route.name), error }).inc();
    }

    pub fn guess_refused(&self) {
        self.guesses.inc();
    }

    /// Counts an access token. `client` proved who it is, so there are no more names than were registered.
    pub fn token(&self, grant_type: &'static str, client: &str) {
        if let Some(counter) = self.clients.read().unwrap_or_else(PoisonError::into_inner).get(client).and_then(|client| client.get(grant_type)) {
            counter.inc();
            return;
        }
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        let client = if clients.len() < MOST_CLIENTS || clients.contains_key(client) { client } else { OTHER };
        let fresh = || self.tokens.get_or_create_owned(&ByClient { grant_type, client: client.into() });
        clients.entry(client.into()).or_default().entry(grant_type).or_insert_with(fresh).inc();
    }

    pub fn launch(&self, event: LaunchEvent) {
        self.launches.get_or_create(&[("event", event)]).inc();
    }

    pub fn authorization(&self, event: AuthorizationEvent) {
        self.authorizations.get_or_create(&[("event", event)]).inc();
    }

    pub fn consent(&self, event: ConsentEvent) {
        self.consents.get_or_create(&[("event", event)]).inc();
    }

    pub fn introspected(&self, active: bool) {
        let [inactive, is_active] = &self.introspections;
        if active {
            is_active.inc()
        } else {
            inactive.inc()
        };
    }

    pub fn store(&self, operation: StoreOperation, outcome: StoreOutcome, took: Duration) {
        if let Some(timings) = self.store.get(operation as usize).and_then(|outcomes| outcomes.get(outcome as usize)) {
            timings.record(took);
        }
    }

    pub fn upstream(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.upstream.get_or_create(&ByOutcome { operation, outcome }).record(took);
    }

    pub fn fhir(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.fhir.get_or_create(&ByOutcome { operation, outcome }).record(took);
    }

    pub fn fetched(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.fetches.get_or_create(&ByOutcome { operation, outcome }).record(took);
    }

    /// Notes when, in seconds since 1970, a key set was fetched.
    pub fn key_set_fetched(&self, at: i64) {
        self.key_sets_at.set(at);
    }

    pub fn logout_told(&self, event: Told) {
        self.logouts.get_or_create(&[("event", event)]).inc();
    }
}

/// In the order of their declaration, by which they are found.
const OPERATIONS: [StoreOperation; 5] = [StoreOperation::Read, StoreOperation::Write, StoreOperation::Remove, StoreOperation::List, StoreOperation::Sweep];
const OUTCOMES: [StoreOutcome; 3] = [StoreOutcome::Ok, StoreOutcome::Conflict, StoreOutcome::Error];

/// A request that is not yet answered.
#[derive(Debug)]
pub struct UnderWay(Arc<Metrics>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_beyond_the_limit_are_counted_together() {
        let metrics = Metrics::new();
        for at in 0..MOST_CLIENTS + 2 {
            metrics.token("authorization_code", &format!("client-{at}"));
        }
        metrics.token("refresh_token", "client-0");
        let text = metrics.text(Found::default());
        assert!(text.contains("helsebro_tokens_issued_total{grant_type=\"authorization_code\",client=\"other\"} 2"), "{text}");
        assert!(text.contains("helsebro_tokens_issued_total{grant_type=\"refresh_token\",client=\"client-0\"} 1"));
        assert!(!text.contains(&format!("\"client-{MOST_CLIENTS}\"")));
    }

    #[test]
    fn each_operation_of_the_store_is_found_under_its_own_name() {
        for (at, operation) in OPERATIONS.into_iter().enumerate() {
            assert_eq!(operation as usize, at);
        }
        for (at, outcome) in OUTCOMES.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
        }
        let metrics = Metrics::new();
        metrics.store(StoreOperation::Write, StoreOutcome::Conflict, Duration::from_micros(20));
        let text = metrics.text(Found::default());
        assert!(text.contains("helsebro_store_operation_duration_seconds_count{operation=\"write\",outcome=\"conflict\"} 1"), "{text}");
        assert!(text.contains("helsebro_store_operation_duration_seconds_count{operation=\"read\",outcome=\"ok\"} 0"), "{text}");
    }

    #[test]
    fn a_route_is_named_without_the_path_of_its_issuer() {
        let metrics = Metrics::new();
        metrics.route("/clinic/token", "/clinic").answered(200, Duration::from_millis(3));
        metrics.route("/token", "").answered(401, Duration::from_millis(3));
        let route = metrics.route("/token", "");
        metrics.refused(&route, "invalid_client");
        let text = metrics.text(Found::default());
        for line in [
            "helsebro_http_requests_total{route=\"/token\",status=\"2xx\"} 1",
            "helsebro_http_requests_total{route=\"/token\",status=\"4xx\"} 1",
            "helsebro_http_request_duration_seconds_count{route=\"/token\"} 2",
            "helsebro_refusals_total{route=\"/token\",error=\"invalid_client\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_request_is_under_way_until_it_is_let_go_of() {
        let metrics = Metrics::new();
        let request = metrics.under_way();
        assert!(metrics.text(Found::default()).contains("helsebro_http_requests_in_flight 1"));
        drop(request);
        assert!(metrics.text(Found::default()).contains("helsebro_http_requests_in_flight 0"));
    }

    /// What all of a token request counts, in nanoseconds: run with `--nocapture` to see it.
    #[test]
    fn what_a_request_counts_with_costs_little() {
        let metrics = Metrics::new();
        let route = metrics.route("/token", "");
        let (rounds, started) = (100_000_u32, std::time::Instant::now());
        for _ in 0..rounds {
            let under_way = metrics.under_way();
            metrics.store(StoreOperation::Read, StoreOutcome::Ok, Duration::from_micros(3));
            metrics.store(StoreOperation::Write, StoreOutcome::Ok, Duration::from_micros(300));
            metrics.token("authorization_code", "syk-inn");
            route.answered(200, Duration::from_micros(700));
            drop(under_way);
        }
        let each = started.elapsed() / rounds;
        println!("counting for one token request: {each:?}");
        assert!(each < Duration::from_micros(100), "{each:?}");
    }
}
