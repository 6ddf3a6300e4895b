//! What NAV's two validators look at, as their checks are listed in NAV §5.2 and §5.4, and what the app itself cannot read (NAV §4).
//! Each function gives the ids of the checks that fire, in the order of the lists.

use serde_json::Value;

type Rules<'a> = &'a [(&'static str, bool)];

const HPR: &str = "4.4";
const HER: &str = "2";
const ORGNR: &str = "4.101";

/// Whether what fired is no ERROR.
pub fn is_warning(id: &str) -> bool {
    let lesser = ["A-TOK-7", "A-PRA-4", "A-ENC-3", "A-ORG-4", "A-CON-4 display", "A-DOC-10", "B-TOK-1", "B-ENC-4", "B-ENC-5", "B-DOC-6"];
    let numbered = |list: &str, from: u8| id.strip_prefix(list).and_then(|number| number.parse::<u8>().ok()).is_some_and(|number| number >= from);
    lesser.contains(&id) || numbered("A-CFG-", 8) || numbered("B-REF-", 1)
}

fn fired(rules: Rules<'_>) -> Vec<&'static str> {
    rules.iter().filter(|(_, fires)| *fires).map(|(id, _)| *id).collect()
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn all(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn refers(value: &Value, to: &str) -> bool {
    value["reference"].as_str().is_some_and(|text| text.starts_with(to))
}

fn identified(body: &Value, number: &str) -> bool {
    all(&body["identifier"]).iter().any(|one| one["system"] == format!("urn:oid:2.16.578.1.12.4.1.{number}") && is_text(&one["value"]))
}

fn profiled(body: &Value, kind: &str) -> bool {
    body["resourceType"] == kind && all(&body["meta"]["profile"]).contains(&Value::from(format!("http://hl7.no/fhir/StructureDefinition/no-basis-{kind}")))
}

fn has_phone(body: &Value) -> bool {
    all(&body["telecom"]).iter().any(|one| one["system"] == "phone" && is_text(&one["value"]))
}

fn of_system<'a>(concept: &'a Value, systems: &[&str]) -> Vec<&'a Value> {
    let wanted = |coding: &&Value| systems.iter().any(|number| coding["system"] == format!("urn:oid:2.16.578.1.12.4.1.1.{number}"));
    all(&concept["coding"]).iter().filter(wanted).collect()
}

pub mod a {
    use super::*;

    pub fn configuration(found: &Value) -> Vec<&'static str> {
        let lacks = |name: &str| found.get(name).is_none();
        fired(&[
            ("A-CFG-1", lacks("issuer")),
            ("A-CFG-2", lacks("jwks_uri")),
            ("A-CFG-3", lacks("authorization_endpoint")),
            ("A-CFG-4", lacks("grant_types_supported")),
            ("A-CFG-5", lacks("token_endpoint")),
            ("A-CFG-6", lacks("capabilities")),
            ("A-CFG-7", lacks("code_challenge_methods_supported")),
            ("A-CFG-8", lacks("scopes_supported")),
            ("A-CFG-9", lacks("response_types_supported")),
            ("A-CFG-10", lacks("introspection_endpoint")),
            ("A-CFG-11", lacks("revocation_endpoint")),
            ("A-CFG-12", lacks("token_endpoint_auth_methods_supported")),
        ])
    }

    pub fn id_token(claims: &Value, client_id: &str) -> Vec<&'static str> {
        let user = claims["fhirUser"].as_str().unwrap_or_default();
        let parts: Vec<&str> = user.rsplit('/').take(2).collect();
        fired(&[
            ("A-IDT-2", user.is_empty()),
            ("A-IDT-3", parts.len() != 2),
            ("A-IDT-4", parts.get(1).is_none_or(|kind| !["Practitioner", "Patient", "RelatedPerson"].contains(kind))),
            ("A-IDT-5", parts.first().is_none_or(|id| id.is_empty())),
            ("A-IDT-6", !is_text(&claims["iss"])),
            ("A-IDT-7", claims["aud"] != client_id),
        ])
    }

    pub fn token(answer: &Value) -> Vec<&'static str> {
        let lacks = |name: &str| !is_text(&answer[name]);
        fired(&[
            ("A-TOK-1", lacks("encounter")),
            ("A-TOK-2", lacks("patient")),
            ("A-TOK-3", lacks("id_token")),
            ("A-TOK-4", lacks("access_token")),
            ("A-TOK-5", lacks("scope")),
            ("A-TOK-6", answer["token_type"] != "Bearer"),
            ("A-TOK-7", answer.get("practitioner").is_some()),
        ])
    }

    /// Of whatever kind.
    pub fn resource(body: &Value) -> Vec<&'static str> {
        match body["resourceType"].as_str().unwrap_or_default() {
            "Patient" => patient(body),
            "Practitioner" => practitioner(body),
            "Encounter" => encounter(body),
            "Organization" => organization(body),
            "Condition" => condition(body),
            "DocumentReference" => document(body, None),
            _ => vec!["of no kind it reads"],
        }
    }

    fn patient(body: &Value) -> Vec<&'static str> {
        let name = &body["name"][0];
        fired(&[
            ("A-PAT-1", !profiled(body, "Patient")),
            ("A-PAT-2", !identified(body, "4.1") && !identified(body, "4.2")),
            ("A-PAT-3", !is_text(&name["family"]) || all(&name["given"]).is_empty()),
        ])
    }

    fn practitioner(body: &Value) -> Vec<&'static str> {
        fired(&[("A-PRA-2", !profiled(body, "Practitioner")), ("A-PRA-3", !identified(body, HPR)), ("A-PRA-4", !identified(body, HER))])
    }

    fn encounter(body: &Value) -> Vec<&'static str> {
        let (diagnoses, participants) = (all(&body["diagnosis"]), all(&body["participant"]));
        fired(&[
            ("A-ENC-2", !refers(&body["subject"], "Patient/")),
            ("A-ENC-3", diagnoses.is_empty()),
            ("A-ENC-4", !diagnoses.iter().all(|one| refers(&one["condition"], "Condition/"))),
            ("A-ENC-5", participants.is_empty()),
            ("A-ENC-6", !participants.iter().all(|one| refers(&one["individual"], "Practitioner/"))),
            ("A-ENC-7", !refers(&body["serviceProvider"], "Organization/")),
        ])
    }

    fn organization(body: &Value) -> Vec<&'static str> {
        fired(&[
            ("A-ORG-2", !profiled(body, "Organization")),
            ("A-ORG-3", !identified(body, ORGNR)),
            ("A-ORG-4", !identified(body, HER)),
            ("A-ORG-5", !has_phone(body)),
        ])
    }

    fn condition(body: &Value) -> Vec<&'static str> {
        let codings = of_system(&body["code"], &["7110", "7170"]);
        fired(&[
            ("A-CON-2", body["resourceType"] != "Condition" || !body["subject"]["reference"].as_str().is_some_and(|text| text.contains("Patient"))),
            ("A-CON-3", codings.is_empty()),
            ("A-CON-4", codings.iter().any(|coding| !is_text(&coding["code"]))),
            ("A-CON-4 display", codings.iter().any(|coding| !is_text(&coding["display"]))),
        ])
    }

    /// `chosen` is the id the validator gave it, where it wrote it itself.
    pub fn document(body: &Value, chosen: Option<&str>) -> Vec<&'static str> {
        let codings = of_system(&body["type"], &["9602"]);
        let authors = all(&body["author"]);
        let attachment = &body["content"][0]["attachment"];
        let by_url = is_text(&attachment["url"]);
        let carries = is_text(&attachment["title"]) && is_text(&attachment["language"]) && (by_url || is_text(&attachment["data"]));
        fired(&[
            ("A-DOC-2", chosen.is_some_and(|id| body["id"] != id)),
            ("A-DOC-3", body["status"] != "current"),
            ("A-DOC-4", codings.is_empty() || codings.iter().any(|coding| coding["code"] != "J01-2" || !is_text(&coding["display"]))),
            ("A-DOC-5", !refers(&body["subject"], "Patient/")),
            ("A-DOC-6", authors.is_empty() || !authors.iter().all(|author| refers(author, "Practitioner/"))),
            ("A-DOC-7", !carries || (!by_url && !is_text(&attachment["contentType"]))),
            ("A-DOC-9", !refers(&body["context"]["encounter"][0], "Encounter/")),
            ("A-DOC-10", !is_text(&body["description"])),
        ])
    }
}

pub mod b {
    use super::*;

    pub fn configuration(found: &Value) -> Vec<&'static str> {
        let has = |name: &str, any: &[&str]| all(&found[name]).iter().any(|one| any.iter().any(|wanted| one == wanted));
        fired(&[
            ("B-CFG-1", !has("grant_types_supported", &["refresh_token"])),
            ("B-CFG-2", !has("token_endpoint_auth_methods_supported", &["client_secret_basic", "client_secret_post", "private_key_jwt"])),
        ])
    }

    pub fn token(answer: &Value) -> Vec<&'static str> {
        fired(&[("B-TOK-1", answer.get("practitioner").is_some())])
    }

    pub fn refreshed(answer: &Value) -> Vec<&'static str> {
        let has = |name: &str| answer.get(name).is_some();
        fired(&[("B-REF-1", has("encounter")), ("B-REF-2", has("patient")), ("B-REF-3", has("practitioner"))])
    }

    pub fn id_token(claims: &Value) -> Vec<&'static str> {
        fired(&[("B-IDT-1", !claims["fhirUser"].as_str().is_some_and(|user| user.starts_with("Practitioner/")))])
    }

    /// Of whatever kind.
    pub fn resource(body: &Value) -> Vec<&'static str> {
        match body["resourceType"].as_str().unwrap_or_default() {
            "Patient" => fired(&[
                ("B-PAT-1", !identified(body, "4.1") && !identified(body, "4.2")),
                ("B-PAT-2", !all(&body["name"]).iter().any(|name| is_text(&name["family"]))),
            ]),
            "Practitioner" => fired(&[("B-PRA-1", !identified(body, HPR))]),
            "Encounter" => fired(&[
                ("B-ENC-1", !is_text(&body["subject"]["reference"])),
                ("B-ENC-2", !all(&body["participant"]).iter().any(|one| is_text(&one["individual"]["reference"]))),
                ("B-ENC-3", !is_text(&body["serviceProvider"]["reference"])),
                ("B-ENC-4", all(&body["diagnosis"]).is_empty()),
                ("B-ENC-5", !all(&body["type"]).iter().any(|kind| !of_system(kind, &["8432"]).is_empty())),
            ]),
            "Organization" => fired(&[("B-ORG-1", !identified(body, ORGNR)), ("B-ORG-2", !has_phone(body))]),
            "DocumentReference" => fired(&[
                ("B-DOC-1", !is_text(&body["context"]["encounter"][0]["reference"])),
                ("B-DOC-2", !of_system(&body["type"], &["9602"]).iter().any(|coding| coding["code"] == "J01-2")),
                ("B-DOC-3", !is_text(&body["subject"]["reference"])),
                ("B-DOC-4", !is_text(&body["author"][0]["reference"])),
                ("B-DOC-5", !body["content"][0]["attachment"].is_object()),
                ("B-DOC-6", !is_text(&body["description"])),
            ]),
            "QuestionnaireResponse" => fired(&[
                ("B-QR-1", body["questionnaire"] != "https://www.nav.no/samarbeidspartner/sykmelding/fhir/R4/Questionnaire/V1"),
                ("B-QR-2", !is_text(&body["subject"]["reference"])),
                ("B-QR-3", !is_text(&body["encounter"]["reference"])),
                ("B-QR-4", !is_text(&body["author"]["reference"])),
            ]),
            _ => vec!["of no kind it reads"],
        }
    }
}

/// Which table of NAV §4 the resource falls short of: the app cannot read it then, and no validator tells.
pub fn unreadable(body: &Value) -> Vec<&'static str> {
    let identifiers = all(&body["identifier"]);
    let whole = |one: &Value| is_text(&one["system"]) && is_text(&one["value"]);
    let named = |one: &Value| is_text(&one["family"]) && all(&one["given"]).iter().any(is_text);
    let coded = |coding: &Value| ["system", "code", "display"].iter().all(|name| is_text(&coding[*name]));
    let kept = !identifiers.is_empty() && identifiers.iter().all(whole);
    let (names, telecom) = (all(&body["name"]), all(&body["telecom"]));
    let complete = |concepts: &[Value]| concepts.iter().all(|concept| all(&concept["coding"]).iter().all(coded));
    match body["resourceType"].as_str().unwrap_or_default() {
        "Patient" => {
            let practitioners = all(&body["generalPractitioner"]);
            let told = practitioners.iter().all(|one| whole(&one["identifier"]) && is_text(&one["display"]));
            fired(&[("§4.2", !(is_text(&body["id"]) && kept && !names.is_empty() && names.iter().all(named) && told))])
        }
        "Practitioner" => {
            let qualified = all(&body["qualification"]).iter().all(|one| complete(std::slice::from_ref(&one["code"])));
            fired(&[("§4.3", !(kept && !names.is_empty() && names.iter().all(named) && telecom.iter().all(whole) && qualified))])
        }
        "Encounter" => {
            let taking_part = all(&body["participant"]).iter().all(|one| is_text(&one["individual"]["reference"]));
            fired(&[(
                "§4.5",
                !(is_text(&body["status"]) && taking_part && refers(&body["serviceProvider"], "Organization/") && complete(all(&body["reasonCode"]))),
            )])
        }
        "Organization" => fired(&[("§4.6", !(kept && !telecom.is_empty() && telecom.iter().all(whole)))]),
        "Condition" => {
            let codings = all(&body["code"]["coding"]);
            let placed = is_text(&body["subject"]["reference"]) && is_text(&body["encounter"]["reference"]);
            fired(&[("§4.7", !(is_text(&body["id"]) && placed && !codings.is_empty() && codings.iter().all(coded)))])
        }
        "DocumentReference" => {
            let typed = !all(&body["type"]["coding"]).is_empty() && all(&body["type"]["coding"]).iter().all(coded);
            let lists = ["author", "content"].iter().all(|name| body[*name].is_array()) && body["context"]["encounter"].is_array();
            let whole_period = body["context"].get("period").is_none_or(|period| is_text(&period["start"]) && is_text(&period["end"]));
            let stamped = is_text(&body["meta"]["lastUpdated"]) && is_text(&body["id"]) && is_text(&body["subject"]["reference"]);
            let attached = all(&body["content"]).iter().all(|one| {
                let attachment = &one["attachment"];
                is_text(&attachment["url"]) || ["title", "language", "contentType", "data"].iter().all(|name| is_text(&attachment[*name]))
            });
            fired(&[("§4.8", !(typed && lists && whole_period && stamped && attached))])
        }
        "QuestionnaireResponse" => {
            let linked = all(&body["item"]).iter().all(|item| is_text(&item["linkId"])) && !all(&body["item"]).is_empty();
            fired(&[("§4.10", !(is_text(&body["id"]) && body["status"] == "completed" && linked))])
        }
        _ => vec!["of no kind it reads"],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good(kind: &str) -> Value {
        let meta = |kind: &str| json!({"lastUpdated": "2026-01-15T08:00:00Z", "profile": [format!("http://hl7.no/fhir/StructureDefinition/no-basis-{kind}")]});
        let id = |number: &str| json!({"system": format!("urn:oid:2.16.578.1.12.4.1.{number}"), "value": "1"});
        let coding = |number: &str, code: &str| json!({"system": format!("urn:oid:2.16.578.1.12.4.1.1.{number}"), "code": code, "display": "d"});
        let to = |text: &str| json!({"reference": text});
        let name = json!([{"family": "F", "given": ["G"]}]);
        let phone = json!([{"system": "phone", "value": "1"}]);
        match kind {
            "Patient" => json!({"resourceType": kind, "id": "p", "meta": meta(kind), "identifier": [id("4.1")], "name": name,
                "generalPractitioner": [{"identifier": id(HPR), "display": "d"}]}),
            "Practitioner" => json!({"resourceType": kind, "id": "u", "meta": meta(kind), "identifier": [id(HPR), id(HER)], "name": name, "telecom": phone,
                "qualification": [{"code": {"coding": [coding("9060", "LE")]}}]}),
            "Encounter" => json!({"resourceType": kind, "id": "e", "status": "in-progress", "type": [{"coding": [coding("8432", "1")]}],
                "subject": to("Patient/p"), "participant": [{"individual": to("Practitioner/u")}], "diagnosis": [{"condition": to("Condition/c")}],
                "serviceProvider": to("Organization/o"), "reasonCode": [{"coding": [coding("7170", "L03")]}]}),
            "Organization" => json!({"resourceType": kind, "id": "o", "meta": meta(kind), "identifier": [id(ORGNR), id(HER)], "telecom": phone}),
            "Condition" => json!({"resourceType": kind, "id": "c", "subject": to("Patient/p"), "encounter": to("Encounter/e"),
                "code": {"coding": [coding("7170", "L03")]}}),
            "DocumentReference" => {
                json!({"resourceType": kind, "id": "d", "meta": meta(kind), "status": "current", "type": {"coding": [coding("9602", "J01-2")]},
                "subject": to("Patient/p"), "author": [to("Practitioner/u")], "description": "d",
                "content": [{"attachment": {"title": "t", "language": "NO-nb", "contentType": "application/pdf", "data": "aGVp"}}],
                "context": {"encounter": [to("Encounter/e")], "period": {"start": "2026-02-02", "end": "2026-02-16"}}})
            }
            "QuestionnaireResponse" => {
                json!({"resourceType": kind, "id": "q", "status": "completed", "subject": to("Patient/p"), "encounter": to("Encounter/e"),
                "author": to("Practitioner/u"), "item": [{"linkId": "x"}],
                "questionnaire": "https://www.nav.no/samarbeidspartner/sykmelding/fhir/R4/Questionnaire/V1"})
            }
            other => panic!("{other}"),
        }
    }

    /// Each check fires on what it is about and on nothing else.
    #[test]
    fn every_check_can_fire() {
        const BROKEN: &[(&str, &str, &str, &[&str])] = &[
            ("Patient", "/meta/profile", "[]", &["A-PAT-1"]),
            ("Patient", "/identifier/0/system", "\"urn:oid:2.16.578.1.12.4.1.4.3\"", &["A-PAT-2", "B-PAT-1"]),
            ("Patient", "/name/0/family", "null", &["A-PAT-3", "B-PAT-2", "§4.2"]),
            ("Patient", "/name/0/given", "[]", &["A-PAT-3", "§4.2"]),
            ("Patient", "/generalPractitioner/0/display", "null", &["§4.2"]),
            ("Practitioner", "/meta/profile", "[]", &["A-PRA-2"]),
            ("Practitioner", "/identifier/0/system", "\"x\"", &["A-PRA-3", "B-PRA-1"]),
            ("Practitioner", "/identifier/1/system", "\"x\"", &["A-PRA-4"]),
            ("Practitioner", "/qualification/0/code/coding/0/display", "null", &["§4.3"]),
            ("Encounter", "/subject/reference", "null", &["A-ENC-2", "B-ENC-1"]),
            ("Encounter", "/diagnosis", "[]", &["A-ENC-3", "B-ENC-4"]),
            ("Encounter", "/diagnosis/0/condition", "null", &["A-ENC-4"]),
            ("Encounter", "/participant", "[]", &["A-ENC-5", "B-ENC-2"]),
            ("Encounter", "/participant/0/individual/reference", "\"PractitionerRole/u\"", &["A-ENC-6"]),
            ("Encounter", "/participant/0/individual", "null", &["A-ENC-6", "B-ENC-2", "§4.5"]),
            ("Encounter", "/serviceProvider", "null", &["A-ENC-7", "B-ENC-3", "§4.5"]),
            ("Encounter", "/type", "[]", &["B-ENC-5"]),
            ("Encounter", "/reasonCode/0/coding/0/display", "null", &["§4.5"]),
            ("Organization", "/meta/profile", "[]", &["A-ORG-2"]),
            ("Organization", "/identifier/0/system", "\"x\"", &["A-ORG-3", "B-ORG-1"]),
            ("Organization", "/identifier/1/system", "\"x\"", &["A-ORG-4"]),
            ("Organization", "/telecom/0/system", "\"fax\"", &["A-ORG-5", "B-ORG-2"]),
            ("Organization", "/telecom/0/value", "null", &["A-ORG-5", "B-ORG-2", "§4.6"]),
            ("Condition", "/subject/reference", "null", &["A-CON-2", "§4.7"]),
            ("Condition", "/code", "{\"text\": \"x\"}", &["A-CON-3", "§4.7"]),
            ("Condition", "/code/coding/0/code", "null", &["A-CON-4", "§4.7"]),
            ("Condition", "/code/coding/0/display", "null", &["A-CON-4 display", "§4.7"]),
            ("DocumentReference", "/id", "\"other\"", &["A-DOC-2"]),
            ("DocumentReference", "/status", "\"superseded\"", &["A-DOC-3"]),
            ("DocumentReference", "/type/coding/0/code", "\"B02-2\"", &["A-DOC-4", "B-DOC-2"]),
            ("DocumentReference", "/subject/reference", "null", &["A-DOC-5", "B-DOC-3", "§4.8"]),
            ("DocumentReference", "/author", "[]", &["A-DOC-6", "B-DOC-4"]),
            ("DocumentReference", "/content/0/attachment/title", "null", &["A-DOC-7", "§4.8"]),
            ("DocumentReference", "/content/0/attachment", "null", &["A-DOC-7", "B-DOC-5", "§4.8"]),
            ("DocumentReference", "/context/encounter", "null", &["A-DOC-9", "B-DOC-1", "§4.8"]),
            ("DocumentReference", "/description", "null", &["A-DOC-10", "B-DOC-6"]),
            ("DocumentReference", "/context/period/end", "null", &["§4.8"]),
            ("QuestionnaireResponse", "/questionnaire", "\"other\"", &["B-QR-1"]),
            ("QuestionnaireResponse", "/subject", "null", &["B-QR-2"]),
            ("QuestionnaireResponse", "/encounter", "null", &["B-QR-3"]),
            ("QuestionnaireResponse", "/author", "null", &["B-QR-4"]),
            ("QuestionnaireResponse", "/status", "\"in-progress\"", &["§4.10"]),
        ];
        let look = |body: &Value| -> Vec<&'static str> {
            let by_a = match body["resourceType"].as_str().unwrap() {
                "DocumentReference" => a::document(body, Some("d")),
                "QuestionnaireResponse" => Vec::new(),
                _ => a::resource(body),
            };
            by_a.into_iter().chain(b::resource(body)).filter(|id| *id != "of no kind it reads").chain(unreadable(body)).collect()
        };
        for (kind, pointer, value, expected) in BROKEN {
            let mut body = good(kind);
            assert!(look(&body).is_empty(), "{kind}: {:?}", look(&body));
            *body.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
            assert_eq!(look(&body), *expected, "{kind}{pointer} = {value}");
        }
        assert_eq!((a::configuration(&json!({})).len(), b::configuration(&json!({})).len()), (12, 2));
        assert_eq!(a::id_token(&json!({"fhirUser": "https://x/Device/", "aud": ["c"]}), "c"), ["A-IDT-4", "A-IDT-5", "A-IDT-6", "A-IDT-7"]);
        assert_eq!(a::id_token(&json!({}), "c"), ["A-IDT-2", "A-IDT-3", "A-IDT-4", "A-IDT-5", "A-IDT-6", "A-IDT-7"]);
        assert_eq!((a::token(&json!({"practitioner": "x"})).len(), b::id_token(&json!({"fhirUser": "https://x/Practitioner/u"}))), (7, vec!["B-IDT-1"]));
        let told = json!({"encounter": "e", "patient": "p", "practitioner": "u"});
        assert_eq!((b::token(&told), b::refreshed(&told)), (vec!["B-TOK-1"], vec!["B-REF-1", "B-REF-2", "B-REF-3"]));
    }
}
