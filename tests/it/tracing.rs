//! Traces: what a caller's trace becomes on its way through the server, what spans say, and where they go. W3C Trace Context.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::routing::any;
use axum::{Json, Router};
use helsebro::random::{Random as _, SystemRandom};
use http::HeaderMap;
use serde_json::{Value, json};

use crate::crash::Held;
use crate::packaging::{client, free_ports, helsebro};

const SECRET: &str = "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=";
const CALLER: &str = "00f067aa0ba902b7";

/// What somebody was asked: path and headers, and the body.
type Heard = Arc<Mutex<Vec<(String, HeaderMap, Vec<u8>)>>>;

async fn heard(State(heard): State<Heard>, request: Request) -> Json<Value> {
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let mut parts = path.trim_start_matches("/fhir/").split('/');
    // Whatever is asked for is there.
    let resource = json!({ "resourceType": parts.next(), "id": parts.next(), "active": true });
    heard.lock().unwrap().push((path, headers, body.to_vec()));
    Json(resource)
}

/// Somebody who answers everything, at an address of its own.
async fn stub() -> (String, Heard) {
    let all = Heard::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(any(heard)).with_state(all.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (at, all)
}

/// A server of its own process with a FHIR server and, as `[tracing]`, this; and the log it wrote, once it has ended.
struct Served {
    folder: tempfile::TempDir,
    server: Held,
    issuer: String,
    http: reqwest::Client,
}

impl Served {
    async fn start(fhir: &str, tracing: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [public, ops] = free_ports();
        let issuer = format!("http://127.0.0.1:{public}");
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:{public}\"\nops_listen = \"127.0.0.1:{ops}\"\nlog = \"json\"\n{tracing}\n[[issuer]]\nurl = \"{issuer}\"\n\
             [[issuer.fhir]]\nbase = \"{fhir}/fhir\"\n[[client]]\npreset = \"epj\"\nclient_secret = \"{SECRET}\"\n\
             [[client]]\nclient_id = \"app\"\nauth = \"none\"\nredirect_uris = [\"http://127.0.0.1:1/cb\"]\nlaunch_urls = [\"http://127.0.0.1:1/launch\"]\n\
             scopes = \"launch patient/*.rs\"\nconsent = \"pre-approved\"\n"
        );
        let config = folder.path().join("helsebro.toml");
        std::fs::write(&config, text).unwrap();
        std::fs::write(folder.path().join("headers"), "X-Tenant: helsebro-tests\n").unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_helsebro"));
        let server = Held(command.args(["serve", "--config"]).arg(&config).stdin(Stdio::null()).stderr(log).spawn().unwrap());
        tokio::task::block_in_place(|| wait(&config, folder.path()));
        let http = client();
        Self { folder, server, issuer, http }
    }

    /// A launch whose creation is part of a trace.
    async fn launch(&self, traceparent: &str) {
        let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
        let answer = self.http.post(format!("{}/token", self.issuer)).basic_auth("epj", Some(SECRET)).form(&form).send().await.unwrap();
        let token = answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
        let launch = json!({ "client_id": "app", "patient": "pasient-77", "fhir_user": "Practitioner/lege-88" });
        let request = self.http.post(format!("{}/launches", self.issuer)).bearer_auth(token).header("traceparent", traceparent).header("tracestate", "who=ola");
        let answer = request.json(&launch).send().await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 201, "{body}");
    }

    /// Ends it; its log.
    async fn stop(mut self) -> String {
        let id = self.server.0.id().to_string();
        tokio::task::block_in_place(|| {
            Command::new("kill").args(["-TERM", &id]).status().unwrap();
            assert!(self.server.0.wait().unwrap().success());
        });
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

fn wait(config: &Path, folder: &Path) {
    let started = Instant::now();
    while !helsebro(&["health", "--config", config.to_str().unwrap()]).status.success() {
        assert!(started.elapsed() < Duration::from_secs(120), "{}", std::fs::read_to_string(folder.join("log")).unwrap());
    }
}

/// The `traceparent` values of what was asked.
fn parents(heard: &Heard) -> BTreeSet<String> {
    let heard = heard.lock().unwrap();
    assert!(heard.iter().all(|(_, headers, _)| !headers.contains_key("tracestate")), "a stranger's tracestate goes nowhere");
    heard.iter().filter_map(|(_, headers, _)| headers.get("traceparent")?.to_str().ok().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_without_a_collector_and_stands_in_the_log() {
    let (fhir, asked) = stub().await;
    let served = Served::start(&fhir, "").await;
    let trace = SystemRandom.id();
    let parent = format!("00-{trace}-{CALLER}-01");
    served.launch(&parent).await;
    assert_eq!(parents(&asked), BTreeSet::from([parent]));
    let log = served.stop().await;
    let line = log.lines().find(|line| line.contains("\"/launches\"")).unwrap_or_else(|| panic!("{log}"));
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["trace_id"], trace);
    assert!(log.lines().filter(|line| line.contains("\"/token\"")).all(|line| !line.contains("trace_id")), "{log}");
}

/// A build that has it: `--features otel`.
#[cfg(feature = "otel")]
mod otel {
    use super::*;
    use std::collections::BTreeMap;

    use reqwest::redirect::Policy;

    use crate::world::spans::Trace;
    use crate::world::{World, leaks};

    /// One field of a message: its number, and its bytes or number. <https://protobuf.dev/programming-guides/encoding/>
    enum Wire<'b> {
        Bytes(&'b [u8]),
        Number(u64),
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }

    fn fields(mut bytes: &[u8]) -> Vec<(u64, Wire<'_>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let length = match tag & 7 {
                0 => {
                    found.push((tag >> 3, Wire::Number(varint(&mut bytes))));
                    continue;
                }
                1 => 8,
                2 => usize::try_from(varint(&mut bytes)).unwrap(),
                5 => 4,
                other => panic!("wire type {other}"),
            };
            let (value, rest) = bytes.split_at(length);
            bytes = rest;
            found.push((tag >> 3, Wire::Bytes(value)));
        }
        found
    }

    fn all<'b>(bytes: &'b [u8], number: u64) -> Vec<&'b [u8]> {
        let of_it = |(found, wire): (u64, Wire<'b>)| match wire {
            Wire::Bytes(value) if found == number => Some(value),
            Wire::Bytes(_) | Wire::Number(_) => None,
        };
        fields(bytes).into_iter().filter_map(of_it).collect()
    }

    fn string(bytes: &[u8], number: u64) -> String {
        all(bytes, number).first().map_or_else(String::new, |text| String::from_utf8((*text).to_owned()).unwrap())
    }

    fn hex(bytes: &[u8], number: u64) -> String {
        all(bytes, number).first().map_or_else(String::new, |id| id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    #[derive(Debug, Clone)]
    struct Span {
        trace: String,
        id: String,
        parent: String,
        attributes: BTreeMap<String, String>,
    }

    /// `ExportTraceServiceRequest`: the spans by their names, and the attributes of the resource.
    fn exported(body: &[u8]) -> (Vec<(String, Span)>, BTreeMap<String, String>) {
        let pairs = |message: &[u8], number| -> BTreeMap<String, String> {
            let value = |pair: &[u8]| {
                all(pair, 2).first().map_or_else(String::new, |value| match fields(value).first() {
                    Some((1, Wire::Bytes(text))) => String::from_utf8((*text).to_owned()).unwrap(),
                    Some((_, Wire::Number(number))) => number.to_string(),
                    _ => String::new(),
                })
            };
            all(message, number).into_iter().map(|pair| (string(pair, 1), value(pair))).collect()
        };
        let (mut spans, mut resource) = (Vec::new(), BTreeMap::new());
        for of_resource in all(body, 1) {
            resource.extend(all(of_resource, 1).into_iter().flat_map(|one| pairs(one, 1)));
            for span in all(of_resource, 2).into_iter().flat_map(|scope| all(scope, 2)) {
                assert!(all(span, 11).is_empty() && all(span, 13).is_empty(), "no events and no links");
                spans.push((string(span, 5), Span { trace: hex(span, 1), id: hex(span, 2), parent: hex(span, 4), attributes: pairs(span, 9) }));
            }
        }
        (spans, resource)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_reach_the_collector_as_parts_of_the_callers_trace_and_tell_of_nobody() {
        let ((fhir, asked), (collector, sent)) = (stub().await, stub().await);
        let tracing = format!("[tracing]\nendpoint = \"{collector}/v1/traces\"\nservice_name = \"epj-auth\"\nheaders = {{ file = \"headers\" }}\n");
        let served = Served::start(&fhir, &tracing).await;
        let trace = SystemRandom.id();
        served.launch(&format!("00-{trace}-{CALLER}-00")).await;
        let log = served.stop().await;
        assert!(log.lines().any(|line| line.contains("\"/launches\"") && line.contains(&format!("\"trace_id\":\"{trace}\""))), "{log}");
        assert!(log.lines().any(|line| line.contains("\"/token\"") && line.contains("\"trace_id\":\"")), "a trace that begins here has an id as well: {log}");

        let sent = sent.lock().unwrap().clone();
        assert!(!sent.is_empty(), "nothing was sent: {log}");
        let (mut spans, mut resource) = (Vec::new(), BTreeMap::new());
        for (path, headers, body) in &sent {
            assert_eq!(
                (path.as_str(), &headers["content-type"], &headers["x-tenant"]),
                ("/v1/traces", &"application/x-protobuf".parse().unwrap(), &"helsebro-tests".parse().unwrap())
            );
            let text = String::from_utf8_lossy(body);
            assert_eq!(leaks::secret_in(&text), None, "{text}");
            for hidden in ["pasient-77", "lege-88", "who=ola", "127.0.0.1"] {
                assert!(!text.contains(hidden), "{hidden} was sent: {text}");
            }
            let (some, of) = exported(body);
            spans.extend(some);
            resource.extend(of);
        }
        assert_eq!(resource.keys().map(String::as_str).collect::<Vec<_>>(), ["service.name", "service.version"]);
        assert_eq!(resource["service.name"], "epj-auth");
        let ours: Vec<&(String, Span)> = spans.iter().filter(|(_, span)| span.trace == trace).collect();
        let one = |name: &str| ours.iter().find(|(found, _)| found == name).map(|(_, span)| span.clone()).unwrap_or_else(|| panic!("{name} in {ours:?}"));
        let (create, resolve) = (one("smart.launch.create"), one("smart.launch.resolve"));
        assert_eq!((create.parent.as_str(), resolve.parent.as_str()), (CALLER, create.id.as_str()));
        assert_eq!((create.attributes["http.route"].as_str(), create.attributes["http.response.status_code"].as_str()), ("/launches", "201"));
        // Each read is a span below it, and told the FHIR server its own id.
        let reads: BTreeSet<String> =
            ours.iter().filter(|(name, span)| name == "fhir.read" && span.parent == resolve.id).map(|(_, span)| format!("00-{trace}-{}-01", span.id)).collect();
        assert_eq!((reads.len(), &reads), (2, &parents(&asked).into_iter().filter(|parent| parent.contains(&trace)).collect()));
        assert!(one("store.commit").parent == create.id);
        let token = spans.iter().find(|(name, _)| name == "oauth.token").map(|(_, span)| span.clone()).unwrap();
        assert!(token.trace != trace && token.parent.is_empty() && token.attributes["client_id"] == "epj");
        let below: BTreeSet<&str> = spans.iter().filter(|(_, span)| span.parent == token.id).map(|(name, _)| name.as_str()).collect();
        assert!(below.is_superset(&BTreeSet::from(["oauth.client_authentication", "oauth.token.client_credentials"])), "{below:?}");
        let known = BTreeSet::from(["client_id", "error", "http.request.method", "http.response.status_code", "http.route"]);
        let told: BTreeSet<&str> = spans.iter().flat_map(|(_, span)| span.attributes.keys().map(String::as_str)).collect();
        assert!(told.is_subset(&known), "{told:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_that_is_down_is_told_of_once_and_nothing_else_happens() {
        let (fhir, _) = stub().await;
        let [nobody] = free_ports();
        let served = Served::start(&fhir, &format!("[tracing]\nendpoint = \"http://127.0.0.1:{nobody}/v1/traces\"\n")).await;
        served.launch(&format!("00-{}-{CALLER}-01", SystemRandom.id())).await;
        let log = served.stop().await;
        assert_eq!(log.matches("the collector does not take our spans").count(), 1, "{log}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn callers_do_not_decide_how_much_is_recorded() {
        let ((fhir, _), (collector, sent)) = (stub().await, stub().await);
        let tracing = format!("[tracing]\nendpoint = \"{collector}/v1/traces\"\nsample_one_in = 1000000\n");
        let served = Served::start(&fhir, &tracing).await;
        served.launch(&format!("00-{}-{CALLER}-01", SystemRandom.id())).await;
        served.stop().await;
        assert!(sent.lock().unwrap().is_empty(), "one in a million, and a caller had its way");

        let (collector, sent) = stub().await;
        let tracing = format!("[tracing]\nendpoint = \"{collector}/v1/traces\"\nsample_one_in = 1000000\ntrust_parent = true\n");
        let (fhir, asked) = stub().await;
        let served = Served::start(&fhir, &tracing).await;
        let trace = SystemRandom.id();
        served.launch(&format!("00-{trace}-{CALLER}-01")).await;
        served.stop().await;
        assert!(sent.lock().unwrap().iter().flat_map(|(_, _, body)| exported(body).0).any(|(_, span)| span.trace == trace), "a trusted caller decides");
        assert!(asked.lock().unwrap().iter().any(|(_, headers, _)| headers.get("tracestate").is_some_and(|state| state == "who=ola")));
    }

    /// What is scanned for secrets in every test of this process, once with a trace of its own.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_launch_is_one_tree_of_steps() {
        let mut world = World::start().await;
        let id = SystemRandom.id();
        let trace = Trace::follow(&id);
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", format!("00-{id}-{CALLER}-01").parse().unwrap());
        world.http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().default_headers(headers).build().unwrap();
        let launch = world.ehr().launch().await;
        let app = world.app("syk-inn");
        let tokens = app.tokens(&launch).await;
        app.refresh(tokens.refresh()).await.is(200);
        let spans = trace.spans();
        let names: BTreeSet<&str> = spans.iter().map(|span| &*span.name).collect();
        for name in [
            "smart.launch.create",
            "smart.launch.resolve",
            "fhir.read",
            "smart.launch.start",
            "oauth.authorize",
            "smart.launch.open",
            "oauth.token",
            "oauth.token.authorization_code",
            "oauth.token.refresh_token",
            "store.commit",
        ] {
            assert!(names.contains(name), "{name} in {names:?}");
        }
        let known: BTreeSet<String> = spans.iter().map(|span| span.span_context.span_id().to_string()).chain([CALLER.to_owned()]).collect();
        for span in &spans {
            assert!(known.contains(&span.parent_span_id.to_string()), "{} hangs in the air", span.name);
        }
    }
}
