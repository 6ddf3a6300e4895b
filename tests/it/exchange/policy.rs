//! The policy in words: what a row may say, and what `config explain-exchange` says of it.

use std::process::Command;

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
ops_listen = "127.0.0.1:0"

[[issuer]]
url = "http://127.0.0.1:9400"
login = ["ehr"]

[[issuer.fhir]]
base = "http://127.0.0.1:9402/fhir"

[[issuer.exchange]]
name = "portal-narrows"
direction = "own"
caller = "portal"
audience = "http://127.0.0.1:9402/fhir"
scopes = "openid patient/Patient.rs patient/Condition.rs"
MORE

[[client]]
client_id = "portal"
auth = "client_secret_basic"
client_secret = "nqhPFHa1yXbYF4v7Lv4oV0z2c8mTqWkR"
scopes = "patient/*.rs"
redirect_uris = ["http://127.0.0.1:4567/cb"]

[[client]]
client_id = "chart"
auth = "none"
scopes = "patient/*.rs"
redirect_uris = ["http://127.0.0.1:4567/cb"]
"#;

fn run(more: &str, args: &[&str]) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("helsebro.toml");
    std::fs::write(&file, CONFIG.replace("MORE", more)).unwrap();
    let command = *args.first().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_helsebro")).args(["config", command]).arg(&file).args(&args[1..]).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_permission_is_explained() {
    let ask = |caller: &str, audience: &str| run("", &["explain-exchange", "--caller", caller, "--audience", audience, "--scope", "patient/*.cruds openid"]);
    let (ok, said) = ask("portal", "http://127.0.0.1:9402/fhir");
    assert!(ok, "{said}");
    for part in ["row \"portal-narrows\": yes", "of these   patient/Patient.rs patient/Condition.rs", "at most 5m", "DPoP, demanded", "portal, at most 2 deep"]
    {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
    for (caller, audience, part) in [
        ("portal", "http://127.0.0.1:9402/fhir/", "it is for another audience (compared byte for byte)"),
        ("chart", "http://127.0.0.1:9402/fhir", "public client"),
        ("nobody", "http://127.0.0.1:9402/fhir", "is not a client"),
    ] {
        let (ok, said) = ask(caller, audience);
        assert!(!ok && said.contains(part), "{caller} {audience}: no {part:?} in:\n{said}");
    }
}

#[test]
fn a_row_that_cannot_be_meant_is_refused() {
    for (more, part) in [
        ("again = \"yes\"", "must be true or false"),
        ("depth = 3", "is not a key here; there are:"),
        ("max_depth = 9", "must be 1 to 4 actors"),
        ("delivery = \"gateway\"", "is for direction \"to-upstream\" only"),
        ("presenter = \"actor\"", "is for direction \"from-upstream\" only"),
        ("issuer = \"https://other.example\"", "is for direction \"foreign\" only"),
        ("max_ttl = \"2h\"", "must be \"5s\" to \"1h\""),
        ("subject_types = []", "is empty"),
        ("binding = \"none\"", "must be one of \"dpop\", \"where-shown\""),
        (
            "[[issuer.exchange]]\nname = \"x\"\ndirection = \"own\"\ncaller = \"chart\"\naudience = \"a\"\nscopes = \"patient/*.rs\"",
            "is a public client, and only confidential ones may exchange",
        ),
        (
            "[[issuer.exchange]]\nname = \"x\"\ndirection = \"own\"\ncaller = \"portal\"\naudience = \"http://127.0.0.1:9402/fhir\"\nscopes = \"patient/*.rs\"",
            "permits the same as \"portal-narrows\"",
        ),
        (
            "[[issuer.exchange]]\nname = \"x\"\ndirection = \"foreign\"\ncaller = \"portal\"\nissuer = \"https://other.example\"\naudience = \"http://127.0.0.1:9402/fhir\"\nscopes = \"patient/*.rs\"",
            "is not trusted here",
        ),
    ] {
        let (ok, said) = run(more, &["check"]);
        assert!(!ok && said.contains(part), "{more}: no {part:?} in:\n{said}");
    }
}
