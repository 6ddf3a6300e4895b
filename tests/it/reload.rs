//! A configuration that takes the place of another while the server runs: whole or not at all.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use helsebro::app::reload::Source;
use helsebro::app::server::{self, Listeners, Running};
use helsebro::config;
use helsebro::http::ops::Reloaded;
use helsebro::random::SystemRandom;
use helsebro::time::{FixedClock, UnixTime};
use reqwest::redirect::Policy;
use serde_json::Value;

use crate::crash;
use crate::on_redis::servers;
use crate::world::{Browser, Reply, VERIFIER, basic};

const AT: &str = "http://127.0.0.1:4567/cb";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
const OTHER: &str = "n3wS3cr3t-K7gNU3sdoOL0wNhqoVWhr3g6s1xYv72";

/// A server with a configuration file that a test may change.
struct Place {
    origin: String,
    ops: String,
    http: reqwest::Client,
    running: Running,
    dir: tempfile::TempDir,
    text: String,
    levels: Arc<std::sync::Mutex<Vec<tracing::Level>>>,
}

fn client(id: &str, more: &str) -> String {
    format!("[[client]]\nclient_id = \"{id}\"\nauth = \"client_secret_basic\"\nclient_secret = {{ file = \"secret\" }}\n{more}\n")
}

fn app(scopes: &str) -> String {
    client("app", &format!("redirect_uris = [\"{AT}\"]\nscopes = \"{scopes}\"\nconsent = \"pre-approved\""))
}

impl Place {
    async fn start(server: &str) -> Self {
        Self::start_on(server, "kind = \"memory\"").await
    }

    async fn start_on(server: &str, store: &str) -> Self {
        crate::world::log::watched();
        let any = "127.0.0.1:0".parse().unwrap();
        let listeners = Listeners { public: server::bind(any).await.unwrap(), ops: server::bind(any).await.unwrap() };
        let origin = format!("http://{}", listeners.public.local_addr());
        let ops = format!("http://{}", listeners.ops.local_addr());
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[server]\nlisten = \"{}\"\nops_listen = \"{}\"\nops_token = \"{SECRET}\"\n{server}\n[store]\n{store}\n[keys]\ndir = \"keys\"\n[audit]\ndir = \"audit\"\n\
             [[issuer]]\nurl = \"{origin}\"\nlogin = [\"local\"]\n[[issuer.fhir]]\nbase = \"{origin}/fhir\"\nresource_servers = [\"rs\"]\n\
             [[issuer.user]]\nname = \"Live Testlege\"\nfhir_user = \"Practitioner/live\"\n{}{}",
            listeners.public.local_addr(),
            listeners.ops.local_addr(),
            client("rs", ""),
            app("openid offline_access user/*.rs"),
        );
        std::fs::write(dir.path().join("helsebro.toml"), &text).unwrap();
        std::fs::write(dir.path().join("secret"), SECRET).unwrap();
        let path = dir.path().join("helsebro.toml");
        let loaded = config::load_written(&path, &[]).unwrap_or_else(|found| panic!("{found}"));
        let clock = Arc::new(FixedClock::at(UnixTime(1_795_000_000)));
        let running = server::start(&loaded.checked.config, listeners, clock, Arc::new(SystemRandom), None).await.unwrap();
        let levels: Arc<std::sync::Mutex<Vec<tracing::Level>>> = Arc::default();
        let heard = Arc::clone(&levels);
        let source = Source { config: path, clients: Vec::new(), set_level: Box::new(move |level| heard.lock().unwrap().push(level)) };
        running.reloader.follow(source, loaded).await;
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { origin, ops, http, running, dir, text, levels }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.dir.path().join("helsebro.toml"), text).unwrap();
    }

    async fn ops(&self, method: http::Method, path: &str) -> Reply {
        Reply::of(self.http.request(method, format!("{}{path}", self.ops)).bearer_auth(SECRET).send().await.unwrap()).await
    }

    /// What a reload tells, where it is taken.
    async fn taken(&self, text: &str) -> Vec<String> {
        self.write(text);
        let told = self.ops(http::Method::POST, "/reload").await.is(200).json();
        told["changes"].as_array().unwrap().iter().map(|change| change.as_str().unwrap().to_owned()).collect()
    }

    /// What it complains of, where it is not.
    async fn refused(&self, text: &str) -> Vec<String> {
        self.write(text);
        let told = self.ops(http::Method::POST, "/reload").await;
        told.refused(422, "invalid_configuration");
        told.json()["problems"].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap().to_owned()).collect()
    }

    async fn post(&self, path: &str, authorization: &str, form: &[(&str, &str)]) -> Reply {
        Reply::of(self.http.post(format!("{}{path}", self.origin)).header("authorization", authorization).form(form).send().await.unwrap()).await
    }

    fn authorize(&self) -> String {
        let challenge = helsebro::protocol::pkce::CodeVerifier::parse(VERIFIER).unwrap().challenge();
        let base = format!("{}/fhir", self.origin);
        let params = [
            ("response_type", "code"),
            ("client_id", "app"),
            ("redirect_uri", AT),
            ("scope", "openid offline_access user/Patient.rs user/Observation.rs"),
            ("state", "s"),
            ("aud", &base),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        url::Url::parse_with_params(&format!("{}/authorize", self.origin), params).unwrap().into()
    }

    async fn tokens(&self) -> Value {
        let mut browser = Browser::new(self.http.clone());
        let page = browser.get(&self.authorize()).await;
        let page = browser.reach_app(page, &self.origin).await;
        let code = page.param("code").unwrap_or_else(|| panic!("no code but {:?}", page.location()));
        let form = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
        self.post("/token", &basic("app", SECRET), &form).await.is(200).json()
    }

    async fn refresh(&self, tokens: &Value, secret: &str) -> Reply {
        let token = tokens["refresh_token"].as_str().unwrap();
        self.post("/token", &basic("app", secret), &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    async fn is_active(&self, tokens: &Value) -> bool {
        let form = [("token", tokens["access_token"].as_str().unwrap())];
        self.post("/introspect", &basic("rs", SECRET), &form).await.is(200).json()["active"] == true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_changed_is_told_and_holds_at_once_and_what_is_remembered_stays() {
    let place = Place::start("").await;
    let tokens = place.tokens().await;
    let path = format!("issuer[{}].client[app]", place.origin);
    let kids = place.http.get(format!("{}/jwks", place.origin)).send().await.unwrap().text().await.unwrap();

    // Fewer scopes: the next refresh has no more.
    let told = place.taken(&place.text.replace("openid offline_access user/*.rs", "openid offline_access user/Patient.rs")).await;
    assert_eq!(told, [format!("{path}.scopes: - user/*.rs, + user/Patient.rs")]);
    assert!(place.is_active(&tokens).await, "what was given out stays good");
    let fresh = place.refresh(&tokens, SECRET).await.is(200).json();
    assert!(!fresh["scope"].as_str().unwrap().contains("Observation"), "{fresh}");
    assert_eq!(place.http.get(format!("{}/jwks", place.origin)).send().await.unwrap().text().await.unwrap(), kids);

    // Another secret, in the file that is referred to.
    std::fs::write(place.dir.path().join("secret"), OTHER).unwrap();
    let told = place.taken(&place.text).await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.contains(&format!("{path}.client_secret: changed")), "{told:?}");
    assert!(!told.iter().any(|line| line.contains(SECRET) || line.contains(OTHER)), "{told:?}");
    place.refresh(&tokens, SECRET).await.refused(401, "invalid_client");
    place.refresh(&tokens, OTHER).await.is(200);
    std::fs::write(place.dir.path().join("secret"), SECRET).unwrap();
    place.taken(&place.text).await;

    // Limits, the level of the log, the operations token.
    let more = place.text.replace("[store]", "log_level = \"debug\"\n[http]\nmax_body_bytes = 65536\n[guess]\nwindow = \"2m\"\n[store]");
    let told = place.taken(&more).await;
    assert!(
        told.contains(&"server.log_level: (left out) → \"debug\"".to_owned()) && told.contains(&"guess.window: (left out) → \"2m\"".to_owned()),
        "{told:?}"
    );
    assert_eq!(place.levels.lock().unwrap().last(), Some(&tracing::Level::DEBUG));
    let large = "x".repeat(100_000);
    assert_eq!(place.post("/token", &basic("app", SECRET), &[("grant_type", &large)]).await.status, 413);
    assert_eq!(place.taken(&more).await, [""; 0], "nothing differs");
    place.write(&more.replacen(&format!("ops_token = \"{SECRET}\""), &format!("ops_token = \"{OTHER}\""), 1));
    place.ops(http::Method::POST, "/reload").await.is(200);
    place.ops(http::Method::GET, "/reload").await.refused(401, "invalid_token");
    place.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_taken_out_is_dead_at_once_and_a_redirect_uri_too() {
    let place = Place::start("").await;
    let tokens = place.tokens().await;
    // A page stands open.
    let mut browser = Browser::new(place.http.clone());
    let page = browser.get(&place.authorize()).await;
    let page = browser.follow(page, &place.origin).await.is(200);
    place.taken(&place.text.replace(AT, "http://127.0.0.1:4567/elsewhere")).await;
    let after = browser.submit(&page, &[]).await;
    let after = browser.follow(after, &place.origin).await;
    assert!(after.location().is_none_or(|to| !to.as_str().starts_with(AT)), "{:?}", after.location());
    let fresh = Browser::new(place.http.clone()).get(&place.authorize()).await;
    assert_eq!(fresh.reply.status, 400, "{:?}", fresh.location());
    assert!(place.is_active(&tokens).await);

    let without = place.text.replace(&app("openid offline_access user/*.rs"), "");
    let told = place.taken(&without).await;
    assert_eq!(told, [format!("issuer[{}].client[app]: removed", place.origin)]);
    assert!(!place.is_active(&tokens).await, "its tokens died with it");
    place.refresh(&tokens, SECRET).await.refused(401, "invalid_client");
    // It comes back, and with it what it had: nothing was forgotten.
    let told = place.taken(&place.text).await;
    assert_eq!(told, [format!("issuer[{}].client[app]: added", place.origin)]);
    assert!(place.is_active(&tokens).await);
    place.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_hold_or_needs_a_restart_changes_nothing() {
    let place = Place::start("").await;
    let tokens = place.tokens().await;
    assert_eq!(place.ops(http::Method::GET, "/reload").await.is(200).json()["status"], "never");
    let without = place.text.replace(&app("openid offline_access user/*.rs"), "");

    // Two mistakes beside a change that would be good.
    let told = place.refused(&without.replace("login = [\"local\"]", "login = [\"guess\"]\ncode_ttl = \"1h\"")).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|line| line.contains("code_ttl")) && told.iter().any(|line| line.contains("login")), "{told:?}");
    assert!(place.is_active(&tokens).await, "the client is there still");
    let ready = place.ops(http::Method::GET, "/ready").await.is(200).json();
    assert_eq!((&ready["status"], &ready["config"]["problems"], &ready["config"]["reload_failed_at"]), (&"ready".into(), &2.into(), &1_795_000_000.into()));
    assert_eq!(place.ops(http::Method::GET, "/reload").await.is(200).json()["status"], "refused");

    let told = place.refused("[server\n").await;
    assert!(told[0].contains("is not TOML"), "{told:?}");
    let other = without.replace("kind = \"memory\"", "kind = \"embedded\"").replace("[keys]", "[http]\nheader_timeout = \"5s\"\n[keys]");
    let told = place.refused(&other).await;
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("needs a restart: http.header_timeout, store; "), "{told:?}");
    assert!(place.is_active(&tokens).await);
    std::fs::remove_file(place.dir.path().join("helsebro.toml")).unwrap();
    let gone = place.ops(http::Method::POST, "/reload").await;
    gone.refused(422, "invalid_configuration");
    assert!(gone.json()["problems"][0].as_str().unwrap().contains("cannot be read"));

    // What is written as the default is no restart, and the bad news is over.
    let told = place.taken(&place.text.replace("[store]", "shutdown_grace = \"20s\"\n[store]")).await;
    assert_eq!(told, ["server.shutdown_grace: (left out) → \"20s\""]);
    assert!(place.ops(http::Method::GET, "/ready").await.is(200).json().get("config").is_none());
    place.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_comes_and_goes_without_a_restart() {
    let place = Place::start("").await;
    let tokens = place.tokens().await;
    // Another name of the same machine.
    let ward = place.origin.replace("127.0.0.1", "localhost");
    let named = place.text.replace("auth = \"client_secret_basic\"", &format!("auth = \"client_secret_basic\"\nissuer = \"{}\"", place.origin));
    let two = format!(
        "{named}[[issuer]]\nurl = \"{ward}\"\nlogin = [\"local\"]\n[[issuer.fhir]]\nbase = \"{ward}/fhir\"\n[[issuer.user]]\nname = \"A\"\nfhir_user = \"Practitioner/a\"\n"
    );
    let at = format!("{ward}/.well-known/openid-configuration");
    assert_eq!(place.http.get(&at).send().await.unwrap().status(), 421);
    let told = place.taken(&two).await;
    assert_eq!(told, [format!("issuer[{ward}]: added")]);
    assert_eq!(place.http.get(&at).send().await.unwrap().json::<Value>().await.unwrap()["issuer"], ward.as_str());
    assert!(place.is_active(&tokens).await, "the other one goes on as it was");
    let told = place.taken(&place.text).await;
    assert_eq!(told, [format!("issuer[{ward}]: removed")]);
    assert_eq!(place.http.get(&at).send().await.unwrap().status(), 421);
    place.running.stop().await;
}

/// What an operator decided while the server ran is not the configuration's to undo.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_disabled_stays_so() {
    let place = Place::start("").await;
    let tokens = place.tokens().await;
    place.ops(http::Method::POST, "/clients/app/disable").await.is(200);
    assert!(!place.is_active(&tokens).await);
    place.taken(&place.text.replace(&app("openid offline_access user/*.rs"), &app("openid user/*.rs"))).await;
    assert!(!place.is_active(&tokens).await);
    let without = place.text.replace(&app("openid offline_access user/*.rs"), "");
    place.taken(&without).await;
    place.taken(&place.text).await;
    assert!(!place.is_active(&tokens).await, "not even where it went and came back");
    assert_eq!(place.ops(http::Method::GET, "/clients/app").await.is(200).json()["disabled"], true);
    place.running.stop().await;
}

/// Of secrets it is said that they changed, whatever they are called and wherever they stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_that_only_looks_is_a_secret_too() {
    let place = Place::start("ops_read_token = \"Q7mZr2WvK9xT4nLcB8sYdF3hJ6pGaUe1\"").await;
    let told = place.taken(&place.text.replace("Q7mZr2WvK9xT4nLcB8sYdF3hJ6pGaUe1", "U1eaGp6Jh3FdYs8BcLn4Tx9KvW2rZm7Q")).await;
    assert_eq!(told, ["server.ops_read_token: changed"]);
    place.running.stop().await;
}

/// Redis cannot list all it has: whoever looks after the store must hear of issuers that came later. And what is asked of the store takes its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_came_later_is_counted_and_exported_from_redis_too() {
    let Some(redis) = servers::alone() else { return };
    let prefix = servers::options(redis.servers()).prefix;
    let store = format!(
        "kind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"\nkey_prefix = \"{prefix}\"\nresponse_timeout_ms = 5000\n[http]\nrequest_timeout = \"1s\"",
        redis.port
    );
    let place = Place::start_on("", &store).await;
    let ward = place.origin.replace("127.0.0.1", "localhost");
    let named = place.text.replace("auth = \"client_secret_basic\"", &format!("auth = \"client_secret_basic\"\nissuer = \"{}\"", place.origin));
    let user = "[[issuer.user]]\nname = \"A\"\nfhir_user = \"Practitioner/a\"\n";
    place.taken(&format!("{named}[[issuer]]\nurl = \"{ward}\"\nlogin = [\"local\"]\n[[issuer.fhir]]\nbase = \"{ward}/fhir\"\n{user}")).await;
    let counted = async || {
        let stats = place.ops(http::Method::GET, "/store/stats").await.is(200).json();
        stats["kinds"].as_array().unwrap().iter().any(|kind| kind["issuer"] == ward.as_str() && kind["kind"] == "key_ring")
    };
    assert!(counted().await);
    // It stays there when the issuer goes.
    place.taken(&place.text).await;
    assert!(counted().await);
    let on = place.http.put(format!("{}/store/read-only", place.ops)).bearer_auth(SECRET).json(&serde_json::json!({ "read_only": true }));
    Reply::of(on.send().await.unwrap()).await.is(200);
    let export = place.ops(http::Method::GET, "/store/export").await.is(200);
    assert!(export.body.lines().next().unwrap().contains(&ward), "{}", export.body);
    place.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_and_those_that_follow_see_one_configuration_or_the_other() {
    let place = Arc::new(Place::start("").await);
    let without = place.text.replace(&app("openid offline_access user/*.rs"), "");
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asking = tokio::spawn({
        let (place, stop) = (Arc::clone(&place), Arc::clone(&stop));
        async move {
            let mut seen = [0_u32; 2];
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let form = [("grant_type", "refresh_token"), ("refresh_token", "nonsense")];
                match place.post("/token", &basic("app", SECRET), &form).await.status {
                    400 => seen[0] += 1,
                    // Its failures are counted while it is not there; the limit is no third configuration.
                    401 | 429 => seen[1] += 1,
                    other => panic!("{other}"),
                }
            }
            seen
        }
    });
    for turn in 0..20 {
        place.write(if turn % 2 == 0 { &without } else { &place.text });
        assert!(matches!(place.running.reloader.reload_by("a test").await, Reloaded::Taken(_)));
        tokio::task::yield_now().await;
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let seen = asking.await.unwrap();
    assert!(seen[0] + seen[1] > 0, "{seen:?}");
}

/// Waits for something that comes by itself.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !so().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_is_read_again_where_that_is_asked_for() {
    let place = Place::start("watch_config = true").await;
    let tokens = place.tokens().await;
    std::fs::write(place.dir.path().join("secret"), OTHER).unwrap();
    until("a secret that is referred to", async || place.refresh(&tokens, OTHER).await.status == 200).await;
    place.write("[server\n");
    until("a mistake", async || place.ops(http::Method::GET, "/ready").await.json().get("config").is_some()).await;
    place.refresh(&tokens, OTHER).await.is(200);
    place.write(&place.text.replace("watch_config = true", "watch_config = true\nlog_level = \"warn\""));
    until("the configuration itself", async || place.levels.lock().unwrap().last() == Some(&tracing::Level::WARN)).await;
    place.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_has_the_built_server_read_its_configuration_again() {
    let place = crash::Place::new("process", "info");
    let server = place.start().await;
    let file = place.dir().join("helsebro.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", "nonsense")];
    assert_eq!(place.token("secret", &form).await.unwrap().0, 400);
    let hup = || assert!(Command::new("kill").args(["-HUP", &server.0.id().to_string()]).status().unwrap().success());
    let said = async |words: &str| until(words, async || place.said.lock().unwrap().iter().any(|line| line.contains(words))).await;

    std::fs::write(&file, text.replace("client_id = \"secret\"", "client_id = \"renamed\"")).unwrap();
    hup();
    said("and taken").await;
    said("client[secret]: removed").await;
    said("client[renamed]: added").await;
    assert_eq!(place.token("secret", &form).await.unwrap().0, 401);
    std::fs::write(&file, text.replace("[store]\n", "[store]\nkind = \"memory\"\n").replace("path = \"store.redb\"\ndurability = \"process\"\n", "")).unwrap();
    hup();
    said("needs a restart: store").await;
    said("nothing was changed").await;
    std::fs::write(&file, text.replace("log_level = \"info\"", "log_level = \"warn\"")).unwrap();
    hup();
    said("server.log_level").await;
    assert_eq!(place.token("secret", &form).await.unwrap().0, 400, "everything else is as it was");
    assert_eq!(server.stop(), Some(0));
}

fn helsebro(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_helsebro")).args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_reloads_and_compares_from_the_command_line() {
    let place = Place::start("").await;
    let file = place.dir.path().join("helsebro.toml").display().to_string();
    let run = |args: &[&str]| tokio::task::block_in_place(|| helsebro(args));
    assert_eq!(run(&["reload", "--config", &file]).1, "Nothing differs.\n");
    place.write(&place.text.replace("user/*.rs", "user/*.rs launch"));
    let said = run(&["reload", "--config", &file]);
    assert_eq!((said.0, said.1.as_str()), (Some(0), format!("issuer[{}].client[app].scopes: + launch\n", place.origin).as_str()), "{}", said.2);
    place.write(
        &place.text.replace("user/*.rs", "user/*.rs launch").replace("code_ttl", "").replace("login = [\"local\"]", "login = [\"local\"]\ncode_ttl = \"1h\""),
    );
    // The command reads the same file to find the server.
    let said = run(&["reload", "--config", &file]);
    assert!(said.0 == Some(1) && said.2.contains("code_ttl"), "{said:?}");

    let other: PathBuf = place.dir.path().join("other.toml");
    std::fs::write(&other, place.text.replace("kind = \"memory\"", "path = \"x\"").replace("name = \"Live Testlege\"", "name = \"Kari Testlege\"")).unwrap();
    place.write(&place.text);
    let said = run(&["config", "diff", &file, other.to_str().unwrap()]);
    let expected = format!(
        "issuer[{}].user[Practitioner/live].name: \"Live Testlege\" → \"Kari Testlege\"\nstore.kind: \"memory\" → (left out)\nstore.path: (left out) → \"x\"\nneeds a restart: store\n",
        place.origin
    );
    assert_eq!((said.0, said.1), (Some(0), expected), "{}", said.2);
    assert_eq!(run(&["config", "diff", &file, &file]).1, "They say the same.\n");
    assert_eq!(run(&["config", "diff", &file, Path::new("/nowhere").to_str().unwrap()]).0, Some(1));
    place.running.stop().await;
}
