//! What this folder reads from the network, as functions of bytes: for `crate::entry`.

use super::introspect::read_answer;
use super::resource::{Key, Resource};
use super::route::Route;
use super::search::{Handling, Query, Reading};
use super::table::TypeRow;
use super::{check, json};
use crate::protocol::ids::FhirBase;
use crate::time::UnixTime;

/// When everything here happens: 2026-11-22.
const NOW: UnixTime = UnixTime(1_795_300_000);

fn base() -> FhirBase {
    FhirBase::parse("https://fhir.example/r4").expect("a base")
}

pub fn json(bytes: &[u8]) {
    let Ok(value) = json::read(bytes) else { return };
    let printed = serde_json::to_vec(&value).expect("a value prints");
    let again = json::read(&printed).expect("what we print can be read");
    assert!(value == again, "JSON changes when it is printed and read again");
}

pub fn resource(bytes: &[u8]) {
    let Ok(value) = json::read(bytes) else { return };
    let kind = value.get("resourceType").and_then(serde_json::Value::as_str).unwrap_or("Patient").to_owned();
    let _ = check::structure(&kind, &value);
    let Ok(resource) = Resource::new(&base(), value) else { return };
    let again = json::read(&resource.json).expect("a kept resource can be read");
    let again = Resource::new(&base(), again).expect("a kept resource is one");
    assert!(again.key() == resource.key() && again.json == resource.json && again.refers_to == resource.refers_to, "a resource changes when it is kept");
}

pub fn search(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (kind, query) = text.split_once('?').unwrap_or(("Patient", text));
    let Some(row) = TypeRow::named(kind) else { return };
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let base = base();
    for handling in [Handling::Lenient, Handling::Strict] {
        if let Ok(read) = Query::read(Reading { row, base: &base, now: NOW }, &pairs, handling) {
            assert!(read.count <= 200, "a page of {}", read.count);
        }
    }
}

pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(key) = Key::of_reference(&base(), text) {
        let again = Key::of_reference(&base(), &format!("{}/{}", key.kind, key.id));
        assert!(again.as_ref() == Some(&key), "{text:?} is another resource when its reference is written anew");
    }
}

pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let route = Route::of(text, "/r4");
    let _ = (route.template(), route.is_public(), route.kind());
    for method in [http::Method::GET, http::Method::POST, http::Method::PUT, http::Method::DELETE] {
        let _ = route.interaction(&method);
    }
}

pub fn introspection(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice(bytes) else { return };
    if let Ok(context) = read_answer(answer, "https://auth.example", &base(), NOW) {
        assert!(context.expires_at > NOW - super::introspect::SKEW, "a token that is over was taken");
    }
}
