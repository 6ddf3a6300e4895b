//! The discovery documents: what they say, that it is true, and that issuers do not mix. SAL §1.5, §2, §8.5; NAV-012…021, NAV-040; DESIGN §3, Issuers.

use std::collections::BTreeSet;

use helsebro::jose::Alg;
use helsebro::protocol::claims::HELSEID;
use serde_json::{Value, json};

use crate::world::{ASSERTION_TYPE, App, Bare, Reply, Tokens, VERIFIER, World, assertion, basic, claims, client_key, jwks_toml};

const AT: &str = "http://127.0.0.1:4567/cb";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
const SMART: &str = "/.well-known/smart-configuration";
const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap_or_else(|| panic!("not a list: {list}")).iter().map(|item| item.as_str().unwrap()).collect()
}

fn one_issuer(origin: &str, data: &std::path::Path) -> String {
    format!(
        "[store]\nkind = \"memory\"\n[keys]\ndir = \"{data}/keys\"\n[[issuer]]\nurl = \"{origin}\"\nlogin = [\"ehr\", \"local\"]\n\
         [[issuer.user]]\nname = \"Live Testlege\"\nfhir_user = \"Practitioner/live\"\n[[issuer.fhir]]\nbase = \"{origin}/fhir\"\n",
        data = data.display()
    )
}

/// The whole of both documents, with the address that differs from run to run written as it could be in production.
#[tokio::test]
async fn the_documents_as_they_are() {
    let world = Bare::start(one_issuer).await;
    let fixed = |reply: Reply| -> Value { serde_json::from_str(&reply.body.replace(&world.origin, "https://auth.epj.example")).unwrap() };
    insta::assert_json_snapshot!("smart_configuration", fixed(world.get(SMART).await.is(200)));
    insta::assert_json_snapshot!("server_metadata", fixed(world.get(OPENID).await.is(200)));
    world.stop().await;
    // SAL §2.3: where only the EPJ says who the user is, nobody can begin without it.
    let world = Bare::start(|origin, data| {
        one_issuer(origin, data).replace(", \"local\"", "").replace("[[issuer.user]]\nname = \"Live Testlege\"\nfhir_user = \"Practitioner/live\"\n", "")
    })
    .await;
    let capabilities = world.get(SMART).await.is(200).json()["capabilities"].clone();
    let capabilities = texts(&capabilities);
    assert!(capabilities.contains(&"launch-ehr") && !capabilities.iter().any(|name| name.contains("standalone")), "{capabilities:?}");
    world.stop().await;
}

#[tokio::test]
async fn they_are_served_as_smart_wants() {
    let world = Bare::start(one_issuer).await;
    let mut bodies = BTreeSet::new();
    // SAL-140: under the base as under the issuer, where both are on one host; without credentials.
    for path in [SMART, &format!("/fhir{SMART}"), OPENID, OAUTH] {
        let plain = world.get(path).await.is(200);
        bodies.insert(plain.body.clone());
        // SAL-141, SAL-307.
        for accept in ["*/*", "application/json", "application/fhir+json", "application/fhir+xml", "text/html", "image/png;q=0.1", "nonsense"] {
            let reply = Reply::of(world.http.get(format!("{}{path}", world.origin)).header("accept", accept).send().await.unwrap()).await.is(200);
            assert_eq!((reply.header("content-type"), &reply.body), (Some("application/json"), &plain.body), "{path} {accept}");
        }
        let (etag, cache) = (plain.header("etag").unwrap().to_owned(), plain.header("cache-control").unwrap());
        assert_eq!(cache, "public, max-age=300");
        for (sent, status) in [
            (etag.clone(), 304),
            (format!("W/{etag}"), 304),
            (format!("\"other\", {etag}"), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
            (etag.trim_matches('"').to_owned(), 200),
        ] {
            let reply = Reply::of(world.http.get(format!("{}{path}", world.origin)).header("if-none-match", &sent).send().await.unwrap()).await.is(status);
            assert_eq!(
                (reply.header("etag"), reply.header("cache-control"), reply.body.is_empty()),
                (Some(etag.as_str()), Some(cache), status == 304),
                "{sent}"
            );
        }
        let head = Reply::of(world.http.head(format!("{}{path}", world.origin)).send().await.unwrap()).await.is(200);
        assert_eq!((head.header("etag"), head.body.as_str()), (Some(etag.as_str()), ""));
        assert_eq!(head.header("content-length"), Some(plain.body.len().to_string().as_str()), "RFC 9110 §9.3.2");
        Reply::of(world.http.get(format!("{}{path}?x=1", world.origin)).send().await.unwrap()).await.is(200);
        world.post(path, None, &[]).await.is(405);
        // One document at one place: a slash more is another path.
        world.get(&format!("{path}/")).await.is(404);
    }
    // Two documents: SMART's, and one for OpenID and RFC 8414.
    assert_eq!(bodies.len(), 2);
    // NAV-040.
    let keys = world.get("/jwks").await.is(200);
    assert_eq!((keys.header("content-type"), keys.header("cache-control")), (Some("application/json"), Some("public, max-age=300")));
    let keys = keys.json();
    let keys = keys["keys"].as_array().unwrap();
    let algs: BTreeSet<&str> = keys.iter().map(|key| key["alg"].as_str().unwrap()).collect();
    assert_eq!(algs, ["RS256", "PS256", "ES256", "ES384", "EdDSA"].into());
    for key in keys {
        assert!(key["kid"].is_string() && key["use"] == "sig", "{key}");
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none(), "{private} is published");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn every_endpoint_grant_method_algorithm_and_scope_it_names_works() {
    let keys: Vec<_> = Alg::ALL.iter().map(|alg| client_key(*alg)).collect();
    let app = |id: &str, auth: &str, more: &str| {
        format!(
            "[[client]]\nclient_id = \"{id}\"\nauth = \"{auth}\"\n{more}\nredirect_uris = [\"{AT}\"]\nlaunch_urls = [\"http://127.0.0.1:4567/launch\"]\nconsent = \"pre-approved\"\n\
             scopes = \"openid fhirUser profile launch launch/patient launch/encounter offline_access online_access patient/*.cruds user/*.cruds\"\n\n"
        )
    };
    let clients = [
        app("basic", "client_secret_basic", &format!("client_secret = \"{SECRET}\"")),
        app("post", "client_secret_post", &format!("client_secret = \"{SECRET}\"")),
        app("open", "none", ""),
        app("keyed", "private_key_jwt", &jwks_toml(&keys.iter().collect::<Vec<_>>())),
        format!(
            "[[client]]\nclient_id = \"service\"\nauth = \"private_key_jwt\"\nscopes = \"system/*.cruds\"\n{}\n\n",
            jwks_toml(&keys.iter().collect::<Vec<_>>())
        ),
        app("es256", "none", "id_token_signed_response_alg = \"ES256\""),
        app("es384", "none", "id_token_signed_response_alg = \"ES384\""),
        app("ps256", "none", "id_token_signed_response_alg = \"PS256\""),
        app("eddsa", "none", "id_token_signed_response_alg = \"EdDSA\""),
    ];
    let world = World::with_clients(&clients.concat()).await;
    let (smart, metadata) = (world.get(SMART).await.is(200).json(), world.get(OPENID).await.is(200).json());

    // What both say they say alike: SAL §2.1.
    for (name, value) in smart.as_object().unwrap() {
        if !matches!(name.as_str(), "capabilities" | "management_endpoint") {
            assert_eq!(metadata.get(name), Some(value), "{name}");
        }
    }
    // SAL-144…151, NAV-013…018.
    for needed in ["issuer", "jwks_uri", "authorization_endpoint", "token_endpoint", "introspection_endpoint", "revocation_endpoint"] {
        assert!(smart[needed].is_string(), "{needed}");
    }
    assert_eq!((&smart["issuer"], &smart["code_challenge_methods_supported"]), (&json!(world.issuer()), &json!(["S256"])));
    let capabilities = texts(&smart["capabilities"]);
    assert!(
        ["launch-ehr", "client-public", "client-confidential-symmetric", "context-ehr-patient", "permission-patient"]
            .iter()
            .all(|name| capabilities.contains(name))
    );
    assert!(texts(&metadata["id_token_signing_alg_values_supported"]).contains(&"RS256"));

    // Every address is absolute, ours, and answers something else than "no such route". SAL-142.
    for (name, value) in smart.as_object().unwrap().iter().chain(metadata.as_object().unwrap()) {
        if name.ends_with("_endpoint") || name == "jwks_uri" {
            let url = value.as_str().unwrap();
            assert!(url.starts_with(world.issuer()), "{name}");
            for method in ["GET", "POST"] {
                let reply = Reply::of(world.http.request(method.parse().unwrap(), url).send().await.unwrap()).await;
                assert!(reply.status != 404 && reply.status < 500, "{name}: {method} {url} {}", reply.status);
            }
        }
    }

    // Each way to authenticate, at each endpoint that names it.
    let endpoint = world.token_endpoint();
    let mut methods_seen = BTreeSet::new();
    for (endpoint_name, methods_name, body, good) in [
        ("token_endpoint", "token_endpoint_auth_methods_supported", vec![("grant_type", "refresh_token"), ("refresh_token", "x")], 400),
        ("revocation_endpoint", "revocation_endpoint_auth_methods_supported", vec![("token", "x")], 200),
        ("introspection_endpoint", "introspection_endpoint_auth_methods_supported", vec![("token", "x")], 200),
    ] {
        let url = metadata[endpoint_name].as_str().unwrap();
        let path = url.strip_prefix(world.issuer()).unwrap();
        for method in texts(&metadata[methods_name]) {
            methods_seen.insert(method.to_owned());
            let mut form = body.clone();
            let mut header = None;
            let jwt;
            match method {
                "client_secret_basic" => header = Some(basic("basic", SECRET)),
                "client_secret_post" => form.extend([("client_id", "post"), ("client_secret", SECRET)]),
                "none" => form.push(("client_id", "open")),
                "private_key_jwt" => {
                    let (head, claims) = assertion(&keys[0], "keyed", &endpoint, world.now());
                    jwt = keys[0].sign_with_header(&head, &claims).unwrap();
                    form.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &jwt)]);
                }
                // Proved with a token that has the scope in `introspection.rs`; here: a bearer is read and judged.
                "Bearer" => {
                    let reply = world.post(path, Some("Bearer x"), &form).await.is(401);
                    assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"));
                    continue;
                }
                other => panic!("{other} is advertised and not known here"),
            }
            let reply = world.post(path, header.as_deref(), &form).await;
            assert_eq!(reply.status, good, "{endpoint_name} {method}: {}", reply.body);
            if good == 400 {
                reply.refused(400, "invalid_grant");
            }
        }
        let algs = texts(&metadata[methods_name.replace("auth_methods", "auth_signing_alg_values")]);
        assert!(algs.contains(&"RS384") && algs.contains(&"ES384") && !algs.contains(&"none"), "SAL-149");
        for alg in algs {
            let key = keys.iter().find(|key| key.alg().as_str() == alg).unwrap_or_else(|| panic!("{alg} is advertised and not known here"));
            let (head, claims) = assertion(key, "keyed", &endpoint, world.now());
            let jwt = key.sign_with_header(&head, &claims).unwrap();
            let mut form = body.clone();
            form.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &jwt)]);
            assert_eq!(world.post(path, None, &form).await.status, good, "{endpoint_name} {alg}");
        }
    }
    assert_eq!(methods_seen.len(), 5);

    // Each scope, in the kind of request it is for: SAL-148.
    let launch = world.ehr().client("open").launch().await;
    let open = |scope: &str| world.app("open").at(AT).set("scope", scope);
    // What takes a login at HelseID is shown where there is one: `exchange::bridge::claim`.
    for scope in texts(&metadata["scopes_supported"]).into_iter().filter(|name| *name != HELSEID) {
        let granted = if scope.starts_with("system/") {
            let (head, claims) = assertion(&keys[0], "service", &endpoint, world.now());
            let jwt = keys[0].sign_with_header(&head, &claims).unwrap();
            let reply = world.token_with(&jwt, &[("grant_type", "client_credentials"), ("scope", scope)]).await.is(200);
            reply.json()["scope"].as_str().unwrap().to_owned()
        } else if scope.starts_with("launch/") {
            let app = open(&format!("{scope} patient/Patient.rs"));
            let code = app.sign_in(&mut world.browser()).await;
            let tokens = app.redeem(&code).await;
            let context = scope.strip_prefix("launch/").unwrap();
            assert!(tokens.0[context].is_string(), "{scope}: {}", tokens.0);
            tokens.text("scope").to_owned()
        } else {
            let launch = world.ehr().client("open").launch().await;
            let asked = if scope == "launch" { "launch patient/Patient.rs".to_owned() } else { format!("launch openid {scope} patient/Patient.rs") };
            open(&asked).tokens(&launch).await.text("scope").to_owned()
        };
        assert!(granted.split(' ').any(|given| given == scope), "{scope} was not granted: {granted}");
    }
    // Each grant type.
    let code = open("launch openid offline_access patient/Patient.rs").open(&mut world.browser(), &launch).await;
    let mut refresh = String::new();
    for grant in texts(&metadata["grant_types_supported"]) {
        let reply = match grant {
            "authorization_code" => open("").redeem_with(&code, VERIFIER).await,
            "refresh_token" => open("").refresh(&refresh).await,
            "client_credentials" => {
                let (head, claims) = assertion(&keys[1], "service", &endpoint, world.now());
                let jwt = keys[1].sign_with_header(&head, &claims).unwrap();
                world.token_with(&jwt, &[("grant_type", grant), ("scope", "system/*.r")]).await
            }
            crate::exchange::EXCHANGE => {
                let portal = crate::exchange::Portal::new(&world);
                let first = portal.launched().await;
                portal.exchange(first.access(), &[]).await
            }
            other => panic!("{other} is advertised and not known here"),
        };
        let tokens = Tokens(reply.is(200).json());
        if grant == "authorization_code" {
            refresh = tokens.refresh().to_owned();
        }
    }
    // Each algorithm of id_tokens, and each claim.
    let mut seen = BTreeSet::new();
    for alg in texts(&metadata["id_token_signing_alg_values_supported"]) {
        let id = if alg == "RS256" { "open".to_owned() } else { alg.to_lowercase() };
        let launch = world.ehr().client(&id).launch().await;
        let app: App<'_> = world.app(&id).at(AT).set("scope", "launch openid fhirUser profile patient/Patient.rs").set("nonce", "n");
        let tokens = app.tokens(&launch).await;
        let id_token = tokens.text("id_token");
        assert_eq!(crate::world::header(id_token)["alg"], alg);
        seen.extend(claims(id_token).as_object().unwrap().keys().cloned());
    }
    for claim in texts(&metadata["claims_supported"]).into_iter().filter(|name| *name != HELSEID) {
        assert!(seen.contains(claim), "{claim} is advertised and never sent; sent: {seen:?}");
    }
    // Response modes and prompts are read where they are advertised; what is not advertised is refused.
    for mode in texts(&metadata["response_modes_supported"]) {
        let page = open("openid").set("response_mode", mode).authorize(&mut world.browser()).await;
        assert!(page.reply.status == 303 && page.location().is_none_or(|to| !to.as_str().contains("invalid_request")), "{mode}");
    }
    for (name, there) in [("claims_parameter_supported", true), ("request_parameter_supported", false), ("request_uri_parameter_supported", false)] {
        assert_eq!(metadata[name], json!(there), "{name}");
    }
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], json!(true));
}

/// Two issuers in one process, one of them with a path, each with a client of the same name.
fn two_issuers(origin: &str, data: &std::path::Path) -> String {
    let issuer = |url: &str, user: &str| {
        format!(
            "[[issuer]]\nurl = \"{url}\"\nlogin = [\"local\"]\n[[issuer.user]]\nname = \"{user}\"\nfhir_user = \"Practitioner/{user}\"\n\
             [[issuer.fhir]]\nbase = \"{url}/fhir\"\nresource_servers = [\"rs\"]\n"
        )
    };
    let client = |issuer: &str, id: &str, secret: &str| {
        format!(
            "[[client]]\nissuer = \"{issuer}\"\nclient_id = \"{id}\"\nauth = \"client_secret_basic\"\nclient_secret = \"{secret}\"\nredirect_uris = [\"{AT}\"]\n\
             scopes = \"openid offline_access user/*.rs\"\nconsent = \"pre-approved\"\n"
        )
    };
    let resource =
        |issuer: &str| format!("[[client]]\nissuer = \"{issuer}\"\nclient_id = \"rs\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n");
    let (a, b) = (format!("{origin}/klinikk/a"), format!("{origin}/klinikk/b"));
    format!(
        "[store]\npath = \"{data}/store.redb\"\ndurability = \"process\"\n[keys]\ndir = \"{data}/keys\"\n{}{}{}{}{}{}{}",
        issuer(&a, "anna"),
        issuer(&b, "bjorn"),
        client(&a, "app", SECRET),
        client(&b, "app", "Kp3sW8xE1rT6yU0iO5aD2fG7hJ4kL9zQ"),
        client(&a, "only-a", SECRET),
        resource(&a),
        resource(&b),
        data = data.display()
    )
}

#[tokio::test]
async fn issuers_with_paths_are_found_both_ways_and_share_nothing() {
    let world = Bare::start(two_issuers).await;
    let origin = world.origin.clone();
    let (a, b) = (format!("{origin}/klinikk/a"), format!("{origin}/klinikk/b"));
    // RFC 8414 §3.1 between host and path, OpenID Connect Discovery §4 behind it; SMART's under the base and the issuer.
    for (issuer, name) in [(&a, "a"), (&b, "b")] {
        let mut seen = BTreeSet::new();
        for path in
            [format!("{OAUTH}/klinikk/{name}"), format!("{OPENID}/klinikk/{name}"), format!("/klinikk/{name}{OPENID}"), format!("/klinikk/{name}{OAUTH}")]
        {
            let reply = world.get(&path).await.is(200);
            assert_eq!(reply.json()["issuer"], json!(issuer), "{path}");
            seen.insert(reply.body);
        }
        assert_eq!(seen.len(), 1);
        let base = world.get(&format!("/klinikk/{name}/fhir{SMART}")).await.is(200).body;
        assert_eq!(world.get(&format!("/klinikk/{name}{SMART}")).await.is(200).body, base);
        for (member, value) in serde_json::from_str::<Value>(&base).unwrap().as_object().unwrap() {
            assert!(!member.ends_with("_endpoint") || value.as_str().unwrap().starts_with(&format!("{issuer}/")), "{member}");
        }
    }
    for nothing in
        [OPENID, OAUTH, SMART, "/token", "/klinikk", "/klinikk/c/.well-known/openid-configuration", &format!("{OAUTH}/klinikk"), &format!("{OAUTH}/klinikk/c")]
    {
        world.get(nothing).await.is(404);
    }
    // Keys, subjects, grants and clients are each issuer's own.
    let kids = async |issuer: &str| -> BTreeSet<String> {
        let keys = world.get(&format!("{issuer}/jwks")).await.is(200).json();
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let (of_a, of_b) = (kids(&a).await, kids(&b).await);
    assert!(of_a.is_disjoint(&of_b) && of_a.len() == 5 && of_b.len() == 5);
    let app_a = basic("app", SECRET);
    let app_b = basic("app", "Kp3sW8xE1rT6yU0iO5aD2fG7hJ4kL9zQ");
    let redeem = async |issuer: &str, authorization: &str, code: &str| {
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
        world.post(&format!("{issuer}/token"), Some(authorization), &form).await
    };
    let code = world.code(&a, "app", AT, "openid offline_access user/*.rs").await;
    redeem(&b, &app_b, &code).await.refused(400, "invalid_grant");
    redeem(&b, &app_a, &code).await.refused(401, "invalid_client");
    let tokens = Tokens(redeem(&a, &app_a, &code).await.is(200).json());
    assert_eq!(claims(tokens.access())["iss"], json!(a));
    let rs = basic("rs", SECRET);
    let seen = async |issuer: &str, token: &str| world.post(&format!("{issuer}/introspect"), Some(&rs), &[("token", token)]).await.is(200);
    assert_eq!(seen(&a, tokens.access()).await.json()["active"], true);
    assert_eq!(seen(&b, tokens.access()).await.body, r#"{"active":false}"#);
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh())];
    world.post(&format!("{b}/token"), Some(&app_b), &refresh).await.refused(400, "invalid_grant");
    world.post(&format!("{b}/revoke"), Some(&app_b), &[("token", tokens.refresh())]).await.is(200);
    world.post(&format!("{b}/revoke"), Some(&app_b), &[("token", tokens.access())]).await.is(200);
    assert_eq!(seen(&a, tokens.access()).await.json()["active"], true, "revoking elsewhere does nothing here");
    let userinfo = world.http.get(format!("{b}/userinfo")).bearer_auth(tokens.access()).send().await.unwrap();
    assert_eq!(userinfo.status(), 401);
    world.post(&format!("{b}/token"), Some(&basic("only-a", SECRET)), &refresh).await.refused(401, "invalid_client");
    let unknown = world.get(&format!("/klinikk/b/authorize?client_id=only-a&redirect_uri={AT}&response_type=code")).await;
    assert_eq!((unknown.status, unknown.header("location")), (400, None));
    world.post(&format!("{a}/token"), Some(&app_a), &refresh).await.is(200);
    // DESIGN §3: a foreign Host is 421, and no URL is ever made from it.
    for host in ["evil.example", "127.0.0.1", "localhost", "", "127.0.0.1:1"] {
        let reply = Reply::of(world.http.get(format!("{a}{OPENID}")).header("host", host).send().await.unwrap()).await.is(421);
        assert!(reply.header("x-request-id").is_some() && reply.header("x-content-type-options") == Some("nosniff"));
        assert!(!reply.body.contains("evil"), "{}", reply.body);
    }
    world.stop().await;
}
