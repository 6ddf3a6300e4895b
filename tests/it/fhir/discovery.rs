use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::world::{ORIGIN, World};

#[tokio::test]
async fn anybody_may_read_what_it_can_do_and_both_documents_agree() {
    let world = World::start().await;
    let metadata = World::send(world.request("GET", "metadata").header("origin", "https://anybody.example")).await;
    let smart = World::send(world.request("GET", ".well-known/smart-configuration").header("origin", "https://anybody.example")).await;
    for answer in [&metadata, &smart] {
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
    }
    assert_eq!((smart.header("cache-control"), smart.header("x-content-type-options")), ("public, max-age=300", "nosniff"));
    let again = world.request("GET", ".well-known/smart-configuration").header("if-none-match", smart.header("etag"));
    assert_eq!(World::send(again).await.status, 304);
    let (metadata, smart) = (metadata.json(), smart.json());
    assert_eq!((&metadata["fhirVersion"], &metadata["kind"], &metadata["implementation"]["url"]), (&json!("4.0.1"), &json!("instance"), &json!(world.base)));
    let uris = metadata["rest"][0]["security"]["extension"][0]["extension"].as_array().unwrap().clone();
    let named = |name: &str| uris.iter().find(|uri| uri["url"] == name).map(|uri| uri["valueUri"].clone());
    for (name, member) in [("authorize", "authorization_endpoint"), ("token", "token_endpoint"), ("introspect", "introspection_endpoint")] {
        assert_eq!(named(name), Some(smart[member].clone()), "{name}");
    }
    assert_eq!(named("revoke"), None, "what the issuer does not name is not made up");
}

#[tokio::test]
async fn the_statement_lists_exactly_what_the_router_takes() {
    let world = World::start().await;
    let token = world.token("system/*.rs system/AuditEvent.rs").without("patient").without("fhirUser").issue();
    let metadata = World::send(world.request("GET", "metadata")).await.json();
    let resources = metadata["rest"][0]["resource"].as_array().unwrap();
    assert!(resources.len() >= 23);
    for resource in resources {
        let kind = resource["type"].as_str().unwrap();
        let offered: Vec<&str> = resource["interaction"].as_array().unwrap().iter().map(|i| i["code"].as_str().unwrap()).collect();
        world.get(&token, &format!("{kind}/ingen")).await.refused(404, "not-found");
        world.get(&token, &format!("{kind}/ingen/_history")).await.refused(404, "not-found");
        world.get(&token, &format!("{kind}/ingen/_history/1")).await.refused(404, "not-found");
        for (method, path, code) in
            [("POST", kind.to_owned(), "create"), ("PUT", format!("{kind}/ingen"), "update"), ("DELETE", format!("{kind}/ingen"), "delete")]
        {
            // Without a scope for it what is offered is 403, and what is not is 405.
            let answer = World::send(world.request(method, &path).bearer_auth(&token)).await;
            assert_eq!(answer.status, if offered.contains(&code) { 403 } else { 405 }, "{method} {path}");
        }
        assert!(["read", "vread", "history-instance"].iter().all(|code| offered.contains(code)));
        let search = world.get(&token, kind).await;
        if !offered.contains(&"search-type") {
            search.refused(405, "not-supported");
            continue;
        }
        // The types for demos have no data of their own in the built-in set.
        let empty = ["CarePlan", "Consent", "EpisodeOfCare", "Group", "Immunization", "List", "Medication", "MedicationStatement", "Procedure"];
        assert_eq!(search.ids().is_empty(), empty.contains(&kind), "{kind}");
        for param in resource["searchParam"].as_array().unwrap() {
            let name = param["name"].as_str().unwrap();
            let answer =
                World::send(world.request("GET", &format!("{kind}?{name}:missing=false")).bearer_auth(&token).header("prefer", "handling=strict")).await;
            answer.ids();
            assert_eq!(answer.header("preference-applied"), "handling=strict");
        }
        for (name, listed) in [("_include", "searchInclude"), ("_revinclude", "searchRevInclude")] {
            let all: Vec<&str> = resource[listed].as_array().unwrap().iter().map(|include| include.as_str().unwrap()).collect();
            // What is listed is taken under strict handling, and nothing that is not.
            let includes: String = all.iter().map(|include| format!("&{name}={include}")).collect();
            let strict = |path: String| World::send(world.request("GET", &path).bearer_auth(&token).header("prefer", "handling=strict"));
            assert_eq!(strict(format!("{kind}?_count=1{includes}")).await.status, 200, "{kind} {name}");
            for include in resources.iter().flat_map(|other| other[listed].as_array().into_iter().flatten()).map(|include| include.as_str().unwrap()) {
                let related = include.starts_with(&format!("{kind}:")) || name == "_revinclude";
                if related && !all.contains(&include) {
                    strict(format!("{kind}?_count=1&{name}={include}")).await.refused(400, "invalid");
                    break;
                }
            }
        }
    }
    let refuses = |name: &'static str| World::send(world.request("GET", &format!("Patient?{name}=x")).bearer_auth(&token).header("prefer", "handling=strict"));
    for name in ["colour", "_include", "_has:Condition:patient:code", "_filter", "_query", "_text", "_content", "_list"] {
        refuses(name).await.refused(400, "invalid");
    }
}

#[tokio::test]
async fn without_the_issuer_only_what_needs_it_fails() {
    let world = World::start().await;
    world.issuing.down.store(true, Ordering::SeqCst);
    let smart = World::send(world.request("GET", ".well-known/smart-configuration")).await;
    smart.refused(503, "transient");
    assert!(!smart.header("retry-after").is_empty());
    let metadata = World::send(world.request("GET", "metadata")).await;
    assert_eq!(metadata.status, 200);
    assert_eq!(metadata.json()["rest"][0]["security"]["extension"], Value::Null);
}

#[tokio::test]
async fn scripts_of_registered_origins_may_call_and_others_may_not() {
    let world = World::start().await;
    let token = world.token("patient/Patient.r").issue();
    let preflight = |origin: &'static str, path: &'static str| {
        World::send(world.request("OPTIONS", path).header("origin", origin).header("access-control-request-method", "GET"))
    };
    let known = preflight(ORIGIN, "Patient/pasient-01").await;
    assert_eq!((known.status, known.header("access-control-allow-origin")), (204, ORIGIN));
    for wanted in ["Authorization", "DPoP", "Content-Type", "Prefer", "If-Match", "If-None-Match", "If-None-Exist"] {
        assert!(known.header("access-control-allow-headers").contains(wanted), "{wanted}");
    }
    assert_eq!(preflight("https://other.example", "Patient/pasient-01").await.header("access-control-allow-origin"), "");
    assert_eq!(preflight("https://other.example", "metadata").await.header("access-control-allow-origin"), "*");
    // On answers too, errors included. SAL §7.2.
    for (path, status) in [("Patient/pasient-01", 200), ("Patient/pasient-02", 404), ("Condition", 403), ("Nonsense", 404)] {
        for (origin, allowed) in [(ORIGIN, ORIGIN), ("https://other.example", "")] {
            let answer = World::send(world.request("GET", path).bearer_auth(&token).header("origin", origin)).await;
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, allowed), "{path} {origin}");
            assert!(answer.header("vary").contains("Origin"));
        }
    }
    let exposed = World::send(world.request("GET", "Patient/pasient-01").bearer_auth(&token).header("origin", ORIGIN)).await;
    for wanted in ["ETag", "WWW-Authenticate", "X-Request-Id", "Location", "Last-Modified"] {
        assert!(exposed.header("access-control-expose-headers").contains(wanted), "{wanted}");
    }
}
