//! `helsebro config explain`: the rules of a client, and where each comes from.

use std::process::Command;

const CONFIG: &str = r#"[[issuer]]
url = "http://127.0.0.1:9400"
require_par = true
par_ttl = "90s"
profile = "oidc"

[[issuer.fhir]]
base = "http://127.0.0.1:9402/fhir"
access_token_alg = "ES384"

[[issuer.exchange]]
name = "portal-narrows"
direction = "own"
caller = "portal"
audience = "http://127.0.0.1:9402/fhir"
scopes = "patient/Patient.rs"

[[client]]
client_id = "portal"
preset = "regional-portal"
redirect_uris = ["http://127.0.0.1:4567/cb"]
jwks_uri = "http://127.0.0.1:4567/jwks.json"
consent = "always"

[[client]]
client_id = "strict"
auth = "private_key_jwt"
profile = "fapi2"
jwks_uri = "http://127.0.0.1:4567/jwks.json"
redirect_uris = ["http://127.0.0.1:4567/cb"]
scopes = "openid offline_access user/*.rs"

[[client]]
client_id = "chart"
preset = "growth-chart"
profile = "smart"
redirect_uris = ["http://127.0.0.1:4567/cb"]
"#;

const REPLACED: &str = "[[client]]\nclient_id = \"chart\"\nauth = \"none\"\nprofile = \"smart\"\nscopes = \"launch patient/*.rs\"\nredirect_uris = [\"http://127.0.0.1:9999/cb\"]\n";

fn explain(config: &str, args: &[&str]) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("helsebro.toml"), config).unwrap();
    std::fs::write(dir.path().join("more.toml"), REPLACED).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_helsebro"));
    command.current_dir(dir.path()).args(["config", "explain"]).args(args).args(["--config", "helsebro.toml"]);
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

/// The value and the source of a line.
#[track_caller]
fn says(text: &str, name: &str, value: &str, from: &str) {
    let line = text.lines().find(|line| line.starts_with(&format!("  {name:<20} "))).unwrap_or_else(|| panic!("nothing about {name} in:\n{text}"));
    assert!(line.contains(value) && line.ends_with(&format!("[{from}]")), "{line:?}: not {value:?} from {from:?}");
}

#[test]
fn every_rule_of_a_client_says_where_it_comes_from() {
    let (ok, said) = explain(CONFIG, &["portal"]);
    assert!(ok, "{said}");
    for (name, value, from) in [
        ("profile", "oidc", "issuer, helsebro.toml line 5"),
        ("auth", "private_key_jwt", "preset regional-portal"),
        ("assertion alg", "RS256, RS384", "default"),
        ("redirect URIs", "http://127.0.0.1:4567/cb", "helsebro.toml line 21"),
        ("PKCE", "checked if sent", "profile oidc"),
        ("PAR", "required", "issuer, helsebro.toml line 3"),
        ("request_uri for", "90s", "issuer, helsebro.toml line 4"),
        ("code for", "60s", "default"),
        ("DPoP", "required", "preset regional-portal"),
        ("consent", "asked each time", "helsebro.toml line 23"),
        ("scopes, at most", "patient/Condition.rs", "preset regional-portal"),
        ("id_token alg", "RS256", "default"),
        ("access token alg", "ES384 for http://127.0.0.1:9402/fhir", "FHIR base http://127.0.0.1:9402/fhir"),
        ("access token for", "1h", "default"),
        ("refresh rotation", "never", "confidential"),
        ("may exchange", "\"portal-narrows\": own for http://127.0.0.1:9402/fhir", "issuer, [[issuer.exchange]]"),
    ] {
        says(&said, name, value, from);
    }
    let (ok, said) = explain(CONFIG, &["strict"]);
    assert!(ok, "{said}");
    for (name, value, from) in [
        ("profile", "fapi2", "helsebro.toml line 28"),
        ("assertion alg", "ES256", "profile fapi2"),
        ("assertion aud", "the issuer, as a string", "profile fapi2"),
        ("PKCE", "required, S256", "profile fapi2"),
        ("state", "optional", "profile fapi2"),
        ("PAR", "required", "profile fapi2"),
        ("DPoP", "required", "profile fapi2"),
        ("id_token alg", "ES256", "profile fapi2"),
        ("access token alg", "ES256", "profile fapi2"),
        ("refresh rotation", "never", "profile fapi2"),
        ("may exchange", "nothing", "no [[issuer.exchange]] row has it as caller"),
    ] {
        says(&said, name, value, from);
    }
    let (ok, said) = explain(CONFIG, &["chart"]);
    assert!(ok, "{said}");
    says(&said, "requires", "patient", "preset growth-chart");
    says(&said, "refresh rotation", "each use", "auth = \"none\"");
    says(&said, "aud", "required", "profile smart");
    // A client file beside it replaces, as it does for `serve`.
    let (ok, said) = explain(CONFIG, &["chart", "--clients", "more.toml"]);
    assert!(ok, "{said}");
    says(&said, "redirect URIs", "http://127.0.0.1:9999/cb", "more.toml line 6");
    says(&said, "requires", "nothing", "default");
}

#[test]
fn what_cannot_be_explained_says_why() {
    let (ok, said) = explain(CONFIG, &["portl"]);
    assert!(!ok && said.contains("did you mean \"portal\"?") && said.contains("chart, portal, strict"), "{said}");
    let (ok, said) = explain(CONFIG, &["portal", "--at", "https://nowhere.example"]);
    assert!(!ok && said.contains("\"https://nowhere.example\" is not an issuer of this configuration; there are: http://127.0.0.1:9400"), "{said}");
    let (ok, said) = explain(&CONFIG.replace("\"oidc\"", "\"odic\""), &["portal"]);
    assert!(!ok && said.contains("issuer[0].profile"), "{said}");
    let second = CONFIG.replace(
        "[[client]]\nclient_id = \"portal\"",
        "[[issuer]]\nurl = \"http://127.0.0.1:9500\"\n[[issuer.fhir]]\nbase = \"http://127.0.0.1:9502/fhir\"\n[[client]]\nclient_id = \"portal\"",
    );
    let two = second.replace("client_id = ", "issuer = \"http://127.0.0.1:9400\"\nclient_id = ")
        + "[[client]]\nissuer = \"http://127.0.0.1:9500\"\nclient_id = \"chart\"\nauth = \"none\"\nscopes = \"launch patient/*.rs\"\nredirect_uris = [\"http://127.0.0.1:1/cb\"]\n";
    let (ok, said) = explain(&two, &["chart"]);
    assert!(!ok && said.contains("say which with --at: http://127.0.0.1:9400, http://127.0.0.1:9500"), "{said}");
    let (ok, said) = explain(&two, &["chart", "--at", "http://127.0.0.1:9500"]);
    assert!(ok && said.starts_with("chart at http://127.0.0.1:9500"), "{said}");
}
