//! `[issuer.upstream]`: what it means and what is refused.

use std::sync::LazyLock;

use helsebro::domain::upstream::{RequestObject, SecurityLevel, Tenancy, UpstreamRules, UserinfoScheme};
use helsebro::jose::{Alg, SigningKey};

use super::*;

/// A private JWK as a TOML literal.
fn key(alg: Alg) -> String {
    format!("'{}'", SigningKey::generate(alg).unwrap().to_private_jwk().unwrap())
}

static KEY: LazyLock<String> = LazyLock::new(|| key(Alg::ES384));

fn local(upstream: &str) -> String {
    format!("[[issuer]]\nurl = \"http://127.0.0.1:9400\"\n[[issuer.fhir]]\nbase = \"http://127.0.0.1:9402/fhir\"\n[issuer.upstream]\n{upstream}")
}

fn shortest() -> String {
    format!("issuer = \"http://127.0.0.1:9403\"\nclient_id = \"smart-as\"\napi_audience = \"fjord:epj-api\"\nclient_key = {}\n", *KEY)
}

fn rules(upstream: &str) -> UpstreamRules {
    let config = good(&local(upstream));
    UpstreamRules::clone(config.issuers[0].rules.upstream.as_ref().unwrap())
}

/// The problems, each without its line.
fn refused(text: &str) -> Vec<String> {
    checked(text).unwrap_err().problems.iter().map(|problem| problem.to_string().split_once("  ").unwrap().1.to_owned()).collect()
}

#[test]
fn the_shortest_is_strict() {
    let rules = rules(&shortest());
    assert_eq!(rules.redirect_uri.as_str(), "http://127.0.0.1:9400/upstream/callback");
    assert_eq!(rules.resources.iter().collect::<Vec<_>>(), ["fjord:epj-api"]);
    for scope in ["openid", "offline_access", "helseid://scopes/identity/pid", "helseid://scopes/identity/security_level"] {
        assert!(rules.scopes.contains(scope), "{scope}");
    }
    assert_eq!((rules.min_level, rules.tenancy, rules.request_object), (SecurityLevel::HIGHEST, Tenancy::Own, RequestObject::Details));
    assert_eq!((rules.max_auth_age, rules.leeway, rules.patience.attempt), (Duration::from_secs(12 * 3600), Duration::from_secs(5), Duration::from_secs(5)));
    assert_eq!((rules.claim.as_str(), rules.claim_issuer.as_str()), ("https://helseid.nhn.no", "http://127.0.0.1:9403"));
    assert!(good(SHORTEST).issuers[0].rules.upstream.is_none());
}

#[test]
fn it_is_read_whole() {
    let rules = rules(&format!(
        "{}scopes = \"fjord:epj-api/exchange demo:kjerne/read\"\nresources = [\"demo:kjerne\"]\nextra_audiences = [\"fjord:portal-api\"]\ntenancy = \"multi\"\n\
         request_object = \"always\"\nrequest_object_typ = \"oauth-authz-req+jwt\"\nacr_values = \"Level4 idp:idporten-oidc\"\nmin_level = \"3\"\n\
         max_auth_age = \"1h\"\nleeway = \"2s\"\nuserinfo = \"dpop\"\ntimeout = \"3s\"\nretries = 0\nlongest_wait = \"0s\"\nmax_calls = 4\ncircuit_failures = 2\n\
         circuit_open = \"1m\"\nclaim = \"urn:example:helseid\"\nclaim_issuer = \"https://helseid.nhn.no\"\n",
        shortest()
    ));
    assert_eq!((rules.claim.as_str(), rules.claim_issuer.as_str()), ("urn:example:helseid", "https://helseid.nhn.no"));
    assert!(rules.scopes.contains("demo:kjerne/read") && rules.scopes.contains("openid"));
    assert_eq!(rules.resources.iter().collect::<Vec<_>>(), ["demo:kjerne", "fjord:epj-api"]);
    assert!(rules.is_ours("fjord:portal-api") && rules.is_ours("fjord:epj-api") && !rules.is_ours("demo:kjerne"));
    assert_eq!((rules.tenancy, rules.request_object, rules.userinfo_scheme), (Tenancy::Multi, RequestObject::Always, UserinfoScheme::Dpop));
    assert_eq!((rules.request_object_typ.as_str(), rules.acr_values.as_deref()), ("oauth-authz-req+jwt", Some("Level4 idp:idporten-oidc")));
    assert_eq!((rules.min_level, rules.patience.retries, rules.patience.at_once), (SecurityLevel::parse("3").unwrap(), 0, 4));
    assert_eq!((rules.patience.failures, rules.patience.open_for), (2, Duration::from_secs(60)));
}

#[test]
fn each_mistake_has_its_words() {
    let with = |line: &str| {
        let (name, _) = line.split_once(" = ").unwrap();
        let kept: String = shortest().lines().filter(|kept| !kept.starts_with(&format!("{name} ="))).map(|kept| format!("{kept}\n")).collect();
        local(&format!("{kept}{line}\n"))
    };
    let rs256 = format!("client_key = {}", key(Alg::ES256));
    for (line, words) in [
        ("issuer = \"https://helseid-sts.nhn.no/\"", "write \"https://helseid-sts.nhn.no\""),
        ("issuer = \"http://helseid-sts.nhn.no\"", "write \"https://helseid-sts.nhn.no\""),
        ("issuer = \"http://127.0.0.1:9400\"", "is this issuer itself"),
        ("client_id = \"smart as\"", "must be 1 to 200 visible ASCII"),
        ("client_key = \"{}\"", "must be one private JWK"),
        (rs256.as_str(), "signs with ES256; must be a key with alg PS256 or ES384"),
        ("api_audience = \"\"", "must be the short name of an API"),
        ("resources = [\"a\", \"a\"]", "is listed twice"),
        ("scopes = \"æ\"", "visible ASCII"),
        ("min_level = \"5\"", "must be one of \"4\", \"3\", \"2\""),
        ("leeway = \"6s\"", "must be \"0s\" to \"5s\""),
        ("retries = 3", "must be 0 to 2 retries"),
        ("claim = \"openid\"", "must be a URI of its own"),
        ("claim = \"launch:create\"", "must be a URI of its own"),
        ("claim = \"acr\"", "must be a URI of its own"),
        ("claim = \"urn:two words\"", "must be a URI of its own"),
        ("claim_issuer = \"\"", "must be 1 to 255 visible ASCII"),
        ("tenancy = \"many\"", "must be one of \"own\", \"single\", \"multi\""),
        ("jwks_uri = \"https://elsewhere.example\"", "is not a key here"),
    ] {
        let lines = refused(&with(line));
        assert!(matches!(&lines[..], [one] if one.starts_with("issuer[0].upstream.") && one.contains(words)), "{line}: {lines:?}");
    }
    let nothing = refused(&local(""));
    assert_eq!(nothing.len(), 4, "{nothing:?}");
}

#[test]
fn a_key_stands_in_the_file_on_loopback_alone_and_is_never_shown() {
    let remote = |key: &str| {
        format!(
            "[[issuer]]\nurl = \"https://auth.epj.example\"\n[[issuer.fhir]]\nbase = \"https://epj.example/fhir\"\n[issuer.upstream]\n\
             issuer = \"https://helseid-sts.nhn.no\"\nclient_id = \"smart-as\"\napi_audience = \"fjord:epj-api\"\nclient_key = {key}\n"
        )
    };
    let inline = refused(&remote(&KEY));
    assert!(matches!(&inline[..], [one] if one.contains("only a loopback issuer may do")), "{inline:?}");
    let mut environment = fake();
    environment.files.insert("/etc/helsebro/secrets/helseid.jwk", (String::leak(KEY.trim_matches('\'').to_owned()), false));
    let text = remote("{ file = \"secrets/helseid.jwk\" }");
    let found = check(Text { file: "helsebro.toml", text: &text, environment: &environment }, &[]).unwrap();
    let private = KEY.split("\"d\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(private.len() > 40 && !format!("{found:?}").contains(private));
    let loopback = remote("{ file = \"secrets/helseid.jwk\" }").replace("https://helseid-sts.nhn.no", "http://127.0.0.1:9403");
    let refusal = check(Text { file: "helsebro.toml", text: &loopback, environment: &environment }, &[]).unwrap_err();
    assert!(refusal.to_string().contains("could be anybody"), "{refusal}");
}

/// DESIGN §3, HelseID in SMART: confidential clients with a row only; and what cannot be had is not required.
#[test]
fn an_app_that_cannot_do_without_needs_a_way_there() {
    let row = "[[issuer.exchange]]\nname = \"who\"\ndirection = \"to-upstream\"\ncaller = \"app\"\naudience = \"nav-like:app\"\n\
               scopes = \"nav-like:app/identity\"\ndelivery = \"identity\"\n";
    let secret = "auth = \"client_secret_basic\"\nclient_secret = \"c2VjcmV0LW9mLTI1Ni1iaXRzLWZvci1hLXRlc3QtMDE\"";
    let text = |login: &str, row: &str, auth: &str, scopes: &str, helseid: &str| {
        let upstream = local(&format!("{}{row}", shortest())).replacen("9400\"\n", &format!("9400\"\nlogin = {login}\n"), 1);
        format!(
            "{upstream}[[client]]\nclient_id = \"app\"\n{auth}\nredirect_uris = [\"https://app.example/cb\"]\nscopes = \"openid launch {scopes}\"\n\
             launch_urls = [\"https://app.example/launch\"]\n{helseid}\n"
        )
    };
    let (ways, scope, required) = (r#"["ehr", "helseid"]"#, "https://helseid.nhn.no", "helseid = \"required\"");
    good(&text(ways, row, secret, scope, required));
    good(&text(ways, row, secret, scope, "helseid = \"optional\""));
    for (text, words) in [
        (text(r#"["ehr"]"#, row, secret, scope, required), "nobody could log in there"),
        (text(ways, "", secret, scope, required), "nothing would come of the login"),
        (text(ways, row, secret, "fhirUser", required), "the app could never ask for it"),
        (text(ways, "", "auth = \"none\"", scope, required), "is for confidential clients only"),
        (text(ways, row, "auth = \"none\"", scope, ""), "is a public client, and only confidential ones may exchange"),
        (text(ways, row, secret, scope, "helseid = \"always\""), "must be one of \"optional\", \"required\""),
    ] {
        let lines = refused(&text);
        assert!(matches!(&lines[..], [one] if one.contains(words)), "{words}: {lines:?}");
    }
}
