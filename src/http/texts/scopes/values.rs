//! Constraints in words: known values by name, others as they stand, between quotation marks.

use percent_encoding::{CONTROLS, utf8_percent_encode};

use super::list;
use crate::protocol::lang::Lang;
use crate::protocol::scope::Constraint;

/// "kategori er laboratorieprøver eller bildeundersøkelser"; a parameter we have no word for is quoted whole.
pub(super) fn condition(constraint: &Constraint, lang: Lang) -> String {
    let Some(parameter) = parameter(&constraint.name, lang) else {
        return lang.holds(quoted(&format!("{}={}", constraint.name, constraint.value), lang));
    };
    // A comma is "or"; an escaped one (`\,`) is data, and such a value is quoted whole.
    let alternatives: Vec<String> = if constraint.value.contains('\\') {
        vec![quoted(&constraint.value, lang)]
    } else {
        constraint.value.split(',').map(|token| value(&constraint.name, token, lang).map_or_else(|| quoted(token, lang), str::to_owned)).collect()
    };
    lang.is(parameter, list(&alternatives, lang.or()))
}

/// A search parameter without modifier, in words.
fn parameter(name: &str, lang: Lang) -> Option<&'static str> {
    let (nb, en) = match name {
        "category" => ("kategori", "category"),
        "code" => ("kode", "code"),
        "status" => ("status", "status"),
        "clinical-status" => ("klinisk status", "clinical status"),
        "verification-status" => ("sikkerhet", "verification status"),
        "type" => ("type", "type"),
        "class" => ("kontakttype", "kind of encounter"),
        "intent" => ("hensikt", "intent"),
        "_security" => ("sikkerhetsmerke", "security label"),
        "_tag" => ("merkelapp", "tag"),
        _ => return None,
    };
    Some(if lang == Lang::Nb { nb } else { en })
}

/// The name of a `[system|]code`, where both are what the table says: the same code of another system means something else.
fn value(parameter: &str, token: &str, lang: Lang) -> Option<&'static str> {
    let (system, code) = token.split_once('|').map_or((None, token), |(system, code)| (Some(system), code));
    let (.., nb, en) = VALUES.iter().find(|(name, prefix, known, ..)| {
        *name == parameter && *known == code && system.is_none_or(|system| !prefix.is_empty() && system.starts_with(prefix))
    })?;
    Some(if lang == Lang::Nb { nb } else { en })
}

/// Between quotation marks; what could disturb the line (control and direction characters, our own marks) is percent-encoded.
fn quoted(text: &str, lang: Lang) -> String {
    let plain = text.chars().all(|c| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ');
    lang.quote(if plain { text.into() } else { utf8_percent_encode(text, CONTROLS).collect::<String>() })
}

const HL7: &str = "http://terminology.hl7.org/CodeSystem/";
const LOINC: &str = "http://loinc.org";
/// Volven 9602, the Norwegian types of documents.
const DOCUMENT: &str = "urn:oid:2.16.578.1.12.4.1.1.9602";

/// Parameter, what its system must begin with, code, and the code's name.
const VALUES: &[(&str, &str, &str, &str, &str)] = &[
    ("category", HL7, "laboratory", "laboratorieprøver", "laboratory tests"),
    ("category", HL7, "vital-signs", "vitale målinger", "vital signs"),
    ("category", HL7, "imaging", "bildeundersøkelser", "imaging"),
    ("category", HL7, "exam", "kliniske undersøkelser", "clinical examinations"),
    ("category", HL7, "procedure", "prosedyrer", "procedures"),
    ("category", HL7, "survey", "skjema og kartlegging", "surveys"),
    ("category", HL7, "social-history", "sosiale forhold og livsstil", "social history"),
    ("category", HL7, "therapy", "behandling", "therapy"),
    ("category", HL7, "activity", "fysisk aktivitet", "physical activity"),
    ("category", HL7, "problem-list-item", "problemlisten", "the problem list"),
    ("category", HL7, "encounter-diagnosis", "diagnoser satt ved kontakt", "encounter diagnoses"),
    ("category", HL7, "food", "mat", "food"),
    ("category", HL7, "medication", "legemidler", "medicines"),
    ("category", HL7, "environment", "miljø", "environment"),
    ("category", HL7, "biologic", "biologiske stoffer", "biologics"),
    ("category", HL7, "inpatient", "innlagt pasient", "inpatient"),
    ("category", HL7, "outpatient", "poliklinikk", "outpatient"),
    ("category", HL7, "community", "hjemme", "community"),
    ("category", HL7, "LAB", "laboratorium", "laboratory"),
    ("category", HL7, "RAD", "radiologi", "radiology"),
    ("category", "http://hl7.org/fhir/us/core/", "clinical-note", "journalnotater", "clinical notes"),
    ("status", "http://hl7.org/fhir/", "active", "aktiv", "active"),
    ("status", "http://hl7.org/fhir/", "completed", "fullført", "completed"),
    ("status", "http://hl7.org/fhir/", "final", "endelig", "final"),
    ("status", "http://hl7.org/fhir/", "preliminary", "foreløpig", "preliminary"),
    ("status", "http://hl7.org/fhir/", "amended", "endret", "amended"),
    ("status", "http://hl7.org/fhir/", "corrected", "rettet", "corrected"),
    ("status", "http://hl7.org/fhir/", "registered", "registrert", "registered"),
    ("status", "http://hl7.org/fhir/", "current", "gjeldende", "current"),
    ("status", "http://hl7.org/fhir/", "superseded", "erstattet", "superseded"),
    ("status", "http://hl7.org/fhir/", "draft", "utkast", "draft"),
    ("status", "http://hl7.org/fhir/", "planned", "planlagt", "planned"),
    ("status", "http://hl7.org/fhir/", "in-progress", "pågående", "in progress"),
    ("status", "http://hl7.org/fhir/", "finished", "avsluttet", "finished"),
    ("status", "http://hl7.org/fhir/", "cancelled", "avlyst", "cancelled"),
    ("status", "http://hl7.org/fhir/", "booked", "avtalt", "booked"),
    ("clinical-status", HL7, "active", "aktiv", "active"),
    ("clinical-status", HL7, "recurrence", "tilbakefall", "recurrence"),
    ("clinical-status", HL7, "remission", "i bedring", "in remission"),
    ("clinical-status", HL7, "inactive", "inaktiv", "inactive"),
    ("clinical-status", HL7, "resolved", "avsluttet", "resolved"),
    ("verification-status", HL7, "confirmed", "bekreftet", "confirmed"),
    ("verification-status", HL7, "provisional", "foreløpig", "provisional"),
    ("class", HL7, "AMB", "poliklinisk", "outpatient"),
    ("class", HL7, "IMP", "innleggelse", "inpatient"),
    ("class", HL7, "EMER", "øyeblikkelig hjelp", "emergency"),
    ("class", HL7, "HH", "hjemmebesøk", "home visit"),
    ("class", HL7, "VR", "video eller telefon", "video or telephone"),
    ("intent", "http://hl7.org/fhir/", "order", "bestilling", "order"),
    ("intent", "http://hl7.org/fhir/", "plan", "plan", "plan"),
    ("intent", "http://hl7.org/fhir/", "proposal", "forslag", "proposal"),
    ("code", LOINC, "85354-9", "blodtrykk", "blood pressure"),
    ("code", LOINC, "8867-4", "hjertefrekvens", "heart rate"),
    ("code", LOINC, "8310-5", "kroppstemperatur", "body temperature"),
    ("code", LOINC, "29463-7", "kroppsvekt", "body weight"),
    ("code", LOINC, "8302-2", "kroppshøyde", "body height"),
    ("code", LOINC, "39156-5", "kroppsmasseindeks", "body mass index"),
    ("code", LOINC, "59408-5", "oksygenmetning", "oxygen saturation"),
    ("code", LOINC, "9279-1", "respirasjonsfrekvens", "respiratory rate"),
    ("code", LOINC, "72166-2", "røykestatus", "smoking status"),
    ("type", DOCUMENT, "A03-2", "epikriser", "discharge summaries"),
    ("type", DOCUMENT, "B02-2", "journalnotater", "record notes"),
    ("type", DOCUMENT, "B03-2", "polikliniske notater", "outpatient notes"),
    ("type", DOCUMENT, "I01-2", "henvisninger", "referrals"),
    ("type", DOCUMENT, "I02-2", "brev", "letters"),
    ("type", DOCUMENT, "J01-2", "sykmeldinger og trygdesaker", "sick notes and national insurance cases"),
];
