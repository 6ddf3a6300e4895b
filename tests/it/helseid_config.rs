//! What the mock of HelseID is told: nothing is enough, the example says the defaults, and everything that is wrong is said at once.

use std::io;
use std::path::{Path, PathBuf};

use helsebro::app::helseid_config::{Overrides, check};
use helsebro::config::{Environment, SecretFile};
use helsebro::helseid::quirks::Quirks;
use helsebro::helseid::seed::{AssertionForm, DpopUse, Grant, Tenancy, table};
use helsebro::secret::Secret;

const STRONG: &str = "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=";
const EXAMPLE: &str = include_str!("../../config/helseid.toml");

struct Fake;

impl Environment for Fake {
    fn variable(&self, name: &str) -> Option<Secret<String>> {
        (name == "HELSEID_ADMIN_SECRET").then(|| Secret::new(STRONG.to_owned()))
    }

    fn secret_file(&self, _: &Path) -> io::Result<SecretFile> {
        Err(io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }

    fn resolve(&self, path: &str) -> PathBuf {
        Path::new("/etc/helsebro").join(path)
    }
}

fn uncommented(marker: &str) -> String {
    EXAMPLE.lines().map(|line| line.strip_prefix(marker).unwrap_or(line)).map(|line| format!("{line}\n")).collect()
}

fn refused(text: &str) -> String {
    check("helseid.toml", text, &Fake, &Overrides::default()).unwrap_err().to_string()
}

#[test]
fn nothing_is_enough_and_the_example_says_what_then_holds() {
    let spelled: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|first: char| first.is_ascii_lowercase()) && key.contains(" = ") => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(spelled.contains("\nte_max_exchanges = 2\n"), "the marker is taken away");
    for text in ["", EXAMPLE, &spelled] {
        let config = check("helseid.toml", text, &Fake, &Overrides::default()).unwrap();
        assert_eq!((config.listen.to_string().as_str(), config.issuer.is_none(), config.fresh_keys), ("127.0.0.1:9403", true, false));
        assert!(config.admin.is_none() && config.sample_api.is_none());
        assert_eq!(config.quirks, Quirks::default());
    }
    let named: Vec<&str> = spelled.split("[quirks]").nth(1).unwrap().lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name).collect();
    let known = serde_json::to_value(Quirks::default()).unwrap();
    assert!(known.as_object().unwrap().keys().all(|name| named.contains(&name.as_str())), "a switch is missing in the example");
}

#[test]
fn the_examples_in_the_example_load() {
    let config = check("helseid.toml", &uncommented("# e.g. "), &Fake, &Overrides::default()).unwrap();
    let (admin, secret) = config.admin.unwrap();
    assert_eq!((admin.port(), secret.expose().as_str(), config.sample_api.unwrap().port()), (9404, STRONG, 9408));
    let client = config.seed.client("3a1f1c54-7a3e-4c0e-9a55-0d5f2b6a7c10").unwrap();
    assert_eq!(client.tenancy, Tenancy::Multi { supplier: table::FJORD_EPJ.to_owned() });
    assert!(client.may(Grant::Code) && client.may(Grant::Refresh) && !client.may(Grant::TokenExchange) && client.private_key.is_some());
    let seed = &config.seed;
    let unit = seed.organisation("310442003").unwrap();
    assert_eq!((unit.name.as_str(), unit.parent.as_deref()), ("Nordvik helsestasjon", Some(table::NORDVIK)));
    assert!(seed.delegated("310442003", table::FJORD_EPJ));
    let api = seed.api_of_scope("demo:journal/write").unwrap();
    assert_eq!((api.audience.as_str(), api.lifetime.as_secs(), api.claims.len()), ("demo:journal", 60, 4));
    let kari = seed.user("kari").unwrap();
    assert_eq!((kari.name.full().as_str(), kari.hpr(), kari.level), ("Kari Prøve Testesen", Some("990000199"), 4));
    assert_eq!((kari.approvals[0].profession.as_str(), kari.approvals[0].authorization.value.as_str()), ("LE", "1"));
}

#[test]
fn a_client_of_the_list_changes_in_what_is_said_alone() {
    let text =
        format!("[[client]]\nclient_id = \"{}\"\ndpop = \"optional\"\nassertions = \"legacy\"\nredirect_uris = [\"http://127.0.0.1:1/cb\"]\n", table::SMART_AS);
    let config = check("helseid.toml", &text, &Fake, &Overrides::default()).unwrap();
    let client = config.seed.client(table::SMART_AS).unwrap();
    assert_eq!(
        (client.dpop, client.assertions, client.redirect_uris.as_slice()),
        (DpopUse::Optional, AssertionForm::Legacy, &["http://127.0.0.1:1/cb".to_owned()][..])
    );
    assert!(client.may(Grant::TokenExchange) && client.scopes.contains("demo:resept/write"));
}

#[test]
fn what_cannot_stand_is_refused() {
    let rows = [
        ("environment = \"production\"", "this is a mock"),
        ("environment = \"prod\"", "must be \"test\""),
        ("listen = \"0.0.0.0:9403\"", "listen_on_network = true"),
        ("admin_listen = \"0.0.0.0:9404\"", "listen_on_network = true"),
        ("issuer = \"http://helseid.example.no\"", "issuer"),
        ("admin_secret = \"short\"", "at least 128"),
        ("admin_secret = { env = \"HELSEID_ADMIN_SECRET\" }\nadmin_listen = \"127.0.0.1:9403\"", "another listener"),
        ("issuer = \"https://helseid.example.no\"\nadmin_secret = \"K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=\"", "stands in the file itself"),
        ("port = 1", "unknown field `port`"),
        ("[quirks]\nte_cap = true", "te_cap"),
        ("[[organisation]]\nnumber = \"310442004\"", "check digit"),
        ("[[organisation]]\nnumber = \"310442003\"\nparent = \"999999999\"", "no organisation"),
        ("[[organisation]]\nnumber = \"310442003\"\ndelegates_to = [\"999999999\"]", "no organisation"),
        ("[[api]]\naudience = \"a\"\nowner = \"999999999\"\nscopes = [\"r\"]", "no organisation"),
        ("[[api]]\naudience = \"a b\"\nowner = \"310441309\"\nscopes = [\"r\"]", "one word"),
        ("[[api]]\naudience = \"a\"\nowner = \"310441309\"\nscopes = [\"a/r\"]", "without a slash"),
        ("[[api]]\naudience = \"a\"\nowner = \"310441309\"\nscopes = [\"r\"]\nlifetime_s = 0", "at least 1"),
        ("[[user]]\nid = \"k\"\ngiven_name = \"K\"\nfamily_name = \"T\"\npid = \"05058010170\"", "no synthetic"),
        ("[[user]]\nid = \"k\"\ngiven_name = \"K\"\nfamily_name = \"T\"\npid = \"12837512040\"", "another user"),
        ("[[user]]\nid = \"k\"\ngiven_name = \"K\"\nfamily_name = \"T\"\npid = \"05858010170\"\nlevel = 5", "2, 3 or 4"),
        ("[[user]]\nid = \"k\"\ngiven_name = \"K\"\nfamily_name = \"T\"\npid = \"05858010170\"\nhpr_number = \"x\"", "digits"),
        ("[[user]]\nid = \"k\"\ngiven_name = \"K\"\nfamily_name = \"T\"\npid = \"05858010170\"\nworks_at = [\"999999999\"]", "no organisation"),
        ("[[client]]\nclient_id = \"x\"", "tenancy"),
        ("[[client]]\nclient_id = \"x\"\ntenancy = { own = \"999999999\" }", "no organisation"),
        ("[[client]]\nclient_id = \"x\"\ntenancy = { own = \"310441201\" }\nscopes = \"demo:kjerne/write\"", "no scope"),
        ("[[client]]\nclient_id = \"x\"\ntenancy = { own = \"310441201\" }\njwks = { keys = [{ kty = \"oct\", k = \"AA\" }] }", "jwks"),
    ];
    for (text, why) in rows {
        let found = refused(text);
        assert!(found.contains(why), "{text}: {found}");
        assert!(!found.contains(STRONG), "a secret is shown");
        assert!(!found.contains("05058010170"), "an identity number is shown");
    }
    let network = Overrides { listen_on_network: true, ..Overrides::default() };
    assert!(check("helseid.toml", "listen = \"0.0.0.0:9403\"", &Fake, &network).is_ok());
}
