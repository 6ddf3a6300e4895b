//! What the FHIR server alone is told: the example loads, and everything that is wrong is said at once.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use helsebro::app::fhir_config::check;
use helsebro::config::{Environment, SecretFile};
use helsebro::fhir::{DataSource, For, SupportingReads, UserPolicy};
use helsebro::random::SeededRandom;
use helsebro::secret::Secret;

const STRONG: &str = "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=";

struct Fake;

impl Environment for Fake {
    fn variable(&self, name: &str) -> Option<Secret<String>> {
        matches!(name, "FHIR_CLIENT_SECRET" | "FHIR_OPS_TOKEN").then(|| Secret::new(STRONG.to_owned()))
    }

    fn secret_file(&self, _: &Path) -> io::Result<SecretFile> {
        Err(io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }

    fn resolve(&self, path: &str) -> PathBuf {
        Path::new("/etc/helsebro").join(path)
    }
}

const EXAMPLE: &str = include_str!("../../config/fhir.toml");

#[test]
fn the_example_loads_and_its_comments_are_the_defaults() {
    let random = SeededRandom::new(1);
    let plain = check("fhir.toml", EXAMPLE, &Fake, &random).unwrap();
    // Every `#key = value` written out means the same.
    let spelled: String = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())).unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(spelled.contains("\nlisten = "));
    let spelled = check("fhir.toml", &spelled, &Fake, &random).unwrap();
    for config in [&plain, &spelled] {
        assert_eq!(config.listen.to_string(), "127.0.0.1:9402");
        assert_eq!(config.ops_listen.to_string(), "127.0.0.1:9407");
        assert_eq!(config.fhir.introspection_endpoint, "http://127.0.0.1:9400/introspect");
        assert_eq!(config.fhir.introspection_cache, Duration::from_secs(5));
        assert_eq!(config.fhir.client_secret.expose(), STRONG);
        assert_eq!(config.fhir.switches, helsebro::fhir::Switches::default());
        assert!(config.fhir.cors_origins.is_empty() && matches!(config.fhir.data, DataSource::BuiltIn));
    }
    // And every `# e.g.` may be written.
    let full = EXAMPLE.lines().map(|line| line.strip_prefix("# e.g. ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let full = check("fhir.toml", &full, &Fake, &random).unwrap();
    assert_eq!(full.fhir.ops_token.expose(), STRONG);
    let DataSource::Paths(paths) = full.fhir.data else { unreachable!("data was given") };
    assert_eq!(paths, [Path::new("/etc/helsebro/bundles/00-directory.json"), Path::new("/etc/helsebro/bundles/patients.ndjson")]);
}

#[test]
fn switches_are_turned() {
    let text = format!(
        "{}\nsupporting_reads = \"scope\"\nuser = \"care-relation\"\nnav_complete_codings = [\"syk-inn\"]\nnav_general_practitioner = \"everybody\"\nrefuse_national_id_in_url = true\n",
        EXAMPLE
    );
    let switches = check("fhir.toml", &text, &Fake, &SeededRandom::new(1)).unwrap().fhir.switches;
    assert_eq!((switches.policy.supporting_reads, switches.policy.user), (SupportingReads::Scope, UserPolicy::CareRelation));
    assert_eq!(switches.nav_complete_codings, For::Clients(["syk-inn".to_owned()].into()));
    assert_eq!(switches.nav_general_practitioner, For::Everybody);
    assert!(switches.refuse_national_id_in_url);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = r#"
base = "http://fhir.example/fhir"
issuer = "https://auth.example/"
introspection_endpoint = "http://auth.example/introspect"
client_id = ""
client_secret = "hemmelig"
listen = "9402"
ops_listen = "0.0.0.0:9407"
ops_token = { file = "nowhere" }
cors_origins = ["https://app.example", "https://app.example/"]
introspection_cache = "2m"
data = []
"#;
    let found = check("fhir.toml", text, &Fake, &SeededRandom::new(1)).unwrap_err().to_string();
    insta::assert_snapshot!(found);
}

#[test]
fn what_cannot_be_read_is_said_with_its_line_and_without_a_secret() {
    let random = SeededRandom::new(1);
    for (what, text, says) in [
        ("an unknown key", "base = \"x\"\nbasis = \"y\"", "line 2  unknown field `basis`"),
        ("an unknown switch", "[switches]\nlax = true", "line 2  unknown field `lax`"),
        ("a missing key", "base = \"http://127.0.0.1:1/fhir\"", "missing field `issuer`"),
        ("a secret of another kind", "base = \"x\"\nclient_secret = { vault = \"hemmelig\" }", "line 2  a secret must be { file"),
        ("no TOML", "client_secret = \"hemmelig", "line 1  "),
        ("a word that is none", "[switches]\nuser = \"some\"", "line 2  unknown variant `some`"),
    ] {
        let found = check("fhir.toml", text, &Fake, &random).unwrap_err().to_string();
        assert!(found.contains(says), "{what}: {found}");
        assert!(!found.contains("hemmelig"), "{what}: {found}");
    }
}
