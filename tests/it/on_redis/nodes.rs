//! Several nodes over one Redis, behind something that deals requests in turn.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Path as UrlPath;
use axum::response::IntoResponse as _;
use axum::routing::get;
use futures_util::future::join_all;
use helsebro::app::server::{self, Listeners, Running};
use helsebro::config::{self, SystemEnvironment, Text};
use helsebro::protocol::pkce::CodeVerifier;
use helsebro::random::SystemRandom;
use helsebro::time::SystemClock;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::servers::{Cluster, Server, Watched, cluster, configured, options, program, until, watched};
use crate::world::{Browser, Reply, SECRET, Tokens, VERIFIER, basic, header};

const AT: &str = "http://127.0.0.1:4567/cb";
const TOKEN: &str = "b1Zq7Yk3-hT9wLmXc4RsN8vEgJ2aUdPf_o6KiS0yQnM";

/// Passes whole connections on, each to the node whose turn it is.
struct Dealer {
    turn: Arc<AtomicUsize>,
}

impl Dealer {
    fn start(listener: TcpListener, nodes: Vec<SocketAddr>) -> Self {
        let dealer = Self { turn: Arc::default() };
        let turn = Arc::clone(&dealer.turn);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let node = nodes[turn.fetch_add(1, Ordering::SeqCst) % nodes.len()];
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(node).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        dealer
    }

    /// The next connection goes to this node.
    fn next(&self, node: usize) {
        self.turn.store(node, Ordering::SeqCst);
    }
}

/// A FHIR server that has whatever it is asked for.
async fn everything(UrlPath((kind, id)): UrlPath<(String, String)>) -> axum::response::Response {
    ([("content-type", "application/fhir+json")], json!({ "resourceType": kind, "id": id }).to_string()).into_response()
}

struct Nodes {
    issuer: String,
    fhir: String,
    dealer: Dealer,
    http: reqwest::Client,
    nodes: Vec<Running>,
    _data: tempfile::TempDir,
}

impl Nodes {
    async fn start(count: usize, store: config::Store) -> Self {
        let dealing = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", dealing.local_addr().unwrap());
        let stub = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fhir = format!("http://{}/fhir", stub.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(stub, Router::new().route("/fhir/{kind}/{id}", get(everything))).await });
        let data = tempfile::tempdir().unwrap();
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(node(&issuer, &fhir, data.path(), store.clone()).await);
        }
        let dealer = Dealer::start(dealing, nodes.iter().filter_map(|node| node.public.tcp()).collect());
        // A connection for each request, so that each is dealt.
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { issuer, fhir, dealer, http, nodes, _data: data }
    }

    async fn post(&self, path: &str, client: Option<&str>, form: &[(&str, &str)]) -> Reply {
        let mut request = self.http.post(format!("{}{path}", self.issuer)).form(form);
        if let Some(client) = client {
            request = request.header("authorization", basic(client, SECRET));
        }
        Reply::of(request.send().await.unwrap()).await
    }

    /// Asks one node's operations listener.
    async fn ops(&self, node: usize, method: reqwest::Method, path: &str, body: Option<Value>) -> Reply {
        let request = self.http.request(method, format!("http://{}{path}", self.nodes[node].ops)).bearer_auth(TOKEN);
        Reply::of(body.iter().fold(request, |request, body| request.json(body)).send().await.unwrap()).await
    }

    async fn launch(&self) -> Value {
        let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
        let token = Tokens(self.post("/token", Some("epj"), &form).await.is(200).json());
        let body = json!({ "client_id": "app", "patient": "p1", "fhir_user": "Practitioner/1" });
        let request = self.http.post(format!("{}/launches", self.issuer)).bearer_auth(token.access()).json(&body);
        Reply::of(request.send().await.unwrap()).await.is(201).json()
    }

    fn ask(&self, launch: &Value) -> String {
        let challenge = CodeVerifier::parse(VERIFIER).unwrap().challenge();
        let pairs = [
            ("response_type", "code"),
            ("client_id", "app"),
            ("redirect_uri", AT),
            ("scope", "openid launch offline_access patient/*.rs"),
            ("state", "s"),
            ("aud", &self.fhir),
            ("launch", launch["launch"].as_str().unwrap()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        Url::parse_with_params(&format!("{}/authorize", self.issuer), pairs).unwrap().into()
    }

    async fn code(&self, launch: &Value) -> String {
        let mut browser = Browser::new(self.http.clone());
        browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
        let page = browser.get(&self.ask(launch)).await;
        let page = browser.reach_app(page, &self.issuer).await;
        page.param("code").unwrap_or_else(|| panic!("no code but {:?}", page.location()))
    }

    async fn redeem(&self, code: &str) -> Reply {
        self.post("/token", Some("app"), &[("grant_type", "authorization_code"), ("code", code), ("redirect_uri", AT), ("code_verifier", VERIFIER)]).await
    }

    async fn is_active(&self, token: &str) -> bool {
        self.post("/introspect", Some("rs"), &[("token", token)]).await.is(200).json()["active"] == true
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

async fn node(issuer: &str, fhir: &str, data: &Path, store: config::Store) -> Running {
    let any = "127.0.0.1:0".parse().unwrap();
    let listeners = Listeners { public: server::bind(any).await.unwrap(), ops: server::bind(any).await.unwrap() };
    let toml = format!(
        "[server]\nlisten = \"{}\"\nops_listen = \"{}\"\nops_token = \"{TOKEN}\"\n[store]\nkind = \"memory\"\n[keys]\ndir = \"{}\"\n[audit]\ndir = \"audit-{}\"\n\
         [[issuer]]\nurl = \"{issuer}\"\nlogin = [\"ehr\", \"local\"]\n[[issuer.fhir]]\nbase = \"{fhir}\"\nresource_servers = [\"rs\"]\n\
         [[issuer.user]]\nname = \"Rolig Stetoskop\"\nfhir_user = \"Practitioner/1\"\n\
         [[client]]\nclient_id = \"epj\"\npreset = \"epj\"\nclient_secret = \"{SECRET}\"\n\
         [[client]]\nclient_id = \"rs\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n\
         [[client]]\nclient_id = \"app\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\nredirect_uris = [\"{AT}\"]\n\
         launch_urls = [\"http://127.0.0.1:4567/launch\"]\nscopes = \"openid launch offline_access patient/*.rs\"\nconsent = \"pre-approved\"\n",
        listeners.public.local_addr(),
        listeners.ops.local_addr(),
        data.join("keys").display(),
        listeners.ops.local_addr().port(),
    );
    let environment = SystemEnvironment::relative_to(data);
    let mut checked = config::check(Text { file: "test", text: &toml, environment: &environment }, &[]).unwrap_or_else(|found| panic!("{found}\n{toml}"));
    checked.config.store = store;
    server::start(&checked.config, listeners, SystemClock::shared(), Arc::new(SystemRandom), None).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Ten things an app, an EHR and a resource server do, each at the node whose turn it is.
async fn ten_things(nodes: &Nodes) {
    let launch = nodes.launch().await; // a token of the EHR's own, and a launch
    let code = nodes.code(&launch).await; // start, authorize, and whatever pages stand between
    let tokens = Tokens(nodes.redeem(&code).await.is(200).json());
    assert_eq!(tokens.0["patient"], "p1");
    assert!(nodes.is_active(tokens.access()).await);
    nodes.redeem(&code).await.refused(400, "invalid_grant"); // within two seconds: refused, and nothing ends
    assert!(nodes.is_active(tokens.access()).await);
    let refresh = tokens.0["refresh_token"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let next = Tokens(nodes.post("/token", Some("app"), &form).await.is(200).json());
    assert!(nodes.is_active(next.access()).await);
    nodes.post("/revoke", Some("app"), &[("token", refresh)]).await.is(200);
    for _ in 0..nodes.nodes.len() {
        assert!(!nodes.is_active(tokens.access()).await && !nodes.is_active(next.access()).await);
    }
    nodes.post("/token", Some("app"), &form).await.refused(400, "invalid_grant");
    assert_eq!(Reply::of(nodes.http.get(format!("{}/jwks", nodes.issuer)).send().await.unwrap()).await.status, 200);
    // The handle was spent.
    let page = Browser::new(nodes.http.clone()).get(&nodes.ask(&launch)).await;
    assert_eq!(page.param("error").as_deref(), Some("invalid_request"));
}

#[tokio::test]
async fn each_step_of_a_launch_may_be_at_another_node() {
    let Some(program) = program() else { return };
    let server = Server::start(&program, &[]);
    let nodes = Nodes::start(3, configured(&options(server.servers()))).await;
    // Begun on the first, authorized on the second, redeemed on the third.
    let dealt = |node| nodes.dealer.next(node);
    dealt(0);
    let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
    let token = Tokens(nodes.post("/token", Some("epj"), &form).await.is(200).json());
    dealt(0);
    let body = json!({ "client_id": "app", "patient": "p1", "fhir_user": "Practitioner/1" });
    let request = nodes.http.post(format!("{}/launches", nodes.issuer)).bearer_auth(token.access()).json(&body);
    let launch = Reply::of(request.send().await.unwrap()).await.is(201).json();
    let mut browser = Browser::new(nodes.http.clone());
    dealt(1);
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    dealt(1);
    let page = browser.get(&nodes.ask(&launch)).await;
    let page = browser.reach_app(page, &nodes.issuer).await;
    let code = page.param("code").unwrap_or_else(|| panic!("no code but {:?}", page.location()));
    dealt(2);
    let tokens = Tokens(nodes.redeem(&code).await.is(200).json());
    assert_eq!(tokens.0["patient"], "p1");
    ten_things(&nodes).await;

    // Sixty-four at once for one code, over all nodes. RFC 6749 §10.5
    let code = nodes.code(&nodes.launch().await).await;
    let replies = join_all((0..64).map(|_| nodes.redeem(&code))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    for reply in replies.into_iter().filter(|reply| reply.status != 200) {
        reply.refused(400, "invalid_grant");
    }
    nodes.stop().await;
}

#[tokio::test]
async fn what_one_node_changes_the_others_know_within_a_second() {
    let Some(program) = program() else { return };
    let server = Server::start(&program, &[]);
    let nodes = Nodes::start(3, configured(&options(server.servers()))).await;
    let at = async |node: usize, path: &str| {
        let request = nodes.http.get(format!("http://{}{path}", nodes.nodes[node].public)).header("host", nodes.issuer.trim_start_matches("http://"));
        Reply::of(request.send().await.unwrap()).await.is(200).json()
    };
    let kids = |jwks: &Value| jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let before = kids(&at(1, "/jwks").await);
    assert_eq!(kids(&at(0, "/jwks").await), before, "one ring");
    nodes.ops(0, reqwest::Method::POST, "/keys/rotate", Some(json!({}))).await.is(200);
    let after = kids(&at(0, "/jwks").await);
    assert!(after.len() > before.len());
    for node in [1, 2] {
        let turned = std::time::Instant::now();
        while kids(&at(node, "/jwks").await) != after {
            assert!(turned.elapsed().as_secs_f64() < 1.0, "node {node} publishes old keys");
        }
        println!("node {node} published the new keys {} ms after the first did", turned.elapsed().as_millis());
    }
    // And none signs with a key before all publish it. NAV-040
    let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
    for _ in 0..3 {
        let token = Tokens(nodes.post("/token", Some("epj"), &form).await.is(200).json());
        assert!(before.contains(&header(token.access())["kid"].as_str().unwrap().to_owned()));
    }
    // A client that was registered here may come in there, and one that was disabled may not.
    let app = json!({ "client_id": "newcomer", "auth": "client_secret_basic", "client_secret": SECRET, "scopes": "launch:create" });
    let added = nodes.ops(0, reqwest::Method::POST, "/clients", Some(app)).await;
    assert_eq!(added.status, 201, "{}", added.body);
    let introspect = async || nodes.post("/introspect", Some("newcomer"), &[("token", "x")]).await;
    for node in 0..3 {
        nodes.dealer.next(node);
        assert_ne!(introspect().await.status, 401);
    }
    nodes.ops(2, reqwest::Method::POST, "/clients/newcomer/disable", None).await.is(200);
    // Where it was done at once; where others hear of it, within a second.
    nodes.dealer.next(2);
    assert_eq!(introspect().await.status, 401);
    for node in 0..2 {
        let since = std::time::Instant::now();
        loop {
            nodes.dealer.next(node);
            if introspect().await.status == 401 {
                break;
            }
            assert!(since.elapsed() < std::time::Duration::from_secs(1), "node {node} did not hear of it");
        }
    }
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_everything_says_so_and_with_it_goes_on() {
    let Some(program) = program() else { return };
    let mut server = Server::start(&program, &[]);
    let nodes = Nodes::start(2, configured(&options(server.servers()))).await;
    let tokens = Tokens(nodes.redeem(&nodes.code(&nodes.launch().await).await).await.is(200).json());
    assert!(nodes.is_active(tokens.access()).await);
    server.stop();
    for _ in 0..4 {
        for path in ["/introspect", "/revoke"] {
            let reply = nodes.post(path, Some("rs"), &[("token", tokens.access())]).await;
            assert_eq!((reply.status, reply.header("retry-after").is_some()), (503, true), "{path}: {}", reply.body);
            assert!(!reply.body.contains("active"));
        }
        let reply = nodes.redeem("code_x_y").await;
        assert_eq!((reply.status, reply.header("retry-after").is_some()), (503, true), "{}", reply.body);
    }
    for node in 0..2 {
        let ready = nodes.ops(node, reqwest::Method::GET, "/ready", None).await.is(503).json();
        let problem = &ready["problems"][0];
        assert_eq!(problem["part"], "store");
        let said = problem["problem"].as_str().unwrap();
        assert!(said.contains(&format!("Redis at 127.0.0.1:{}", server.port)) && said.to_lowercase().contains("refused"), "{said}");
        nodes.ops(node, reqwest::Method::GET, "/health", None).await.is(200);
    }
    assert!(server.again(&program), "its port was taken meanwhile");
    let ops = nodes.nodes[0].ops.clone();
    until("the first node is ready", || {
        let asked = async { reqwest::get(format!("http://{ops}/ready")).await.unwrap().status().as_u16() };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(asked)) == 200
    });
    // It kept nothing (no disk was asked for), and is asked all the same.
    let reply = nodes.post("/introspect", Some("rs"), &[("token", tokens.access())]).await;
    assert!(matches!(reply.status, 200 | 503), "{}", reply.body);
    nodes.stop().await;
}

#[tokio::test]
async fn ten_things_work_on_a_cluster() {
    let Some(there) = cluster().map(Cluster::servers) else { return };
    let nodes = Nodes::start(2, configured(&options(there))).await;
    ten_things(&nodes).await;
    nodes.stop().await;
}

#[tokio::test]
async fn ten_things_work_behind_sentinels() {
    let Some(there) = watched().map(Watched::servers) else { return };
    let nodes = Nodes::start(2, configured(&options(there))).await;
    ten_things(&nodes).await;
    nodes.stop().await;
}
