//! What `compose.yaml` starts, started here: the same configurations and secrets, on other ports, with the paths of containers below a folder.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::service::{client, free_ports};
use super::{helsebro, read, root};
use crate::crash::Held;
use crate::on_redis::servers::{Server, program};
use crate::world::Browser;

/// For everything to start on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The ports of the files, in the order in which free ones take their places.
const PORTS: [&str; 6] = ["9400", "9401", "9402", "9403", "9404", "9407"];

fn start(args: &[&str], folder: &Path) -> Held {
    let mut command = Command::new(env!("CARGO_BIN_EXE_helsebro"));
    let child: Child = command.args(args).current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    Held(child)
}

/// `health` says that all is well, before our patience ends.
fn wait(args: &[&str]) {
    let started = Instant::now();
    loop {
        let output = helsebro(&[&["health"], args].concat());
        if output.status.success() {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_compose_starts_launches_an_app_on_redis() {
    let Some(redis) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = Command::new("sh").arg(root().join("packaging/compose/secrets.sh")).arg(at("secrets")).stdin(Stdio::null()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let secret = |name: &str| fs::read_to_string(folder.path().join("secrets").join(name)).unwrap();

    let more: Vec<String> = read("compose/redis.conf")
        .lines()
        .filter(|line| !["#", "port", "dir", "aclfile"].iter().any(|own| line.starts_with(own)))
        .flat_map(|line| line.split_once(' ').map(|(name, value)| [format!("--{name}"), value.to_owned()]).unwrap())
        .chain(["--aclfile".to_owned(), at("secrets/redis-users.acl")])
        .collect();
    let store = Server::start(&redis, &more.iter().map(String::as_str).collect::<Vec<_>>());

    let ports: [u16; 6] = free_ports();
    let here = |text: &str| {
        let text = text.replace("/run/secrets", &at("secrets")).replace("/var/lib/helsebro", &at("state")).replace("0.0.0.0", "127.0.0.1");
        let text = text.replace("redis://redis:6379", &format!("redis://127.0.0.1:{}", store.port));
        PORTS.iter().zip(ports).fold(text, |text, (from, to)| text.replace(from, &to.to_string()))
    };
    let files = [("helsebro.toml", read("compose/helsebro.toml")), ("fhir.toml", read("compose/fhir.toml")), ("helseid.toml", secret("helseid.toml"))];
    for (name, text) in &files {
        fs::write(at(name), here(text)).unwrap();
    }
    let _server = start(&["serve", "--config", &at("helsebro.toml")], folder.path());
    let _fhir = start(&["fhir", "--config", &at("fhir.toml")], folder.path());
    let _helseid = start(&["helseid", "--config", &at("helseid.toml")], folder.path());
    tokio::task::block_in_place(|| {
        wait(&["--config", &at("helsebro.toml")]);
        // The healthchecks of the mocks, as compose.yaml has them.
        for url in ["http://127.0.0.1:9407/health", "http://127.0.0.1:9404/__mock/health"] {
            assert!(read("compose.yaml").contains(&format!("\"--url\", \"{url}\"")), "{url}");
            wait(&["--url", &here(url)]);
        }
    });

    let issuer = here("http://127.0.0.1:9400");
    let http = client();
    let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
    let answer = http.post(format!("{issuer}/token")).basic_auth("epj", Some(secret("epj-secret"))).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let token = answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
    // Helsebro asks the FHIR server, which asks Helsebro about the token, which is in Redis.
    let index: Value = serde_json::from_str(include_str!("../../../data/bundles/index.json")).unwrap();
    let ready = &index["launches"][0];
    let launch = json!({ "client_id": "my-app", "patient": ready["patient"], "encounter": ready["encounter"], "fhir_user": ready["fhirUser"] });
    let answer = http.post(format!("{issuer}/launches")).bearer_auth(token).json(&launch).send().await.unwrap();
    let (status, body) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 201, "{launch}: {body}");
    // Without a launch the user logs in at HelseID, which takes the pushed request for our key.
    let query = [
        ("response_type", "code"),
        ("client_id", "my-app"),
        ("redirect_uri", "http://127.0.0.1:4567/callback"),
        ("scope", "openid launch/patient patient/*.rs"),
        ("state", "0123456789abcdef"),
        ("aud", &here("http://127.0.0.1:9402/fhir")),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ];
    let mut url = url::Url::parse(&format!("{issuer}/authorize")).unwrap();
    url.query_pairs_mut().extend_pairs(query);
    let mut browser = Browser::new(http);
    let page = browser.get(url.as_str()).await;
    let page = browser.follow(page, &issuer).await;
    let to = page.location().map(|to| to.to_string()).unwrap_or_default();
    assert!(to.starts_with(&here("http://127.0.0.1:9403/")) && to.contains("request_uri="), "{} {to}", page.reply.status);
}
