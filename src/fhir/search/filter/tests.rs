use serde_json::json;

use super::*;

fn reads(kind: &str, name: &str, value: &str) -> Result<Option<Filter>, ParamError> {
    let base = FhirBase::parse("https://epj.example/fhir").unwrap();
    Filter::read(Reading { row: TypeRow::named(kind).unwrap(), base: &base, now: UnixTime(1_795_000_000) }, name, value)
}

#[test]
fn parameters_match_or_do_not() {
    let condition = json!({
        "resourceType": "Condition", "id": "c1", "meta": {"lastUpdated": "2026-05-05T10:00:00+02:00"},
        "subject": {"reference": "Patient/p1"}, "encounter": {"reference": "https://epj.example/fhir/Encounter/e1"},
        "code": {"coding": [{"system": "urn:oid:2.16.578.1.12.4.1.1.7170", "code": "L03"}, {"code": "local"}], "text": "Rygg"},
        "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
        "onsetPeriod": {"start": "2026-01-01"}
    });
    let patient = json!({
        "resourceType": "Patient", "id": "p1", "active": true, "gender": "female", "birthDate": "1985-04-12",
        "identifier": [{"system": "urn:oid:2.16.578.1.12.4.1.4.1", "value": "12848548241"}],
        "name": [{"family": "Årstad-Lie", "given": ["Signe", "Máret"]}],
        "telecom": [{"system": "phone", "value": "123"}, {"system": "email", "value": "a@b"}]
    });
    let observation = json!({
        "resourceType": "Observation", "id": "o1", "subject": {"identifier": {"system": "urn:oid:2.16.578.1.12.4.1.4.1", "value": "12848548241"}},
        "valueQuantity": {"value": 5.0, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"}
    });
    let typed = json!({
        "resourceType": "Patient", "deceasedDateTime": "2026-01-01",
        "identifier": [{"type": {"coding": [{"system": "urn:types", "code": "MR"}], "text": "Journalnummer"}, "system": "urn:a", "value": "7"}, {"value": "8"}]
    });
    let group = json!({"resourceType": "Condition", "id": "c2", "subject": {"reference": "Group/p1"}});
    let answer = json!({"resourceType": "QuestionnaireResponse", "questionnaire": "http://x/q|2"});
    for (body, kind, name, value, yes) in [
        (&condition, "Condition", "encounter", "e1", true),
        (&condition, "Condition", "encounter", "Encounter/e1", true),
        (&condition, "Condition", "encounter", "https://epj.example/fhir/Encounter/e1", true),
        (&condition, "Condition", "encounter", "https://other.example/fhir/Encounter/e1", false),
        (&condition, "Condition", "encounter", "e2,e1", true),
        (&condition, "Condition", "encounter", "Patient/e1", false),
        (&condition, "Condition", "subject:Patient", "p1", true),
        (&condition, "Condition", "subject", "p1", true),
        (&condition, "Condition", "patient", "p1", true),
        (&group, "Condition", "patient", "p1", false),
        (&condition, "Condition", "code", "L03", true),
        (&condition, "Condition", "code", "l03", true),
        (&condition, "Condition", "code", "urn:oid:2.16.578.1.12.4.1.1.7170|L03", true),
        (&condition, "Condition", "code", "2.16.578.1.12.4.1.1.7170|L03", true),
        (&condition, "Condition", "code", "urn:oid:2.16.578.1.12.4.1.1.7110|L03", false),
        (&condition, "Condition", "code", "urn:oid:2.16.578.1.12.4.1.1.7170|", true),
        (&condition, "Condition", "code", "|local", true),
        (&condition, "Condition", "code", "|L03", false),
        (&condition, "Condition", "code", "Rygg", false),
        (&condition, "Condition", "code:not", "L03", false),
        (&condition, "Condition", "category:not", "x", true),
        (&condition, "Condition", "category:missing", "true", true),
        (&condition, "Condition", "category:missing", "false", false),
        (&condition, "Condition", "onset-date", "gt2030", true),
        (&condition, "Condition", "onset-date", "lt2025", false),
        (&condition, "Condition", "_id", "c1", true),
        (&condition, "Condition", "_lastUpdated", "2026-05-05", true),
        (&condition, "Condition", "_lastUpdated", "ge2026-05-06", false),
        (&patient, "Patient", "identifier", "urn:oid:2.16.578.1.12.4.1.4.1|12848548241", true),
        (&patient, "Patient", "identifier", "12848548241", true),
        (&patient, "Patient", "identifier", "urn:oid:2.16.578.1.12.4.1.4.2|12848548241", false),
        (&patient, "Patient", "name", "årst", true),
        (&patient, "Patient", "name", "arst", false),
        (&patient, "Patient", "name", "maret", true),
        (&patient, "Patient", "name", "lie", false),
        (&patient, "Patient", "family:contains", "LIE", true),
        (&patient, "Patient", "family:exact", "Årstad-Lie", true),
        (&patient, "Patient", "family:exact", "årstad-lie", false),
        (&patient, "Patient", "birthdate", "1985", true),
        (&patient, "Patient", "birthdate", "1985-04-13", false),
        (&patient, "Patient", "gender", "female", true),
        (&patient, "Patient", "gender", "http://hl7.org/fhir/administrative-gender|female", true),
        (&patient, "Patient", "gender", "http://loinc.org|female", false),
        (&patient, "Patient", "active", "true", true),
        (&patient, "Patient", "phone", "123", true),
        (&patient, "Patient", "email", "123", false),
        (&condition, "Condition", "code:text", "rYg", true),
        (&condition, "Condition", "code:text", "gg", false),
        (&condition, "Condition", "_id:not", "c1", false),
        (&condition, "Condition", "_id", "C1", false),
        (&condition, "Condition", "code", r"http://hl7.org/fhir/sid/icpc-2|L03", false),
        (&patient, "Patient", "deceased", "false", true),
        (&patient, "Patient", "deceased:not", "true", true),
        (&patient, "Patient", "deceased:missing", "true", false),
        (&typed, "Patient", "deceased", "true", true),
        (&typed, "Patient", "deceased", "true,false", true),
        (&typed, "Patient", "identifier:of-type", "urn:types|MR|7", true),
        (&typed, "Patient", "identifier:of-type", "urn:types|MR|8", false),
        (&typed, "Patient", "identifier:of-type", "urn:types|SS|7", false),
        (&typed, "Patient", "identifier:text", "journal", true),
        (&typed, "Patient", "identifier", "|8", true),
        (&observation, "Observation", "subject:identifier", "urn:oid:2.16.578.1.12.4.1.4.1|12848548241", true),
        (&observation, "Observation", "subject:identifier", "urn:oid:2.16.578.1.12.4.1.4.2|12848548241", false),
        (&observation, "Observation", "patient", "12848548241", false),
        (&observation, "Observation", "value-quantity", "5||mg", true),
        (&observation, "Observation", "value-quantity", "gt4,lt1", true),
        (&observation, "Observation", "value-quantity", "gt5", false),
        (&answer, "QuestionnaireResponse", "questionnaire", "http://x/q", true),
        (&answer, "QuestionnaireResponse", "questionnaire", "http://x/q|2", true),
        (&answer, "QuestionnaireResponse", "questionnaire", "http://x/q|1", false),
    ] {
        assert_eq!(reads(kind, name, value).unwrap().unwrap().matches(body), yes, "{kind}?{name}={value}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    for (kind, name, value, why) in [
        ("Condition", "colour", "x", ParamError::Unknown),
        ("AllergyIntolerance", "subject", "p1", ParamError::Unknown),
        ("Condition", "code:in", "x", ParamError::Modifier),
        ("Condition", "code:exact", "x", ParamError::Modifier),
        ("Condition", "patient:Group", "x", ParamError::Modifier),
        ("Condition", "patient.identifier", "x", ParamError::Chain),
        ("Condition", "subject:Patient.name", "x", ParamError::Chain),
        ("Condition", "onset-date", "yesterday", ParamError::Value("a date")),
        ("Condition", "code:missing", "maybe", ParamError::Value("true or false")),
        ("Condition", "encounter", "a/b", ParamError::Value("a reference")),
        ("Condition", "code", ",", ParamError::Value("a list of values")),
        ("Condition", "code", "|", ParamError::Value("a token")),
        ("Condition", "code:of-type", "a|b|c", ParamError::Modifier),
        ("Condition", "code:above", "a", ParamError::Modifier),
        ("Condition", "onset-date:not", "2026", ParamError::Modifier),
        ("Patient", "identifier:of-type", "a|b", ParamError::Value("system|code|value")),
        ("Patient", "deceased", "perhaps", ParamError::Value("true or false")),
        ("Patient", "family:text", "x", ParamError::Modifier),
        ("Observation", "value-quantity", "5|mg", ParamError::Value("a quantity")),
        ("Observation", "value-quantity:not", "5", ParamError::Modifier),
        ("QuestionnaireResponse", "questionnaire:below", "x", ParamError::Modifier),
    ] {
        assert_eq!(reads(kind, name, value), Err(why), "{name}={value}");
    }
    assert_eq!(reads("Condition", "code", ""), Ok(None));
}

#[test]
fn a_code_system_goes_by_several_names_where_that_is_wanted() {
    let coded = |system: &str| json!({"code": {"coding": [{"system": system, "code": "L03"}]}});
    let icpc = [
        "urn:oid:2.16.578.1.12.4.1.1.7170",
        "http://hl7.org/fhir/sid/icpc-2",
        "urn:oid:2.16.840.1.113883.6.139",
        "http://helsedir.no/fhir/CodeSystem/no-kodeverk-7170",
    ];
    for asked in icpc {
        for held in icpc {
            let mut filter = reads("Condition", "code", &format!("{asked}|L03")).unwrap().unwrap();
            assert_eq!(filter.matches(&coded(held)), asked == held, "{asked} {held}");
            filter.use_aliases();
            assert!(filter.matches(&coded(held)), "{asked} {held}");
            assert!(!filter.matches(&coded("urn:oid:2.16.578.1.12.4.1.1.7110")));
        }
    }
}
