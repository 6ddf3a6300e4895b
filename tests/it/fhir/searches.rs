use std::collections::BTreeSet;
use std::time::Duration;

use helsebro::fhir::FhirConfig;
use serde_json::{Value, json};

use super::world::{Answer, World};

const FNR: &str = "urn:oid:2.16.578.1.12.4.1.4.1|14839219696";

fn link(bundle: &Value, relation: &str) -> Option<String> {
    bundle["link"].as_array().unwrap().iter().find(|link| link["relation"] == relation).map(|link| link["url"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_search_finds_what_it_asks_for_within_reach() {
    let world = World::start().await;
    let launched = world.token("patient/*.rs").issue();
    let backend = world.token("system/*.rs").without("patient").without("fhirUser").issue();
    for (token, path, ids) in [
        (&launched, "Patient", vec!["pasient-01"]),
        (&launched, "Patient?name=munter", vec![]),
        (&launched, "Patient?_id=pasient-01,pasient-02", vec!["pasient-01"]),
        (&launched, "Encounter?patient=pasient-01&status=in-progress", vec!["konsultasjon-01-3"]),
        (&launched, "Encounter?patient=pasient-02", vec![]),
        (&launched, "Encounter?subject=Patient/pasient-02", vec![]),
        (&launched, "Encounter?_sort=-date", vec!["konsultasjon-01-3", "konsultasjon-01-1", "konsultasjon-01-2"]),
        (&launched, "Condition?code=urn:oid:2.16.578.1.12.4.1.1.7170|L03", vec!["tilstand-01-3"]),
        (&launched, "Condition?code=2.16.578.1.12.4.1.1.7170%7CL03", vec!["tilstand-01-3"]),
        (&launched, "Condition?code:not=L03&category=encounter-diagnosis", vec!["tilstand-01-1", "tilstand-01-2"]),
        (&backend, "Patient?family=fjellrev&birthdate=1992-03-14", vec!["pasient-01"]),
        (&backend, "Patient?family:exact=fjellrev", vec![]),
        (&backend, "Patient?name:contains=jellre", vec!["pasient-01"]),
        (&backend, "Practitioner?identifier=urn:oid:2.16.578.1.12.4.1.4.4|990001007", vec!["lege-fastlege"]),
        (&backend, "PractitionerRole?practitioner=lege-fastlege", vec!["rolle-lege-fastlege"]),
        (&backend, "Organization?partof=org-nordlys-sykehus", vec!["org-nordlys-lab", "org-nordlys-ortopedi"]),
        (&backend, "Encounter?patient=pasient-01&date=lt1990", vec![]),
        (&backend, "Patient?general-practitioner:missing=true&managing=&active=true&_lastUpdated=lt1990", vec![]),
    ] {
        let answer = world.get(token, path).await;
        let expected: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        if path.contains("managing=") {
            // Unknown, and ignored with a word about it.
            assert_eq!(answer.json()["entry"][0]["search"]["mode"], "outcome");
            continue;
        }
        assert_eq!(answer.ids(), expected, "{path}");
        let bundle = answer.json();
        assert_eq!(bundle["total"], expected.len());
        assert_eq!(bundle.get("entry").is_some(), !expected.is_empty(), "an empty searchset has no entry");
        for entry in bundle["entry"].as_array().into_iter().flatten() {
            let resource = &entry["resource"];
            assert_eq!(entry["fullUrl"], format!("{}/{}/{}", world.base, resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap()));
        }
    }
}

#[tokio::test]
async fn an_identity_number_travels_in_the_body_and_appears_in_no_link() {
    let world = World::with(|config: &mut FhirConfig| config.switches.refuse_national_id_in_url = true).await;
    let token = world.token("system/Patient.rs").without("patient").issue();
    let found = world.post_search(&token, "Patient", &[("identifier", FNR)]).await;
    assert_eq!(found.ids(), ["pasient-01"]);
    let links = found.json()["link"].to_string();
    assert!(links.contains("identifier=") && !links.contains("14839219696"), "{links}");
    let refused = world.get(&token, &format!("Patient?identifier={FNR}")).await;
    refused.refused(400, "security");
    assert!(!refused.text.contains("14839219696"));
    assert!(!format!("{:?}", world.journal().await).contains("14839219696"));
    // Nor in the query of another method, nor by the type of the identifier.
    let by_type = format!("identifier:of-type=urn:oid:2.16.578.1.12.4.1.1.8327%7CFNR%7C{}", FNR.split('|').nth(1).unwrap());
    world.get(&token, &format!("Patient?{by_type}")).await.refused(400, "security");
    World::send(world.request("POST", &format!("Patient/_search?identifier={FNR}")).bearer_auth(&token)).await.refused(400, "security");
    // Query and body both count, for the format too.
    let asked = world.request("POST", "Patient/_search").bearer_auth(&token).header("accept", "application/fhir+xml");
    assert_eq!(World::send(asked.form(&[("identifier", FNR), ("_format", "json")])).await.ids(), ["pasient-01"]);
    let both = World::send(world.request("POST", "Patient/_search?gender=male").bearer_auth(&token).form(&[("identifier", FNR)])).await;
    assert!(both.ids().is_empty());
}

#[tokio::test]
async fn unknown_parameters_are_told_and_nothing_else_is() {
    let world = World::start().await;
    let token = world.token("patient/Condition.rs").issue();
    let lenient = world.get(&token, "Condition?encounter=konsultasjon-01-3&colour=red").await.json();
    let modes: Vec<_> = lenient["entry"].as_array().unwrap().iter().map(|entry| entry["search"]["mode"].as_str().unwrap()).collect();
    assert_eq!((modes, &lenient["total"]), (vec!["match", "outcome"], &json!(1)));
    assert_eq!(link(&lenient, "self").unwrap(), format!("{}/Condition?encounter=konsultasjon-01-3", world.base));
    let strict = World::send(world.request("GET", "Condition?colour=red").bearer_auth(&token).header("prefer", "handling=strict")).await;
    strict.refused(400, "invalid");
    for malformed in ["code:in=x", "onset-date=yesterday", "_count=many", "patient.name=x", "_total=some", "encounter=a/b", "category:missing=1"] {
        world.get(&token, &format!("Condition?{malformed}")).await.refused(400, "invalid");
    }
}

#[tokio::test]
async fn totals_count_only_what_may_be_seen() {
    let world = World::start().await;
    let lab = world.token("patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory").issue();
    let all = world.token("patient/Observation.rs").issue();
    for (token, path, total) in [
        (&lab, "Observation?_summary=count", 1),
        (&lab, "Observation?_count=0&patient=pasient-01", 1),
        (&lab, "Observation?category=vital-signs&_summary=count", 0),
        (&lab, "Observation?code:missing=false&_summary=count", 1),
        (&all, "Observation?_summary=count", 10),
        (&all, "Observation?patient=pasient-16&_summary=count", 0),
    ] {
        let bundle = world.get(token, path).await.json();
        assert_eq!((&bundle["total"], bundle.get("entry")), (&json!(total), None), "{path}");
    }
    let without = world.get(&all, "Observation?_total=none&_count=3").await.json();
    assert_eq!((without.get("total"), without["entry"].as_array().unwrap().len()), (None, 3));
}

#[tokio::test]
async fn pages_neither_repeat_nor_skip_and_are_their_owners() {
    let world = World::start().await;
    let token = world.token("patient/Observation.rs").with("patient", "pasient-16").issue();
    let mut seen = BTreeSet::new();
    let mut sizes = Vec::new();
    let mut next = Some("Observation?_count=30&_sort=-date".to_owned());
    let mut pages = Vec::new();
    while let Some(path) = next {
        let answer = world.get(&token, &path).await;
        let ids = answer.ids();
        let bundle = answer.json();
        assert_eq!(bundle["total"], 81);
        sizes.push(ids.len());
        seen.extend(ids);
        next = link(&bundle, "next");
        pages.push(bundle);
    }
    assert_eq!((sizes, seen.len()), (vec![30, 30, 21], 81));
    let second = link(&pages[0], "next").unwrap();
    assert_eq!(link(&pages[1], "self").unwrap(), second);
    assert_eq!(world.get(&token, &link(&pages[1], "previous").unwrap()).await.json()["entry"], pages[0]["entry"]);
    assert_eq!(world.get(&token, &link(&pages[2], "first").unwrap()).await.json()["entry"], pages[0]["entry"]);

    // The same three of client, user and patient may turn it, nobody else; and what they may see is decided again.
    let refreshed = world.token("patient/Observation.rs").with("patient", "pasient-16").issue();
    assert_eq!(world.get(&refreshed, &second).await.ids().len(), 30);
    let narrowed = world.token("patient/Observation.rs?code=http://loinc.org|nothing").with("patient", "pasient-16").issue();
    assert!(world.get(&narrowed, &second).await.ids().is_empty());
    let unscoped = world.token("patient/Condition.rs").with("patient", "pasient-16").issue();
    world.get(&unscoped, &second).await.refused(403, "forbidden");
    for other in [
        world.token("patient/Observation.rs"),
        world.token("patient/Observation.rs").with("patient", "pasient-16").with("client_id", "other"),
        world.token("patient/Observation.rs").with("patient", "pasient-16").with("fhirUser", "Practitioner/lege-vikar"),
    ] {
        world.get(&other.issue(), &second).await.refused(410, "expired");
    }
    world.get(&token, "Observation?_cursor=x.0").await.refused(410, "expired");
    world.get(&token, &second.replace("/Observation?", "/Condition?")).await.refused(403, "forbidden");
    world.clock.advance(Duration::from_secs(600));
    world.get(&token, &second).await.refused(410, "expired");
}

/// Mode, type and id of every entry.
fn entries(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let bundle = answer.json();
    let all = bundle["entry"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.iter().map(|e| format!("{} {}/{}", text(&e["search"]["mode"]), text(&e["resource"]["resourceType"]), text(&e["resource"]["id"]))).collect()
}

#[tokio::test]
async fn what_comes_with_matches_is_decided_by_itself_and_not_counted() {
    let world = World::start().await;
    let all = world.token("patient/*.rs").issue();
    let conditions = world.token("patient/Condition.rs").issue();
    let narrow = world.token("patient/Condition.rs patient/Encounter.r?status=finished").issue();
    let path = "Condition?encounter=konsultasjon-01-3&_include=Condition:encounter&_include=Condition:patient&_include=Condition:encounter:Encounter";
    let open = world.get(&all, path).await;
    assert_eq!(entries(&open), ["match Condition/tilstand-01-3", "include Encounter/konsultasjon-01-3", "include Patient/pasient-01"]);
    assert_eq!(open.json()["total"], 1);
    assert_eq!(entries(&world.get(&conditions, path).await), ["match Condition/tilstand-01-3"]);
    assert_eq!(entries(&world.get(&narrow, path).await), ["match Condition/tilstand-01-3"]);
    let reverse = world.get(&all, "Encounter?_id=konsultasjon-01-3&_revinclude=Condition:encounter&_revinclude=DocumentReference:encounter").await;
    assert!(entries(&reverse).contains(&"include Condition/tilstand-01-3".to_owned()), "{}", reverse.text);
    // A match is no include as well, and what is included is followed no further.
    let own = world.get(&all, "Encounter?_include=Encounter:part-of&_revinclude=Encounter:part-of").await;
    assert!(entries(&own).iter().all(|entry| entry.starts_with("match")));
    for (query, code) in [("_include=*", "too-costly"), ("_revinclude=*", "too-costly"), ("_include:iterate=Condition:encounter", "invalid")] {
        world.get(&all, &format!("Condition?{query}")).await.refused(400, code);
    }
    // Pages bring what belongs to their own matches.
    let first = world.get(&all, "Condition?_count=1&_include=Condition:encounter&_sort=-recorded-date").await;
    let second = world.get(&all, &link(&first.json(), "next").unwrap()).await;
    let third = world.get(&all, &link(&first.json(), "last").unwrap()).await;
    for page in [&first, &second, &third] {
        let encounter = page.json()["entry"][0]["resource"]["encounter"]["reference"].as_str().unwrap().to_owned();
        assert_eq!(entries(page)[1..], [format!("include {encounter}")]);
    }
    assert_eq!((link(&third.json(), "next"), link(&third.json(), "last")), (None, link(&first.json(), "last")));
}

#[tokio::test]
async fn resources_are_cut_to_what_was_asked_for() {
    let world = World::start().await;
    let token = world.token("patient/*.rs").issue();
    let members = async |query: &str| {
        let bundle = world.get(&token, &format!("Condition?_id=tilstand-01-3&{query}")).await.json();
        let resource = bundle["entry"][0]["resource"].clone();
        let tagged = resource["meta"]["tag"].to_string().contains("SUBSETTED");
        (resource.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" "), tagged)
    };
    assert_eq!(members("_elements=code").await, ("resourceType id meta code subject".to_owned(), true));
    assert!(members("_summary=false").await.0.contains("encounter"));
    assert!(!members("_summary=false").await.1);
    let (summary, tagged) = members("_summary=true").await;
    assert!(tagged && summary.contains("code") && !summary.contains("category"), "{summary}");
    assert!(members("_summary=data").await.0.contains("category"));
    world.get(&token, "Condition?_summary=text&_include=Condition:encounter").await.refused(400, "invalid");
    // A read is cut the same way.
    let read = world.get(&token, "Condition/tilstand-01-3?_elements=code").await;
    assert_eq!(read.json().as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" "), "resourceType id meta code subject");
    world.get(&token, "Condition/tilstand-01-3?_summary=count").await.refused(400, "invalid");
    // Also on later pages.
    let first = world.get(&token, "Condition?_count=1&_elements=code").await.json();
    let second = world.get(&token, &link(&first, "next").unwrap()).await.json();
    assert!(second["entry"][0]["resource"].get("category").is_none() && second["entry"][0]["resource"].get("code").is_some());
}

#[tokio::test]
async fn a_compartment_is_searched_within_reach() {
    let world = World::start().await;
    let token = world.token("patient/*.rs").issue();
    let backend = world.token("system/*.rs").without("patient").without("fhirUser").issue();
    let found = world.get(&token, "Patient/pasient-01/Encounter?status=in-progress").await;
    assert_eq!(found.ids(), ["konsultasjon-01-3"]);
    assert_eq!(link(&found.json(), "self").unwrap(), format!("{}/Patient/pasient-01/Encounter?status=in-progress", world.base));
    // Another's, and nobody's: the same nothing.
    for path in ["Patient/pasient-02/Encounter", "Patient/ingen/Encounter"] {
        let answer = world.get(&token, path).await;
        assert!(answer.ids().is_empty());
        assert_eq!(answer.json()["total"], 0);
    }
    assert!(!world.get(&backend, "Patient/pasient-02/Encounter").await.ids().is_empty());
    // By R4's letter a record that links to a patient's is in that patient's compartment; access never follows the link.
    assert_eq!(world.get(&backend, "Patient/pasient-02/Patient").await.ids(), ["pasient-02", "pasient-28"]);
    let second = world.token("patient/*.rs").with("patient", "pasient-02").issue();
    assert_eq!(world.get(&second, "Patient/pasient-02/Patient").await.ids(), ["pasient-02"]);
    let unscoped = world.token("patient/Condition.rs").issue();
    world.get(&unscoped, "Patient/pasient-01/Encounter").await.refused(403, "forbidden");
    world.get(&token, "Patient/pasient-01/Practitioner").await.refused(405, "not-supported");
    let pages = world.get(&token, "Patient/pasient-01/Observation?_count=4").await;
    assert_eq!(world.get(&token, &link(&pages.json(), "next").unwrap()).await.ids().len(), 4);
}

#[tokio::test]
async fn a_code_system_is_found_by_its_other_names_only_where_that_is_switched_on() {
    let path = "Condition?code=http://hl7.org/fhir/sid/icpc-2|L03";
    let strict = World::start().await;
    assert!(strict.get(&strict.token("patient/Condition.rs").issue(), path).await.ids().is_empty());
    let lax = World::with(|config: &mut FhirConfig| config.switches.terminology_aliases = true).await;
    assert_eq!(lax.get(&lax.token("patient/Condition.rs").issue(), path).await.ids(), ["tilstand-01-3"]);
    // Scopes are taken by the letter.
    let scoped = lax.token("patient/Condition.rs?code=http://hl7.org/fhir/sid/icpc-2|L03").issue();
    assert!(lax.get(&scoped, path).await.ids().is_empty());
}

#[tokio::test]
async fn two_servers_in_one_process_share_nothing() {
    let (one, other) = (World::start().await, World::start().await);
    let token = one.token("patient/Patient.r").issue();
    assert_eq!(one.get(&token, "Patient/pasient-01").await.status, 200);
    other.get(&token, "Patient/pasient-01").await.refused(401, "unknown");
    assert_eq!((one.journal().await.len(), other.journal().await.len()), (1, 1));
    assert!(other.journal().await[0].get("client_id").is_none());
}
