//! Every sentence of the EPJ's pages.

use crate::demo::page::texts;

texts! {
    EpjText:
    skip(): "Gå til innholdet" | "Skip to the content";
    name(): "Fjordvik EPJ" | "Fjordvik EHR";
    note(): "Demonstrasjon med syntetiske pasienter" | "Demonstration with synthetic patients";
    other_language(): "English" | "Norsk";
    who(): "Innlogget som" | "Signed in as";
    change_who(): "Bytt" | "Switch";
    log_out(): "Logg ut av EPJ" | "Sign out of the EHR";
    patients(): "Pasientliste" | "Patients";
    mine(): "Mine konsultasjoner i dag" | "My consultations today";
    others(): "Andres konsultasjoner" | "Other clinicians' consultations";
    none_mine(): "Ingen konsultasjoner er åpne for deg." | "You have no open consultations.";
    with(name): "hos {name}" | "with {name}";
    encounter(): "Åpen konsultasjon" | "Open encounter";
    patient_id(): "Pasient-id" | "Patient id";
    encounter_id(): "Konsultasjons-id" | "Encounter id";
    clinician(): "Behandler" | "Clinician";
    about(): "Om pasienten" | "About the patient";
    apps(): "Velg app" | "Choose an app";
    open_app(): "Åpne app" | "Open app";
    new_tab(): "Appen åpnes i en ny fane." | "The app opens in a new tab.";
    options(): "Hva appen får vite" | "What the app is told";
    option_encounter(): "Ta med konsultasjonen" | "Include the encounter";
    option_session(): "Knytt til EPJ-økten, så tilgangen slutter når du logger ut" | "Tie it to the EHR session, so that access ends when you sign out";
    option_style(): "Send EPJ-ens utseende (smart_style_url)" | "Send the EHR's look (smart_style_url)";
    option_banner(): "Pasientbanner i appen (need_patient_banner)" | "Patient banner in the app (need_patient_banner)";
    banner_unsaid(): "Si ingenting" | "Say nothing";
    banner_yes(): "Ja, appen må vise hvem pasienten er" | "Yes, the app must show who the patient is";
    banner_no(): "Nei, EPJ viser det" | "No, the EHR shows it";
    option_intent(): "Hensikt (intent)" | "Intent";
    option_tenant(): "Leietaker (tenant)" | "Tenant";
    option_context(): "Mer kontekst: referanse (fhirContext)" | "More context: reference (fhirContext)";
    option_role(): "Rolle for referansen, en URI (valgfritt)" | "Role of the reference, a URI (optional)";
    hint_intent(): "For eksempel validate" | "For example validate";
    hint_context(): "For eksempel DocumentReference/…" | "For example DocumentReference/…";
    recent(): "Siste åpninger" | "Recent launches";
    none_recent(): "Ingen apper er åpnet i denne økten." | "No app has been opened in this session.";
    at(): "Kl." | "Time";
    app(): "App" | "App";
    patient(): "Pasient" | "Patient";
    outcome(): "Utfall" | "Outcome";
    handed_over(): "overlevert" | "handed over";
    refused(): "avslått" | "refused";
    back(): "Tilbake til pasientlisten" | "Back to the patients";
    go_back(): "Tilbake" | "Back";
    logged_out(): "Du er logget ut. Appene som var knyttet til økten, har mistet tilgangen." | "You are signed out. The apps tied to the session have lost their access.";
    error_title(): "Appen ble ikke åpnet" | "The app was not opened";
    error_unreachable(): "Autorisasjonsserveren svarer ikke. Prøv igjen om litt." | "The authorization server does not answer. Try again shortly.";
    error_credentials(): "Autorisasjonsserveren godtar ikke EPJ-ens egen legitimasjon." | "The authorization server does not accept the EHR's own credentials.";
    error_not_allowed(): "EPJ-en har ikke lov til å åpne apper her." | "The EHR may not open apps here.";
    error_malformed(): "Autorisasjonsserveren forsto ikke forespørselen." | "The authorization server did not understand the request.";
    error_answer(): "Autorisasjonsserveren svarte noe EPJ-en ikke forstår." | "The authorization server's answer could not be understood.";
    error_member(member): "Autorisasjonsserveren godtar ikke «{member}»." | "The authorization server does not accept \"{member}\".";
    error_patient(): "Pasienten finnes ikke der." | "The patient does not exist there.";
    error_encounter(): "Konsultasjonen finnes ikke, hører ikke til pasienten, eller mangler der appen krever den." | "The encounter does not exist, does not belong to the patient, or is missing where the app requires it.";
    error_fhir_user(): "Behandleren finnes ikke der, eller hører ikke til konsultasjonen." | "The clinician does not exist there, or does not belong to the encounter.";
    error_client(): "Appen er ikke registrert der." | "The app is not registered there.";
    error_context(): "Referansen i den ekstra konteksten kan ikke brukes." | "The reference in the extra context cannot be used.";
    error_said(status): "Svaret var HTTP {status}:" | "The answer was HTTP {status}:";
    bad_form(): "Skjemaet er utløpt eller kom ikke fra denne siden. Gå tilbake og prøv igjen." | "The form has expired or did not come from this page. Go back and try again.";
    unknown(): "Denne siden finnes ikke." | "This page does not exist.";
    unknown_title(): "Finnes ikke" | "Not found";
}
