//! Whom a client acts for. reference/helseid.md §2.12, §4, M10, M11.

use helsebro::helseid::seed::Grant;
use helsebro::helseid::seed::table::{BATCH, SMART_AS, SMART_AS_SINGLE};
use serde_json::{Value, json};

use super::world::{Answer, Client, Mock};

const PARENT: &str = "helseid://claims/client/claims/orgnr_parent";
const CHILD: &str = "helseid://claims/client/claims/orgnr_child";
const SUPPLIER: &str = "helseid://claims/client/claims/orgnr_supplier";
const TENANCY: &str = "helseid://claims/client/client_tenancy";
const ENH: &str = "urn:oid:1.0.6523";
const NUMBER: &str = "urn:oid:2.16.578.1.12.4.1.4.101";
const OLD_NUMBER: &str = "urn:oid:2.16.578.1.12.4.1.2.101";

fn structure(system: &str, value: &str) -> Value {
    json!({"type": "helseid_authorization", "practitioner_role": {"organization": {"identifier": {"system": system, "type": "ENH", "value": value}}}})
}

/// A mock in which the clients for users may ask as machines too, so that one request is enough.
async fn mock() -> Mock {
    let mock = Mock::start().await;
    for id in [SMART_AS, SMART_AS_SINGLE] {
        mock.change_client(id, |client| {
            client.grants.insert(Grant::ClientCredentials);
        });
    }
    mock
}

async fn ask(party: &Client<'_>, name: &str, details: &Value) -> Answer {
    let form = [("grant_type", "client_credentials"), ("scope", "demo:kjerne/read")];
    party.grant(&form, |claims| claims[name] = details.clone()).await
}

#[tokio::test]
async fn who_acts_stands_in_the_token() {
    let mock = mock().await;
    let (multi, single) = (mock.client(SMART_AS), mock.client(SMART_AS_SINGLE));
    let claim = |answer: &Answer, name: &str| answer.claims().get(name).and_then(Value::as_str).map(str::to_owned);
    let both = structure(ENH, "NO:ORGNR:310441007:310441015");
    for (what, party, name, details, parent, child) in [
        ("both", &multi, "assertion_details", both.clone(), "310441007", Some("310441015")),
        ("the older name", &multi, "authorization_details", both.clone(), "310441007", Some("310441015")),
        ("in an array", &multi, "assertion_details", json!([both]), "310441007", Some("310441015")),
        ("parent", &multi, "assertion_details", structure(ENH, "NO:ORGNR:310441104"), "310441104", None),
        ("parent and a colon", &multi, "assertion_details", structure(ENH, "NO:ORGNR:310441104:"), "310441104", None),
        ("child of its one parent", &single, "assertion_details", structure(NUMBER, "310441015"), "310441007", Some("310441015")),
        ("the older system", &single, "assertion_details", structure(OLD_NUMBER, "310441015"), "310441007", Some("310441015")),
    ] {
        let answer = ask(party, name, &details).await;
        assert_eq!(answer.said(), "200", "{what}: {answer:?}");
        assert_eq!((claim(&answer, PARENT).as_deref(), claim(&answer, CHILD).as_deref()), (Some(parent), child), "{what}");
    }
    let answer = ask(&multi, "assertion_details", &structure(ENH, "NO:ORGNR:310441007")).await;
    assert_eq!((claim(&answer, TENANCY).as_deref(), claim(&answer, SUPPLIER).as_deref()), (Some("multi-tenant"), Some("310441503")));
    let answer = ask(&single, "assertion_details", &structure(NUMBER, "310441015")).await;
    assert_eq!((claim(&answer, TENANCY).as_deref(), claim(&answer, SUPPLIER)), (Some("single-tenant"), None));
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let mock = mock().await;
    let (multi, single, own) = (mock.client(SMART_AS), mock.client(SMART_AS_SINGLE), mock.client(BATCH));
    let attest = json!({"type": "nhn:tillitsrammeverk:parameters", "practitioner": {}, "care_relationship": {}, "patients": []});
    for (what, party, details, code) in [
        ("no delegation", &multi, structure(ENH, "NO:ORGNR:310441600"), "HID-1001"),
        ("a child that is not on the list", &single, structure(NUMBER, "310441023"), "HID-1002"),
        ("the child of another", &multi, structure(ENH, "NO:ORGNR:310441104:310441015"), "HID-1003"),
        ("eight digits", &multi, structure(ENH, "NO:ORGNR:31044100"), "HID-1004"),
        ("a wrong check digit", &multi, structure(ENH, "NO:ORGNR:310441008"), "HID-1004"),
        ("a parent of a single tenant", &single, structure(ENH, "NO:ORGNR:310441007"), "HID-1005"),
        ("another system", &multi, structure("urn:oid:2.16.578.1.0.1", "310441007"), "HID-1007"),
        ("a child alone", &multi, structure(NUMBER, "310441015"), "HID-1007"),
        ("no structure", &multi, json!("310441007"), "HID-1007"),
        ("two organisations", &multi, json!([structure(ENH, "NO:ORGNR:310441007"), structure(ENH, "NO:ORGNR:310441104")]), "HID-1007"),
        ("one that is fixed", &own, structure(ENH, "NO:ORGNR:310441201"), "HID-1010"),
        ("an attest that says nothing", &multi, attest.clone(), "nhn:till"),
    ] {
        let answer = ask(party, "assertion_details", &details).await;
        assert_eq!((answer.said().as_str(), &answer.described()[..8]), ("400 invalid_request", code), "{what}: {answer:?}");
    }
    mock.change_client(SMART_AS_SINGLE, |client| {
        client.tenancy = helsebro::helseid::seed::Tenancy::Single { parent: "310441007".to_owned(), units: [].into() };
    });
    let childless = ask(&single, "assertion_details", &structure(NUMBER, "310441015")).await;
    assert_eq!(&childless.described()[..8], "HID-1006");
    let form = [("grant_type", "client_credentials"), ("scope", "demo:kjerne/read")];
    let twice = multi.grant(&form, |claims| {
        claims["assertion_details"] = structure(ENH, "NO:ORGNR:310441007");
        claims["authorization_details"] = structure(ENH, "NO:ORGNR:310441007");
    });
    assert_eq!(&twice.await.described()[..8], "HID-1007", "both containers");
    mock.idp().change_quirks(|quirks| quirks.org_checksum = false);
    let unchecked = ask(&multi, "assertion_details", &structure(ENH, "NO:ORGNR:310441008")).await;
    assert_eq!(&unchecked.described()[..8], "HID-1001", "the digits are not looked at, and nobody has the number");
}

/// §2.6, §7.3.
#[tokio::test]
async fn without_terms_there_are_fewer_scopes() {
    let mock = mock().await;
    let multi = mock.client(SMART_AS);
    mock.fault(json!({"match": {"endpoint": "token"}, "action": {"kind": "rejected_scope"}, "times": 2}));
    let form = [("grant_type", "client_credentials"), ("scope", "demo:kjerne/read demo:resept/write")];
    let answer = multi.grant(&form, |_| {}).await;
    assert_eq!(answer.said(), "200");
    assert_eq!((answer.body["scope"].as_str(), answer.body["rejected_scope"].as_str()), (Some("demo:kjerne/read"), Some("demo:resept/write")));
    assert_eq!((answer.claims()["scope"].clone(), answer.claims()["aud"].clone()), (json!(["demo:kjerne/read"]), json!("demo:kjerne")));
}
