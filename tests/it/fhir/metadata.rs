//! Where a client that was refused finds whom to ask: protected resource metadata and the challenges that lead to it. RFC 9728.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use helsebro::app::fhir_config::check;
use helsebro::app::fhir_server::{start_all, stop_all};
use helsebro::config::SystemEnvironment;
use helsebro::fhir::For;
use helsebro::random::SeededRandom;
use serde_json::{Value, json};

use super::world::{Answer, SECRET, World};
use crate::world::Prover;

const PATIENT: &str = "Patient/pasient-01";

fn lines(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect()
}

/// §2, §3: what the document says, and that its pointer leads to it.
#[tokio::test]
async fn whoever_is_refused_is_led_to_the_authorization_server() {
    let world = World::with(|config| config.documentation = Some("https://epj.example/fhir-docs".to_owned())).await;
    let key = Prover::new();
    let (plain, bound) = (world.token("patient/Patient.rs").issue(), world.token("patient/Patient.rs").with("cnf", json!({ "jkt": key.jkt() })).issue());
    // §5.1: whatever the scheme and whatever is wrong, each line of a 401 says where.
    let refused = [None, Some("Bearer gone".to_owned()), Some(format!("Bearer {bound}")), Some(format!("DPoP {plain}")), Some(format!("DPoP {bound}"))];
    for authorization in refused {
        let mut request = world.request("GET", PATIENT);
        if let Some(value) = &authorization {
            request = request.header("authorization", value);
        }
        let answer = World::send(request).await;
        assert_eq!(answer.status, 401, "{authorization:?}");
        let wanted = format!(r#"resource_metadata="{}""#, world.metadata());
        assert!(!lines(&answer).is_empty() && lines(&answer).iter().all(|line| line.ends_with(&wanted)), "{:?}", lines(&answer));
    }
    // 403 is about scopes, not about whom to ask.
    let outside = world.get(&plain, "Observation").await;
    assert!(outside.status == 403 && !outside.header("www-authenticate").contains("resource_metadata"));

    let answer = World::send(world.request("GET", &world.metadata()).header("origin", "https://anybody.example")).await;
    assert_eq!((answer.status, answer.header("content-type"), answer.header("access-control-allow-origin")), (200, "application/json", "*"));
    assert!(world.metadata().contains("/.well-known/oauth-protected-resource/fhir"), "§3.1: between host and path");
    let told = answer.json();
    assert_eq!(
        told,
        json!({
            // §3.3: exactly what the client was going to talk to.
            "resource": world.base,
            "authorization_servers": [world.issuer],
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": ["ES256", "ES384", "PS256", "RS256", "EdDSA"],
            "resource_name": "Helsebro FHIR mock",
            "resource_documentation": "https://epj.example/fhir-docs"
        })
    );
    let again = world.request("GET", &world.metadata()).header("if-none-match", answer.header("etag"));
    assert_eq!(World::send(again).await.status, 304);
    assert_eq!(World::send(world.request("POST", &world.metadata())).await.status, 405);
    // It does not need the authorization server to be up.
    world.issuing.down.store(true, Ordering::SeqCst);
    assert_eq!(World::send(world.request("GET", &world.metadata())).await.json()["authorization_servers"], json!([world.issuer]));
}

/// `dpop_bound_access_tokens_required` is said where it is so, and is so where it is said.
#[tokio::test]
async fn a_server_may_take_bound_tokens_alone_and_says_so() {
    let world = World::with(|config| config.switches.dpop_required = For::Everybody).await;
    let key = Prover::new();
    assert_eq!(World::send(world.request("GET", &world.metadata())).await.json()["dpop_bound_access_tokens_required"], true);
    let plain = world.token("patient/Patient.rs").issue();
    let refused = world.get(&plain, PATIENT).await;
    refused.refused(401, "security");
    assert!(matches!(lines(&refused).as_slice(), [one] if one.starts_with("DPoP ") && one.contains("only tokens that are bound")), "{:?}", lines(&refused));
    let offered = World::send(world.request("GET", PATIENT)).await;
    assert!(matches!(lines(&offered).as_slice(), [one] if one.starts_with("DPoP realm=")), "{:?}", lines(&offered));
    let bound = world.token("patient/Patient.rs").with("cnf", json!({ "jkt": key.jkt() })).with("token_type", "DPoP").issue();
    let proof = key.beside("GET", &format!("{}/{PATIENT}", world.base), &bound, super::world::NOW.0);
    let taken = World::send(world.request("GET", PATIENT).header("authorization", format!("DPoP {bound}")).header("dpop", proof)).await;
    assert_eq!(taken.status, 200);

    // Of one client alone: the metadata cannot say that, and the others go on.
    let world = World::with(|config| config.switches.dpop_required = For::Clients(["strict".to_owned()].into())).await;
    assert_eq!(World::send(world.request("GET", &world.metadata())).await.json().get("dpop_bound_access_tokens_required"), None);
    assert_eq!(world.get(&world.token("patient/Patient.rs").issue(), PATIENT).await.status, 200);
    world.get(&world.token("patient/Patient.rs").with("client_id", "strict").issue(), PATIENT).await.refused(401, "security");
    assert_eq!(lines(&World::send(world.request("GET", PATIENT)).await).len(), 2);
}

/// Each `[[server]]` of a file speaks for itself.
#[tokio::test]
async fn each_server_of_a_process_has_metadata_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let worlds = [World::start().await, World::start().await];
    // A base at the root has nothing behind the well-known part.
    let bases =
        [("http://127.0.0.1:1/a/fhir", "/.well-known/oauth-protected-resource/a/fhir"), ("http://127.0.0.1:2", "/.well-known/oauth-protected-resource")];
    let rows: Vec<String> = (0..2)
        .map(|n| {
            format!(
                "[[server]]\nbase = \"{}\"\nissuer = \"{}\"\nclient_id = \"fhir-server\"\nclient_secret = \"{SECRET}\"\nlisten = \"127.0.0.1:0\"\nops_listen = \"127.0.0.1:0\"\n\
                 documentation = \"https://epj.example/{n}\"\n[server.switches]\ndpop_required = \"{}\"\n",
                bases[n].0,
                worlds[n].issuer,
                ["nobody", "everybody"][n]
            )
        })
        .collect();
    let configs = check("fhir.toml", &rows.concat(), &SystemEnvironment::relative_to(dir.path()), &SeededRandom::new(1)).unwrap();
    let running = start_all(configs, worlds[0].clock.clone(), Arc::new(SeededRandom::new(2))).await.unwrap();
    for (n, (base, path)) in bases.into_iter().enumerate() {
        let at = format!("http://{}", running[n].public);
        let told: Value = World::send(worlds[n].request("GET", &format!("{at}{path}"))).await.json();
        assert_eq!((&told["resource"], &told["authorization_servers"]), (&json!(base), &json!([worlds[n].issuer])));
        assert_eq!(told["resource_documentation"], format!("https://epj.example/{n}"));
        assert_eq!(told.get("dpop_bound_access_tokens_required"), [None, Some(&json!(true))][n]);
        let under = url::Url::parse(base).unwrap().path().trim_end_matches('/').to_owned();
        let refused = World::send(worlds[n].request("GET", &format!("{at}{under}/{PATIENT}"))).await;
        let origin = base.strip_suffix(&under).unwrap();
        assert!(lines(&refused).iter().all(|line| line.ends_with(&format!(r#"resource_metadata="{origin}{path}""#))), "{:?}", lines(&refused));
        // The other's place is nothing here.
        assert_eq!(World::send(worlds[n].request("GET", &format!("{at}{}", bases[1 - n].1))).await.status, 404);
    }
    stop_all(running).await;
    let wrong = rows[0].replace("https://epj.example/0", "docs/fhir.html");
    assert!(
        format!("{}", check("fhir.toml", &wrong, &SystemEnvironment::relative_to(dir.path()), &SeededRandom::new(1)).unwrap_err()).contains("documentation")
    );
}
