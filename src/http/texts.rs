//! Every sentence a person reads, both languages side by side: a missing translation does not compile.

mod format;
pub mod scopes;

use std::fmt::Display;

use crate::protocol::lang::Lang;

/// `name(args): "norsk" | "English";` becomes `Lang::name(args)`: `&'static str` without arguments, else `String`.
macro_rules! texts {
    ($($name:ident($($arg:ident),*): $nb:literal | $en:literal;)*) => {
        impl Lang { $(texts!(@one $name($($arg),*) $nb $en);)* }
    };
    (@one $name:ident() $nb:literal $en:literal) => {
        pub fn $name(self) -> &'static str {
            match self { Self::Nb => $nb, Self::En => $en }
        }
    };
    (@one $name:ident($($arg:ident),+) $nb:literal $en:literal) => {
        pub fn $name(self, $($arg: impl Display),+) -> String {
            match self { Self::Nb => format!($nb), Self::En => format!($en) }
        }
    };
}

texts! {
    // every page
    product():                  "Helsebro" | "Helsebro";
    product_line():             "Trygg tilgang til journalen" | "Safe access to the health record";
    switch_language():          "English" | "Norsk";
    patient():                  "Pasient" | "Patient";
    encounter():                "Kontakt" | "Encounter";
    user():                     "Bruker" | "User";
    born(date):                 "født {date}" | "born {date}";
    reference():                "Referanse" | "Reference";
    cancel():                   "Avbryt" | "Cancel";
    go_on():                    "Fortsett" | "Continue";
    what_now():                 "Hva du kan gjøre" | "What you can do";

    // ErrorPage
    error_expired():            "Oppstarten er utløpt" | "This launch has expired";
    error_expired_message():    "Det gikk for lang tid fra appen ble åpnet, eller oppstarten er allerede brukt." | "Too much time has passed since the app was opened, or the launch has already been used.";
    error_pushed():             "Forespørselen er brukt eller utløpt" | "This request has been used or has expired";
    error_pushed_message():     "Appen viste til en forespørsel (request_uri) som allerede er brukt, er utløpt eller ikke er dens egen. Ingen opplysninger er delt." | "The app referred to a request (request_uri) that has already been used, has expired or is not its own. No information has been shared.";
    error_request():            "Appen ba om noe vi ikke kan svare på" | "The app asked for something we cannot answer";
    error_request_message():    "Forespørselen fra appen er ufullstendig eller feil. Ingen opplysninger er delt." | "The request from the app is incomplete or wrong. No information has been shared.";
    error_unknown_app():        "Appen er ikke kjent her" | "This app is not known here";
    error_unknown_app_message(): "Appen som ble åpnet, er ikke registrert hos oss. Ingen opplysninger er delt." | "The app that was opened is not registered with us. No information has been shared.";
    error_redirect():           "Appen har oppgitt en adresse vi ikke godtar" | "The app gave an address we do not accept";
    error_redirect_message():   "Adressen appen vil ha svaret på, er ikke registrert. Derfor stoppet vi her. Ingen opplysninger er delt." | "The address the app wants its answer at is not registered, so we stopped here. No information has been shared.";
    error_login():              "Innloggingen gjelder ikke lenger" | "This login is no longer valid";
    error_login_message():      "Innloggingen ble ikke startet i denne nettleseren, er allerede brukt, eller tok for lang tid. Ingen opplysninger er delt." | "The login was not started in this browser, has already been used, or took too long. No information has been shared.";
    error_login_foreign():      "Svaret kom ikke fra HelseID" | "The answer did not come from HelseID";
    error_login_foreign_message(): "Svaret på innloggingen kom fra noen andre enn dem vi spurte. Derfor stoppet vi her. Ingen opplysninger er delt." | "The answer to the login came from someone other than those we asked, so we stopped here. No information has been shared.";
    error_unavailable():        "Tjenesten er ikke tilgjengelig akkurat nå" | "The service is not available right now";
    error_unavailable_message(): "Vi får ikke kontakt med et system vi trenger. Det er ikke noe galt med det du gjorde." | "We cannot reach a system we need. You did nothing wrong.";
    error_form():               "Siden er for gammel" | "This page is too old";
    error_form_message():       "Skjemaet du sendte, hører ikke til en oppstart som pågår i denne nettleseren." | "The form you sent does not belong to a launch in progress in this browser.";
    error_cancelled():          "Du avbrøt" | "You cancelled";
    error_cancelled_message():  "Appen ble ikke åpnet. Ingen opplysninger er delt." | "The app was not opened. No information has been shared.";
    error_too_many():           "For mange forsøk" | "Too many attempts";
    error_too_many_message():   "Vi har fått for mange mislykkede forsøk herfra på kort tid." | "We have had too many failed attempts from here in a short time.";
    error_not_found():          "Siden finnes ikke" | "There is no such page";
    error_not_found_message():  "Adressen er skrevet feil, eller siden er flyttet." | "The address is mistyped, or the page has moved.";
    next_open_again():          "Lukk dette vinduet og åpne appen på nytt fra journalsystemet." | "Close this window and open the app again from the EHR.";
    next_wait():                "Vent et minutt og åpne appen på nytt fra journalsystemet. Varer det ved, kontakt brukerstøtte og oppgi referansen under." | "Wait a minute and open the app again from the EHR. If it persists, contact support and quote the reference below.";
    next_support():             "Kontakt brukerstøtte og oppgi referansen under." | "Contact support and quote the reference below.";

    // DonePage
    done_title():               "Denne forespørselen er allerede besvart" | "This request has already been answered";
    done_message():             "Du har sannsynligvis gått tilbake i nettleseren eller trykket to ganger. Svaret ditt er tatt vare på, og ingenting er gjort på nytt." | "You have probably gone back in the browser or pressed twice. Your answer stands, and nothing was done again.";
    done_next(app):             "Trenger du {app} igjen, åpne den på nytt fra journalsystemet." | "If you need {app} again, open it once more from the EHR.";
    done_next_plain():          "Trenger du appen igjen, åpne den på nytt fra journalsystemet." | "If you need the app again, open it once more from the EHR.";

    // SignInNeededPage, NoWayInPage
    sign_in_needed_title():     "Du må logge inn" | "You need to log in";
    sign_in_needed_message():   "Siden viser hvilke apper du har gitt tilgang. Vi vet ikke hvem du er i denne nettleseren." | "This page shows which apps you have given access. We do not know who you are in this browser.";
    sign_in_needed_next():      "Åpne en app fra journalsystemet, og kom tilbake hit etterpå." | "Open an app from the EHR, then come back here.";
    sign_in():                  "Logg inn" | "Log in";
    no_way_in_title():          "Vi kan ikke logge deg inn her" | "We cannot log you in here";
    no_way_in_message():        "Ingen av innloggingsmåtene virker for denne oppstarten. Ingen opplysninger er delt." | "None of the ways to log in works for this launch. No information has been shared.";
    no_way_in_message_app(app): "Ingen av innloggingsmåtene virker for denne oppstarten av {app}. Ingen opplysninger er delt." | "None of the ways to log in works for this launch of {app}. No information has been shared.";
    no_way_in_next():           "Logg inn i journalsystemet og åpne appen derfra. Skjer det igjen, kontakt brukerstøtte og oppgi referansen under." | "Log in to the EHR and open the app from there. If it happens again, contact support and quote the reference below.";

    // LoginPage, ConfirmUserPage
    login_title():              "Hvem er du?" | "Who are you?";
    login_lead(app):            "Velg navnet ditt for å åpne {app}." | "Choose your name to open {app}.";
    login_lead_plain():         "Velg navnet ditt for å fortsette." | "Choose your name to continue.";
    login_legend():             "Brukere" | "Users";
    login_nobody():             "Ingen brukere er satt opp her." | "No users have been set up here.";
    login_error_unknown():      "Velg et navn fra listen." | "Choose a name from the list.";
    login_upstream():           "Logg inn med HelseID" | "Log in with HelseID";
    login_upstream_title():     "Logg inn" | "Log in";
    login_upstream_lead(app):   "Bekreft hvem du er for å åpne {app}." | "Confirm who you are to open {app}.";
    login_upstream_lead_plain(): "Bekreft hvem du er for å fortsette." | "Confirm who you are to continue.";
    login_error_cancelled():    "Innloggingen ble avbrutt. Du kan prøve igjen." | "The login was cancelled. You can try again.";
    login_error_other():        "Du er ikke logget inn i HelseID som den journalsystemet åpnet appen for. Logg inn som deg selv, eller åpne appen på nytt fra journalsystemet." | "You are not logged in to HelseID as the one the EHR opened the app for. Log in as yourself, or open the app again from the EHR.";
    login_error_not_known():    "Vi finner deg ikke som bruker her. Kontakt virksomheten din hvis du skulle hatt tilgang." | "We cannot find you as a user here. Contact your organization if you should have access.";
    login_error_authorization(): "Vi finner ingen gyldig autorisasjon eller lisens for deg i Helsepersonellregisteret, og kan derfor ikke åpne appen." | "We find no valid authorization or licence for you in the register of health personnel, so the app cannot be opened.";
    login_error_level():        "Innloggingen var ikke sikker nok for journalopplysninger. Logg inn på nytt på høyeste sikkerhetsnivå." | "The login was not secure enough for health records. Log in again at the highest level of security.";
    login_error_old():          "Det er for lenge siden du logget inn. Logg inn på nytt." | "It is too long since you logged in. Log in again.";
    login_error_down():         "Vi får ikke kontakt med HelseID eller journalsystemet akkurat nå. Vent litt, og prøv igjen." | "We cannot reach HelseID or the EHR right now. Wait a moment and try again.";
    login_error_failed():       "Innloggingen med HelseID kunne ikke fullføres. Prøv igjen." | "The login with HelseID could not be completed. Try again.";
    confirm_title():            "En annen er logget inn i denne nettleseren" | "Someone else is logged in in this browser";
    confirm_lead(app):          "Journalsystemet åpner {app} for en annen enn den som er logget inn her." | "The EHR is opening {app} for someone other than the person logged in here.";
    confirm_signed_in():        "Logget inn nå" | "Logged in now";
    confirm_opens_as():         "Appen åpnes som" | "The app opens as";
    confirm_note(name):         "Er du ikke {name}, velg Avbryt og logg inn i journalsystemet som deg selv. Alt som gjøres i appen, føres på den som er logget inn." | "If you are not {name}, choose Cancel and log in to the EHR as yourself. Whatever is done in the app is recorded under the person logged in.";
    confirm_continue(name):     "Fortsett som {name}" | "Continue as {name}";

    // PatientPickerPage, EncounterPickerPage
    patient_title():            "Velg pasient" | "Choose a patient";
    patient_lead(app):          "{app} får tilgang til journalen til pasienten du velger, og ingen andre." | "{app} gets access to the record of the patient you choose, and nobody else’s.";
    patient_list():             "Dine pasienter" | "Your patients";
    patient_hits():             "Treff" | "Matches";
    patient_choose():           "Fortsett med valgt pasient" | "Continue with this patient";
    patient_none():             "Ingen pasienter å vise. Søk nedenfor." | "No patients to show. Search below.";
    search_title():             "Finn en annen pasient" | "Find another patient";
    search_hint():              "Fyll ut ett eller flere felt." | "Fill in one or more fields.";
    search_name():              "Navn" | "Name";
    search_birth_date():        "Fødselsdato" | "Date of birth";
    search_identity():          "Fødselsnummer" | "Identity number";
    search_identity_hint():     "Eller D-nummer. 11 siffer. Vises ikke igjen." | "Or D-number. 11 digits. Not shown again.";
    identity_ends(tail):        "fødselsnummer slutter på {tail}" | "identity number ends in {tail}";
    search_button():            "Søk" | "Search";
    search_no_hits():           "Ingen pasienter passer med søket. Sjekk stavemåten, eller søk med færre felt." | "No patients match. Check the spelling, or search with fewer fields.";
    search_too_many(shown):     "Søket ga flere treff enn vi viser. Her er de første {shown}. Legg til fødselsdato eller flere navn for å snevre inn." | "There are more matches than we show. Here are the first {shown}. Add a date of birth or more names to narrow it down.";
    search_empty():             "Fyll ut minst ett felt for å søke." | "Fill in at least one field to search.";
    search_bad_identity():      "Fødselsnummeret har ikke 11 siffer." | "The identity number does not have 11 digits.";
    encounter_title():          "Velg kontakt" | "Choose an encounter";
    encounter_lead(app):        "Det du gjør i {app}, knyttes til kontakten du velger." | "What you do in {app} is tied to the encounter you choose.";
    encounter_list():           "Åpne kontakter" | "Open encounters";
    encounter_without():        "Uten kontakt" | "Without an encounter";
    encounter_without_detail(): "Åpne appen for pasienten, uten å knytte den til en konsultasjon" | "Open the app for the patient, tied to no encounter";
    encounter_none():           "Pasienten har ingen åpne kontakter, og appen kan ikke åpnes uten. Opprett en kontakt i journalsystemet først." | "The patient has no open encounter, and the app cannot be opened without one. Create one in the EHR first.";

    // ConsentPage
    consent_title(app):         "{app} ber om tilgang" | "{app} asks for access";
    consent_from(host):         "Fra {host}" | "From {host}";
    consent_opened_with():      "Åpnes sammen med" | "Opened together with";
    consent_lead():             "Les gjennom og velg hva appen får gjøre på dine vegne." | "Read through and choose what the app may do on your behalf.";
    consent_asks():             "Appen vil kunne" | "The app will be able to";
    consent_required():         "Nødvendig for å åpne appen" | "Needed to open the app";
    consent_untick():           "Fjern haken ved det du ikke vil gi tilgang til. Appen får aldri mer enn du selv har tilgang til." | "Untick what you do not want to give. The app never gets more than you have yourself.";
    consent_remembered():       "Svaret huskes til neste gang du åpner appen. Du kan trekke det tilbake når som helst under «Apper du har gitt tilgang»." | "Your answer is remembered for the next time you open the app. You can withdraw it at any time under “Apps you have given access”.";
    consent_once():             "Svaret gjelder bare denne gangen." | "Your answer applies to this time only.";
    allow():                    "Tillat" | "Allow";
    deny():                     "Ikke tillat" | "Do not allow";
    group_this_patient():       "Journalen til denne pasienten" | "This patient’s record";
    group_chosen_patient():     "Journalen til den valgte pasienten" | "The chosen patient’s record";
    group_all_patients():       "Opplysninger utover denne pasienten" | "Information beyond this patient";
    group_system():             "Uten at noen er logget inn" | "With nobody logged in";
    group_you():                "Opplysninger om deg" | "Information about you";
    group_services():           "Andre tjenester" | "Other services";
    group_time():               "Hvor lenge" | "For how long";

    // FormPostPage, ContinuePage
    form_post_title(app):       "Klar til å åpne {app}" | "Ready to open {app}";
    form_post_lead(host):       "Trykk Fortsett for å gå videre til {host}." | "Press Continue to go on to {host}.";
    continue_title():           "Fortsett oppstarten" | "Continue the launch";
    continue_lead(app):         "{app} sendte deg hit. Trykk Fortsett for å gå videre." | "{app} sent you here. Press Continue to go on.";
    continue_lead_plain():      "En app sendte deg hit. Trykk Fortsett for å gå videre." | "An app sent you here. Press Continue to go on.";

    // AppsPage
    apps_title():               "Apper du har gitt tilgang" | "Apps you have given access";
    apps_signed_in():           "Logget inn som" | "Logged in as";
    apps_lead():                "Her ser du hva hver app får gjøre, og du kan trekke tilgangen tilbake." | "See what each app may do, and withdraw its access.";
    apps_empty():               "Ingen apper har tilgang" | "No apps have access";
    apps_empty_message():       "Apper du åpner fra journalsystemet og gir tilgang, vises her." | "Apps you open from the EHR and give access will show up here.";
    apps_since(date):           "Tilgang siden {date}" | "Access since {date}";
    apps_may():                 "Appen kan" | "The app may";
    apps_remembered():          "Åpnes uten å spørre deg på nytt" | "Opens without asking you again";
    apps_grants():              "Aktive tilganger" | "Active access";
    apps_withdraw():            "Trekk tilbake" | "Withdraw";
    apps_withdraw_from(app):    "Trekk tilbake tilgangen til {app}" | "Withdraw {app}’s access";
    apps_withdrawn(app):        "Tilgangen til {app} er trukket tilbake. Det appen hadde åpent, er lukket." | "{app}’s access has been withdrawn. What it had open is closed.";
    sign_out():                 "Logg ut" | "Log out";
    grant_patient(since):       "Tilgang til én pasients journal siden {since}" | "Access to one patient’s record since {since}";
    grant_patient_offline(since, until): "Tilgang til én pasients journal siden {since}, også når du ikke er til stede, til {until}" | "Access to one patient’s record since {since}, also while you are away, until {until}";
    grant_plain(since):         "Tilgang uten valgt pasient siden {since}" | "Access with no patient chosen since {since}";
    grant_plain_offline(since, until): "Tilgang uten valgt pasient siden {since}, også når du ikke er til stede, til {until}" | "Access with no patient chosen since {since}, also while you are away, until {until}";

    // LogoutPage, LoggedOutPage
    logout_title():             "Vil du logge ut?" | "Do you want to log out?";
    logout_lead():              "Apper du har åpne, mister tilgangen." | "Apps you have open lose their access.";
    logout_lead_app(app):       "{app} ber om at du logges ut. Andre apper du har åpne, mister også tilgangen." | "{app} asks that you be logged out. Other apps you have open lose their access too.";
    logout_astray():            "Appen ba om at du blir sendt til en adresse som ikke er registrert. Du blir ikke sendt dit." | "The app asked that you be sent to an address that is not registered. You will not be sent there.";
    logout_stay():              "Forbli innlogget" | "Stay logged in";
    logged_out_title():         "Du er logget ut" | "You are logged out";
    logged_out_message():       "Apper du hadde åpne, har ikke lenger tilgang. Du kan lukke vinduet." | "The apps you had open no longer have access. You can close this window.";
    logged_out_note():          "Du kan fortsatt være logget inn i journalsystemet. Husk å logge ut der også hvis du deler maskin." | "You may still be logged in to the EHR. Remember to log out there too if you share this computer.";

    logged_out_upstream_note(): "Du kan fortsatt være logget inn i HelseID." | "You may still be logged in to HelseID.";
    logged_out_upstream():      "Logg ut av HelseID også" | "Log out of HelseID too";

    // scopes: `verbs noun whose, only where …`
    and():                      "og" | "and";
    or():                       "eller" | "or";
    verb_read():                "lese" | "read";
    verb_search():              "søke i" | "search";
    verb_create():              "opprette" | "create";
    verb_update():              "endre" | "change";
    verb_delete():              "slette" | "delete";
    noun_whole_record():        "alle typer journalopplysninger" | "every type of record information";
    noun_everything():          "alle typer opplysninger" | "every type of information";
    noun_other(kind):           "opplysninger av typen {kind}" | "information of type {kind}";
    for_this_patient():         "for denne pasienten" | "for this patient";
    for_chosen_patient():       "for den valgte pasienten" | "for the chosen patient";
    tied_to_this_patient():     "knyttet til denne pasienten" | "connected to this patient";
    tied_to_chosen_patient():   "knyttet til den valgte pasienten" | "connected to the chosen patient";
    for_your_patients():        "for alle pasienter du har tilgang til" | "for all patients you have access to";
    that_you_may_see():         "du har tilgang til" | "you have access to";
    for_all_patients():         "for alle pasienter" | "for all patients";
    only_where(conditions):     ", bare der {conditions}" | ", only where {conditions}";
    is(parameter, values):      "{parameter} er {values}" | "{parameter} is {values}";
    holds(constraint):          "{constraint} gjelder" | "{constraint} holds";
    quote(text):                "«{text}»" | "“{text}”";
    warn_wildcard():            "Gjelder alle typer opplysninger, også typer som blir lagt til senere." | "Covers every type of information, including types added later.";
    warn_unattended():          "Brukes uten at noen er logget inn." | "Used with nobody logged in.";
    scope_openid():             "Bekrefte hvem du er" | "Confirm who you are";
    scope_fhir_user():          "Se hvilket helsepersonell du er registrert som" | "See which health professional you are registered as";
    scope_profile():            "Se navnet ditt" | "See your name";
    scope_offline():            "Beholde tilgangen etter at du har lukket appen" | "Keep its access after you have closed the app";
    scope_offline_for(length):  "Beholde tilgangen i opptil {length}, også etter at du har lukket appen" | "Keep its access for up to {length}, also after you have closed the app";
    scope_online():             "Beholde tilgangen så lenge du er innlogget" | "Keep its access for as long as you are logged in";
    scope_helseid():            "Bruke HelseID-innloggingen din mot nasjonale tjenester" | "Use your HelseID login with national services";
    scope_extension(name):      "Bruke tilleggstilgangen {name}" | "Use the additional access {name}";
    scope_extension_warning():  "Hva dette gir, er bestemt av den som står bak tilgangen." | "What this gives is defined by whoever stands behind it.";
}
