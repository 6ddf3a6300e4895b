//! Configuration: what it means, what is refused and in which words.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use helsebro::config::{self, Checked, Config, Environment, Findings, Home, SecretFile, Store, TABLES, Text, check, client_from_json};
use helsebro::domain::client::{Client, ClientAuthMethod, CodeReplay, ConsentPolicy, GrantType, Profile, Required};
use helsebro::domain::issuer::LoginWay;
use helsebro::protocol::ids::{ClientId, Issuer};
use helsebro::random::SeededRandom;
use helsebro::secret::{Digest, Secret};
use serde_json::json;

#[path = "config_any.rs"]
mod any;
#[path = "config_refused.rs"]
mod refused;
#[path = "config_registration.rs"]
mod registration;
#[path = "config_upstream.rs"]
mod upstream;

/// An environment of a test's own: nothing of the machine shows through.
#[derive(Default)]
struct Fake {
    variables: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<&'static str, (&'static str, bool)>,
}

/// A public key on P-256. RFC 7515 §A.3.1.
const POINT: (&str, &str) = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");

const STRONG: &str = "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=";

fn fake() -> Fake {
    Fake {
        variables: [("STRONG", STRONG), ("WEAK", "hemmelig"), ("FHIR_SERVER_SECRET", "pe/Unols=K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/")].into(),
        files: [
            ("/etc/helsebro/secrets/ops-token", ("0wNhqoVWhr3g6s1xYv72ol/pe/Unols=K7gNU3sdo+OL\n", false)),
            ("/etc/helsebro/secrets/syk-inn", ("K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=\r\n", false)),
            ("/etc/helsebro/secrets/open", ("K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=\n", true)),
        ]
        .into(),
    }
}

impl Environment for Fake {
    fn variable(&self, name: &str) -> Option<Secret<String>> {
        self.variables.get(name).map(|text| Secret::new((*text).to_owned()))
    }

    fn secret_file(&self, path: &Path) -> io::Result<SecretFile> {
        let (text, exposed) = self.files.get(path.to_str().unwrap()).ok_or(io::Error::new(io::ErrorKind::NotFound, "no such file"))?;
        Ok(SecretFile { text: Secret::new((*text).to_owned()), exposed: *exposed })
    }

    fn resolve(&self, path: &str) -> PathBuf {
        Path::new("/etc/helsebro").join(path)
    }
}

fn checked(text: &str) -> Result<Checked, Findings> {
    check(Text { file: "helsebro.toml", text, environment: &fake() }, &[])
}

fn good(text: &str) -> Config {
    checked(text).unwrap_or_else(|found| panic!("{found}")).config
}

fn client<'a>(config: &'a Config, id: &str) -> &'a Client {
    &config.issuers[0].rules.clients[&ClientId::parse(id).unwrap()]
}

/// The shortest configuration that holds.
const SHORTEST: &str = r#"
[[issuer]]
url = "https://auth.epj.example"
[[issuer.fhir]]
base = "https://epj.example/fhir"
"#;

// ---------------------------------------------------------------------------------------------- what it means

#[test]
fn the_reference_is_exactly_the_defaults() {
    let reference = config::reference();
    let uncommented: String = reference.lines().map(|line| if is_default(line) { &line[1..] } else { line }).map(|line| format!("{line}\n")).collect();
    assert!(reference.lines().filter(|line| is_default(line)).count() > 40, "the defaults are commented keys");
    assert_eq!(format!("{:#?}", good(&uncommented)), format!("{:#?}", good(reference)));
}

/// `#key = value`
fn is_default(line: &str) -> bool {
    line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()) && rest.contains(" = "))
}

#[test]
fn the_reference_explains_every_key_and_no_other() {
    let mut explained: BTreeSet<(String, String)> = BTreeSet::new();
    let mut table = String::new();
    for line in config::reference().lines() {
        let key = line.strip_prefix("# e.g. ").or_else(|| line.strip_prefix('#').filter(|_| is_default(line))).unwrap_or(line);
        if key.starts_with('[') {
            table = key.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = key.split_once(" = ").filter(|_| !key.starts_with(['#', ' '])) {
            assert!(explained.insert((table.clone(), key.to_owned())), "{table}.{key} is explained twice");
        }
    }
    let keys: BTreeSet<_> = TABLES.iter().flat_map(|(table, keys)| keys.iter().map(|key| ((*table).to_owned(), (*key).to_owned()))).collect();
    explained.insert(("audit".to_owned(), "forward".to_owned()));
    explained.extend(["fhir", "user", "exchange", "trusted", "upstream"].map(|nested| ("issuer".to_owned(), nested.to_owned())));
    assert_eq!(explained, keys);
}

#[test]
fn examples_in_the_reference_have_the_right_shape() {
    let all: String = config::reference()
        .lines()
        .map(|line| line.strip_prefix("# e.g. ").or_else(|| line.strip_prefix('#').filter(|_| is_default(line))).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    // Together they contradict each other (a public client with a secret); each key must still be known and of its kind.
    let found = checked(&all).unwrap_err();
    let shape: Vec<_> = found.problems.iter().map(ToString::to_string).filter(|line| line.contains("not a key") || line.contains("; must be")).collect();
    assert_eq!(shape, Vec::<String>::new());
}

#[test]
fn the_shortest_configuration_holds() {
    let config = good(SHORTEST);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:9400");
    assert_eq!(config.server.ops_listen.to_string(), "127.0.0.1:9401");
    assert!(config.server.ops_token.is_none());
    assert!(
        matches!(&config.store, Store::Embedded { path, durability: config::Durability::PowerLoss } if path == Path::new("/etc/helsebro/data/helsebro.redb"))
    );
    let issuer = &config.issuers[0].rules;
    assert_eq!((issuer.name.as_str(), &issuer.login[..]), ("auth.epj.example", &[LoginWay::Ehr][..]));
    assert_eq!(issuer.default_fhir().unwrap().base.as_str(), "https://epj.example/fhir");
    assert_eq!(issuer.lifetimes.code, Duration::from_secs(60));
    assert_eq!(issuer.lifetimes.session, Duration::from_secs(12 * 3600));
}

#[test]
fn the_examples_hold() {
    let read = |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap();
    let dev = good(&read("dev.toml"));
    assert_eq!(dev.issuers[0].rules.clients.len(), 5);
    let epj = checked(&read("example-epj.toml")).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(epj.warnings, []);
    let config = epj.config;
    assert!(client(&config, "epj").may(GrantType::ClientCredentials, config.issuers[0].url()));
    let ClientAuthMethod::SecretBasic { secrets } = &client(&config, "syk-inn").auth else { panic!("NAV's app authenticates with Basic") };
    assert_eq!(secrets, &[Digest::of(STRONG.as_bytes())], "the newline at the end of a secret file does not count");
    let (report, fine) = config::check_report_of(Text { file: "example-epj.toml", text: &read("example-epj.toml"), environment: &fake() });
    assert!(fine);
    insta::assert_snapshot!(report, @r#"
    example-epj.toml is good.

    Listens on 127.0.0.1:9400; operations on 127.0.0.1:9401.
    Remembers in /var/lib/helsebro/helsebro.redb.
    Keys are sealed under a file in /var/lib/helsebro/keys.

    Issuer https://auth.epj.example (EPJ-leverandøren)
      login: the EPJ vouches
      FHIR https://epj.example/fhir (default); introspected by fhir-server
      client epj: private_key_jwt, 0 redirect URIs, access tokens for 5m
      client fhir-server: client_secret_basic, 0 redirect URIs, access tokens for 5m
      client lab-sync: private_key_jwt, 0 redirect URIs, access tokens for 5m
      client syk-inn: client_secret_basic, 1 redirect URI, pre-approved, access tokens for 1h
    "#);
}

#[test]
fn the_default_base_comes_first() {
    let text = format!("{SHORTEST}[[issuer.fhir]]\nbase = \"https://b.example/fhir\"\n[[issuer.fhir]]\nbase = \"https://c.example/fhir/\"\ndefault = true\n");
    let bases: Vec<_> = good(&text).issuers[0].rules.fhir.iter().map(|fhir| fhir.base.to_string()).collect();
    assert_eq!(bases, ["https://c.example/fhir", "https://epj.example/fhir", "https://b.example/fhir"]);
}

#[test]
fn a_client_is_read_whole() {
    let config = good(&format!(
        r#"{SHORTEST}
        [[client]]
        client_id = "app"
        name = "Appen"
        auth = "private_key_jwt"
        jwks_uri = "https://app.example/jwks.json"
        token_endpoint_auth_signing_alg = "ES384"
        redirect_uris = ["https://app.example/cb?x=1", "https://app.example:8443/cb"]
        launch_urls = ["https://app.example/launch"]
        post_logout_redirect_uris = ["https://app.example/"]
        cors_origins = ["https://spa.example"]
        scopes = "openid fhirUser launch offline_access patient/Observation.rs?category=laboratory"
        requires = ["encounter", "patient"]
        consent = "always"
        fhir_user = "absolute"
        access_ttl = "10m"
        refresh_ttl = "30d"
        access_token_alg = "ES384"
        id_token_signed_response_alg = "ES256"
        code_replay = "refuse"
        end_with_session = true
        "#
    ));
    let app = client(&config, "app");
    insta::assert_snapshot!(serde_json::to_string_pretty(app).unwrap(), @r#"
    {
      "id": "app",
      "name": "Appen",
      "auth": {
        "method": "private_key_jwt",
        "keys": {
          "uri": "https://app.example/jwks.json"
        },
        "algs": [
          "ES384"
        ]
      },
      "redirect_uris": [
        "https://app.example/cb?x=1",
        "https://app.example:8443/cb"
      ],
      "launch_urls": [
        "https://app.example/launch"
      ],
      "post_logout_redirect_uris": [
        "https://app.example/"
      ],
      "backchannel_logout_uri": null,
      "scopes": "openid fhirUser launch offline_access patient/Observation.rs?category=laboratory",
      "consent": "always",
      "profile": "smart",
      "fhir_user": "absolute",
      "requires": [
        "patient",
        "encounter"
      ],
      "cors_origins": [
        "https://app.example",
        "https://app.example:8443",
        "https://spa.example"
      ],
      "access_ttl": {
        "secs": 600,
        "nanos": 0
      },
      "refresh_ttl": {
        "secs": 2592000,
        "nanos": 0
      },
      "access_token_alg": "ES384",
      "id_token_alg": "ES256",
      "code_replay": "refuse",
      "end_with_session": true,
      "launch_trust": "session",
      "dpop": "optional",
      "par": "optional",
      "refresh_context": false,
      "may_act": [],
      "helseid": "optional",
      "disabled": false
    }
    "#);
    let stored = serde_json::to_string(app).unwrap();
    assert_eq!(serde_json::to_string(&serde_json::from_str::<Client>(&stored).unwrap()).unwrap(), stored, "the store keeps it whole");
    let issuer = config.issuers[0].url();
    assert!(app.may(GrantType::AuthorizationCode, issuer) && app.may(GrantType::RefreshToken, issuer) && !app.may(GrantType::ClientCredentials, issuer));
    assert_eq!(app.redirect("https://app.example/cb?x=1").unwrap().as_str(), "https://app.example/cb?x=1");
    for other in [
        "https://app.example/cb",
        "https://app.example/cb?x=1&y",
        "https://APP.example/cb?x=1",
        "https://app.example:443/cb?x=1",
        "https://app.example/cb?x=1/",
        "",
    ] {
        assert_eq!(app.redirect(other), None, "{other}");
    }
}

#[test]
fn what_a_client_may_follows_from_its_registration() {
    let config = good(&format!(
        r#"{SHORTEST}
        [[client]]
        client_id = "online"
        auth = "none"
        redirect_uris = ["https://a.example/"]
        scopes = "openid online_access"
        [[client]]
        client_id = "neither"
        auth = "none"
        redirect_uris = ["https://b.example/"]
        scopes = "openid"
        [[client]]
        client_id = "backend"
        auth = "private_key_jwt"
        jwks_uri = "https://c.example/jwks"
        scopes = "system/*.rs"
        [[client]]
        client_id = "reader"
        auth = "client_secret_basic"
        client_secret = {{ env = "STRONG" }}
        scopes = "https://auth.epj.example/scopes/introspect"
        [[client]]
        client_id = "fhir-server"
        auth = "client_secret_basic"
        client_secret = {{ env = "STRONG" }}
        "#
    ));
    let issuer = config.issuers[0].url();
    let may =
        |id: &str| [GrantType::AuthorizationCode, GrantType::RefreshToken, GrantType::ClientCredentials].map(|grant| client(&config, id).may(grant, issuer));
    assert_eq!(may("online"), [true, true, false]);
    assert_eq!(may("neither"), [true, false, false]);
    assert_eq!(may("backend"), [false, false, true]);
    assert_eq!(may("reader"), [false, false, true]);
    assert_eq!(may("fhir-server"), [false, false, false]);
    assert_eq!(client(&config, "backend").access_ttl, Duration::from_secs(300), "SAL-116");
    assert_eq!(client(&config, "online").access_ttl, Duration::from_secs(3600));
}

#[test]
fn presets_are_what_nav_and_the_demo_need() {
    let syk_inn = good(&format!("{SHORTEST}[[client]]\npreset = \"nav-syk-inn-dev\"\nclient_secret = {{ env = \"STRONG\" }}\naccess_ttl = \"20m\"\n"));
    let app = client(&syk_inn, "syk-inn");
    // NAV §3.3, in this order and in v1 spelling.
    let asked = "openid profile launch fhirUser offline_access patient/Patient.read patient/Encounter.read patient/Condition.read \
                 patient/DocumentReference.read patient/DocumentReference.write patient/QuestionnaireResponse.read patient/QuestionnaireResponse.write \
                 https://helseid.nhn.no";
    assert_eq!(app.scopes.to_string(), asked);
    assert_eq!(app.requires, [Required::Patient, Required::Encounter].into());
    assert_eq!((app.consent, app.code_replay, app.end_with_session), (ConsentPolicy::PreApproved, CodeReplay::Refuse, true));
    assert_eq!(app.access_ttl, Duration::from_secs(20 * 60), "an explicit key overrides the preset");
    assert!(app.redirect("https://www.ekstern.dev.nav.no/samarbeidspartner/sykmelding/fhir/callback").is_some());

    let local = SHORTEST.replace("https://auth.epj.example", "http://127.0.0.1:9400");
    for name in config::PRESETS {
        let text = config::preset_text(name).unwrap();
        assert!(text.contains("client_id = ") && text.contains("auth = "), "{name}");
        let mut client = format!("{local}[[client]]\npreset = \"{name}\"\n");
        if text.contains("client_secret_basic") {
            client += "client_secret = { env = \"STRONG\" }\n";
        }
        if text.contains("private_key_jwt") {
            client += "jwks_uri = \"http://127.0.0.1:9406/jwks\"\n";
        }
        if !text.contains("redirect_uris") && (text.contains("launch/patient") || text.contains("fhirUser")) {
            client += "redirect_uris = [\"http://127.0.0.1:9406/cb\"]\n";
        }
        assert_eq!(checked(&client).unwrap_or_else(|found| panic!("{name}: {found}")).config.issuers[0].rules.clients.len(), 1);
    }
}

#[test]
fn a_client_file_adds_and_replaces() {
    let main = format!(
        "{SHORTEST}resource_servers = [\"rs\"]\n[[client]]\nclient_id = \"app\"\nauth = \"none\"\nredirect_uris = [\"https://a.example/\"]\nscopes = \"openid\"\n"
    );
    let beside = "[[client]]\nclient_id = \"app\"\nauth = \"none\"\nredirect_uris = [\"https://b.example/\"]\nscopes = \"openid\"\n\
                  [[client]]\nclient_id = \"rs\"\nauth = \"client_secret_basic\"\nclient_secret = { env = \"STRONG\" }\n";
    let environment = fake();
    let text = |file, text| Text { file, text, environment: &environment };

    let found = check(text("main.toml", &main), &[]).unwrap_err();
    assert!(found.to_string().contains("is not a client of this issuer"), "{found}");
    let config = check(text("main.toml", &main), &[text("clients.toml", beside)]).unwrap().config;
    assert!(client(&config, "app").redirect("https://b.example/").is_some());
    assert_eq!(config.issuers[0].rules.clients.len(), 2);

    let main = main.replace("resource_servers = [\"rs\"]", "");
    let found = check(text("main.toml", &main), &[text("clients.toml", "[[client]]\nclient_id = \"x\"\n[server]\n")]).unwrap_err();
    insta::assert_snapshot!(found, @r#"
    clients.toml has 2 problems:
      line 1  client[0].auth  is missing; write auth = "private_key_jwt", "client_secret_basic", "client_secret_post" or "none"
      line 3  server  is not a key here; there are: client
    "#);
}

#[test]
fn clients_of_several_issuers_say_which() {
    let two = r#"
        [[issuer]]
        url = "https://a.example"
        [[issuer.fhir]]
        base = "https://a.example/fhir"
        [[issuer]]
        url = "https://b.example"
        [[issuer.fhir]]
        base = "https://b.example/fhir"
        [[client]]
        client_id = "app"
        issuer = "https://b.example"
        auth = "none"
        redirect_uris = ["https://app.example/"]
        scopes = "openid"
        [[client]]
        client_id = "app"
        issuer = "https://a.example"
        auth = "none"
        redirect_uris = ["https://app.example/a"]
        scopes = "openid""#;
    let config = good(two);
    for issuer in &config.issuers {
        assert_eq!(issuer.rules.clients.len(), 1, "the same name at another issuer is another client");
    }
    assert_eq!(config.issuer(&Issuer::parse("https://b.example").unwrap()).unwrap().rules.name, "b.example");
}

#[test]
fn no_message_holds_a_secret() {
    let secret = "hemmelig-som-ingen-skal-se";
    for text in [
        format!("{SHORTEST}[[client]]\nclient_id = \"a\"\nauth = \"client_secret_basic\"\nclient_secret = \"{secret}\"\n"),
        format!("{SHORTEST}[[client]]\nclient_id = \"a\"\nauth = \"client_secret_basic\"\nclient_secrets = \"{secret}\"\n"),
        format!("{SHORTEST}[[client]]\nclient_id = \"a\"\nauth = \"client_secret_basic\"\nclient_secret = \"{secret}\n"),
        format!("{SHORTEST}[[client]]\nclient_id = \"a\"\nauth = \"none\"\nsecret_of_client = \"{secret}\"\n"),
        format!("{SHORTEST}[[client]]\nclient_id = \"a\"\nauth = \"none\"\nclient_secret = {{ fiel = \"{secret}\" }}\n"),
        format!("{SHORTEST}[[client]]\nclient_id = \"a\"\nauth = \"none\"\nredirect_uris = [\"https://u:{secret}@a.example/\"]\n"),
        format!("{SHORTEST}[[client]]\nclient_id = \"a\"\nauth = \"private_key_jwt\"\njwks = {{ keys = [{{ kty = \"RSA\", d = \"{secret}\" }}] }}\n"),
        format!("[server]\nops_token = \"{secret}\"\n{SHORTEST}"),
        format!("[keys]\nseal_key = \"{secret}\"\n{SHORTEST}"),
    ] {
        let found = checked(&text).unwrap_err();
        assert!(!found.to_string().contains(secret) && !format!("{found:?}").contains(secret), "{found}");
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let found = checked(
        r#"
[server]
listen = "127.0.0.1:9400"
ops_listen = "127.0.0.1:9400"
loglevel = "info"

[store]
kind = "memory"

[[issuer]]
url = "https://auth.epj.example/"
login = ["ehr", "helseid"]
code_ttl = "5m"

[[issuer.fhir]]
base = "https://epj.example/fhir"
resource_servers = ["fhir-server"]

[[client]]
preset = "nav-syk-inn-prod"
client_secret = "hemmelig"
redirect_uris = ["http://sykmelding.nav.example/callback"]

[[client]]
client_id = "lab"
auth = "client_secret_basic"
client_secret = { env = "LAB" }
scopes = "system/*.rs patient/*.sr"
"#,
    )
    .unwrap_err();
    insta::assert_snapshot!(found, @r#"
    helsebro.toml has 10 problems:
      line 4  server.ops_listen  is where the public listener is (127.0.0.1:9400): operations never share it; write "127.0.0.1:9401"
      line 5  server.loglevel  is not a key here; did you mean `log_level`?
      line 11  issuer[0].url  "https://auth.epj.example/"  must be an https URL without query, fragment or trailing slash (http only on loopback; RFC 8414 §2); write "https://auth.epj.example"
      line 12  issuer[0].login  has "helseid" and there is no [issuer.upstream]: nobody to send people to
      line 13  issuer[0].code_ttl  "5m"  must be "1s" to "60s" (SAL §7.3)
      line 21  client[0].client_secret  stands in the file itself, which only a loopback issuer may do; write { file = "…" } or { env = "…" }
      line 22  client[0].redirect_uris[0]  "http://sykmelding.nav.example/callback"  must be https (RFC 9700 §2.6); write "https://sykmelding.nav.example/callback"
      line 27  client[1].client_secret  "LAB"  is not set in the environment, or not text
      line 28  client[1].scopes  "patient/*.sr"  the letters must be some of `cruds`, in that order, each at most once (SMART 2.2 scopes)
      line 28  client[1].scopes  has system/ scopes, which need auth = "private_key_jwt" (SAL-111)
    helsebro.toml has 1 warning:
      line 8  store.kind  "memory" forgets every session, grant and key when the process ends
    "#);
}

#[test]
fn laxness_is_allowed_and_said() {
    let checked = checked(
        r#"
[store]
durability = "process"

[fetch]
allow_private = true

[[issuer]]
url = "https://auth.epj.example"
[[issuer.fhir]]
base = "https://epj.example/fhir"
[[issuer.user]]
name = "Live Testlege"
fhir_user = "Practitioner/lege-1"

[[client]]
client_id = "kiosk"
auth = "client_secret_basic"
client_secret = { file = "secrets/open" }
redirect_uris = ["https://kiosk.example/"]
launch_urls = ["https://kiosk.example/launch"]
scopes = "launch/patient patient/*.rs"
launch_trust = "handle"
refresh_context = true

[[client]]
client_id = "epj"
auth = "private_key_jwt"
jwks = { keys = [{ kty = "EC", kid = "1", crv = "P-256", x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }] }
scopes = "launch:create system/Patient.rs openid"

[[client]]
preset = "nav-validator"
"#,
    )
    .unwrap_or_else(|found| panic!("{found}"));
    insta::assert_snapshot!(Findings { problems: Vec::new(), warnings: checked.warnings }, @r#"
    helsebro.toml has 11 warnings:
      line 3  store.durability  "process" loses the last moments at a power cut: a spent code or assertion may be good once more
      line 6  fetch.allow_private  lets whoever registers a jwks_uri make this server call machines of your own network
      line 12  issuer[0].user  is not used: login does not have "local"
      line 19  client[0].client_secret  /etc/helsebro/secrets/open can be read by others; run `chmod 600` on it
      line 21  client[0].launch_urls  cannot be used: the client may not have the scope `launch` (SMART 2.2 launch context)
      line 23  client[0].launch_trust  "handle" lets whoever holds a launch link in as the doctor it was made for; no offline_access, auth_time, acr or amr
      line 24  client[0].refresh_context  repeats patient and encounter at refresh, which SMART leaves out (SAL-328)
      line 29  client[1].jwks  stands in the registration: when the app changes keys, somebody must write the new ones here; jwks_uri does it by itself (SAL-007)
      line 30  client[1].scopes  has scopes that only a redirect URI leads to; they are never granted
      line 30  client[1].scopes  has scopes for this server and for FHIR; they never share a token, so ask for them one after the other
      line 32  client[2]  may do whatever its user may, with no secret: keep the validator to test systems (NAV §8)
    "#);
    let local = good(
        "[store]\nkind = \"memory\"\n[server]\nlisten = \"0.0.0.0:80\"\n[[issuer]]\nurl = \"http://localhost\"\n[[issuer.fhir]]\nbase = \"http://localhost:1\"\n",
    );
    assert!(matches!(local.store, Store::Memory));
}

// ---------------------------------------------------------------------------------------------- whatever comes

#[test]
fn files_are_read_beside_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let main = format!("{SHORTEST}[[client]]\npreset = \"fhir-server\"\nclient_secret = {{ file = \"secret\" }}\n");
    std::fs::write(at("helsebro.toml"), &main).unwrap();
    std::fs::write(at("secret"), format!("{STRONG}\n")).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(at("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();

    let checked = config::load(&at("helsebro.toml"), &[]).unwrap_or_else(|found| panic!("{found}"));
    let ClientAuthMethod::SecretBasic { secrets } = &client(&checked.config, "fhir-server").auth else { panic!("Basic by its preset") };
    assert_eq!(secrets, &[Digest::of(STRONG.as_bytes())]);
    assert!(matches!(&checked.config.store, Store::Embedded { path, durability: config::Durability::PowerLoss } if *path == at("data/helsebro.redb")));
    #[cfg(unix)]
    assert!(checked.warnings[0].to_string().ends_with("secret can be read by others; run `chmod 600` on it"), "{:?}", checked.warnings);

    let (report, fine) = config::check_report(&at("nowhere.toml"));
    assert!(!fine && report.contains("cannot be read"), "{report}");
    let found = config::load(&at("helsebro.toml"), &[&at("nowhere.toml"), &at("secret")]).unwrap_err();
    assert!(found.to_string().contains("nowhere.toml has 1 problem:"), "{found}");
}

#[test]
fn depth_and_breadth_are_survived() {
    for deep in [
        format!("a = {}", "[".repeat(20_000)),
        format!("{} = 1", ["a"; 20_000].join(".")),
        format!("[{}]", ["a"; 20_000].join(".")),
        "a = {a = ".repeat(20_000),
    ] {
        assert!(checked(&deep).is_err());
    }
    let broad: String = (0..2_000)
        .map(|n| format!("[[client]]\nclient_id = \"app-{n}\"\nauth = \"none\"\nredirect_uris = [\"https://app.example/{n}\"]\nscopes = \"openid\"\n"))
        .collect();
    assert_eq!(good(&format!("{SHORTEST}{broad}")).issuers[0].rules.clients.len(), 2_000);
}
