//! `GET` and `POST /interaction/{id}`: the pages between a request and its answer. SAL §3.2 rows 11 to 13.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::Response;

use super::authorize::follow;
use super::page::{Asked, InPath, RequestId, Trouble, app_line, show, show_by_upstream, stopped, trouble, unread};
use super::pages::{
    Choice, ConsentPage, EncounterChoice, EncounterPickerPage, Form, LangSwitch, LoginPage, PatientChoice, PatientLine, PatientPickerPage, PatientSearch,
    Person, UpstreamPlace, ask_groups, decision, field,
};
use super::reply::append;
use super::texts::scopes::explain_context;
use super::{App, guess, request, upstream};
use crate::domain::client::Required;
use crate::domain::interaction::{Picked, PickedEncounter, Step};
use crate::domain::issuer::LoginWay;
use crate::domain::upstream_attempt::AttemptMode;
use crate::engine::authorize::Pending;
use crate::engine::picker::PickerError;
use crate::fhir_client::PatientQuery;
use crate::metrics::ConsentEvent;
use crate::protocol::error::{ErrorCode, OAuthError};
use crate::protocol::ids::FhirId;
use crate::protocol::lang::Lang;
use crate::protocol::params::Params;
use crate::protocol::scope::{Scope, ScopeSet};
use crate::secret::{Secret, same};

/// How many users, patients and encounters a page lists at most.
const SHOWN: usize = 20;

pub async fn get(
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    Extension(InPath(interaction)): Extension<InPath>,
    headers: HeaderMap,
    request: Request<Body>,
) -> Response {
    let asked = asked(&app, &headers, &id, None, request.uri().query());
    let pending = match app.engine.pending(&interaction, &app.cookies.read(&headers)).await {
        Ok(pending) => pending,
        Err(stop) => return stopped(&app, &asked, stop),
    };
    let asked = self::asked(&app, &headers, &id, pending.held.value.request.ui_locales.as_deref(), request.uri().query());
    render(&app, &asked, pending, &PatientQuery::default(), None).await
}

/// The language of a page: what the person switched to, else what the app or the browser wishes.
fn asked(app: &App, headers: &HeaderMap, id: &RequestId, ui_locales: Option<&str>, query: Option<&str>) -> Asked {
    let params = Params::parse(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    let switched = params.get("lang").and_then(Lang::from_ui_locales);
    let mut asked = Asked::new(app, headers, id, ui_locales);
    if let Some(lang) = switched {
        asked.lang = lang;
        asked.switched = true;
    }
    asked
}

pub async fn post(
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    Extension(InPath(interaction)): Extension<InPath>,
    request: Request<Body>,
) -> Response {
    let headers = request.headers().clone();
    let query = request.uri().query().map(str::to_owned);
    let asked = asked(&app, &headers, &id, None, query.as_deref());
    let form = match request::form(request, app.limits.authorize).await {
        Ok(form) => form,
        Err(reason) => return unread(&app, &asked, &reason),
    };
    // Only boxes that are ticked come several times.
    if form.pairs().any(|(name, _)| name != field::SCOPE && form.is_repeated(name)) {
        return trouble(&app, &asked, StatusCode::BAD_REQUEST, Trouble::Form, "a field of the form came twice".to_owned());
    }
    let pending = match app.engine.pending(&interaction, &app.cookies.read(&headers)).await {
        Ok(pending) => pending,
        Err(stop) => return stopped(&app, &asked, stop),
    };
    // The cookie tells the browser, this tells our own page from somebody else's form.
    let csrf = form.get(field::CSRF).unwrap_or_default();
    if !same(csrf.as_bytes(), pending.held.value.csrf.as_bytes()) {
        return guess::mark(trouble(&app, &asked, StatusCode::BAD_REQUEST, Trouble::Form, "the form's csrf value is not this interaction's".to_owned()), None);
    }
    let asked = self::asked(&app, &headers, &id, pending.held.value.request.ui_locales.as_deref(), query.as_deref());
    decide(&app, &asked, pending, &form).await
}

/// What the person answered.
async fn decide(app: &App, asked: &Asked, pending: Pending, form: &Params) -> Response {
    let next = match (&pending.step, form.get(field::DECISION)) {
        (Step::Refuse(_) | Step::Finish(_), _) => app.engine.advance(pending, |_| {}).await,
        (_, Some(decision::DENY)) => app.engine.give_up(pending, OAuthError::new(ErrorCode::AccessDenied, "the user said no")).await,
        (Step::Passing, _) => return upstream::send(app, asked, pending, AttemptMode::Silent).await,
        (Step::Login(_), _) if form.get(field::WAY) == Some(LoginWay::HelseId.as_str()) => {
            let mode = pending.held.value.upstream_mode();
            return upstream::send(app, asked, pending, mode).await;
        }
        (Step::Login(_), _) => return log_in(app, asked, pending, form).await,
        (Step::PickPatient, Some(decision::SEARCH)) => return search(app, asked, pending, form).await,
        (Step::PickPatient, _) => return pick_patient(app, asked, pending, form).await,
        // From an earlier page, by the back button: what is answered there counts, and what came after it is asked again.
        (Step::PickEncounter | Step::Consent(_), Some(decision::CONTINUE)) if form.has(field::PATIENT) && pending.launch.is_none() => {
            return pick_patient(app, asked, pending, form).await;
        }
        (Step::PickEncounter, _) => return pick_encounter(app, asked, pending, form).await,
        (Step::Consent(_), Some(decision::CONTINUE)) if names(form, field::ENCOUNTER) && pending.launch.is_none() => {
            return pick_encounter(app, asked, pending, form).await;
        }
        (Step::Consent(offered), Some(decision::ALLOW)) => {
            let allowed = ticked(offered, form);
            app.engine.advance(pending, |interaction| interaction.consent = Some(allowed)).await
        }
        // No form of this page: it is shown again.
        (Step::Consent(_), _) => return render(app, asked, pending, &PatientQuery::default(), None).await,
    };
    match next {
        Ok(next) => follow(app, asked, next).await,
        Err(stop) => stopped(app, asked, stop),
    }
}

/// What the person allowed: what was ticked and what could not be unticked; nothing where everything was unticked.
fn ticked(offered: &ScopeSet, form: &Params) -> ScopeSet {
    let ticked: ScopeSet = form.all(field::SCOPE).filter_map(|text| Scope::parse(text).ok()).collect();
    let optional: ScopeSet = offered.iter().filter(|scope| !is_required(scope)).cloned().collect();
    let chosen = optional.narrow(&ticked);
    if chosen.is_empty() && !optional.is_empty() {
        return ScopeSet::default();
    }
    offered.iter().filter(|scope| is_required(scope)).chain(chosen.iter()).cloned().collect()
}

/// Whether the form has the field, empty or not.
fn names(form: &Params, field: &str) -> bool {
    form.pairs().any(|(name, _)| name == field)
}

/// What cannot be unticked: it gives no access by itself, and the app cannot be opened without it.
fn is_required(scope: &Scope) -> bool {
    matches!(scope, Scope::OpenId | Scope::FhirUser | Scope::Profile | Scope::Launch | Scope::Context(_))
}

async fn log_in(app: &App, asked: &Asked, pending: Pending, form: &Params) -> Response {
    let base = pending.held.value.request.base.clone();
    let user = form.get(field::USER).unwrap_or_default();
    let signed_in = match app.engine.sign_in_locally(&base, user).await {
        Ok(Some(signed_in)) => signed_in,
        Ok(None) => {
            return guess::mark(render(app, asked, pending, &PatientQuery::default(), Some(asked.lang.login_error_unknown().to_owned())).await, None);
        }
        Err(down) => return stopped(app, asked, down.into()),
    };
    let life = app.engine.rules.lifetimes.session;
    let known = app.engine.known_user(&signed_in.session, pending.launch.as_ref().map(|held| &held.value));
    let next = app
        .engine
        .advance(pending, |interaction| {
            interaction.change_user(Some(known));
            interaction.fresh_login = true;
        })
        .await;
    let mut response = match next {
        Ok(next) => follow(app, asked, next).await,
        Err(stop) => return stopped(app, asked, stop),
    };
    append(&mut response, header::SET_COOKIE, app.cookies.session(&signed_in.cookie, life));
    response
}

async fn search(app: &App, asked: &Asked, pending: Pending, form: &Params) -> Response {
    let t = asked.lang;
    let compact = |text: &str| -> String { text.chars().filter(|c| !c.is_whitespace()).collect() };
    let is_number = |text: &str| text.len() == 11 && text.bytes().all(|b| b.is_ascii_digit());
    // A number in the wrong field is still a number, and not shown again either.
    let (name, misplaced) = match form.get(field::NAME) {
        Some(text) if is_number(&compact(text)) => (None, Some(compact(text))),
        name => (name.map(str::to_owned), None),
    };
    let identity = form.get(field::IDENTITY_NUMBER).map(compact).or(misplaced);
    let birth_date = form.get(field::BIRTH_DATE).map(str::parse);
    let query = PatientQuery { name, birth_date: birth_date.clone().and_then(Result::ok), identifier: identity.clone().map(Secret::new) };
    let wrong = match (&identity, &birth_date) {
        (Some(number), _) if !is_number(number) => Some(t.search_bad_identity().to_owned()),
        (_, Some(Err(_))) => Some(t.search_no_hits().to_owned()),
        _ if query.is_empty() => Some(t.search_empty().to_owned()),
        _ => None,
    };
    match wrong {
        Some(message) => render(app, asked, pending, &PatientQuery::default(), Some(message)).await,
        None => render(app, asked, pending, &query, None).await,
    }
}

async fn pick_patient(app: &App, asked: &Asked, pending: Pending, form: &Params) -> Response {
    let chosen = match form.get(field::PATIENT).and_then(|id| FhirId::parse(id).ok()) {
        Some(id) => app.engine.patient(&pending.held.value, &id).await,
        None => Ok(None),
    };
    match chosen {
        Ok(Some(patient)) => {
            let picked = Picked { id: patient.id, name: patient.name, birth_date: patient.birth_date };
            match app
                .engine
                .advance(pending, |interaction| {
                    interaction.patient = Some(picked);
                    interaction.encounter = None;
                })
                .await
            {
                Ok(next) => follow(app, asked, next).await,
                Err(stop) => stopped(app, asked, stop),
            }
        }
        Ok(None) => {
            let tried = form.has(field::PATIENT);
            let page = render(app, asked, pending, &PatientQuery::default(), Some(asked.lang.search_no_hits().to_owned())).await;
            if tried { guess::mark(page, None) } else { page }
        }
        Err(down) => unreachable(app, asked, &down),
    }
}

async fn pick_encounter(app: &App, asked: &Asked, pending: Pending, form: &Params) -> Response {
    let Some(patient) = pending.held.value.picked() else { return stopped(app, asked, crate::engine::authorize::Stop::Gone) };
    let open = match app.engine.open_encounters(&pending.held.value, &patient.id).await {
        Ok(open) => open,
        Err(down) => return unreachable(app, asked, &down),
    };
    let chosen = form.get(field::ENCOUNTER).and_then(|id| FhirId::parse(id).ok());
    // Only what was offered can be chosen.
    let chosen = match chosen {
        Some(id) if open.iter().any(|encounter| encounter.id == id) => PickedEncounter::One(id),
        // An empty choice, not a form without the field.
        None if names(form, field::ENCOUNTER) && !form.has(field::ENCOUNTER) && !pending.client.requires.contains(&Required::Encounter) => {
            PickedEncounter::Without
        }
        tried => {
            let page = render(app, asked, pending, &PatientQuery::default(), None).await;
            return if tried.is_some() { guess::mark(page, None) } else { page };
        }
    };
    match app.engine.advance(pending, |interaction| interaction.encounter = Some(chosen)).await {
        Ok(next) => follow(app, asked, next).await,
        Err(stop) => stopped(app, asked, stop),
    }
}

fn unreachable(app: &App, asked: &Asked, down: &PickerError) -> Response {
    trouble(app, asked, StatusCode::SERVICE_UNAVAILABLE, Trouble::Unavailable, down.to_string())
}

/// The page of the step an interaction stands at.
async fn render(app: &App, asked: &Asked, pending: Pending, query: &PatientQuery, message: Option<String>) -> Response {
    let t = asked.lang;
    let interaction = &pending.held.value;
    let form = Form::new(format!("{}/interaction/{}?lang={}", app.path, interaction.id, t.tag()), interaction.csrf.clone());
    let switch = LangSwitch::to(format!("{}/interaction/{}?lang={}", app.path, interaction.id, t.other().tag()));
    let client = &pending.client;
    let target = Some(&interaction.request.redirect);
    match &pending.step {
        Step::Refuse(_) | Step::Finish(_) => match app.engine.advance(pending, |_| {}).await {
            Ok(next) => follow(app, asked, next).await,
            Err(stop) => stopped(app, asked, stop),
        },
        Step::Passing => upstream::send(app, asked, pending, AttemptMode::Silent).await,
        Step::Login(ways) => {
            let said = interaction.trouble.filter(|_| message.is_none()).and_then(|trouble| upstream::message(t, trouble));
            let page = LoginPage {
                lang: t,
                switch,
                app: Some(app_line(client)),
                patient: None,
                upstream: upstream_place(ways),
                by_name: ways.contains(&LoginWay::Local),
                users: users(app, &pending),
                error: message.or_else(|| said.map(|(_, text)| text.to_owned())),
                form,
            };
            let response =
                if page.upstream.is_some() { show_by_upstream(app, StatusCode::OK, &page, t, target) } else { show(app, StatusCode::OK, &page, t, target) };
            upstream::with_status(response, said, interaction.trouble)
        }
        Step::PickPatient => {
            let found = match app.engine.patients(interaction, query).await {
                Ok(found) => found,
                Err(down) => return unreachable(app, asked, &down),
            };
            let done = !query.is_empty();
            let message = message.or_else(|| match (done, found.rows.is_empty(), found.more) {
                (true, true, _) => Some(t.search_no_hits().to_owned()),
                (true, false, true) => Some(t.search_too_many(found.rows.len())),
                _ => None,
            });
            let search = PatientSearch {
                done,
                name: query.name.clone().unwrap_or_default(),
                birth_date: query.birth_date.map(|date| date.to_string()).unwrap_or_default(),
                message,
            };
            let patients = found.rows.into_iter().map(|patient| PatientChoice {
                value: patient.id.to_string(),
                name: patient.name.unwrap_or_else(|| patient.id.to_string()),
                birth_date: patient.birth_date.as_deref().map(|date| t.fhir_date(date)).unwrap_or_default(),
                sex: patient.sex.as_deref().map(|sex| t.sex(sex).to_owned()).unwrap_or_default(),
                detail: patient.identity_numbers.first().cloned().unwrap_or_default(),
            });
            let page = PatientPickerPage { lang: t, switch, app: app_line(client), patients: patients.take(SHOWN).collect(), search, form };
            show(app, StatusCode::OK, &page, t, target)
        }
        Step::PickEncounter => {
            let Some(patient) = interaction.picked() else { return stopped(app, asked, crate::engine::authorize::Stop::Gone) };
            let open = match app.engine.open_encounters(interaction, &patient.id).await {
                Ok(open) => open,
                Err(down) => return unreachable(app, asked, &down),
            };
            let encounters = open.into_iter().take(SHOWN).map(|encounter| EncounterChoice {
                value: encounter.id.to_string(),
                when: encounter.facts.start.as_deref().map(|start| in_oslo(t, start)).unwrap_or_default(),
                kind: encounter.facts.kind_text.unwrap_or_default(),
                place: String::new(),
            });
            let page = EncounterPickerPage {
                lang: t,
                switch,
                app: app_line(client),
                patient: patient_line(t, &patient.id, patient.name.as_deref(), patient.birth_date.as_deref()),
                encounters: encounters.collect(),
                may_skip: !client.requires.contains(&Required::Encounter),
                form,
            };
            show(app, StatusCode::OK, &page, t, target)
        }
        Step::Consent(scopes) => {
            app.engine.metrics.consent(ConsentEvent::Shown);
            let context = interaction.context(pending.launch.as_ref().map(|held| &held.value));
            let picked = interaction.picked();
            let (name, birth_date) = match (&pending.launch, &picked) {
                (Some(launch), _) => (launch.value.patient_name.as_deref(), launch.value.patient_birth_date.as_deref()),
                (None, Some(picked)) => (picked.name.as_deref(), picked.birth_date.as_deref()),
                (None, None) => (None, None),
            };
            let patient = context.patient.as_ref().map(|id| patient_line(t, id, name, birth_date));
            let user = interaction.user.as_ref();
            let page = ConsentPage {
                lang: t,
                switch,
                app: app_line(client),
                user: Person {
                    name: user.and_then(|user| user.name.clone()).or_else(|| user.map(|user| user.fhir_user.to_string())).unwrap_or_default(),
                    detail: String::new(),
                },
                groups: ask_groups(t, scopes, patient.is_some(), app.engine.rules.helseid_name(), Some(client.refresh_ttl), is_required),
                patient,
                encounter: context.encounter.as_ref().map(ToString::to_string),
                opened_with: context.fhir_context.iter().map(|item| explain_context(item, t)).collect(),
                remembered: client.consent == crate::domain::client::ConsentPolicy::Once,
                form,
            };
            show(app, StatusCode::OK, &page, t, target)
        }
    }
}

fn patient_line(t: Lang, id: &FhirId, name: Option<&str>, birth_date: Option<&str>) -> PatientLine {
    PatientLine { name: name.map_or_else(|| id.to_string(), str::to_owned), birth_date: birth_date.map(|date| t.fhir_date(date)).unwrap_or_default() }
}

/// Where the button of the identity provider stands among these ways.
pub(super) fn upstream_place(ways: &[LoginWay]) -> Option<UpstreamPlace> {
    let at = |way| ways.iter().position(|known| *known == way);
    let place = |here: usize| if at(LoginWay::Local).is_some_and(|local| local < here) { UpstreamPlace::Last } else { UpstreamPlace::First };
    at(LoginWay::HelseId).map(place)
}

/// The people to choose from: the one the launch or the login hint names first.
fn users(app: &App, pending: &Pending) -> Vec<Choice> {
    let hint = pending.held.value.request.login_hint.as_deref();
    let launched = pending.launch.as_ref().map(|held| held.value.fhir_user.to_string());
    let rank = |name: &str, fhir_user: &str| {
        let named = |text: &str| text == fhir_user || text.eq_ignore_ascii_case(name) || fhir_user.rsplit('/').next() == Some(text);
        match (launched.as_deref() == Some(fhir_user), hint.is_some_and(named)) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    };
    let mut users: Vec<(usize, Choice)> = app
        .engine
        .rules
        .users
        .iter()
        .map(|user| {
            let fhir_user = user.fhir_user.to_string();
            (rank(&user.name, &fhir_user), Choice { value: fhir_user.clone(), name: user.name.clone(), detail: fhir_user })
        })
        .collect();
    users.sort_by_key(|(rank, _)| *rank);
    users.into_iter().map(|(_, choice)| choice).collect()
}

/// A FHIR `dateTime` in the clinic's own time; one without a time of day as a date.
fn in_oslo(t: Lang, text: &str) -> String {
    let zoned = text.parse::<jiff::Timestamp>().ok().and_then(|at| at.in_tz("Europe/Oslo").ok());
    zoned.map_or_else(|| t.fhir_date(text), |at| t.date_time(at.datetime()))
}
