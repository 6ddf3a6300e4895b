//! The command line as an operator meets it: the built binary, its help, and administration with and without a running server.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use helsebro::app::server::{self, Listeners, Running};
use helsebro::config;
use helsebro::listen::Listener;
use helsebro::random::SystemRandom;
use helsebro::time::SystemClock;
use serde_json::{Value, json};

use crate::ops::World;

const OPS_TOKEN: &str = "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=";

fn helsebro(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_helsebro"));
    command.args(args).env_remove("HELSEBRO_OPS_TOKEN").stdin(Stdio::null());
    command
}

/// A key somebody made elsewhere.
fn pkcs8_pem() -> String {
    use base64::Engine as _;
    let der = helsebro::jose::SigningKey::generate(helsebro::jose::Alg::EdDSA).unwrap().to_pkcs8_der().unwrap();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64::engine::general_purpose::STANDARD.encode(der.expose()))
}

/// The last column of the first line about this algorithm.
fn kid_of(listed: &str, alg: &str) -> String {
    listed.lines().find(|line| line.starts_with(alg)).and_then(|line| line.split_ascii_whitespace().last()).unwrap().to_owned()
}

/// Runs to the end, beside a server in this process.
fn output(mut command: Command) -> Output {
    tokio::task::block_in_place(|| command.output().unwrap())
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What it printed, where it succeeded.
fn ok(args: &[&str]) -> String {
    let output = output(helsebro(args));
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", err(&output));
    out(&output)
}

/// What it complained of, where it failed with this code and printed nothing.
fn failed(code: i32, args: &[&str]) -> String {
    let output = output(helsebro(args));
    assert_eq!((output.status.code(), out(&output)), (Some(code), String::new()), "{args:?}: {}", err(&output));
    err(&output)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

/// A directory with a configuration whose operations listener is at `ops`.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new(listen: &str, ops: &str, server: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Self { directory };
        place.write("helsebro.toml", &Self::text(listen, ops, server));
        place
    }

    fn text(listen: &str, ops: &str, server: &str) -> String {
        format!(
            r#"[server]
listen = "{listen}"
ops_listen = "{ops}"
{server}
[store]
path = "data/helsebro.redb"
[keys]
dir = "keys"
[[issuer]]
url = "http://{listen}"
[[issuer.fhir]]
base = "http://{listen}/fhir"
[[client]]
client_id = "epj"
preset = "epj"
client_secret = "{OPS_TOKEN}"
"#
        )
    }

    /// A configuration of a server that does not run: nobody listens where it would.
    async fn idle() -> Self {
        let (public, ops) = (listener().await, listener().await);
        Self::new(&public.local_addr().to_string(), &ops.local_addr().to_string(), &format!("ops_token = \"{OPS_TOKEN}\""))
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.directory.path().join(name), text).unwrap();
        self.path(name)
    }

    fn config(&self) -> String {
        self.path("helsebro.toml")
    }
}

async fn listener() -> Listener {
    Listener::bind("127.0.0.1:0").await.unwrap()
}

/// A server in this process, from a configuration file.
async fn running(server: &str) -> (Place, Running) {
    let listeners = Listeners { public: listener().await, ops: listener().await };
    let place = Place::new(&listeners.public.local_addr().to_string(), &listeners.ops.local_addr().to_string(), server);
    let config = config::load(&PathBuf::from(place.config()), &[]).unwrap().config;
    let running = server::start(&config, listeners, SystemClock::shared(), Arc::new(SystemRandom), None).await.unwrap();
    (place, running)
}

#[test]
fn help_reads_well() {
    let pages: &[(&str, &[&str])] = &[
        ("helsebro", &[]),
        ("demo", &["demo"]),
        ("serve", &["serve"]),
        ("fhir", &["fhir"]),
        ("helseid", &["helseid"]),
        ("keys", &["keys"]),
        ("keys_list", &["keys", "list"]),
        ("keys_rotate", &["keys", "rotate"]),
        ("keys_revoke", &["keys", "revoke"]),
        ("keys_import", &["keys", "import"]),
        ("clients", &["clients"]),
        ("clients_add", &["clients", "add"]),
        ("clients_list", &["clients", "list"]),
        ("clients_show", &["clients", "show"]),
        ("clients_disable", &["clients", "disable"]),
        ("clients_enable", &["clients", "enable"]),
        ("clients_rotate_secret", &["clients", "rotate-secret"]),
        ("clients_remove", &["clients", "remove"]),
        ("sessions", &["sessions"]),
        ("sessions_list", &["sessions", "list"]),
        ("sessions_revoke", &["sessions", "revoke"]),
        ("grants", &["grants"]),
        ("grants_list", &["grants", "list"]),
        ("grants_revoke", &["grants", "revoke"]),
        ("config", &["config"]),
        ("health", &["health"]),
        ("completions", &["completions"]),
        ("reload", &["reload"]),
        ("store", &["store"]),
        ("store_export", &["store", "export"]),
        ("store_import", &["store", "import"]),
        ("store_read_only", &["store", "read-only"]),
    ];
    for (name, command) in pages {
        let args: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let output = helsebro(&args).output().unwrap();
        assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
        insta::with_settings!({ snapshot_path => "snapshots/help", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(*name, out(&output));
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_server_runs_the_store_itself_is_looked_after() {
    let place = Place::idle().await;
    let config = place.config();
    let with = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).chain(["--config".to_owned(), config.clone()]).collect::<Vec<_>>();
    let ok = |args: &[&str]| ok(&with(args).iter().map(String::as_str).collect::<Vec<_>>());
    let failed = |code, args: &[&str]| failed(code, &with(args).iter().map(String::as_str).collect::<Vec<_>>());

    let keys = ok(&["keys", "list"]);
    let lines: Vec<&str> = keys.lines().collect();
    assert_eq!(lines.len(), 6, "{keys}");
    assert_eq!(lines[0].split_ascii_whitespace().collect::<Vec<_>>(), ["ALG", "STATE", "SINCE", "NEXT", "CHANGE", "ORIGIN", "KID"]);
    assert!(lines[5].starts_with("RS256  current  20") && lines[5].contains("  generated  "), "{keys}");

    let secret = ok(&["clients", "add", "--id", "ward", "--auth", "client_secret_basic", "--scopes", "launch:create", "--quiet"]);
    assert_eq!((secret.lines().count(), secret.trim_end().len()), (1, 43), "the secret and nothing else");
    let listed = json_of(&ok(&["clients", "list", "--output", "json"]));
    assert_eq!(listed["clients"].as_array().unwrap().iter().map(|client| client["client_id"].as_str().unwrap()).collect::<Vec<_>>(), ["epj", "ward"]);
    let table = ok(&["clients", "list"]);
    insta::assert_snapshot!(table, @r"
    CLIENT  AUTH                 SECRETS  STATE    REGISTERED     NAME
    epj     client_secret_basic  1        enabled  configuration  EPJ
    ward    client_secret_basic  1        enabled  run-time       ward
    ");

    let said = ok(&["clients", "rotate-secret", "ward"]);
    assert!(said.starts_with("ward has a new secret. The old secret works until 20"), "{said}");
    assert!(said.lines().last().unwrap().starts_with("secret_"), "{said}");
    assert!(ok(&["clients", "show", "ward"]).contains("\nsecrets                       2\n"), "{}", ok(&["clients", "show", "ward"]));
    let cut = ok(&["clients", "rotate-secret", "ward", "--immediately", "-q"]);
    assert!(cut.starts_with("secret_") && cut.lines().count() == 1);
    assert_eq!(json_of(&ok(&["clients", "show", "ward", "--output", "json"]))["secrets"], 1);

    assert_eq!(ok(&["clients", "disable", "ward"]), "ward is disabled: its tokens are inactive and its requests refused from now on.\n");
    assert!(ok(&["clients", "list"]).contains("disabled"));
    assert_eq!(ok(&["clients", "enable", "ward"]), "ward is enabled.\n");
    assert_eq!(ok(&["clients", "remove", "ward"]), "ward is removed, and all it was granted is over.\n");
    assert!(failed(1, &["clients", "show", "ward"]).ends_with("helsebro: no client has this id\n"));

    let rotated = ok(&["keys", "rotate", "--alg", "ES256"]);
    assert!(rotated.starts_with("A new ES256 key is published and signs from 20"), "{rotated}");
    let own = place.write("own.pem", &pkcs8_pem());
    assert!(ok(&["keys", "import", &own]).starts_with("The EdDSA key is published and signs from 20"));
    assert!(failed(1, &["keys", "import", &place.write("none.pem", "nothing")]).contains("holds no private key"));
    assert!(ok(&["keys", "revoke", &kid_of(&ok(&["keys", "list"]), "ES384")]).contains("Signs ES384 from now: "));
    assert!(ok(&["keys", "rotate", "--emergency", "--alg", "PS256"]).contains("fetch the key set again"));
    assert!(failed(1, &["keys", "rotate"]).contains("a next ES256 key is already published and signs in"));
    // Said beside the answer, where no script trips over it.
    let output = output(helsebro(&["keys", "list", "--config", &config]));
    assert!(err(&output).starts_with("helsebro: no server runs at 127.0.0.1:"), "{}", err(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_registered_from_json_with_the_options_over_it() {
    let place = Place::idle().await;
    let config = place.config();
    let registration = json!({
        "client_id": "app", "auth": "none", "redirect_uris": ["http://127.0.0.1:4567/cb"], "scopes": "openid launch/patient", "consent": "once",
    });
    let mut child =
        helsebro(&["clients", "add", "--json", "-", "--consent", "always", "--requires", "patient,encounter", "--output", "json", "--config", &config])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
    child.stdin.take().unwrap().write_all(registration.to_string().as_bytes()).unwrap();
    let made = json_of(&out(&tokio::task::block_in_place(|| child.wait_with_output().unwrap())));
    assert_eq!((&made["client_id"], &made["consent"], &made["requires"]), (&json!("app"), &json!("always"), &json!(["patient", "encounter"])));
    assert_eq!(made.get("client_secret"), None);

    let key = helsebro::jose::SigningKey::generate(helsebro::jose::Alg::ES384).unwrap().public_jwk().to_value();
    let jwks = place.write("jwks.json", &json!({ "keys": [key] }).to_string());
    let said = ok(&["clients", "add", "--id", "lab", "--auth", "private_key_jwt", "--jwks-file", &jwks, "--scopes", "system/*.rs", "--config", &config]);
    assert!(said.starts_with("lab is registered at http://127.0.0.1:"), "{said}");
    assert!(said.contains("\nNote: jwks  stands in the registration"), "{said}");
    let shown = ok(&["clients", "show", "lab", "--config", &config]);
    assert!(shown.contains(&format!("EC {}", key["kid"].as_str().unwrap())), "{shown}");

    let made =
        ["--auth", "none", "--redirect-uri", "http://127.0.0.1:4567/pushed", "--scopes", "openid", "--backchannel-logout-uri", "http://127.0.0.1:4567/told"];
    ok(&[&["clients", "add", "--id", "pushes", "--par", "required", "--config", &config][..], &made].concat());
    let shown = json_of(&ok(&["clients", "show", "pushes", "--output", "json", "--config", &config]));
    let said = ["par", "helseid", "dpop", "backchannel_logout_uri"].map(|name| shown[name].as_str().unwrap_or_default().to_owned());
    assert_eq!(said, ["required", "optional", "optional", "http://127.0.0.1:4567/told"], "{shown}");
    assert_eq!(json_of(&ok(&["clients", "show", "app", "--output", "json", "--config", &config]))["par"], "optional");

    // All that is wrong, and no secret in it.
    let broken = place.write(
        "broken.json",
        &json!({ "client_id": "x", "auth": "client_secret_basic", "client_secret": "hemmelig", "scopes": "openid nonsense(" }).to_string(),
    );
    let said = failed(1, &["clients", "add", "--json", &broken, "--redirect-uri", "http://app.example/cb", "--config", &config]);
    assert!(said.contains("the registration has") && said.contains("redirect_uris[0]") && said.contains("client_secret"), "{said}");
    assert!(!said.contains("hemmelig"), "{said}");
    let no_json = place.write("no.json", "{ hemmelig }");
    let said = failed(1, &["clients", "add", "--json", &no_json, "--config", &config]);
    assert!(said.contains("no.json: is not JSON: line 1, column 3") && !said.contains("hemmelig"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_asked_through_its_operations_listener() {
    let (place, server) = running(&format!("ops_token = \"{OPS_TOKEN}\"")).await;
    let config = place.config();
    let rotated = ok(&["keys", "rotate", "--alg", "RS256", "--config", &config]);
    let kid = rotated.trim_end().rsplit(' ').next().unwrap();
    let published = reqwest::get(format!("http://{}/jwks", server.public)).await.unwrap().text().await.unwrap();
    assert!(published.contains(kid), "the server itself publishes the new key");
    ok(&["clients", "add", "--id", "ward", "--auth", "client_secret_basic", "--scopes", "launch:create", "--config", &config]);

    // Another configuration with the same store: nobody listens there, but the store is held.
    let nobody = listener().await.local_addr().to_string();
    let other = place.write("other.toml", &Place::text(&server.public.to_string(), &nobody, ""));
    let said = failed(1, &["keys", "list", "--config", &other]);
    assert!(said.contains("a server holds") && said.contains("name its operations listener with --ops"), "{said}");
    server.stop().await;

    // What was registered is in the store.
    assert!(ok(&["clients", "list", "--config", &config]).contains("ward"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_token_is_not_worked_around() {
    let (place, server) = running("").await;
    let said = failed(1, &["clients", "list", "--config", &place.config()]);
    assert!(said.contains("administration is closed there: write ops_token in [server] of"), "{said}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_is_looked_after_by_address_and_token() {
    let world = World::start().await;
    let facts = &world.demo.facts;
    let token = world.data.path().join("ops-token");
    std::fs::write(&token, format!("{}\n", facts.ops_token.expose())).unwrap();
    let token = token.to_str().unwrap();
    let listed = ok(&["clients", "list", "--ops", &facts.ops, "--ops-token-file", token, "--output", "json"]);
    assert_eq!(json_of(&listed)["issuer"], facts.issuer.as_str());
    let mut by_environment = helsebro(&["keys", "list", "--ops", &facts.ops]);
    by_environment.env("HELSEBRO_OPS_TOKEN", facts.ops_token.expose());
    assert!(out(&output(by_environment)).contains("RS256"));

    let mut wrong = helsebro(&["keys", "list", "--ops", &facts.ops]);
    wrong.env("HELSEBRO_OPS_TOKEN", "not-the-one");
    assert_eq!(err(&output(wrong)), "helsebro: that is not the operations token\n");
    assert!(failed(1, &["keys", "list", "--ops", &facts.ops]).contains("name its file with --ops-token-file, or set HELSEBRO_OPS_TOKEN"));
    assert!(failed(1, &["keys", "list", "--ops", &facts.app, "--ops-token-file", token]).contains("is not the operations listener of this server"));
    assert!(failed(1, &["keys", "list", "--ops", "localhost", "--ops-token-file", token]).contains("write it like http://127.0.0.1:9401"));
    let nobody = format!("http://{}", listener().await.local_addr());
    assert!(failed(1, &["keys", "list", "--ops", &nobody, "--ops-token-file", token]).contains("does not answer: "));
    world.demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_says_so() {
    assert!(failed(2, &["keys", "list"]).contains("<--config <FILE>|--ops <URL>>"));
    assert!(failed(2, &["keys", "rotate", "--alg", "HS256", "--ops", "http://127.0.0.1:1"]).contains("possible values: RS256, PS256, ES256, ES384, EdDSA"));
    assert!(failed(2, &["clients", "add", "--config", "x"]).contains("--id"));
    assert!(failed(1, &["keys", "list", "--config", "/nowhere/helsebro.toml"]).contains("cannot be read"));
    let place = Place::idle().await;
    let memory = Place::text("127.0.0.1:9400", &listener().await.local_addr().to_string(), "").replace("path = \"data/helsebro.redb\"", "kind = \"memory\"");
    let memory = place.write("memory.toml", &memory);
    assert!(failed(1, &["keys", "list", "--config", &memory]).contains("the store is in memory"));
    let foreign =
        place.write("data.toml", &Place::text("127.0.0.1:9400", &listener().await.local_addr().to_string(), "").replace("data/helsebro.redb", "data.toml"));
    assert!(failed(1, &["keys", "list", "--config", &foreign]).contains("is not a store of this server"));
}

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fhir_server_runs_alone_and_takes_the_tokens_of_its_issuer() {
    let world = World::start().await;
    let facts = &world.demo.facts;
    let file = world.data.path().join("fhir.toml");
    let text = format!(
        "base = \"{}\"\nissuer = \"{}\"\nclient_id = \"fhir-server\"\nclient_secret = \"{}\"\nlisten = \"127.0.0.1:0\"\nops_listen = \"127.0.0.1:0\"\nops_token = \"{OPS_TOKEN}\"\n",
        facts.fhir,
        facts.issuer,
        facts.clients["fhir-server"].client_secret.as_ref().unwrap().expose()
    );
    std::fs::write(&file, text).unwrap();
    let mut child = Ended(helsebro(&["fhir", "--config", file.to_str().unwrap()]).stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    tokio::task::block_in_place(|| log.read_line(&mut line).unwrap());
    let address = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| panic!("{line}")).to_owned();
    let (public, ops) = (address("listen="), address("operations="));

    let metadata: Value = reqwest::get(format!("http://{public}/fhir/metadata")).await.unwrap().json().await.unwrap();
    assert_eq!(metadata["resourceType"], "CapabilityStatement");
    let http = reqwest::Client::new();
    // Introspection reaches the demo's issuer with our credentials: a token that is none is 401, not 503.
    let patient = async |index: usize, token: &str| {
        let url = format!("http://{public}/fhir/Patient/{}", facts.patients[index].patient);
        http.get(url).bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!(patient(0, "not-a-token").await, 401);
    let token = world.token_for_first_patient().await;
    assert_eq!(patient(0, &token).await, 200);
    assert!(matches!(patient(1, &token).await, 403 | 404), "another patient's record");
    let journal = http.get(format!("http://{ops}/requests")).bearer_auth(OPS_TOKEN).send().await.unwrap();
    assert_eq!(journal.status(), 200);
    drop(child);
    world.demo.stop().await;
}
