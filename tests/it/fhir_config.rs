//! What the FHIR server alone is told: the example loads, and everything that is wrong is said at once.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use helsebro::app::fhir_config::{FhirServerConfig, check};
use helsebro::config::{Environment, SecretFile};
use helsebro::fhir::{Compartment, DataSource, For, Origins, SupportingReads, UserPolicy};
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

/// The one server of a file that has one.
fn only(text: &str) -> FhirServerConfig {
    let mut all = check("fhir.toml", text, &Fake, &SeededRandom::new(1)).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

const EXAMPLE: &str = include_str!("../../config/fhir.toml");

#[test]
fn the_example_loads_and_its_comments_are_the_defaults() {
    let plain = only(EXAMPLE);
    // Every `#key = value` written out means the same.
    let spelled: String = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())).unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(spelled.contains("\nlisten = "));
    let spelled = only(&spelled);
    for config in [&plain, &spelled] {
        assert_eq!(config.listen.to_string(), "127.0.0.1:9402");
        assert_eq!(config.ops_listen.to_string(), "127.0.0.1:9407");
        assert_eq!(config.fhir.introspection_endpoint, "http://127.0.0.1:9400/introspect");
        assert_eq!(config.fhir.introspection_cache, Duration::from_secs(5));
        assert_eq!(config.fhir.client_secret.expose(), STRONG);
        assert_eq!(config.fhir.switches, helsebro::fhir::Switches::default());
        assert!(config.fhir.cors_origins == Origins::default() && matches!(config.fhir.data, DataSource::BuiltIn));
    }
    // And every `# e.g.` may be written.
    let full = EXAMPLE.lines().map(|line| line.strip_prefix("# e.g. ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let mut full = only(&full);
    assert_eq!(full.fhir.ops_token.expose(), STRONG);
    let DataSource::Paths(paths) = &full.fhir.data else { unreachable!("data was given") };
    assert_eq!(paths, &[Path::new("/etc/helsebro/bundles/00-directory.json"), Path::new("/etc/helsebro/bundles/patients.ndjson")]);
    assert_eq!(full.fhir.cors_origins.of_clients["growth-chart"], ["https://growth.example"]);
    // The command line goes before the file.
    full.override_with(&[], false);
    assert!(matches!(&full.fhir.data, DataSource::Paths(paths) if paths.len() == 2) && !full.fhir.kept.as_ref().unwrap().fresh);
    full.override_with(&["mine".into()], true);
    assert!(matches!(&full.fhir.data, DataSource::Paths(paths) if paths == &[Path::new("mine")]) && full.fhir.kept.unwrap().fresh);
}

#[test]
fn switches_are_turned() {
    let text = format!(
        "{}\nsupporting_reads = \"scope\"\nuser = \"care-relation\"\nnav_complete_codings = [\"syk-inn\"]\nnav_general_practitioner = \"everybody\"\nrefuse_national_id_in_url = true\ncompartment = \"r4\"\n",
        EXAMPLE
    );
    let switches = only(&text).fhir.switches;
    assert_eq!(switches.policy.compartment, Compartment::R4);
    assert_eq!((switches.policy.supporting_reads, switches.policy.user), (SupportingReads::Scope, UserPolicy::CareRelation));
    assert_eq!(switches.nav_complete_codings, For::Clients(["syk-inn".to_owned()].into()));
    assert_eq!(switches.nav_general_practitioner, For::Everybody);
    assert!(switches.refuse_national_id_in_url);
}

#[test]
fn several_servers_stand_in_one_file_and_share_nothing() {
    let row = |number: u16, kept: &str| {
        format!(
            "[[server]]\nbase = \"http://127.0.0.1:{number}/fhir\"\nissuer = \"http://127.0.0.1:94{number}\"\nclient_id = \"fhir-server\"\n\
             client_secret = {{ env = \"FHIR_CLIENT_SECRET\" }}\nlisten = \"127.0.0.1:{number}\"\nops_listen = \"127.0.0.1:1{number}\"\n{kept}\n\
             [server.switches]\nno_delete = {}\n",
            number == 11
        )
    };
    let all = check("fhir.toml", &(row(11, "kept = \"a\"") + &row(12, "kept = \"b\"")), &Fake, &SeededRandom::new(1)).unwrap();
    let told: Vec<_> = all.iter().map(|one| (one.fhir.base.as_str(), one.fhir.issuer.as_str(), one.fhir.switches.no_delete)).collect();
    assert_eq!(told, [("http://127.0.0.1:11/fhir", "http://127.0.0.1:9411", true), ("http://127.0.0.1:12/fhir", "http://127.0.0.1:9412", false)]);
    assert_ne!(all[0].fhir.ops_token.expose(), all[1].fhir.ops_token.expose());
    let same = check("fhir.toml", &(row(11, "kept = \"a\"") + &row(11, "kept = \"a\"") + &row(12, "colour = 1")), &Fake, &SeededRandom::new(1));
    assert!(same.unwrap_err().to_string().contains("unknown field `colour`"));
    let same = check("fhir.toml", &(row(11, "kept = \"a\"") + &row(11, "kept = \"a\"") + &row(12, "data = []")), &Fake, &SeededRandom::new(1));
    insta::assert_snapshot!(same.unwrap_err().to_string());
    assert!(check("fhir.toml", "server = []", &Fake, &SeededRandom::new(1)).unwrap_err().to_string().contains("is empty"));
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
