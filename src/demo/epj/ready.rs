//! The EPJ's own list of patients, read from the synthetic data set: what a vendor's database would know without asking anybody.

use std::collections::HashMap;

use serde_json::Value;

use crate::demo::wire::text_at;

use super::ReadyLaunch;

/// Why the list cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReadyError {
    #[error("the data set is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("launch {0} of the index lacks {1}, or names what is not in the data set")]
    Launch(usize, &'static str),
}

/// The ready launches of the index (`index.json`), in its order, with names and texts from the journals (`patients.ndjson`, one bundle a line).
///
/// # Errors
/// [`ReadyError`] when a text is not JSON, or the two do not fit together.
pub fn ready_launches(index: &str, journals: &str) -> Result<Vec<ReadyLaunch>, ReadyError> {
    let index: Value = serde_json::from_str(index)?;
    let mut known: HashMap<String, Value> = HashMap::new();
    let mut diagnoses: HashMap<String, Vec<String>> = HashMap::new();
    for bundle in serde_json::Deserializer::from_str(journals).into_iter::<Value>() {
        for resource in resources(bundle?) {
            let (Some(kind), Some(id)) = (text_at(&resource, "/resourceType"), text_at(&resource, "/id")) else { continue };
            match kind {
                "Patient" | "Encounter" => {
                    known.insert(format!("{kind}/{id}"), resource);
                }
                "Condition" => {
                    let found = text_at(&resource, "/encounter/reference").zip(text_at(&resource, "/code/coding/0/display"));
                    if let Some((encounter, text)) = found {
                        diagnoses.entry(encounter.to_owned()).or_default().push(text.to_owned());
                    }
                }
                _ => {}
            }
        }
    }
    let launches = index.get("launches").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    launches
        .iter()
        .enumerate()
        .map(|(at, launch)| {
            let member = |name: &'static str| text_at(launch, &format!("/{name}")).map(str::to_owned).ok_or(ReadyError::Launch(at, name));
            let (patient, encounter, fhir_user) = (member("patient")?, member("encounter")?, member("fhirUser")?);
            let reference = format!("Encounter/{encounter}");
            let person = known.get(&format!("Patient/{patient}")).ok_or(ReadyError::Launch(at, "patient"))?;
            let visit = known.get(&reference).ok_or(ReadyError::Launch(at, "encounter"))?;
            Ok(ReadyLaunch {
                patient_name: name(person).unwrap_or_else(|| patient.clone()),
                encounter_text: visit_text(visit),
                practitioner_name: practitioner(&index, &fhir_user).unwrap_or_else(|| fhir_user.clone()),
                about: diagnoses.get(&reference).map(|texts| texts.join(", ")).unwrap_or_default(),
                patient,
                encounter,
                fhir_user,
            })
        })
        .collect()
}

fn resources(mut bundle: Value) -> Vec<Value> {
    let entries = bundle.get_mut("entry").map(Value::take);
    let Some(Value::Array(entries)) = entries else { return Vec::new() };
    entries.into_iter().filter_map(|mut entry| entry.get_mut("resource").map(Value::take)).collect()
}

fn name(person: &Value) -> Option<String> {
    let family = text_at(person, "/name/0/family")?;
    Some(text_at(person, "/name/0/given/0").map_or_else(|| family.to_owned(), |given| format!("{given} {family}")))
}

/// What kind of encounter, and when: `Utredning, 23.11.2026 09:00`.
fn visit_text(visit: &Value) -> String {
    let start = text_at(visit, "/period/start").and_then(|start| start.parse::<jiff::Timestamp>().ok()).and_then(|at| at.in_tz("Europe/Oslo").ok());
    let when = start.map(|at| at.strftime("%d.%m.%Y %H:%M").to_string());
    let kind = text_at(visit, "/type/0/coding/0/display").map(str::to_owned);
    [kind, when].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn practitioner(index: &Value, fhir_user: &str) -> Option<String> {
    let id = fhir_user.strip_prefix("Practitioner/")?;
    let known = index.get("practitioners")?.as_array()?.iter().find(|one| text_at(one, "/practitioner") == Some(id))?;
    let name = text_at(known, "/name")?;
    Some(text_at(known, "/text").map_or_else(|| name.to_owned(), |text| format!("{name}, {}", lower_first(text))))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = r#"{ "launches": [{ "patient": "p1", "encounter": "e1", "fhirUser": "Practitioner/l1" }],
        "practitioners": [{ "practitioner": "l1", "name": "Rolig Stetoskop", "text": "Fastlege" }] }"#;
    const JOURNALS: &str = r#"{"entry":[{"resource":{"resourceType":"Patient","id":"p1","name":[{"family":"Fjellrev","given":["Tapper"]}]}},
        {"resource":{"resourceType":"Encounter","id":"e1","type":[{"coding":[{"display":"Utredning"}]}],"period":{"start":"2026-11-23T09:00:00+01:00"}}},
        {"resource":{"resourceType":"Condition","id":"c1","encounter":{"reference":"Encounter/e1"},"code":{"coding":[{"display":"Korsrygg"}]}}}]}"#;

    #[test]
    fn the_list_has_names_and_texts_from_the_journals() {
        let ready = ready_launches(INDEX, JOURNALS).unwrap();
        let [one] = ready.as_slice() else { panic!("one launch") };
        assert_eq!((one.patient_name.as_str(), one.about.as_str()), ("Tapper Fjellrev", "Korsrygg"));
        assert_eq!((one.encounter_text.as_str(), one.practitioner_name.as_str()), ("Utredning, 23.11.2026 09:00", "Rolig Stetoskop, fastlege"));
    }

    #[test]
    fn an_index_that_names_nobody_is_an_error() {
        assert!(matches!(ready_launches(INDEX, "{}"), Err(ReadyError::Launch(0, "patient"))));
        assert!(matches!(ready_launches("{", JOURNALS), Err(ReadyError::Json(_))));
    }
}
