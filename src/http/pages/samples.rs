//! What the pages look like with real contents: the snapshots and the accessibility check are made of these. All names are made up.

use std::time::Duration;

use jiff::civil::date;

use super::*;
use crate::protocol::claims::HELSEID;
use crate::protocol::scope::{Scope, ScopeSet};

pub(super) trait Samples: Sized {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)>;
}

const NAV: &str = "openid profile launch fhirUser offline_access patient/Patient.read patient/Encounter.read patient/Condition.read patient/DocumentReference.read patient/DocumentReference.write";
const MANY: &str = "openid fhirUser launch/patient offline_access patient/Patient.r patient/Condition.rs patient/MedicationRequest.cruds patient/AllergyIntolerance.rs \
    patient/Observation.rs?category=laboratory&status=final patient/DocumentReference.rs?type=urn:oid:2.16.578.1.12.4.1.1.9602|J01-2 user/Encounter.rs user/Practitioner.r \
    https://helseid.nhn.no https://scopes.leverandor-av-kliniske-verktoy.example/dataprodukter/beslutningsstotte/v2/les";
const WILD: &str = "launch/patient openid patient/*.cruds user/*.rs online_access";

const LONG_APP: &str = "Beslutningsstøtte for antikoagulasjonsbehandling og legemiddelgjennomgang i primærhelsetjenesten";
const LONG_NAME: &str = "Åse-Bjørg Ærligmann Øygardsløkken-Sæterbråten von Kjærlighetshaugen";

fn app() -> AppLine {
    AppLine { name: "Sykmelding".into(), host: "sykmelding.app.example".into() }
}

fn long_app() -> AppLine {
    AppLine { name: LONG_APP.into(), host: "antikoagulasjon-og-legemiddelgjennomgang.kliniske-verktoy.leverandoren.example".into() }
}

fn form() -> Form {
    Form { action: "/interaction/8Jx2".into(), csrf: "c5Rf-3x4mpl3".into(), hidden: vec![Hidden::new("step", "1")] }
}

fn switch(lang: Lang) -> LangSwitch {
    LangSwitch::to(format!("/interaction/8Jx2?ui_locales={}&step=1", lang.other().tag()))
}

fn doctor(lang: Lang) -> Person {
    Person { name: "Magnus Fjelltind".into(), detail: say(lang, "lege, Fjellbris legesenter", "doctor, Fjellbris legesenter") }
}

fn nurse(lang: Lang) -> Person {
    Person {
        name: LONG_NAME.into(), detail: say(lang, "sykepleier, Nordre Øyrekka interkommunale legevakt", "nurse, Nordre Øyrekka interkommunale legevakt")
    }
}

fn patient(lang: Lang) -> PatientLine {
    PatientLine { name: "Tapper Fjellrev".into(), birth_date: lang.date(date(1992, 3, 14)) }
}

fn long_patient(lang: Lang) -> PatientLine {
    PatientLine { name: LONG_NAME.into(), birth_date: lang.date(date(1931, 12, 31)) }
}

fn say(lang: Lang, nb: &str, en: &str) -> String {
    match lang {
        Lang::Nb => nb.into(),
        Lang::En => en.into(),
    }
}

const REFERENCE: &str = "4f6b1c0e9a7d4d0fb1a2c3d4e5f60718";

impl Samples for ErrorPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        let page = |heading: &str, message: &str, next_step: &str| Self {
            lang,
            switch: LangSwitch::none(),
            heading: heading.into(),
            message: message.into(),
            next_step: next_step.into(),
            reference: REFERENCE.into(),
        };
        vec![
            ("pushed", page(lang.error_pushed(), lang.error_pushed_message(), lang.next_open_again())),
            ("expired", page(lang.error_expired(), lang.error_expired_message(), lang.next_open_again())),
            ("redirect", page(lang.error_redirect(), lang.error_redirect_message(), lang.next_support())),
            ("unavailable", Self { switch: switch(lang), ..page(lang.error_unavailable(), lang.error_unavailable_message(), lang.next_wait()) }),
        ]
    }
}

impl Samples for DonePage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        vec![("known", Self { lang, switch: switch(lang), app: Some(app().name) }), ("unknown", Self { lang, switch: LangSwitch::none(), app: None })]
    }
}

impl Samples for NoWayInPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        vec![
            ("known", Self { lang, switch: switch(lang), app: Some(LONG_APP.into()), reference: REFERENCE.into() }),
            ("unknown", Self { lang, switch: switch(lang), app: None, reference: REFERENCE.into() }),
        ]
    }
}

impl Samples for SignInNeededPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        vec![
            ("link", Self { lang, switch: switch(lang), sign_in: Some("/login?next=apps&again=1".into()) }),
            ("no-link", Self { lang, switch: switch(lang), sign_in: None }),
        ]
    }
}

impl Samples for LoginPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        let choice = |value: &str, person: Person| Choice { value: value.into(), name: person.name, detail: person.detail };
        let users = vec![
            choice("lege-fastlege", doctor(lang)),
            choice(
                "lege-vikar",
                Person {
                    name: "Solveig Bølgeskvulp".into(),
                    detail: say(lang, "lege i spesialisering, Fjellbris legesenter", "specialty registrar, Fjellbris legesenter"),
                },
            ),
            choice("sykepleier", nurse(lang)),
            choice(
                "sekretaer",
                Person { name: "Ola Måkeskrik".into(), detail: say(lang, "helsesekretær, Fjellbris legesenter", "medical secretary, Fjellbris legesenter") },
            ),
        ];
        let page = Self {
            lang,
            switch: switch(lang),
            app: Some(app()),
            patient: Some(patient(lang)),
            upstream: None,
            by_name: true,
            users,
            error: None,
            form: form(),
        };
        vec![
            ("launch", page.clone()),
            ("error", Self { app: Some(long_app()), patient: Some(long_patient(lang)), error: Some(lang.login_error_unknown().into()), ..page.clone() }),
            ("account", Self { app: None, patient: None, ..page.clone() }),
            ("nobody", Self { users: Vec::new(), ..page.clone() }),
            ("upstream", Self { upstream: Some(UpstreamPlace::First), by_name: false, users: Vec::new(), ..page.clone() }),
            ("upstream-account", Self { app: None, patient: None, upstream: Some(UpstreamPlace::First), by_name: false, users: Vec::new(), ..page.clone() }),
            ("upstream-or-name", Self { upstream: Some(UpstreamPlace::First), error: Some(lang.login_error_other().to_owned()), ..page.clone() }),
            ("name-or-upstream", Self { upstream: Some(UpstreamPlace::Last), ..page }),
        ]
    }
}

impl Samples for ConfirmUserPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        let page = Self {
            lang,
            switch: switch(lang),
            app: app(),
            signed_in: doctor(lang),
            opens_as: Person { name: "Solveig Bølgeskvulp".into(), detail: say(lang, "lege, Fjellbris legesenter", "doctor, Fjellbris legesenter") },
            form: form(),
        };
        vec![("plain", page.clone()), ("long", Self { app: long_app(), opens_as: nurse(lang), ..page })]
    }
}

impl Samples for PatientPickerPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        let row = |value: &str, name: &str, born, sex: &str, detail: String| PatientChoice {
            value: value.into(),
            name: name.into(),
            birth_date: lang.date(born),
            sex: lang.sex(sex).into(),
            detail,
        };
        let patients = vec![
            row("pasient-01", "Tapper Fjellrev", date(1992, 3, 14), "male", String::new()),
            row("pasient-02", "Munter Seilduk", date(1987, 7, 2), "female", String::new()),
            row("pasient-04", "Nysgjerrig Marihøne", date(2018, 5, 9), "female", say(lang, "Øvre Blåbærlia 4, Trøndelag", "Øvre Blåbærlia 4, Trøndelag")),
            row("pasient-07", LONG_NAME, date(1931, 12, 31), "unknown", String::new()),
        ];
        let twins = vec![
            row("pasient-11", "Stille Vårbekk", date(1979, 10, 21), "male", lang.identity_number_hint("21907911230").unwrap_or_default()),
            row("pasient-12", "Stille Vårbekk", date(1979, 10, 21), "male", lang.identity_number_hint("21907911174").unwrap_or_default()),
        ];
        let page = Self { lang, switch: switch(lang), app: app(), patients, search: PatientSearch::default(), form: form() };
        let search = |birth_date: &str, message: String| PatientSearch {
            done: true,
            name: "vårbekk <æøå>".into(),
            birth_date: birth_date.into(),
            message: Some(message),
        };
        vec![
            ("own", page.clone()),
            ("too-many", Self { patients: twins, search: search("", lang.search_too_many(2)), ..page.clone() }),
            ("no-hits", Self { patients: Vec::new(), search: search("1979-10-21", lang.search_no_hits().into()), ..page.clone() }),
            ("nobody", Self { app: long_app(), patients: Vec::new(), ..page }),
        ]
    }
}

impl Samples for EncounterPickerPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        let row = |value: &str, at: jiff::civil::DateTime, kind: String, place: &str| EncounterChoice {
            value: value.into(),
            when: lang.date_time(at),
            kind,
            place: place.into(),
        };
        let encounters = vec![
            row("konsultasjon-01-3", date(2026, 11, 23).at(10, 15, 0, 0), say(lang, "Konsultasjon", "Consultation"), "Fjellbris legesenter"),
            row("konsultasjon-01-4", date(2026, 11, 23).at(8, 5, 0, 0), say(lang, "Telefonkonsultasjon", "Telephone consultation"), ""),
        ];
        let page = Self { lang, switch: switch(lang), app: app(), patient: patient(lang), encounters, may_skip: true, form: form() };
        vec![
            ("open", page.clone()),
            ("required", Self { may_skip: false, app: long_app(), patient: long_patient(lang), ..page.clone() }),
            ("only-without", Self { encounters: Vec::new(), ..page.clone() }),
            ("none", Self { encounters: Vec::new(), may_skip: false, ..page }),
        ]
    }
}

impl Samples for ConsentPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        let groups = |text: &str, known: bool, offline: Option<Duration>| {
            let required = |scope: &Scope| matches!(scope, Scope::OpenId) || scope.to_string() == "patient/Patient.r";
            ask_groups(lang, &ScopeSet::parse_request(text), known, HELSEID, offline, required)
        };
        let encounter = format!("{}, {}", say(lang, "Konsultasjon", "Consultation"), lang.date_time(date(2026, 11, 23).at(10, 15, 0, 0)));
        let page = Self {
            lang,
            switch: switch(lang),
            app: app(),
            user: doctor(lang),
            patient: Some(patient(lang)),
            encounter: Some(encounter),
            opened_with: Vec::new(),
            groups: groups(NAV, true, Some(Duration::from_secs(12 * 3600))),
            remembered: false,
            form: form(),
        };
        vec![
            ("sykmelding", page.clone()),
            (
                "many",
                Self {
                    app: long_app(),
                    user: nurse(lang),
                    patient: Some(long_patient(lang)),
                    groups: groups(MANY, true, Some(Duration::from_secs(90 * 86_400))),
                    remembered: true,
                    ..page.clone()
                },
            ),
            ("wildcard", Self { patient: None, encounter: None, groups: groups(WILD, false, None), remembered: true, ..page.clone() }),
            ("locked", Self { encounter: None, groups: groups("openid patient/Patient.r", true, None), ..page }),
        ]
    }
}

impl Samples for FormPostPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        let fields = vec![Hidden::new("code", "code_4f6b_example"), Hidden::new("state", "a\"b<c>&d'e"), Hidden::new("iss", "https://auth.example")];
        let page = Self { lang, switch: LangSwitch::none(), app: app(), action: "https://sykmelding.app.example/callback?a=1&b=2".into(), fields };
        vec![("plain", page.clone()), ("long", Self { app: long_app(), ..page })]
    }
}

impl Samples for ContinuePage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        let page = Self {
            lang,
            switch: LangSwitch::none(),
            app: Some(app().name),
            action: "https://auth.example/authorize".into(),
            fields: vec![Hidden::new("response_type", "code"), Hidden::new("client_id", "syk-inn")],
        };
        vec![("known", page.clone()), ("unknown", Self { app: None, ..page })]
    }
}

impl Samples for AppsPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        let sentences = |text: &str| {
            ask_groups(lang, &ScopeSet::parse_request(text), false, HELSEID, None, |_| false)
                .into_iter()
                .flat_map(|group| group.asks)
                .map(|ask| ask.sentence)
                .collect()
        };
        let now = lang.date_time(date(2026, 11, 23).at(10, 15, 0, 0));
        let later = lang.date_time(date(2026, 11, 23).at(22, 15, 0, 0));
        let apps = vec![
            AllowedApp {
                value: "syk-inn".into(),
                app: app(),
                since: lang.date(date(2026, 2, 3)),
                asks: sentences(NAV),
                remembered: false,
                grants: vec![lang.grant_patient(&now), lang.grant_patient_offline(&now, &later)],
            },
            AllowedApp {
                value: "antikoag".into(),
                app: long_app(),
                since: lang.date(date(2025, 12, 24)),
                asks: sentences(MANY),
                remembered: true,
                grants: Vec::new(),
            },
            AllowedApp {
                value: "vekst".into(),
                app: AppLine { name: "Vekstkurver".into(), host: "vekst.example".into() },
                since: lang.date(date(2026, 10, 1)),
                asks: sentences("patient/Observation.rs"),
                remembered: true,
                grants: vec![lang.grant_plain(&now)],
            },
        ];
        let page =
            Self { lang, switch: switch(lang), user: doctor(lang), apps, notice: None, form: form(), sign_out: Some(Form::new("/logout", "c5Rf-3x4mpl3")) };
        vec![
            ("several", page.clone()),
            ("withdrawn", Self { apps: Vec::new(), notice: Some(lang.apps_withdrawn("Sykmelding")), ..page.clone() }),
            ("no-sign-out", Self { user: nurse(lang), apps: Vec::new(), sign_out: None, ..page }),
        ]
    }
}

impl Samples for LogoutPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        let page = Self { lang, switch: switch(lang), user: Some(doctor(lang)), app: None, astray: false, form: form() };
        vec![("own", page.clone()), ("app", Self { user: None, app: Some(LONG_APP.into()), ..page.clone() }), ("astray", Self { astray: true, ..page })]
    }
}

impl Samples for LoggedOutPage {
    fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
        let fields = vec![Hidden::new("client_id", "helsebro"), Hidden::new("state", "s")];
        let upstream = Some(("https://helseid.example/connect/endsession".to_owned(), fields));
        let page = Self { lang, switch: switch(lang), astray: false, upstream: None };
        vec![("plain", page.clone()), ("upstream", Self { upstream, ..page.clone() }), ("astray", Self { astray: true, ..page })]
    }
}
