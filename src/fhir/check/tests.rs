use serde_json::json;

use super::*;
use crate::fhir::data::{DataSource, Snapshot};
use crate::fhir::table::TypeRow;
use crate::protocol::ids::FhirBase;

fn told(kind: &str, body: &Value) -> Vec<(String, &'static str)> {
    structure(kind, body).into_iter().map(|issue| (issue.expression.unwrap_or_default(), issue.code)).collect()
}

#[test]
fn the_data_set_is_sound() {
    let base = FhirBase::parse("https://epj.example/fhir").unwrap();
    let all = Snapshot::load(&DataSource::BuiltIn, &base).unwrap();
    for row in TypeRow::all() {
        for resource in all.of_type(row.name) {
            assert_eq!(told(row.name, &resource.body), [], "{}/{}", row.name, resource.id);
        }
    }
}

#[test]
fn each_fault_is_told_with_its_place() {
    let good = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "valueQuantity": {"value": 5.0, "unit": "kg"},
        "_status": {"extension": [{"url": "https://e.example", "valueString": "x"}]}, "contained": [{"resourceType": "Patient", "id": "p"}],
        "component": [{"code": {"text": "y"}}], "extension": [{"url": "https://e.example", "extension": [{"url": "a", "valueInteger": 1}]}]});
    assert_eq!(told("Observation", &good), []);
    type Change = fn(&mut Value);
    let rows: &[(Change, &str, &str)] = &[
        (|b| drop(b.as_object_mut().unwrap().remove("code")), "Observation.code", "required"),
        (|b| b["colour"] = json!("red"), "Observation.colour", "structure"),
        (|b| b["status"] = json!("done"), "Observation.status", "code-invalid"),
        (|b| b["status"] = json!(1), "Observation.status", "value"),
        (|b| b["code"] = json!([{"text": "x"}]), "Observation.code", "structure"),
        (|b| b["code"] = json!("x"), "Observation.code", "structure"),
        (|b| b["category"] = json!({"text": "x"}), "Observation.category", "structure"),
        (|b| b["valueString"] = json!("x"), "Observation.valueString", "structure"),
        (|b| b["valueQuantity"]["comparator"] = json!("="), "Observation.valueQuantity.comparator", "code-invalid"),
        (|b| b["component"][0]["code"] = json!({"colour": "x"}), "Observation.component[0].code.colour", "structure"),
        (|b| b["effectiveDateTime"] = json!("yesterday"), "Observation.effectiveDateTime", "value"),
        (|b| b["extension"][0]["url"] = json!(1), "Observation.extension[0].url", "value"),
        (|b| b["extension"] = json!([{"valueString": "x"}]), "Observation.extension[0].url", "required"),
        (|b| b["_status"] = json!({"value": 1}), "Observation._status", "structure"),
        (|b| b["_code"] = json!({"id": "x"}), "Observation._code", "structure"),
        (|b| b["contained"][0]["gender"] = json!("x"), "Observation.contained[0].gender", "code-invalid"),
        (|b| b["contained"] = json!([{"id": "p"}]), "Observation.contained[0]", "structure"),
        (|b| b["note"] = json!([null]), "Observation.note[0]", "structure"),
        (|b| b["meta"] = json!({"lastUpdated": "x"}), "Observation.meta.lastUpdated", "value"),
        (|b| b["personal number 14839219696"] = json!(1), "Observation", "structure"),
    ];
    for (change, place, code) in rows {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(told("Observation", &bad), [((*place).to_owned(), *code)]);
    }
    assert_eq!(told("Patient", &json!({"resourceType": "Patient", "name": [{"given": ["A", null], "_given": [null, {"id": "x"}]}]})), []);
    assert_eq!(told("Patient", &json!([1])), [("Patient".to_owned(), "structure")]);
}
