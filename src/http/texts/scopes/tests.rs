use super::*;

/// The sentence for a scope with the patient known, in both languages.
const SENTENCES: &[(&str, &str, &str)] = &[
    ("patient/Condition.rs", "Lese og søke i diagnoser og problemer for denne pasienten", "Read and search diagnoses and problems for this patient"),
    ("patient/Condition.read", "Lese og søke i diagnoser og problemer for denne pasienten", "Read and search diagnoses and problems for this patient"),
    ("patient/DocumentReference.write", "Opprette, endre og slette dokumenter for denne pasienten", "Create, change and delete documents for this patient"),
    ("patient/DocumentReference.cud", "Opprette, endre og slette dokumenter for denne pasienten", "Create, change and delete documents for this patient"),
    ("patient/Patient.r", "Lese personopplysninger for denne pasienten", "Read personal details for this patient"),
    ("patient/Observation.s", "Søke i målinger, prøvesvar og funn for denne pasienten", "Search measurements, test results and findings for this patient"),
    ("patient/Immunization.c", "Opprette vaksinasjoner for denne pasienten", "Create vaccinations for this patient"),
    ("patient/MedicationRequest.u", "Endre resepter og forordninger for denne pasienten", "Change prescriptions and medication orders for this patient"),
    ("patient/Task.d", "Slette oppgaver for denne pasienten", "Delete tasks for this patient"),
    (
        "patient/Appointment.cruds",
        "Lese, søke i, opprette, endre og slette timeavtaler for denne pasienten",
        "Read, search, create, change and delete appointments for this patient",
    ),
    ("patient/Practitioner.r", "Lese helsepersonell knyttet til denne pasienten", "Read health personnel connected to this patient"),
    ("patient/*.rs", "Lese og søke i alle typer journalopplysninger for denne pasienten", "Read and search every type of record information for this patient"),
    (
        "user/Encounter.rs",
        "Lese og søke i konsultasjoner og andre kontakter for alle pasienter du har tilgang til",
        "Read and search consultations and other encounters for all patients you have access to",
    ),
    ("user/Organization.r", "Lese virksomheter og enheter du har tilgang til", "Read organisations and units you have access to"),
    (
        "user/*.read",
        "Lese og søke i alle typer opplysninger for alle pasienter du har tilgang til",
        "Read and search every type of information for all patients you have access to",
    ),
    ("system/Patient.rs", "Lese og søke i personopplysninger for alle pasienter", "Read and search personal details for all patients"),
    ("system/Location.r", "Lese steder og avdelinger", "Read locations and wards"),
    (
        "patient/MolecularSequence.r",
        "Lese opplysninger av typen MolecularSequence for denne pasienten",
        "Read information of type MolecularSequence for this patient",
    ),
    (
        "patient/Observation.rs?category=laboratory",
        "Lese og søke i målinger, prøvesvar og funn for denne pasienten, bare der kategori er laboratorieprøver",
        "Read and search measurements, test results and findings for this patient, only where category is laboratory tests",
    ),
    (
        "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory,http://terminology.hl7.org/CodeSystem/observation-category|vital-signs&status=final",
        "Lese og søke i målinger, prøvesvar og funn for denne pasienten, bare der kategori er laboratorieprøver eller vitale målinger og status er endelig",
        "Read and search measurements, test results and findings for this patient, only where category is laboratory tests or vital signs and status is final",
    ),
    (
        // The code is known, but not in this system.
        "patient/Observation.rs?category=https://app.example/own|laboratory",
        "Lese og søke i målinger, prøvesvar og funn for denne pasienten, bare der kategori er «https://app.example/own|laboratory»",
        "Read and search measurements, test results and findings for this patient, only where category is “https://app.example/own|laboratory”",
    ),
    (
        "patient/DocumentReference.r?type=urn:oid:2.16.578.1.12.4.1.1.9602|J01-2",
        "Lese dokumenter for denne pasienten, bare der type er sykmeldinger og trygdesaker",
        "Read documents for this patient, only where type is sick notes and national insurance cases",
    ),
    (
        "patient/Observation.r?code:in=https://app.example/set",
        "Lese målinger, prøvesvar og funn for denne pasienten, bare der «code:in=https://app.example/set» gjelder",
        "Read measurements, test results and findings for this patient, only where “code:in=https://app.example/set” holds",
    ),
    (
        // A direction mark could turn the rest of the line around.
        "patient/Basic.s?code=a%E2%80%AEb",
        "Søke i appens egne data for denne pasienten, bare der kode er «a%E2%80%AEb»",
        "Search the app’s own data for this patient, only where code is “a%E2%80%AEb”",
    ),
    ("openid", "Bekrefte hvem du er", "Confirm who you are"),
    ("fhirUser", "Se hvilket helsepersonell du er registrert som", "See which health professional you are registered as"),
    ("profile", "Se navnet ditt", "See your name"),
    ("offline_access", "Beholde tilgangen etter at du har lukket appen", "Keep its access after you have closed the app"),
    ("online_access", "Beholde tilgangen så lenge du er innlogget", "Keep its access for as long as you are logged in"),
    ("https://helseid.nhn.no", "Bruke HelseID-innloggingen din mot nasjonale tjenester", "Use your HelseID login with national services"),
    ("__labs", "Bruke tilleggstilgangen __labs", "Use the additional access __labs"),
];

fn ask(text: &str, lang: Lang, patient_known: bool) -> Option<Ask> {
    explain(&Scope::parse(text).unwrap(), lang, patient_known, crate::protocol::claims::HELSEID)
}

#[test]
fn scopes_read_as_sentences() {
    for (text, nb, en) in SENTENCES {
        for (lang, sentence) in [(Lang::Nb, nb), (Lang::En, en)] {
            let ask = ask(text, lang, true).unwrap();
            assert_eq!(ask.sentence, *sentence, "{text}");
            assert_eq!(ask.detail, *text, "the detail is what was asked for");
        }
    }
}

#[test]
fn what_says_only_what_is_open_asks_nothing() {
    for text in ["launch", "launch/patient", "launch/encounter", "launch/list?role=https://app.example/role"] {
        assert_eq!(ask(text, Lang::Nb, true), None, "{text}");
    }
}

#[test]
fn before_the_patient_is_chosen_the_sentence_says_so() {
    assert_eq!(ask("patient/Condition.r", Lang::Nb, false).unwrap().sentence, "Lese diagnoser og problemer for den valgte pasienten");
    assert_eq!(ask("patient/Location.r", Lang::En, false).unwrap().sentence, "Read locations and wards connected to the chosen patient");
}

/// SAL-045
#[test]
fn a_wildcard_warns_of_types_added_later() {
    for text in ["patient/*.rs", "user/*.read", "patient/*.*", "patient/*.rs?_security=N"] {
        let warning = ask(text, Lang::En, true).unwrap().warning.unwrap();
        assert!(warning.contains("added later"), "{text}: {warning}");
        assert!(ask(text, Lang::Nb, true).unwrap().warning.unwrap().contains("lagt til senere"), "{text}");
    }
    for text in ["patient/Observation.rs", "user/Encounter.rs", "openid"] {
        assert_eq!(ask(text, Lang::En, true).unwrap().warning, None, "{text}");
    }
}

#[test]
fn what_a_backend_or_a_stranger_defines_warns_too() {
    assert_eq!(ask("system/Patient.rs", Lang::En, true).unwrap().warning.unwrap(), "Used with nobody logged in.");
    assert_eq!(
        ask("system/*.rs", Lang::En, true).unwrap().warning.unwrap(),
        "Covers every type of information, including types added later. Used with nobody logged in."
    );
    assert!(ask("https://app.example/scope", Lang::En, true).unwrap().warning.is_some());
    assert_eq!(ask("https://helseid.nhn.no", Lang::En, true).unwrap().warning, None);
}
