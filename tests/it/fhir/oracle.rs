//! No query, include, page, compartment, list of ids, POST search, read or link shows a token anything it may not see. Random records, random
//! scopes and random requests; the answer is compared with one worked out slowly from the rules, and searched for the markers of what is
//! hidden: status line, headers and body.

mod apart;
mod asks;
mod records;
mod sight;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use axum::body::Body;
use helsebro::fhir::DataSource;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use self::asks::{Search, has_text};
use self::records::{Dice, Records, marker_of, name_of};
use self::sight::{COMPARTMENT, Pass, SHARED, Sight};
use super::world::{Answer, World};

/// How much of each thing was tried: a property that is never put to the proof would hold, too.
type Tally = BTreeMap<&'static str, usize>;

/// A random world and one token in it.
struct Case<'a> {
    world: &'a World,
    sight: Sight<'a>,
    token: String,
    /// What to say when something is wrong.
    story: String,
    /// Over a connection rather than in process.
    wire: bool,
}

struct Sent {
    method: &'static str,
    path: String,
    form: Option<String>,
    /// A body of JSON.
    json: Option<Value>,
    accept: &'static str,
}

impl Sent {
    fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), form: None, json: None, accept: "application/fhir+json" }
    }
}

impl Sent {
    fn body(&self) -> (&'static str, String) {
        match (&self.form, &self.json) {
            (_, Some(json)) => ("application/fhir+json", json.to_string()),
            (form, None) => ("application/x-www-form-urlencoded", form.clone().unwrap_or_default()),
        }
    }
}

fn encoded(pairs: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn markers(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("mk").map(|(place, _)| place + 2);
    let numbers = starts.filter_map(|from| text[from..].split_once('q').map(|(number, _)| number));
    numbers.filter(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).map(|number| format!("mk{number}q")).collect()
}

impl Case<'_> {
    /// Sends, and looks for what must not be in the answer.
    async fn ask(&self, sent: &Sent) -> Answer {
        let answer = if self.wire { self.send(sent).await } else { self.call(sent).await };
        let asked = format!("{} {} {:?}", sent.path, sent.form.as_deref().unwrap_or_default(), sent.json);
        let shown = markers(&format!("{} {:?} {}", answer.status, answer.headers, answer.text));
        for resource in &self.sight.records.all {
            let marker = marker_of(resource);
            if shown.contains(marker) && !markers(&asked).contains(marker) {
                assert!(self.sight.sees('r', resource) || self.sight.sees('s', resource), "{}: {asked} shows {:?}", self.story, name_of(resource));
                if self.sight.pass.is_for_one_patient() {
                    assert!(!self.sight.is_anothers(resource), "{}: {asked} shows another's {:?}", self.story, name_of(resource));
                }
            }
        }
        answer
    }

    async fn call(&self, sent: &Sent) -> Answer {
        let path = sent.path.strip_prefix(&self.world.base).unwrap_or(&sent.path).trim_start_matches('/');
        let request = Request::builder().method(sent.method).uri(format!("/fhir/{path}"));
        let request = request.header(AUTHORIZATION, format!("Bearer {}", self.token)).header(ACCEPT, sent.accept);
        let (kind, body) = sent.body();
        let request = request.header(CONTENT_TYPE, kind).body(Body::from(body)).unwrap();
        let response = self.world.public.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    async fn send(&self, sent: &Sent) -> Answer {
        let request = self.world.request(sent.method, &sent.path).bearer_auth(&self.token).header(ACCEPT, sent.accept);
        let (kind, body) = sent.body();
        World::send(if body.is_empty() { request } else { request.header(CONTENT_TYPE, kind).body(body) }).await
    }

    async fn read(&self, dice: &mut Dice, tally: &mut Tally) {
        let open = (0..2).map(|_| dice.pick(&self.sight.records.all)).find(|resource| self.sight.may('r', name_of(resource).0));
        let resource = open.unwrap_or_else(|| dice.pick(&self.sight.records.all));
        let (kind, id) = name_of(&resource);
        let raw = kind == "Binary" && dice.one_in(2);
        let accept = if raw { "application/pdf" } else { "application/fhir+json" };
        let get = |id: &str| Sent { accept, ..Sent::get(format!("{kind}/{id}")) };
        let answer = self.ask(&get(id)).await;
        let (outcome, status) = match (self.sight.sees('r', &resource), self.sight.may('r', kind)) {
            (true, _) => ("read", 200),
            (false, true) => ("hidden", 404),
            (false, false) => ("denied", 403),
        };
        assert_eq!(answer.status, status, "{}: {kind}/{id}", self.story);
        *tally.entry(outcome).or_default() += 1;
        if status == 200 {
            assert!(answer.text.contains(marker_of(&resource)));
            return;
        }
        // Word for word what is said of an id that is not there.
        let absent = self.ask(&get("absent")).await;
        let plain = |answer: &Answer| {
            let mut headers = answer.headers.clone();
            headers.remove("x-request-id");
            headers.remove("date");
            (answer.status, answer.text.clone(), format!("{headers:?}"))
        };
        assert_eq!(plain(&answer), plain(&absent), "{}: {kind}/{id}", self.story);
    }

    async fn search(&self, dice: &mut Dice, tally: &mut Tally) {
        // The log grows by being read: what of it is shown is looked at below, not counted.
        let kinds: Vec<&'static str> = COMPARTMENT.iter().chain(SHARED).copied().filter(|kind| *kind != "AuditEvent").collect();
        // Mostly what is open: a refusal is soon told.
        let open = (0..4).map(|_| dice.pick(&kinds)).find(|kind| self.sight.may('s', kind));
        let kind = open.unwrap_or_else(|| dice.pick(&kinds));
        let search = Search::random(dice, self.sight.records, kind);
        let pairs = search.pairs(&self.world.base);
        let sent = match &search.within {
            Some(id) => Sent::get(format!("Patient/{id}/{}?{}", search.kind, encoded(&pairs))),
            None if dice.one_in(3) => {
                let (query, body) = pairs.split_at(dice.below(pairs.len() + 1));
                Sent { method: "POST", form: Some(encoded(body)), ..Sent::get(format!("{}/_search?{}", search.kind, encoded(query))) }
            }
            None => Sent::get(format!("{}?{}", search.kind, encoded(&pairs))),
        };
        let answer = self.ask(&sent).await;
        if !self.sight.may('s', search.kind) {
            assert_eq!(answer.status, 403, "{}: {}", self.story, sent.path);
            *tally.entry("search denied").or_default() += 1;
            return;
        }
        assert_eq!(answer.status, 200, "{}: {} {:?}: {}", self.story, sent.path, sent.form, answer.text);
        let expected = search.expected(&self.sight);
        let mut bundle = answer.json();
        if search.only_total {
            assert_eq!((&bundle["total"], bundle.get("entry")), (&expected.len().into(), None), "{}: {}", self.story, sent.path);
            *tally.entry("counted").or_default() += 1;
            return;
        }
        let mut found = Vec::new();
        loop {
            assert_eq!(bundle.get("total"), search.total.then(|| expected.len().into()).as_ref(), "{}: {}", self.story, sent.path);
            let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
            let (mut page, mut with) = (Vec::new(), BTreeSet::new());
            for entry in &entries {
                let (kind, id) = name_of(&entry["resource"]);
                match entry["search"]["mode"].as_str().unwrap() {
                    "match" => page.push(id.to_owned()),
                    "include" => assert!(with.insert(format!("{kind}/{id}")), "{}: {} twice {kind}/{id}", self.story, sent.path),
                    mode => panic!("{}: {} has an entry of mode {mode}", self.story, sent.path),
                }
                assert_ne!(has_text(&entry["resource"]), search.cuts_text(), "{}: {}", self.story, sent.path);
            }
            assert_eq!(with, search.expected_with(&self.sight, &page), "{}: what comes with {page:?} for {} {:?}", self.story, sent.path, sent.form);
            assert!(page.len() <= search.count.unwrap_or(50));
            *tally.entry("included").or_default() += with.len();
            found.extend(page);
            let Some(next) = link(&bundle, "next") else { break };
            *tally.entry("pages turned").or_default() += 1;
            bundle = self.ask(&Sent::get(next)).await.json();
        }
        assert_eq!(found, expected, "{}: {} {:?}", self.story, sent.path, sent.form);
        *tally.entry(if found.is_empty() { "found nothing" } else { "found" }).or_default() += 1;
    }

    /// What is refused or not offered says nothing either. Whatever of these comes to be offered is held to the same; nothing here changes
    /// a resource, so that the records stay what the server has.
    async fn pry(&self, dice: &mut Dice, tally: &mut Tally) {
        let resource = dice.pick(&self.sight.records.all);
        let (kind, id) = name_of(&resource);
        let marker = marker_of(&resource);
        let path = match dice.below(19) {
            0 => format!("{kind}/{id}/_history"),
            1 => format!("{kind}/{id}/_history/1"),
            2 => format!("{kind}/_history"),
            3 => "_history".to_owned(),
            4 => format!("Patient/{id}/$everything"),
            5 => format!("{kind}?_include=*"),
            6 => format!("{kind}?_revinclude:iterate=Provenance:target"),
            7 => format!("Condition?patient.identifier=urn:ids|{marker}"),
            8 => format!("Condition?subject:Patient.identifier={marker}"),
            9 => format!("Patient?_has:Condition:patient:identifier={marker}"),
            10 => format!("Encounter/{id}/Condition"),
            11 => format!("Patient/{id}/*"),
            12 => format!("Patient/{id}/{kind}?_sort=identifier"),
            13 => format!("{kind}?subject:identifier=urn:ids|{marker}&colour=red"),
            14 => format!("?_type={kind}&_id={id}"),
            15 => format!("AuditEvent?entity={kind}/{id}&_include=AuditEvent:entity&_revinclude=Provenance:target"),
            16 => format!("{kind}?_revinclude=AuditEvent:entity&_id={id}"),
            17 => {
                let urls = [
                    format!("{kind}/{id}"),
                    format!("{kind}?identifier={marker}&_include=*"),
                    format!("Patient/{id}/Condition"),
                    format!("{kind}/{id}/_history"),
                ];
                let entry: Vec<Value> = urls.iter().map(|url| json!({"request": {"method": "GET", "url": url}})).collect();
                let bundle = json!({"resourceType": "Bundle", "type": dice.pick(&["batch", "transaction"]), "entry": entry});
                self.ask(&Sent { method: "POST", json: Some(bundle), ..Sent::get("") }).await;
                return;
            }
            _ => format!("{kind}?_cursor={marker}.0"),
        };
        self.ask(&Sent::get(path)).await;
        *tally.entry("pried").or_default() += 1;
    }
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array()?;
    links.iter().find(|link| link["relation"] == relation).map(|link| link["url"].as_str().unwrap().to_owned())
}

/// Which seeds: one world each.
async fn explore(seeds: std::ops::Range<u64>, tokens: usize, requests: usize, wire: bool) -> Tally {
    let mut tally = Tally::new();
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let mut file = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
        let mut made = None;
        let world = World::with(|config| {
            let records = Records::random(&mut dice, config.base.as_str());
            file.write_all(records.ndjson().as_bytes()).unwrap();
            config.data = DataSource::Paths(vec![file.path().to_owned()]);
            made = Some(records);
        })
        .await;
        let records = made.unwrap();

        let mut turned = None;
        for _ in 0..tokens {
            let pass = Pass::random(&mut dice, &records);
            let scope = pass.scope(&mut dice);
            let mut token = world.token(&scope).without("patient").without("fhirUser");
            if let Some(patient) = &pass.patient {
                token = token.with("patient", patient.as_str());
            }
            if let Some(user) = &pass.user {
                token = token.with("fhirUser", user.as_str());
            }
            let story = format!("seed {seed}, patient {:?}, user {:?}, {scope}", pass.patient, pass.user);
            let case = Case { world: &world, sight: Sight { pass: &pass, records: &records }, token: token.issue(), story, wire };
            // A page another token was given.
            if let Some(path) = turned.take() {
                case.ask(&Sent::get(path)).await;
            }
            for _ in 0..requests {
                match dice.below(8) {
                    0 | 1 => case.read(&mut dice, &mut tally).await,
                    2 => case.pry(&mut dice, &mut tally).await,
                    _ => case.search(&mut dice, &mut tally).await,
                }
            }
            let all = case.ask(&Sent::get("Observation?_count=1")).await;
            turned = serde_json::from_str(&all.text).ok().and_then(|bundle| link(&bundle, "next"));
        }
    }
    tally
}

#[tokio::test]
async fn nothing_is_shown_that_may_not_be_seen_and_everything_that_may_is_found() {
    let from = first_seed();
    let tally = explore(from..from + 16 * cases(), 8, 24, false).await;
    for (what, least) in [
        ("read", 100),
        ("hidden", 100),
        ("denied", 50),
        ("found", 200),
        ("found nothing", 100),
        ("counted", 50),
        ("included", 50),
        ("pages turned", 30),
        ("search denied", 100),
        ("pried", 100),
    ] {
        assert!(tally.get(what).is_some_and(|count| *count >= least), "{what}: {tally:?}");
    }
}

#[tokio::test]
async fn nor_over_a_connection() {
    let tally = explore(1000..1003, 6, 20, true).await;
    assert!(tally["found"] > 0 && tally["hidden"] > 0 && tally["pages turned"] > 0, "{tally:?}");
}

/// Where to begin: `HELSEBRO_TEST_SEED` tries other worlds than every run does.
#[expect(clippy::disallowed_methods, reason = "which worlds to try comes from whoever runs the tests")]
fn first_seed() -> u64 {
    std::env::var("HELSEBRO_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

/// How many times as many worlds as in every run: `HELSEBRO_TEST_CASES`.
#[expect(clippy::disallowed_methods, reason = "how many worlds to try comes from whoever runs the tests")]
fn cases() -> u64 {
    std::env::var("HELSEBRO_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1)
}
