//! What one patient's token is answered does not depend on anybody else's record. Two servers with the same clock and the same chance: one
//! with everybody's records, one with this patient's alone, which has nothing to give away. The same requests, reads and writes, batches,
//! conditions and links, must get the same answers, to the byte: status, headers, totals and error texts included.
//!
//! One thing is told and cannot be helped where clients choose ids: that an id is taken (fhir-server.md §14, "existing and hidden: 404").

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use axum::body::Body;
use helsebro::fhir::DataSource;
use helsebro::protocol::ids::FhirBase;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::asks::Search;
use super::records::{Dice, Records, marker_of, name_of};
use super::sight::{COMPARTMENT, Pass, SHARED, Sight};
use super::{Tally, cases, encoded, first_seed, link};
use crate::fhir::world::{Answer, World};

/// Where both servers think they are, so that their links agree.
const BASE: &str = "http://127.0.0.1:9/fhir";

#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    path: String,
    /// Content type and body.
    body: Option<(&'static str, String)>,
    accept: &'static str,
    unless: Option<String>,
    if_match: Option<&'static str>,
}

impl Asked {
    fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), body: None, accept: "application/fhir+json", unless: None, if_match: None }
    }

    fn with(method: &'static str, path: impl Into<String>, body: &Value) -> Self {
        Self { method, body: Some(("application/fhir+json", body.to_string())), ..Self::get(path) }
    }

    /// As an entry of a batch.
    fn entry(&self) -> Value {
        let mut entry = json!({"request": {"method": self.method, "url": self.path}});
        if let Some(("application/fhir+json", body)) = &self.body {
            entry["resource"] = serde_json::from_str(body).unwrap();
        }
        if let Some(unless) = &self.unless {
            entry["request"]["ifNoneExist"] = unless.as_str().into();
        }
        entry
    }
}

async fn send(world: &World, token: &str, number: usize, asked: &Asked) -> Answer {
    let path = asked.path.strip_prefix(BASE).unwrap_or(&asked.path).trim_start_matches('/');
    let mut request = Request::builder().method(asked.method).uri(format!("/fhir/{path}"));
    // Chance is for what the server makes, and the same on both sides.
    request = request.header(AUTHORIZATION, format!("Bearer {token}")).header(ACCEPT, asked.accept).header("x-request-id", format!("r{number}"));
    if let Some(unless) = &asked.unless {
        request = request.header("if-none-exist", unless);
    }
    if let Some(tag) = asked.if_match {
        request = request.header("if-match", tag);
    }
    let body = match &asked.body {
        Some((kind, body)) => {
            request = request.header(CONTENT_TYPE, *kind);
            Body::from(body.clone())
        }
        None => Body::empty(),
    };
    let response = world.public.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
}

async fn server(records: &[Value]) -> World {
    let mut file = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
    for record in records {
        writeln!(file, "{record}").unwrap();
    }
    World::with(|config| {
        config.base = FhirBase::parse(BASE).unwrap();
        config.data = DataSource::Paths(vec![file.path().to_owned()]);
        // Random records are not sound FHIR, and need not be.
        config.switches.unchecked_structure = true;
    })
    .await
}

/// Everybody's records, and whether each patient's are marked in every text and every id, with nothing that leads from one to another.
struct Everybody {
    records: Records,
    marked: bool,
}

fn mark(number: usize) -> String {
    format!("zz{number}zz")
}

/// Writes the mark into every string that is not part of how a record works.
fn plant(value: &mut Value, mark: &str) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if matches!(name.as_str(), "text" | "div" | "display" | "value" | "family" | "description" | "title" | "source") => {
                        text.push_str(mark);
                    }
                    _ => plant(value, mark),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| plant(one, mark)),
        _ => {}
    }
}

impl Everybody {
    fn random(dice: &mut Dice) -> Self {
        if dice.one_in(2) {
            return Self { records: Records::random(dice, BASE), marked: false };
        }
        let mut all = Vec::new();
        for number in 0..3 {
            let mark = mark(number);
            let one = Records::of(dice, BASE, 1);
            let names: Vec<(String, String)> = one.all.iter().map(|r| (name_of(r).0.to_owned(), name_of(r).1.to_owned())).collect();
            // What patients share is nobody's to give away.
            let end = |kind: &str| if SHARED.contains(&kind) { format!("w{number}") } else { mark.clone() };
            for mut record in one.all {
                record["id"] = format!("{}-{}", name_of(&record).1, end(name_of(&record).0)).into();
                if !SHARED.contains(&name_of(&record).0) {
                    plant(&mut record, &mark);
                    record["note"] = json!([{"text": mark}]);
                    record["extension"] = json!([{"url": format!("urn:{mark}"), "valueString": mark}]);
                }
                let mut text = record.to_string();
                for (kind, id) in &names {
                    let end = end(kind);
                    text = text.replace(&format!("{kind}/{id}\""), &format!("{kind}/{id}-{end}\""));
                    text = text.replace(&format!("{kind}/{id}/_history"), &format!("{kind}/{id}-{end}/_history"));
                }
                all.push(serde_json::from_str(&text).unwrap());
            }
        }
        Self { records: Records { all, base: BASE.to_owned() }, marked: true }
    }
}

/// What a request may be about.
struct Known<'a> {
    records: &'a Records,
    /// The records a body is made after: in a marked world this patient's, so that no mark of another's is ever sent.
    like: Vec<&'a Value>,
    patient: &'a str,
    /// `Type/id` of all that is or was somewhere, this patient's or not.
    names: Vec<String>,
    made: usize,
}

impl Known<'_> {
    fn name(&self, dice: &mut Dice) -> (String, String) {
        let name = dice.pick(&self.names);
        let (kind, id) = name.split_once('/').unwrap();
        (kind.to_owned(), if dice.one_in(12) { "gone".to_owned() } else { id.to_owned() })
    }

    /// A record of somebody's, mostly made this patient's.
    fn body(&mut self, dice: &mut Dice) -> Value {
        let kinds = ["Observation", "Condition", "DocumentReference", "Task", "Binary", "Encounter", "Patient", "Provenance", "Organization", "Communication"];
        let kind = dice.pick(&kinds);
        let like: Vec<&Value> = self.like.iter().copied().filter(|r| r["resourceType"] == kind).collect();
        let mut body = if like.is_empty() { json!({"resourceType": kind, "meta": {"source": "urn:mk0q"}}) } else { dice.pick(&like).clone() };
        self.made += 1;
        body["id"] = format!("made{}", self.made).into();
        let own = json!({"reference": format!("Patient/{}", self.patient)});
        if !dice.one_in(5) {
            match kind {
                "Task" => body["for"] = own,
                "Observation" | "Condition" | "DocumentReference" | "Encounter" | "Communication" => body["subject"] = own,
                _ => {}
            }
        }
        // Of what refers to others, now and then less: most would be refused.
        if !dice.one_in(3) {
            for name in [
                "asserter",
                "performer",
                "author",
                "hasMember",
                "focus",
                "owner",
                "sender",
                "recipient",
                "encounter",
                "context",
                "participant",
                "serviceProvider",
                "text",
            ] {
                body.as_object_mut().unwrap().shift_remove(name);
            }
        }
        if dice.one_in(4) {
            let (kind, id) = self.name(dice);
            body["derivedFrom"] = json!([{"reference": format!("{kind}/{id}")}]);
        }
        if kind == "DocumentReference" && dice.one_in(2) {
            let binaries: Vec<String> = self.names.iter().filter(|name| name.starts_with("Binary/")).cloned().collect();
            if !binaries.is_empty() {
                body["content"] = json!([{"attachment": {"url": dice.pick(&binaries)}}]);
            }
        }
        body
    }

    fn condition(&self, dice: &mut Dice) -> String {
        let (_, id) = self.name(dice);
        let marker = marker_of(&dice.pick(&self.records.all)).to_owned();
        match dice.below(4) {
            0 => format!("_id={id}"),
            1 => format!("patient=Patient/{}", dice.pick(&self.records.ids("Patient"))),
            _ => format!("identifier=urn:ids|{marker}"),
        }
    }

    fn ask(&mut self, dice: &mut Dice, tally: &mut Tally) -> Asked {
        let (kind, id) = self.name(dice);
        let (what, asked) = match dice.below(15) {
            0 | 1 => ("read", Asked::get(format!("{kind}/{id}"))),
            2 => ("history", Asked::get(format!("{kind}/{id}/_history"))),
            3 => ("version", Asked::get(format!("{kind}/{id}/_history/{}", 1 + dice.below(3)))),
            4 | 5 => ("search", self.search(dice)),
            6 => {
                let ids: Vec<String> = (0..4).map(|_| self.name(dice).1).chain([id]).collect();
                ("list of ids", Asked::get(format!("{kind}?_id={}&_include={kind}:patient&_revinclude=Provenance:target", ids.join(","))))
            }
            7 => {
                let body = self.body(dice);
                ("create", Asked::with("POST", name_of(&body).0.to_owned(), &body))
            }
            8 => {
                let body = self.body(dice);
                let unless = Some(self.condition(dice));
                ("conditional create", Asked { unless, ..Asked::with("POST", name_of(&body).0.to_owned(), &body) })
            }
            9 | 10 => {
                let mut body = self.body(dice);
                // Over what stands there, or anew.
                let over: Vec<String> = self.names.iter().filter(|name| name.starts_with(&format!("{}/", name_of(&body).0))).cloned().collect();
                if !over.is_empty() && !dice.one_in(3) {
                    body["id"] = dice.pick(&over).split_once('/').unwrap().1.into();
                }
                let (kind, id) = name_of(&body);
                let if_match = dice.one_in(6).then(|| dice.pick(&["W/\"1\"", "W/\"2\"", "*"]));
                ("update", Asked { if_match, ..Asked::with("PUT", format!("{kind}/{id}"), &body) })
            }
            11 => {
                let mut body = self.body(dice);
                body.as_object_mut().unwrap().shift_remove("id");
                ("conditional update", Asked::with("PUT", format!("{}?{}", body["resourceType"].as_str().unwrap(), self.condition(dice)), &body))
            }
            12 => ("delete", Asked { method: "DELETE", ..Asked::get(format!("{kind}/{id}")) }),
            13 => {
                let mut entries = Vec::new();
                while entries.len() < 4 {
                    let one = self.ask(dice, &mut Tally::new());
                    // A taken id is told of one way or the other: alone, below.
                    if one.method != "PUT" && !one.path.is_empty() && !one.path.ends_with("_search") && one.accept != "application/pdf" {
                        entries.push(one.entry());
                    }
                }
                ("batch", Asked::with("POST", "", &json!({"resourceType": "Bundle", "type": "batch", "entry": entries})))
            }
            _ => {
                let binaries: Vec<String> = self.names.iter().filter(|name| name.starts_with("Binary/")).cloned().collect();
                let path = if binaries.is_empty() { "Binary/gone".to_owned() } else { dice.pick(&binaries) };
                ("content", Asked { accept: dice.pick(&["application/pdf", "application/fhir+json"]), ..Asked::get(path) })
            }
        };
        *tally.entry(what).or_default() += 1;
        asked
    }

    fn search(&self, dice: &mut Dice) -> Asked {
        let kinds: Vec<&'static str> = COMPARTMENT.iter().chain(SHARED).copied().filter(|kind| *kind != "AuditEvent").collect();
        let kind = dice.pick(&kinds);
        let search = Search::random(dice, self.records, kind);
        let pairs = search.pairs(BASE);
        match &search.within {
            Some(id) => Asked::get(format!("Patient/{id}/{}?{}", search.kind, encoded(&pairs))),
            None if dice.one_in(3) => {
                Asked { method: "POST", body: Some(("application/x-www-form-urlencoded", encoded(&pairs))), ..Asked::get(format!("{}/_search", search.kind)) }
            }
            None => Asked::get(format!("{}?{}", search.kind, encoded(&pairs))),
        }
    }
}

fn told(answer: &Answer) -> (u16, String, &str) {
    (answer.status, format!("{:?}", answer.headers), &answer.text)
}

/// Whether any patient's mark but `own` stands in an answer, beside what the links of a searchset repeat of the request.
fn shows_another(answer: &Answer, own: &str) -> bool {
    let text = match serde_json::from_str::<Value>(&answer.text) {
        Ok(mut value) => {
            forget_links(&mut value);
            value.to_string()
        }
        Err(_) => answer.text.clone(),
    };
    let all = format!("{:?} {text}", answer.headers);
    (0..3).map(mark).any(|mark| mark != own && all.contains(&mark))
}

fn forget_links(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("type").is_some_and(|kind| kind == "searchset") {
                fields.shift_remove("link");
            }
            fields.values_mut().for_each(forget_links);
        }
        Value::Array(all) => all.iter_mut().for_each(forget_links),
        _ => {}
    }
}

async fn live_apart(seed: u64, tokens: usize, requests: usize, tally: &mut Tally) {
    let mut dice = Dice::new(seed);
    let everybody = Everybody::random(&mut dice);
    let records = &everybody.records;
    let patients = records.ids("Patient");
    let patient = dice.pick(&patients);
    let other = patients.iter().find(|one| **one != patient).unwrap();
    let mut pass = Pass::of_patient(&mut dice, records, &patient);
    let sight = Sight { pass: &pass, records };
    let own: Vec<Value> = records.all.iter().filter(|r| !sight.is_anothers(r)).cloned().collect();
    assert!(own.len() < records.all.len());
    let (all, alone) = (server(&records.all).await, server(&own).await);
    let here: BTreeSet<String> = own.iter().map(|r| format!("{}/{}", name_of(r).0, name_of(r).1)).collect();
    let names: Vec<String> = records.all.iter().map(|r| format!("{}/{}", name_of(r).0, name_of(r).1)).collect();
    let mut hidden: BTreeSet<String> = names.iter().filter(|name| !here.contains(*name)).cloned().collect();
    let like = if everybody.marked { own.iter().collect() } else { records.all.iter().collect() };
    let mut known = Known { records, like, patient: &patient, names, made: 0 };
    let mut number = 0;
    for _ in 0..tokens {
        let scope = pass.scope(&mut dice);
        let issue = |world: &World| {
            let mut token = world.token(&scope).with("aud", BASE).with("patient", patient.as_str()).without("fhirUser").without("encounter");
            token.name = format!("token-of-{number}");
            if let Some(user) = &pass.user {
                token = token.with("fhirUser", user.as_str());
            }
            token.with("iss", world.issuer.as_str()).issue()
        };
        let tokens = [issue(&all), issue(&alone)];
        let others = all.token("patient/*.cruds").with("aud", BASE).with("patient", other.as_str()).without("fhirUser").issue();
        let mut next = None;
        for _ in 0..requests {
            number += 1;
            // Meanwhile, somebody else's record changes.
            if dice.one_in(5) {
                let id = format!("meanwhile{}", dice.below(6));
                let body = json!({"resourceType": "Observation", "id": id, "meta": {"source": "urn:mk9999q"}, "subject": {"reference": format!("Patient/{other}")}, "identifier": [{"system": "urn:ids", "value": "mk9999q"}]});
                let asked = if dice.one_in(4) {
                    Asked { method: "DELETE", ..Asked::get(format!("Observation/{id}")) }
                } else {
                    Asked::with("PUT", format!("Observation/{id}"), &body)
                };
                if send(&all, &others, number, &asked).await.status < 300 {
                    let name = format!("Observation/{id}");
                    hidden.insert(name.clone());
                    known.names.push(name);
                }
            }
            let asked = next.take().unwrap_or_else(|| known.ask(&mut dice, tally));
            let answer = send(&all, &tokens[0], number, &asked).await;
            let story = || format!("seed {seed}, Patient/{patient} by {:?}, {scope}: {asked:?}", pass.user);
            if everybody.marked {
                let own = &patient[patient.len() - 5..];
                assert!(!shows_another(&answer, own), "{}: {}", story(), answer.text);
            }
            if asked.method == "PUT" && answer.status == 404 && hidden.contains(&asked.path) {
                // Taken, and no word more than of an id that is not there.
                let absent = Asked { method: "DELETE", ..Asked::get(format!("{}/gone", asked.path.split_once('/').unwrap().0)) };
                let absent = send(&all, &tokens[0], number, &absent).await;
                if absent.status == 404 {
                    assert_eq!(told(&answer), told(&absent), "{}", story());
                }
                *tally.entry("taken").or_default() += 1;
                // The other server's log, and chance, stay in step.
                continue;
            }
            let alone = send(&alone, &tokens[1], number, &asked).await;
            assert_eq!(told(&answer), told(&alone), "{}", story());
            let outcome = match answer.status {
                201 => "created",
                200 if asked.method == "PUT" => "updated",
                204 => "deleted",
                403 if asked.method != "GET" => "not written",
                404 if asked.method == "GET" && hidden.contains(&asked.path) => "not seen",
                _ => "other",
            };
            *tally.entry(outcome).or_default() += 1;
            if let Some(made) = answer.headers.get("location").and_then(|at| at.to_str().unwrap().strip_prefix(BASE)) {
                let mut parts = made.trim_start_matches('/').split('/');
                known.names.push(format!("{}/{}", parts.next().unwrap(), parts.next().unwrap()));
            }
            next = serde_json::from_str(&answer.text).ok().and_then(|bundle| link(&bundle, "next")).map(Asked::get);
        }
        pass = Pass::of_patient(&mut dice, records, &patient);
    }
}

#[tokio::test]
async fn what_a_patients_token_is_answered_does_not_depend_on_anybody_elses_record() {
    let mut tally = BTreeMap::new();
    let from = 5000 + first_seed();
    for seed in from..from + 8 * cases() {
        live_apart(seed, 3, 60, &mut tally).await;
    }
    for (what, least) in [
        ("read", 33),
        ("history", 16),
        ("version", 16),
        ("search", 33),
        ("list of ids", 16),
        ("create", 16),
        ("conditional create", 16),
        ("update", 33),
        ("conditional update", 16),
        ("delete", 16),
        ("batch", 16),
        ("content", 16),
        ("created", 16),
        ("updated", 3),
        ("deleted", 3),
        ("not written", 16),
        ("not seen", 10),
        ("taken", 2),
    ] {
        assert!(tally.get(what).is_some_and(|count| *count >= least), "{what}: {tally:?}");
    }
}
