//! Clients that know nothing of us, each in its own language, against a demo of its own: npm openid-client and fhirclient, PyPI authlib and
//! fhirpy, and NAV's app as it behaves on the wire. What they check stands in `tests/foreign`; `cargo xtask test` fetches what they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use helsebro::app::demo::{Demo, DemoOptions, start};
use helsebro::jose::{Alg, SigningKey};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How NAV's app is registered in its test environment.
const DEV: &str = "nav-syk-inn-dev";

/// Where the two readings of Basic differ: in every character of a secret; and in the id alone, the secret being the same in both.
/// RFC 6749 §2.3.1, NAV §8 row 3.
const SECRETS: [(&str, &str, &str, &str); 4] = [
    ("extra-odd", DEV, "client_secret_basic", "a+b%41:c d/=&?K7gNU3sdo+OL0wNhqoVWhr3g6s1x"),
    ("extra-plain", DEV, "client_secret_basic", "K7gNU3sdoOL0wNhqoVWhr3g6s1xYv72olpeUnols"),
    ("extra-post", DEV, "client_secret_post", "K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72ol_pe~Unols"),
    ("extra-prod", "nav-syk-inn-prod", "client_secret_basic", "K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72olpeUnprod"),
];

/// Who exchanges tokens, how it authenticates, and its secret.
const EXCHANGING: [(&str, &str, &str); 2] = [
    ("exchange-app", "client_secret_basic", "K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72olpeUnapp"),
    ("exchange-service", "client_secret_post", "K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72olpservice"),
];

/// An app that may make its own token narrower, and a service that it lets act with it. RFC 8693 §4.4.
const EXCHANGE_CLIENTS: &str = r#"
[[client]]
client_id = "exchange-app"
auth = "client_secret_basic"
client_secret = "SECRET of exchange-app"
redirect_uris = ["http://127.0.0.1:1/exchange-app/callback"]
launch_urls = ["http://127.0.0.1:1/exchange-app/launch"]
scopes = "openid fhirUser launch patient/*.rs"
consent = "pre-approved"
may_act = ["exchange-service"]

[[client]]
client_id = "exchange-service"
auth = "client_secret_post"
client_secret = "SECRET of exchange-service"
scopes = "patient/Patient.rs patient/Condition.rs"
"#;

const EXCHANGE_POLICY: &str = r#"
[[issuer.exchange]]
name = "app-narrows"
direction = "own"
caller = "exchange-app"
audience = "{fhir}"
scopes = "patient/Patient.rs patient/Condition.rs"
binding = "where-shown"

[[issuer.exchange]]
name = "service-acts"
direction = "own"
caller = "exchange-service"
audience = "{fhir}"
scopes = "patient/*.rs"
binding = "where-shown"
"#;

/// Clients beside those of the demo, registered as NAV's app is but for how they authenticate: as configuration, and as the facts would tell.
fn more_clients() -> (String, Value) {
    let (mut toml, mut facts) = (String::new(), json!({}));
    let mut add = |id: &str, preset: &str, auth: &str, registered: &str, told: (&str, Value)| {
        let [callback, launch] = ["callback", "launch"].map(|page| format!("http://127.0.0.1:1/{id}/{page}"));
        toml.push_str(&format!("[[client]]\npreset = {preset:?}\nclient_id = {id:?}\nauth = {auth:?}\n{registered}\n"));
        toml.push_str(&format!("redirect_uris = [{callback:?}]\nlaunch_urls = [{launch:?}]\n\n"));
        facts[id] = json!({ "client_id": id, "auth": auth, told.0: told.1, "redirect_uris": [callback] });
    };
    for (id, preset, auth, secret) in SECRETS {
        add(id, preset, auth, &format!("client_secret = {secret:?}"), ("client_secret", json!(secret)));
    }
    for (id, alg) in [("extra-es384", Alg::ES384), ("extra-rs384", Alg::RS384)] {
        let key = SigningKey::generate(alg).unwrap();
        let public = key.public_jwk().to_value();
        let members: Vec<String> = public.as_object().unwrap().iter().map(|(name, value)| format!("{name} = {value}")).collect();
        add(id, DEV, "private_key_jwt", &format!("jwks = {{ keys = [{{ {} }}] }}", members.join(", ")), ("private_jwk", key.to_private_jwk().unwrap()));
    }
    // FAPI 2.0 §5.3.2: what the profile asks, the registration need not repeat.
    let key = SigningKey::generate(Alg::ES256).unwrap();
    let public = key.public_jwk().to_value();
    let members: Vec<String> = public.as_object().unwrap().iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let [callback, launch] = ["callback", "launch"].map(|page| format!("http://127.0.0.1:1/extra-fapi2/{page}"));
    toml.push_str(&format!(
        "[[client]]\nclient_id = \"extra-fapi2\"\nauth = \"private_key_jwt\"\nprofile = \"fapi2\"\njwks = {{ keys = [{{ {} }}] }}\nredirect_uris = [{callback:?}]\nlaunch_urls = [{launch:?}]\n\
         scopes = \"openid fhirUser launch offline_access patient/*.rs\"\nconsent = \"pre-approved\"\n\n",
        members.join(", ")
    ));
    facts["extra-fapi2"] =
        json!({ "client_id": "extra-fapi2", "auth": "private_key_jwt", "private_jwk": key.to_private_jwk().unwrap(), "redirect_uris": [callback] });
    let key = SigningKey::generate(Alg::EdDSA).unwrap();
    let public = key.public_jwk().to_value();
    let members: Vec<String> = public.as_object().unwrap().iter().map(|(name, value)| format!("{name} = {value}")).collect();
    toml.push_str(&format!(
        "[[client]]\nclient_id = \"extra-eddsa\"\nauth = \"private_key_jwt\"\nscopes = \"system/*.rs\"\naccess_token_alg = \"EdDSA\"\ndpop = \"required\"\njwks = {{ keys = [{{ {} }}] }}\n\n",
        members.join(", ")
    ));
    facts["extra-eddsa"] = json!({ "client_id": "extra-eddsa", "auth": "private_key_jwt", "private_jwk": key.to_private_jwk().unwrap() });
    toml.push_str(&EXCHANGING.iter().fold(EXCHANGE_CLIENTS.to_owned(), |text, (id, _, secret)| text.replace(&format!("SECRET of {id}"), secret)));
    for (id, auth, secret) in EXCHANGING {
        let redirect_uris = [format!("http://127.0.0.1:1/{id}/callback")];
        facts[id] = json!({ "client_id": id, "auth": auth, "client_secret": secret, "redirect_uris": redirect_uris });
    }
    (toml, facts)
}

/// A demo on free ports, and the files that say where it is and whom it knows.
struct Stage {
    folder: TempDir,
    demo: Demo,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (toml, facts) = more_clients();
        fs::write(at("clients.toml"), toml).unwrap();
        fs::write(at("more.json"), facts.to_string()).unwrap();
        fs::write(at("policy.toml"), EXCHANGE_POLICY).unwrap();
        let options = DemoOptions {
            port_base: 0,
            data: at("data"),
            fresh: false,
            json: Some(at("facts.json")),
            clients: Some(at("clients.toml")),
            policy: Some(at("policy.toml")),
        };
        let demo = start(&options).await.unwrap();
        Self { folder, demo }
    }

    /// Runs the script to its end while the demo answers it, and returns what it printed.
    async fn play(self, interpreter: PathBuf, script: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(script);
        let mut command = Command::new(interpreter);
        command.arg(&script).args(["facts.json", "more.json"].map(|file| self.folder.path().join(file)));
        command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(script.parent().unwrap());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        self.demo.stop().await;
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{printed}");
        printed
    }
}

/// The interpreter named by the environment, else nothing, and said so.
#[expect(clippy::disallowed_methods, reason = "which interpreters there are is the machine's business, not a setting of the server")]
fn interpreter(variable: &str) -> Option<PathBuf> {
    let named = std::env::var(variable).ok().map(PathBuf::from);
    if named.is_none() {
        eprintln!("not run: {variable} names no interpreter");
    }
    named
}

/// Tests on Node: `cargo xtask test` leaves out the whole module where there is none.
mod node {
    use std::fs;
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;

    use helsebro::app::helseid_server::{self, HelseidParts};
    use helsebro::helseid::seed::{Seed, table};
    use helsebro::listen::Listener;
    use helsebro::random::SystemRandom;
    use helsebro::time::SystemClock;
    use serde_json::json;

    use super::{Stage, interpreter};

    /// Runs a script on Node's test runner; at least `least` of its tests must have passed.
    async fn play(script: &str, least: usize) {
        let Some(node) = interpreter("HELSEBRO_TEST_NODE") else { return };
        let printed = Stage::set().await.play(node, script).await;
        let count = |name: &str| printed.lines().find_map(|line| line.strip_prefix(&format!("# {name} "))?.parse::<usize>().ok());
        assert_eq!(count("fail"), Some(0), "{printed}");
        assert!(count("pass").is_some_and(|passed| passed >= least), "{printed}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn openid_client_launches_refreshes_introspects_and_revokes() {
        play("node/openid.mjs", 12).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn fhirclient_launches_both_ways_reads_and_writes() {
        play("node/fhirclient.mjs", 17).await;
    }

    /// RFC 9449.
    #[tokio::test(flavor = "multi_thread")]
    async fn openid_client_binds_its_tokens_to_a_key() {
        play("node/dpop.mjs", 10).await;
    }

    /// FAPI 2.0 Security Profile §5.3.2, RFC 9126.
    #[tokio::test(flavor = "multi_thread")]
    async fn openid_client_pushes_its_requests_under_fapi() {
        play("node/fapi.mjs", 5).await;
    }

    /// The mock of HelseID with its sample API, and one client of the list that the script plays.
    #[tokio::test(flavor = "multi_thread")]
    async fn openid_client_logs_in_at_the_mock_of_helseid() {
        let Some(node) = interpreter("HELSEBRO_TEST_NODE") else { return };
        let any = || Listener::bind("127.0.0.1:0");
        let seed = Seed::generate().unwrap();
        let client = seed.client(table::SMART_AS).unwrap().clone();
        let parts = HelseidParts { sample_api: Some(any().await.unwrap()), ..HelseidParts::on(any().await.unwrap(), seed) };
        let running = helseid_server::start(parts, SystemClock::shared(), Arc::new(SystemRandom)).await.unwrap();
        let facts = json!({
            "issuer": running.mock.idp.issuer.as_str(),
            "sample_api": format!("http://{}", running.sample_api.unwrap()),
            "client": {
                "client_id": client.id,
                "private_jwk": client.private_key.unwrap().to_private_jwk().unwrap(),
                "redirect_uri": client.redirect_uris[0]
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("facts.json");
        fs::write(&file, facts.to_string()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/node/helseid.mjs");
        let mut command = Command::new(node);
        command.arg(&script).arg(&file).current_dir(script.parent().unwrap());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        running.mock.stop().await;
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && printed.contains("# pass 3"), "{printed}");
    }

    /// RFC 8037.
    #[tokio::test(flavor = "multi_thread")]
    async fn jose_signs_and_verifies_on_ed25519() {
        play("node/eddsa.mjs", 4).await;
    }

    /// RFC 8693.
    #[tokio::test(flavor = "multi_thread")]
    async fn openid_client_exchanges_bound_tokens() {
        play("node/exchange.mjs", 6).await;
    }

    /// NAV §8, rows 1 to 12 and 20.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_sykmelding_app_finds_what_it_needs() {
        play("node/nav.mjs", 33).await;
    }
}

/// Tests on Python, left out in the same way.
mod python {
    use std::path::Path;
    use std::process::Command;

    use super::{Stage, interpreter};

    /// Runs a script of Python's own test runner; `tests` is how many there are.
    async fn play(script: &str, tests: usize) {
        let Some(python) = interpreter("HELSEBRO_TEST_PYTHON") else { return };
        let printed = Stage::set().await.play(python, script).await;
        assert!(printed.contains(&format!("Ran {tests} tests")) && printed.trim_end().ends_with("OK"), "{printed}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn authlib_launches_rotates_and_works_as_a_backend() {
        play("python/authlib_client.py", 8).await;
    }

    /// RFC 8693.
    #[tokio::test(flavor = "multi_thread")]
    async fn authlib_exchanges_tokens() {
        play("python/exchange_client.py", 5).await;
    }

    /// What the OpenAPI documents say is what the server does; and Prometheus's own reader reads the metrics.
    #[tokio::test(flavor = "multi_thread")]
    async fn schemathesis_finds_what_the_documents_say() {
        play("python/openapi_client.py", 4).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn fhirpy_reads_pages_and_writes_and_other_models_read_everything() {
        play("python/fhirpy_client.py", 15).await;
    }

    /// Not a client: what linters and schemas say of `packaging`.
    #[test]
    fn linters_take_what_is_shipped() {
        let Some(python) = interpreter("HELSEBRO_TEST_PYTHON") else { return };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(python).arg(root.join("tests/foreign/python/shipped.py")).arg(root).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && printed.contains("Ran 7 tests"), "{printed}");
    }
}
