//! What is served is R4 by somebody else's reckoning: the JSON schema and the search parameters of 4.0.1.

use std::io::Write as _;
use std::process::Command;

use serde_json::Value;

use super::world::{Answer, World};

/// Everything the built-in data has, as it is served, and the answers around it, one a line.
async fn served(world: &World) -> Vec<Value> {
    let token = world.token("system/*.rs system/AuditEvent.rs").without("patient").without("fhirUser").issue();
    let get = async |path: String| world.get(&token, &path).await;
    let metadata = get("metadata".to_owned()).await.json();
    let mut all = Vec::new();
    for resource in metadata["rest"][0]["resource"].as_array().unwrap() {
        let kind = resource["type"].as_str().unwrap();
        let searched = resource["interaction"].as_array().unwrap().iter().any(|interaction| interaction["code"] == "search-type");
        for question in
            ["_count=200", "_summary=true&_count=5", "_summary=text&_count=5", "_summary=data&_count=5", "_elements=id&_count=5&_revinclude=Provenance:target"]
        {
            let mut next = searched.then(|| format!("{kind}?{question}"));
            while let Some(path) = next {
                let bundle = get(path).await.json();
                next = bundle["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next").map(|link| link["url"].as_str().unwrap().to_owned());
                // The whole set, and of the cut ones a page.
                next = next.filter(|_| question == "_count=200");
                all.push(bundle);
            }
        }
    }
    // Content is read, never searched.
    let documents: Vec<Value> = all.iter().flat_map(|bundle| bundle["entry"].as_array().into_iter().flatten()).map(|entry| entry["resource"].clone()).collect();
    for document in documents.iter().filter(|r| r["resourceType"] == "DocumentReference" && r["meta"]["tag"].to_string().find("SUBSETTED").is_none()) {
        let urls = document["content"].as_array().unwrap().iter().filter_map(|content| content["attachment"]["url"].as_str());
        for url in urls.filter(|url| url.contains("Binary/")) {
            all.push(get(url.to_owned()).await.json());
        }
    }
    let refused: Vec<Answer> = vec![
        get("Patient/ingen".to_owned()).await,
        get("Nonsense/1".to_owned()).await,
        get("Condition?code:in=x".to_owned()).await,
        get("Condition?_include=*".to_owned()).await,
        world.get("nothing", "Patient").await,
        world.get(&world.token("patient/Patient.r").issue(), "Condition").await,
    ];
    all.extend(refused.iter().map(Answer::json));
    all.push(get("Patient?colour=red".to_owned()).await.json());
    all.push(metadata);
    all
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "which runtime there is comes from whoever runs the tests")]
async fn everything_served_is_r4_to_a_foreign_validator() {
    let Ok(node) = std::env::var("HELSEBRO_TEST_NODE") else {
        eprintln!("not run: HELSEBRO_TEST_NODE names no runtime");
        return;
    };
    let world = World::start().await;
    let mut file = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
    for value in served(&world).await {
        writeln!(file, "{value}").unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/fhir-schema/check.mjs");
    let run = Command::new(node).arg(script).arg(file.path()).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}\n{complained}");
    // 544 in the set; less would mean that something was not looked at.
    let looked_at: usize = said.split_whitespace().next().unwrap().parse().unwrap();
    assert!(looked_at >= 544, "{said}");
}
