//! (d) A trusted issuer that answers as a test wants: wrong tokens, wrong documents, and none at all. `reference/helseid.md` §6.8.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use helsebro::jose::{Alg, SigningKey};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::hospital::{D_NUMBER, FNR, HPR, Hospital, NUMBERS, PATIENT, PERSON};
use super::{exchange_form, tampered};
use crate::world::{Prover, Reply, SECRET, basic, claims};

/// The trusted issuer and its FHIR server.
struct Stub {
    key: SigningKey,
    /// `kid` in its key set and its tokens.
    kid: Mutex<String>,
    /// Members of the metadata to be other than they should.
    metadata: Mutex<Value>,
    /// What is said of any token, over its own claims.
    said: Mutex<Value>,
    /// The status of introspections and of reads.
    status: Mutex<StatusCode>,
    reads: Mutex<StatusCode>,
    people: Mutex<HashMap<String, Value>>,
    asked: AtomicUsize,
}

fn origin(headers: &HeaderMap) -> String {
    format!("http://{}", headers["host"].to_str().unwrap())
}

async fn metadata(State(stub): State<Arc<Stub>>, headers: HeaderMap) -> Response {
    let at = origin(&headers);
    let mut document = json!({ "issuer": at, "jwks_uri": format!("{at}/jwks"), "introspection_endpoint": format!("{at}/introspect") });
    stub.asked.fetch_add(1, Ordering::SeqCst);
    let changes = stub.metadata.lock().unwrap().clone();
    if changes == "redirect" {
        return (StatusCode::FOUND, [("location", format!("{at}/elsewhere"))]).into_response();
    }
    for (name, value) in changes.as_object().into_iter().flatten() {
        document[name] = value.clone();
    }
    Json(document).into_response()
}

async fn jwks(State(stub): State<Arc<Stub>>) -> Response {
    let mut key = stub.key.public_jwk().to_value();
    key["kid"] = json!(*stub.kid.lock().unwrap());
    Json(json!({ "keys": [key] })).into_response()
}

async fn introspect(State(stub): State<Arc<Stub>>, headers: HeaderMap, Form(form): Form<HashMap<String, String>>) -> Response {
    stub.asked.fetch_add(1, Ordering::SeqCst);
    let status = *stub.status.lock().unwrap();
    if status != StatusCode::OK {
        return status.into_response();
    }
    if headers.get("authorization").is_none_or(|sent| sent != &basic("next-hospital", SECRET)) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut answer = claims(&form["token"]);
    answer["active"] = json!(true);
    answer["token_type"] = json!("Bearer");
    answer["patient"] = json!(PATIENT.0);
    answer["fhirUser"] = json!(format!("Practitioner/{}", PERSON.0));
    for (name, value) in stub.said.lock().unwrap().as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(answer.as_object_mut().unwrap().remove(name)),
            value => answer[name] = value.clone(),
        }
    }
    Json(answer).into_response()
}

async fn read(State(stub): State<Arc<Stub>>, Path((kind, id)): Path<(String, String)>) -> Response {
    stub.asked.fetch_add(1, Ordering::SeqCst);
    let status = *stub.reads.lock().unwrap();
    if status != StatusCode::OK {
        return status.into_response();
    }
    let found = stub.people.lock().unwrap().get(&format!("{kind}/{id}")).cloned();
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |found| Json(found).into_response())
}

fn person(kind: &str, id: &str, numbers: &[(&str, &str)]) -> (String, Value) {
    let numbers: Vec<Value> = numbers.iter().map(|(system, value)| json!({ "system": system, "value": value })).collect();
    (format!("{kind}/{id}"), json!({ "resourceType": kind, "id": id, "identifier": numbers }))
}

impl Stub {
    async fn start(row: &str) -> (Arc<Self>, Hospital) {
        let key = SigningKey::generate(Alg::ES384).unwrap();
        let stub = Arc::new(Self {
            kid: Mutex::new(key.kid().to_owned()),
            key,
            metadata: Mutex::new(json!({})),
            said: Mutex::new(json!({})),
            status: Mutex::new(StatusCode::OK),
            reads: Mutex::new(StatusCode::OK),
            people: Mutex::new(HashMap::from([person("Patient", PATIENT.0, &[(FNR, NUMBERS.0)]), person("Practitioner", PERSON.0, &[(HPR, NUMBERS.1)])])),
            asked: AtomicUsize::new(0),
        });
        // Found at the second place only: an issuer that knows no more than OpenID Connect. RFC 8414 §5.
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/elsewhere", get(metadata))
            .route("/jwks", get(jwks))
            .route("/introspect", post(introspect))
            .route("/fhir/{kind}/{id}", get(read))
            .with_state(Arc::clone(&stub));
        let hospital = Hospital::beside(router, row).await;
        (stub, hospital)
    }

    fn claims(hospital: &Hospital) -> Value {
        let now = hospital.now();
        json!({
            "iss": hospital.theirs, "aud": hospital.their_fhir, "sub": "u-1", "client_id": "portal-there", "jti": "t-1", "iat": now, "exp": now + 600,
            "scope": "openid fhirUser launch/patient offline_access patient/*.cruds user/*.rs https://other.example/scope", "auth_time": now - 60
        })
    }

    fn sign(&self, header: impl FnOnce(&mut Value), claims: &Value) -> String {
        let mut head = json!({ "typ": "at+jwt", "alg": "ES384", "kid": *self.kid.lock().unwrap() });
        header(&mut head);
        self.key.sign_with_header(&head, claims).unwrap()
    }

    /// A good token but for some claims.
    fn token(&self, hospital: &Hospital, changes: &Value) -> String {
        let mut claims = Self::claims(hospital);
        for (name, value) in changes.as_object().into_iter().flatten() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        self.sign(|_| (), &claims)
    }

    fn say(&self, said: Value) {
        *self.said.lock().unwrap() = said;
    }

    fn know(&self, people: &[(String, Value)]) {
        self.people.lock().unwrap().extend(people.iter().cloned());
    }
}

fn same(reply: &Reply) {
    // T25 te_errors_indistinguishable: whatever it was, in the same words.
    assert_eq!(
        (reply.status, reply.json()),
        (400, json!({ "error": "invalid_request", "error_description": "a token of this request, or what it was sent with, is not acceptable" })),
    );
}

#[tokio::test]
async fn a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words() {
    let (stub, hospital) = Stub::start("").await;
    let good = stub.token(&hospital, &json!({}));
    let answer = hospital.exchange("portal-here", &good, &[]).await.is(200).json();
    // P2, P3, T5: requested is all of the subject's, and nothing of it that an exchange never gives.
    assert_eq!(answer["scope"], "fhirUser patient/Patient.rs patient/Condition.rs user/Practitioner.rs");
    let now = hospital.now();
    let deep = |levels: usize| (0..levels).fold(json!({ "sub": "a" }), |inner, _| json!({ "sub": "a", "act": inner }));
    for (case, changes) in [
        ("te_wrong_aud", json!({ "aud": hospital.fhir })),
        ("te_multi_aud", json!({ "aud": [hospital.their_fhir] })),
        ("te_aud_trailing_slash", json!({ "aud": format!("{}/", hospital.their_fhir) })),
        ("te_aud_case", json!({ "aud": hospital.their_fhir.replace("fhir", "FHIR") })),
        ("the issuer as audience", json!({ "aud": hospital.theirs })),
        ("expired", json!({ "exp": now - 5 })),
        ("no exp", json!({ "exp": null })),
        ("skew_plus_30_refused", json!({ "iat": now + 30 })),
        ("issued 6 s from now", json!({ "iat": now + 6 })),
        ("not yet", json!({ "nbf": now + 6 })),
        ("no client", json!({ "client_id": null })),
        ("te_subject_of_other_client_refused", json!({ "client_id": "service-here" })),
        ("the name of one of ours", json!({ "client_id": "portal-here" })),
        ("bound to what cannot be checked", json!({ "cnf": { "x5t#S256": "A" } })),
        ("bound to another key", json!({ "cnf": { "jkt": "x" } })),
        ("exchanged before", json!({ "src": { "iss": "https://third.example" } })),
        ("acted for before", json!({ "act": { "sub": "a" } })),
        ("deep_act", json!({ "act": deep(3) })),
        ("deep_act, too deep to be read", json!({ "act": deep(400) })),
        ("an actor that is none", json!({ "act": "portal" })),
    ] {
        let reply = hospital.exchange("portal-here", &stub.token(&hospital, &changes), &[]).await;
        assert_eq!(reply.status, 400, "{case}: {}", reply.body);
        same(&reply);
    }
    let all = Stub::claims(&hospital);
    let other = SigningKey::generate(Alg::ES384).unwrap();
    for (case, token) in [
        ("tampered", tampered(&good, |claims| claims["scope"] = json!("user/*.cruds"))),
        ("another key", other.sign_with_header(&json!({ "typ": "at+jwt", "alg": "ES384", "kid": stub.key.kid() }), &all).unwrap()),
        ("jku_ignored", other.sign_with_header(&json!({ "typ": "at+jwt", "alg": "ES384", "kid": "x", "jwk": other.public_jwk() }), &all).unwrap()),
        ("te_id_token_as_subject", stub.sign(|header| header["typ"] = json!("JWT"), &all)),
        ("te_proof_as_subject", stub.sign(|header| header["typ"] = json!("dpop+jwt"), &all)),
        ("no type", stub.sign(|header| drop(header.as_object_mut().unwrap().remove("typ")), &all)),
        ("crit", stub.sign(|header| header["crit"] = json!(["b64"]), &all)),
        ("alg_none", stub.sign(|header| header["alg"] = json!("none"), &all)),
        ("alg_hs_confusion", stub.sign(|header| header["alg"] = json!("HS256"), &all)),
        ("not a token", format!("{good}.x")),
    ] {
        let reply = hospital.exchange("portal-here", &token, &[]).await;
        assert_eq!(reply.status, 400, "{case}: {}", reply.body);
        same(&reply);
    }
    // T23 big_jwt: refused before it is looked at.
    let big = stub.token(&hospital, &json!({ "filler": "x".repeat(16 * 1024) }));
    let asked = stub.asked.load(Ordering::SeqCst);
    hospital.exchange("portal-here", &big, &[]).await.refused(400, "invalid_request");
    // T2, T24 audience_is_not_fetched: who has no row for it makes us ask nobody; nor does a target that no row has.
    for (caller, more, error) in
        [("fhir-server", [].as_slice(), "unauthorized_client"), ("portal-here", &[("audience", "http://127.0.0.1:1/")], "invalid_target")]
    {
        hospital.exchange(caller, &stub.token(&hospital, &json!({})), more).await.refused(400, error);
    }
    assert_eq!(stub.asked.load(Ordering::SeqCst), asked);
    // T21 skew_plus_4_ok.
    for changes in [json!({ "iat": now + 4, "nbf": now + 5 }), json!({ "exp": now + 1 })] {
        let answer = hospital.exchange("portal-here", &stub.token(&hospital, &changes), &[]).await.is(200).json();
        // P4: never beyond its subject.
        assert!(answer["expires_in"].as_i64().unwrap() <= changes["exp"].as_i64().map_or(300, |exp| exp - now), "{answer}");
    }
    hospital.stop().await;
}

#[tokio::test]
async fn a_token_and_its_introspection_must_agree() {
    let (stub, hospital) = Stub::start("").await;
    let said = |name: &str, value: Value| json!({ name: value });
    for (claim, answer) in [
        (json!({}), said("active", json!(false))),
        (json!({}), said("client_id", json!("another"))),
        (json!({}), said("sub", json!("u-2"))),
        (json!({}), said("iss", json!("https://third.example"))),
        (json!({}), said("aud", json!("https://third.example"))),
        (json!({}), said("jti", json!("t-2"))),
        (json!({}), said("exp", json!(hospital.now() + 601))),
        (json!({}), said("scope", json!("patient/Patient.r"))),
        (json!({}), said("token_type", json!("DPoP"))),
        (json!({}), said("cnf", json!({ "jkt": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU" }))),
        (json!({}), said("patient", json!(7))),
        (json!({}), said("fhirUser", json!("https://third.example/fhir/Practitioner/lege-fastlege"))),
        (json!({}), said("fhirUser", json!("Patient/pasient-01"))),
        (json!({}), said("fhirUser", json!("Practitioner/nobody"))),
        (json!({}), said("fhirUser", Value::Null)),
        (json!({ "patient": "pasient-02" }), json!({})),
        (json!({ "fhirUser": "Practitioner/another" }), json!({})),
    ] {
        stub.say(answer.clone());
        let reply = hospital.exchange("portal-here", &stub.token(&hospital, &claim), &[]).await;
        // RFC 9449 §5: a missing proof has a code of its own.
        let expected = if answer["cnf"].is_object() { "invalid_dpop_proof" } else { "invalid_request" };
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some(expected)), "{claim} {answer}: {}", reply.body);
    }
    // Where only one of them says it, or both say the same in other words, it stands.
    let absolute = format!("{}/Practitioner/{}", hospital.their_fhir, PERSON.0);
    for (claim, answer) in [
        (json!({ "patient": PATIENT.0, "fhirUser": absolute }), json!({})),
        (json!({}), said("scope", Value::Null)),
        (json!({ "scope": null, "client_id": null }), json!({ "scope": "patient/Patient.rs fhirUser", "client_id": "portal-there" })),
    ] {
        stub.say(answer);
        let answer = hospital.exchange("portal-here", &stub.token(&hospital, &claim), &[]).await.is(200).json();
        assert_eq!(answer["patient"], PATIENT.1);
    }
    // Without a patient there are no patient scopes, whatever the token has.
    stub.say(said("patient", Value::Null));
    let answer = hospital.exchange("portal-here", &stub.token(&hospital, &json!({})), &[]).await.is(200).json();
    assert_eq!((&answer["scope"], answer.get("patient")), (&json!("fhirUser user/Practitioner.rs"), None));
    hospital.exchange("portal-here", &stub.token(&hospital, &json!({})), &[("scope", "patient/Patient.rs")]).await.refused(400, "invalid_scope");
    hospital.stop().await;
}

#[tokio::test]
async fn nobody_is_found_by_numbers_that_disagree() {
    let (stub, hospital) = Stub::start("").await;
    let many: Vec<(String, &str)> = (0..9).map(|n| (FNR.to_owned(), ["00000000000", "11111111111"][n % 2])).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(system, value)| (system.as_str(), *value)).collect();
    let practitioner = |numbers: &[(&str, &str)]| person("Practitioner", PERSON.0, numbers);
    let patient = |numbers: &[(&str, &str)]| person("Patient", PATIENT.0, numbers);
    let inactive = |(name, mut one): (String, Value)| {
        one["active"] = json!(false);
        (name, one)
    };
    let good = [patient(&[(FNR, NUMBERS.0)]), practitioner(&[(HPR, NUMBERS.1)])];
    for (case, wrong) in [
        ("no number at all", patient(&[])),
        ("a number of another system", patient(&[("urn:oid:2.999.1", NUMBERS.0)])),
        ("two people here by one of them", patient(&[(FNR, NUMBERS.0), (FNR, "21907911230")])),
        ("found by one, and of another by the other", patient(&[(D_NUMBER, "42878712921"), (FNR, "11111111111")])),
        ("more numbers than anybody has", patient(&many)),
        ("out of use there", inactive(patient(&[(FNR, NUMBERS.0)]))),
        ("a practitioner's number is no patient's", patient(&[(HPR, NUMBERS.1)])),
        ("a practitioner of another number", practitioner(&[(HPR, "990001014")])),
        ("a practitioner without", practitioner(&[])),
        ("a search that would be wider", patient(&[(FNR, "14839219696,21907911230")])),
        ("nothing to search for", patient(&[(FNR, " ")])),
    ] {
        stub.know(&good);
        stub.know(&[wrong]);
        let reply = hospital.exchange("portal-here", &stub.token(&hospital, &json!({})), &[]).await;
        assert_eq!(reply.status, 400, "{case}: {}", reply.body);
        same(&reply);
    }
    // A number that nobody has here leads nowhere, and so does no harm.
    stub.know(&good);
    stub.know(&[patient(&[(D_NUMBER, "70898334404"), (FNR, NUMBERS.0)])]);
    let answer = hospital.exchange("portal-here", &stub.token(&hospital, &json!({})), &[]).await.is(200).json();
    assert_eq!(answer["patient"], PATIENT.1);
    // Who got a birth number after the D-number is the same person under either.
    for numbers in [&[(D_NUMBER, "42878712921")][..], &[(D_NUMBER, "42878712921"), (FNR, "04849646449")]] {
        stub.know(&[patient(numbers)]);
        let answer = hospital.exchange("portal-here", &stub.token(&hospital, &json!({})), &[]).await.is(200).json();
        assert_eq!(answer["patient"], "p-both");
    }
    hospital.stop().await;
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_no_answer() {
    let (stub, hospital) = Stub::start("").await;
    let token = stub.token(&hospital, &json!({}));
    let down = |case: &str, reply: &Reply| {
        assert_eq!((reply.status, reply.json()["error"].as_str()), (503, Some("temporarily_unavailable")), "{case}: {}", reply.body);
        assert!(reply.header("retry-after").is_some(), "{case}");
    };
    // Metadata first, for they are kept. T15 metadata_issuer_mismatch, metadata_redirect_refused.
    for (case, document) in [
        ("another issuer", json!({ "issuer": "https://third.example" })),
        ("a slash", json!({ "issuer": format!("{}/", hospital.theirs) })),
        ("keys elsewhere", json!({ "jwks_uri": "https://third.example/jwks" })),
        ("introspection elsewhere", json!({ "introspection_endpoint": "https://third.example/introspect" })),
        ("no introspection", json!({ "introspection_endpoint": null })),
        ("redirect", json!("redirect")),
    ] {
        *stub.metadata.lock().unwrap() = document;
        down(case, &hospital.exchange("portal-here", &token, &[]).await);
        let asked = stub.asked.load(Ordering::SeqCst);
        down(case, &hospital.exchange("portal-here", &token, &[]).await);
        assert_eq!(stub.asked.load(Ordering::SeqCst), asked, "{case}: a failure is kept for a moment");
        hospital.clock.advance(std::time::Duration::from_secs(5));
    }
    *stub.metadata.lock().unwrap() = json!({});
    hospital.exchange("portal-here", &token, &[]).await.is(200);
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::FOUND] {
        *stub.status.lock().unwrap() = status;
        down(status.as_str(), &hospital.exchange("portal-here", &token, &[]).await);
    }
    *stub.status.lock().unwrap() = StatusCode::OK;
    for said in [json!({ "active": "true" }), json!({ "active": null })] {
        stub.say(said.clone());
        down(&said.to_string(), &hospital.exchange("portal-here", &token, &[]).await);
    }
    stub.say(json!({}));
    for (status, expected) in [(503, 503), (500, 503), (401, 400), (403, 400), (404, 400)] {
        *stub.reads.lock().unwrap() = StatusCode::from_u16(status).unwrap();
        let reply = hospital.exchange("portal-here", &token, &[]).await;
        assert_eq!(reply.status, expected, "{status}: {}", reply.body);
    }
    *stub.reads.lock().unwrap() = StatusCode::OK;
    hospital.exchange("portal-here", &token, &[]).await.is(200);
    hospital.stop().await;
}

/// T4 same_kid_two_issuers: a `kid` is looked for at the issuer the token names, and nowhere else.
#[tokio::test]
async fn the_same_kid_at_both_issuers_is_two_keys() {
    let (stub, hospital) = Stub::start("").await;
    let ours: Value = Reply::of(hospital.http.get(format!("{}/jwks", hospital.ours)).send().await.unwrap()).await.is(200).json();
    for key in ours["keys"].as_array().unwrap() {
        *stub.kid.lock().unwrap() = key["kid"].as_str().unwrap().to_owned();
        // Its key set is asked for again for a kid it lacks.
        hospital.clock.advance(std::time::Duration::from_secs(60));
        hospital.exchange("portal-here", &stub.token(&hospital, &json!({})), &[]).await.is(200);
        let as_ours = stub.token(&hospital, &json!({ "iss": hospital.ours, "aud": hospital.fhir, "client_id": "portal-here" }));
        same(&hospital.exchange("portal-here", &as_ours, &[]).await);
        hospital.read(&as_ours, &format!("{}/Patient/{}", hospital.fhir, PATIENT.1)).await.is(401);
    }
    assert!(!ours["keys"].as_array().unwrap().is_empty());
    hospital.stop().await;
}

/// What is bound to a key is read at their FHIR server with a proof by that key, which we do not have.
#[tokio::test]
async fn a_bound_token_is_refused_and_not_made_a_bearer() {
    let (stub, hospital) = Stub::start("").await;
    let (holder, thief) = (Prover::new(), Prover::new());
    let token = stub.token(&hospital, &json!({ "cnf": { "jkt": holder.jkt() } }));
    let url = format!("{}/token", hospital.ours);
    let exchange = |key: Option<&Prover>| {
        let request = hospital.http.post(&url).header("authorization", basic("portal-here", SECRET)).form(&exchange_form(&token, &hospital.fhir, &[]));
        let request = match key {
            Some(key) => request.header("dpop", key.proof("POST", &url, hospital.now())),
            None => request,
        };
        async { Reply::of(request.send().await.unwrap()).await }
    };
    let before = stub.asked.load(Ordering::SeqCst);
    // T8 te_no_proof, te_bound_subject_other_key.
    exchange(None).await.refused(400, "invalid_dpop_proof");
    same(&exchange(Some(&thief)).await);
    same(&exchange(Some(&holder)).await);
    // Metadata once and three introspections: nobody was read.
    assert_eq!(stub.asked.load(Ordering::SeqCst) - before, 4);
    hospital.stop().await;
}

#[tokio::test]
async fn may_act_and_chains_name_whoever_they_name_there() {
    let (stub, hospital) = Stub::start("again = true\nmax_depth = 3").await;
    let rows = [
        // RFC 8693 §4.4: the claim names one party. To the holder itself it says nothing.
        ("service-here", json!({ "sub": "portal-there" }), 400),
        ("service-here", json!({ "sub": "service-here" }), 400),
        ("service-here", json!({ "sub": "service-here", "iss": hospital.theirs }), 400),
        ("service-here", json!({ "sub": "service-here", "iss": "https://third.example" }), 400),
        ("service-here", json!({ "sub": "service-here", "iss": hospital.ours }), 200),
        ("portal-here", json!({ "sub": "somebody" }), 200),
        ("portal-here", json!("somebody"), 400),
    ];
    for (caller, may_act, status) in rows {
        let reply = hospital.exchange(caller, &stub.token(&hospital, &json!({ "may_act": may_act })), &[]).await;
        assert_eq!(reply.status, status, "{caller} {may_act}: {}", reply.body);
    }
    // P6 te_round_trip_refused: what went through another issuer may come, what came from here may not come back.
    let through = |issuers: &[&str]| json!({ "src": issuers.iter().map(|issuer| json!({ "iss": issuer })).collect::<Vec<_>>() });
    hospital.exchange("portal-here", &stub.token(&hospital, &through(&["https://third.example"])), &[]).await.is(200);
    same(&hospital.exchange("portal-here", &stub.token(&hospital, &through(&["https://third.example", &hospital.ours])), &[]).await);
    // Where the row lets a chain go on, it is told whose names are in it. T12 te_depth_limit.
    let chain = |levels: usize| (1..levels).fold(json!({ "sub": "a", "iss": "https://third.example" }), |inner, _| json!({ "sub": "b", "act": inner }));
    let answer = hospital.exchange("portal-here", &stub.token(&hospital, &json!({ "act": chain(2) })), &[]).await.is(200).json();
    let act = &claims(answer["access_token"].as_str().unwrap())["act"];
    assert_eq!(act["act"], json!({ "sub": "b", "iss": hospital.theirs, "act": { "sub": "a", "iss": "https://third.example" } }));
    same(&hospital.exchange("portal-here", &stub.token(&hospital, &json!({ "act": chain(3) })), &[]).await);
    hospital.stop().await;
}
