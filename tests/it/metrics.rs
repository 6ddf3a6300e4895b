//! `GET /metrics`: what happens is counted, under the names the documents give, and nothing of anybody's is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use helsebro::metrics::Metrics;
use serde_json::Value;

use crate::on_redis::servers;
use crate::world::{World, leaks};

/// A scrape: families with their kind, and series with their value.
struct Scrape {
    kinds: BTreeMap<String, String>,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(world: &World) -> Self {
        let reply = world.operate("GET", "/metrics", None).await.is(200);
        assert_eq!(reply.header("content-type"), Some(helsebro::metrics::CONTENT_TYPE));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        leaks::look("metrics", &reply.body);
        Self::read(&reply.body)
    }

    /// As strict as a scraper: OpenMetrics 1.0, as far as it is used here.
    fn read(text: &str) -> Self {
        let (mut kinds, mut series): (BTreeMap<String, String>, BTreeMap<String, f64>) = (BTreeMap::new(), BTreeMap::new());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.last(), Some(&"# EOF"), "cut short");
        for line in &lines[..lines.len() - 1] {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is there twice");
            } else if line.strip_prefix("# HELP ").is_none() {
                let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
                let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
                let bare = name.split('{').next().unwrap();
                let family = kinds.keys().filter(|family| bare.starts_with(family.as_str())).max_by_key(|family| family.len());
                let family = family.unwrap_or_else(|| panic!("{line}: of no family"));
                let suffixes: &[&str] = match kinds[family].as_str() {
                    "counter" => &["_total"],
                    "histogram" => &["_sum", "_count", "_bucket"],
                    _ => &[""],
                };
                assert!(suffixes.contains(&&bare[family.len()..]), "{line}: is no {}", kinds[family]);
                assert!(series.insert(name.to_owned(), value).is_none(), "{name} is there twice");
            }
        }
        Self { kinds, series }
    }

    /// A series, 0 where nothing was counted yet.
    fn at(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or(0.0)
    }

    /// The sum of all series that begin and end so.
    fn all(&self, begins: &str, ends: &str) -> f64 {
        self.series.iter().filter(|(name, _)| name.starts_with(begins) && name.ends_with(ends)).map(|(_, value)| value).sum()
    }
}

const CONSENTING: &str = r#"
[[client]]
client_id = "once"
name = "Engangsappen"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/once"]
launch_urls = ["http://127.0.0.1:4567/launch-once"]
backchannel_logout_uri = "http://127.0.0.1:1/bye"
scopes = "openid fhirUser launch launch/patient offline_access patient/*.rs"
consent = "once"
"#;

#[tokio::test]
async fn a_launch_counts_where_an_operator_looks() {
    let world = World::with_clients(CONSENTING).await;
    let before = Scrape::of(&world).await;
    let app = world.app("syk-inn");
    let tokens = app.tokens(&world.ehr().launch().await).await;
    assert!(world.is_active(tokens.access()).await);
    assert!(!world.is_active("nothing").await);
    app.refresh(tokens.refresh()).await.is(200);
    app.redeem_with("code_nothing", crate::world::VERIFIER).await.refused(400, "invalid_grant");
    // Spent: the same handle again.
    let launch = world.ehr().launch().await;
    app.tokens(&launch).await;
    let mut other = world.browser();
    let page = app.clone().launched(&launch).authorize(&mut other).await;
    assert_eq!(page.param("error").as_deref(), Some("invalid_request"));
    // One that was asked: consent, and an end its app cannot be told of.
    let once = world.app("once").at("http://127.0.0.1:4567/once").set("scope", "openid launch patient/Patient.rs");
    let launch = world.ehr().client("once").with("session", "ours".into()).launch().await;
    once.tokens(&launch).await;
    let after = Scrape::of(&world).await;
    let grew = |series: &str| after.at(series) - before.at(series);
    for (series, by) in [
        ("helsebro_launches_total{event=\"made\"}", 3.0),
        ("helsebro_launches_total{event=\"opened\"}", 3.0),
        ("helsebro_launches_total{event=\"used\"}", 3.0),
        ("helsebro_launches_total{event=\"reused\"}", 1.0),
        ("helsebro_authorizations_total{event=\"granted\"}", 3.0),
        ("helsebro_authorizations_total{event=\"refused\"}", 1.0),
        ("helsebro_authorizations_total{event=\"begun\"}", 4.0),
        ("helsebro_consents_total{event=\"allowed\"}", 1.0),
        ("helsebro_tokens_issued_total{grant_type=\"authorization_code\",client=\"syk-inn\"}", 2.0),
        ("helsebro_tokens_issued_total{grant_type=\"authorization_code\",client=\"once\"}", 1.0),
        ("helsebro_tokens_issued_total{grant_type=\"refresh_token\",client=\"syk-inn\"}", 1.0),
        ("helsebro_tokens_issued_total{grant_type=\"client_credentials\",client=\"epj\"}", 3.0),
        ("helsebro_refusals_total{route=\"/token\",error=\"invalid_grant\"}", 1.0),
        ("helsebro_refusals_total{route=\"/authorize\",error=\"invalid_request\"}", 1.0),
        ("helsebro_http_requests_total{route=\"/launches\",status=\"2xx\"}", 3.0),
        ("helsebro_http_requests_total{route=\"/token\",status=\"2xx\"}", 7.0),
        ("helsebro_http_requests_total{route=\"/token\",status=\"4xx\"}", 1.0),
        ("helsebro_http_request_duration_seconds_count{route=\"/token\"}", 8.0),
        ("helsebro_http_request_duration_seconds_bucket{le=\"+Inf\",route=\"/token\"}", 8.0),
    ] {
        assert!((grew(series) - by).abs() < 0.5, "{series} grew by {}, not {by}", grew(series));
    }
    for (begins, ends) in [
        ("helsebro_consents_total{event=\"shown\"}", ""),
        // The FHIR server asks too.
        ("helsebro_introspections_total{active=\"true\"}", ""),
        ("helsebro_introspections_total{active=\"false\"}", ""),
        ("helsebro_fhir_request_duration_seconds_count{operation=\"read\",outcome=\"ok\"}", ""),
        ("helsebro_store_operation_duration_seconds_count{operation=\"read\",outcome=\"ok\"}", ""),
        ("helsebro_store_operation_duration_seconds_count{operation=\"write\",outcome=\"ok\"}", ""),
    ] {
        assert!(after.all(begins, ends) > before.all(begins, ends), "{begins} did not grow");
    }
    assert!(after.at("helsebro_http_request_duration_seconds_sum{route=\"/token\"}") > 0.0);
    assert!(after.at("helsebro_http_requests_in_flight").abs() < 0.5);

    // A logout that cannot be told waits, and is counted as tried.
    world.ehr().end_session("ours").await.is(204);
    let tried = async {
        loop {
            let told = Scrape::of(&world).await;
            if told.at("helsebro_logout_attempts_total{event=\"later\"}") > 0.5 && told.at("helsebro_logout_notices_waiting") > 0.5 {
                return told;
            }
        }
    };
    let told = tokio::time::timeout(std::time::Duration::from_secs(60), tried).await.expect("nobody tried to tell the app");
    assert!(told.all("helsebro_fetch_duration_seconds_count{operation=\"logout\"", "}") > 0.5);
}

#[tokio::test]
async fn what_is_looked_up_is_true_when_it_is_asked() {
    let world = World::start().await;
    let first = Scrape::of(&world).await;
    let issuer = world.issuer();
    for alg in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let (age, turn) = (
            format!("helsebro_key_age_seconds{{issuer=\"{issuer}\",alg=\"{alg}\"}}"),
            format!("helsebro_key_next_turn_seconds{{issuer=\"{issuer}\",alg=\"{alg}\"}}"),
        );
        assert!(first.series.contains_key(&age) && first.at(&turn) > 86_400.0, "{alg}: {:?}", first.series.keys());
    }
    world.advance(3600);
    let later = Scrape::of(&world).await;
    let age = format!("helsebro_key_age_seconds{{issuer=\"{issuer}\",alg=\"ES256\"}}");
    assert!((3600.0..3700.0).contains(&(later.at(&age) - first.at(&age))), "{} {}", later.at(&age), first.at(&age));
    assert!((first.at("helsebro_ready") - 1.0).abs() < 0.5);
    // What a file has: a length, and one who writes. Redis counts for itself.
    for (name, least) in [("helsebro_store_records", 0.5), ("helsebro_store_size_bytes", 4096.0)] {
        let told = first.series.get(name).copied();
        assert_eq!(told.is_some_and(|found| found > least), servers::in_a_file(), "{name} {told:?}");
    }
    assert_eq!(first.series.contains_key("helsebro_store_writes_waiting"), servers::in_a_file());
    assert!(first.at(&format!("helsebro_upstream_circuit{{issuer=\"{issuer}\"}}")).abs() < 0.5);
    assert!(first.at("process_resident_memory_bytes") > 1e6 && first.at("process_open_fds") > 3.0);
    assert!(first.at("process_start_time_seconds") > 1.7e9 && first.at("helsebro_runtime_tasks") > 1.0);
    assert!(first.at(&format!("helsebro_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))) > 0.5);
    let known = Metrics::new();
    for name in first.kinds.keys() {
        assert!(known.names().contains(&name.as_str()), "{name} is not listed");
    }
}

#[tokio::test]
async fn metrics_are_for_whoever_has_a_token() {
    let world = World::start().await;
    let url = format!("{}/metrics", world.demo.facts.ops);
    assert_eq!(world.http.get(&url).send().await.unwrap().status().as_u16(), 401);
    assert_eq!(world.http.get(&url).bearer_auth("another").send().await.unwrap().status().as_u16(), 401);
    // Not on the public listener.
    assert_eq!(world.get("/metrics").await.status, 404);
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of metrics in a text, without what Prometheus and counters put behind them.
fn named(text: &str) -> BTreeSet<String> {
    let known = Metrics::new();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| word.starts_with("helsebro_") || word.starts_with("process_"));
    let bare = |word: &str| {
        let without = ["_total", "_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
        without.filter(|_| !known.names().contains(&word)).unwrap_or(word).to_owned()
    };
    words.map(bare).collect()
}

#[test]
fn documents_dashboard_and_alerts_name_the_metrics_there_are() {
    let known: BTreeSet<String> = Metrics::new().names().iter().map(|name| (*name).to_owned()).collect();
    let [docs, dashboard, alerts] =
        ["docs/operations/metrics.md", "docs/operations/grafana-dashboard.json", "docs/operations/alerts.yml"].map(|path| named(&read(path)));
    assert_eq!(docs, known, "docs/operations/metrics.md");
    let unknown = |named: &BTreeSet<String>| named.difference(&known).cloned().collect::<Vec<_>>();
    assert_eq!((unknown(&dashboard), unknown(&alerts)), (vec![], vec![]));
    let unseen: Vec<&String> = known.iter().filter(|name| !dashboard.contains(*name)).collect();
    assert!(unseen.is_empty(), "on no panel: {unseen:?}");
    assert!(alerts.len() > 10, "{alerts:?}");
}

#[test]
fn the_dashboard_is_one_that_grafana_can_read() {
    let dashboard: Value = serde_json::from_str(&read("docs/operations/grafana-dashboard.json")).unwrap();
    assert!(dashboard["title"].is_string() && dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    let mut ids = BTreeSet::new();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels {}", panel["id"]);
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{}", panel["title"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries += 1;
            let expr = target["expr"].as_str().unwrap();
            assert!(!named(expr).is_empty(), "{expr}");
            for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
                assert_eq!(expr.matches(open).count(), expr.matches(close).count(), "{expr}");
            }
        }
    }
    assert!(queries > 25, "{queries}");
}

/// The rules, as far as their form can be told without a reader of YAML: every rule has its parts, in the order of the file.
#[test]
fn each_alert_says_what_it_means_and_what_to_do() {
    let (text, docs) = (read("docs/operations/alerts.yml"), read("docs/operations.md"));
    assert!(text.starts_with("groups:\n") || text.contains("\ngroups:\n"));
    assert!(!text.contains('\t'), "YAML has no tabs");
    let rules: Vec<&str> = text.split("\n      - alert: ").skip(1).collect();
    assert!(rules.len() >= 12, "{}", rules.len());
    for rule in rules {
        let name = rule.lines().next().unwrap();
        for part in ["        expr: ", "        labels:\n          severity: ", "        annotations:\n          summary: ", "          description: "] {
            assert!(rule.contains(part), "{name} has no {}", part.trim());
        }
        let expr = rule.split("expr: ").nth(1).unwrap().lines().next().unwrap();
        assert!(!named(expr).is_empty() || expr.contains("up{"), "{name}: {expr}");
        assert_eq!(expr.matches('(').count(), expr.matches(')').count(), "{name}: {expr}");
        assert!(docs.contains(&format!("`{name}`")), "docs/operations.md does not say what to do about {name}");
    }
}
