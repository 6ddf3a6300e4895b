//! The resource types a Norwegian EPJ meets, as clinicians call what is in them.

/// Whose it is, which decides how the sentence goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// "… for denne pasienten"
    OfPatient,
    /// Belongs to no patient: "… knyttet til denne pasienten".
    Shared,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Noun {
    pub kind: Kind,
    pub nb: &'static str,
    pub en: &'static str,
}

/// The noun for a type, if clinicians have one.
pub(super) fn find(name: &str) -> Option<Noun> {
    NOUNS.iter().find(|(known, ..)| *known == name).map(|&(_, kind, nb, en)| Noun { kind, nb, en })
}

use Kind::{OfPatient, Shared};

const NOUNS: &[(&str, Kind, &str, &str)] = &[
    ("AdverseEvent", OfPatient, "uønskede hendelser", "adverse events"),
    ("AllergyIntolerance", OfPatient, "allergier og intoleranser", "allergies and intolerances"),
    ("Appointment", OfPatient, "timeavtaler", "appointments"),
    ("AppointmentResponse", OfPatient, "svar på timeavtaler", "replies to appointments"),
    ("AuditEvent", OfPatient, "innsynslogg", "access logs"),
    ("Basic", OfPatient, "appens egne data", "the app’s own data"),
    ("Binary", OfPatient, "vedlegg og filer", "attachments and files"),
    ("BodyStructure", OfPatient, "kroppsdeler og lokalisasjoner", "body sites"),
    ("CarePlan", OfPatient, "behandlingsplaner", "care plans"),
    ("CareTeam", OfPatient, "behandlingsteam", "care teams"),
    ("ChargeItem", OfPatient, "takster", "charges"),
    ("Claim", OfPatient, "oppgjør og refusjonskrav", "claims"),
    ("ClinicalImpression", OfPatient, "kliniske vurderinger", "clinical assessments"),
    ("CodeSystem", Shared, "kodeverk", "code systems"),
    ("Communication", OfPatient, "meldinger", "messages"),
    ("CommunicationRequest", OfPatient, "forespørsler om å sende melding", "requests to send a message"),
    ("Composition", OfPatient, "epikriser og andre sammensatte dokumenter", "discharge summaries and other composed documents"),
    ("Condition", OfPatient, "diagnoser og problemer", "diagnoses and problems"),
    ("Consent", OfPatient, "samtykker og reservasjoner", "consents and objections"),
    ("Coverage", OfPatient, "trygde- og forsikringsforhold", "insurance coverage"),
    ("Device", OfPatient, "medisinsk utstyr og implantater", "medical devices and implants"),
    ("DeviceRequest", OfPatient, "bestillinger av medisinsk utstyr", "orders for medical devices"),
    ("DeviceUseStatement", OfPatient, "bruk av medisinsk utstyr", "use of medical devices"),
    ("DiagnosticReport", OfPatient, "prøve- og undersøkelsessvar", "test and examination reports"),
    ("DocumentReference", OfPatient, "dokumenter", "documents"),
    ("Encounter", OfPatient, "konsultasjoner og andre kontakter", "consultations and other encounters"),
    ("Endpoint", Shared, "tekniske adresser", "technical addresses"),
    ("EpisodeOfCare", OfPatient, "behandlingsforløp", "episodes of care"),
    ("FamilyMemberHistory", OfPatient, "sykdom i familien", "family history"),
    ("Flag", OfPatient, "varsler og kritisk informasjon", "alerts and critical information"),
    ("Goal", OfPatient, "behandlingsmål", "treatment goals"),
    ("Group", Shared, "grupper av pasienter", "groups of patients"),
    ("HealthcareService", Shared, "helsetjenester", "healthcare services"),
    ("ImagingStudy", OfPatient, "bildeundersøkelser", "imaging studies"),
    ("Immunization", OfPatient, "vaksinasjoner", "vaccinations"),
    ("ImmunizationRecommendation", OfPatient, "anbefalte vaksiner", "recommended vaccinations"),
    ("List", OfPatient, "lister", "lists"),
    ("Location", Shared, "steder og avdelinger", "locations and wards"),
    ("Media", OfPatient, "bilder og opptak", "photos and recordings"),
    ("Medication", Shared, "legemidler", "medicines"),
    ("MedicationAdministration", OfPatient, "gitte legemidler", "medicines given"),
    ("MedicationDispense", OfPatient, "utleverte legemidler", "medicines dispensed"),
    ("MedicationRequest", OfPatient, "resepter og forordninger", "prescriptions and medication orders"),
    ("MedicationStatement", OfPatient, "legemidler i bruk", "medicines in use"),
    ("NutritionOrder", OfPatient, "kost og ernæring", "diet and nutrition"),
    ("Observation", OfPatient, "målinger, prøvesvar og funn", "measurements, test results and findings"),
    ("Organization", Shared, "virksomheter og enheter", "organisations and units"),
    ("Patient", OfPatient, "personopplysninger", "personal details"),
    ("Person", OfPatient, "personer", "people"),
    ("Practitioner", Shared, "helsepersonell", "health personnel"),
    ("PractitionerRole", Shared, "roller og arbeidssteder for helsepersonell", "roles and workplaces of health personnel"),
    ("Procedure", OfPatient, "prosedyrer og behandlinger", "procedures and treatments"),
    ("Provenance", OfPatient, "opphav og signaturer", "origins and signatures"),
    ("Questionnaire", Shared, "skjemamaler", "questionnaires"),
    ("QuestionnaireResponse", OfPatient, "utfylte skjemaer", "completed forms"),
    ("RelatedPerson", OfPatient, "pårørende", "next of kin"),
    ("RiskAssessment", OfPatient, "risikovurderinger", "risk assessments"),
    ("Schedule", Shared, "timebøker", "schedules"),
    ("ServiceRequest", OfPatient, "henvisninger og rekvisisjoner", "referrals and orders"),
    ("Slot", Shared, "ledige timer", "free slots"),
    ("Specimen", OfPatient, "prøvemateriale", "specimens"),
    ("Subscription", Shared, "abonnementer på endringer", "subscriptions to changes"),
    ("Task", OfPatient, "oppgaver", "tasks"),
    ("ValueSet", Shared, "utvalg fra kodeverk", "value sets"),
    ("VisionPrescription", OfPatient, "brillesedler", "vision prescriptions"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_noun_is_for_a_resource_type_and_stands_once() {
        assert!(NOUNS.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, none twice");
        for (name, _, nb, en) in NOUNS {
            assert!(crate::protocol::r4::is_resource_type(name), "{name}");
            assert!(!nb.is_empty() && !en.is_empty(), "{name}");
        }
    }

    /// A type the mock FHIR server gains needs its noun here, or the consent page would show its FHIR name to a clinician.
    #[test]
    fn every_type_the_mock_serves_has_its_nouns() {
        let without: Vec<&str> = crate::fhir::TypeRow::all().map(|row| row.name).filter(|name| find(name).is_none()).collect();
        assert!(without.is_empty(), "no noun for {without:?}");
        assert!(crate::fhir::TypeRow::all().count() > 20, "the rows are not the mock's");
    }
}
