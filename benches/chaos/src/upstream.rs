//! What the server depends on beside its store: a FHIR server that has whatever it is asked for, and the mock of HelseID. Both can be slow,
//! wrong and gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Form, Router};
use helsebro::helseid::quirks::Quirks;
use helsebro::helseid::seed::{Seed, table};
use helsebro::helseid::{Running, Settings, start};
use helsebro::listen::Listener;
use helsebro::protocol::ids::Issuer;
use helsebro::random::SystemRandom;
use helsebro::time::SystemClock;
use serde_json::{Value, json};

use crate::Failed;

/// The practitioner of every launch, by identity number and HPR number as the mock knows her.
pub const PRACTITIONER: &str = "Practitioner/solveig";
const USER: &str = "solveig";
const SLOW: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    Slow,
    Wrong,
    Down,
}

impl Mood {
    const ALL: [Self; 4] = [Self::Well, Self::Slow, Self::Wrong, Self::Down];
}

pub struct Fhir {
    pub base: String,
    /// The same under another name, for another issuer.
    pub held: String,
    mood: Arc<AtomicU8>,
}

fn mood(of: &AtomicU8) -> Mood {
    Mood::ALL.get(usize::from(of.load(Ordering::SeqCst))).copied().unwrap_or(Mood::Well)
}

fn fhir_json(body: &Value) -> Response {
    ([("content-type", "application/fhir+json")], body.to_string()).into_response()
}

fn resource(kind: &str, id: &str) -> Value {
    let mut resource = json!({ "resourceType": kind, "id": id });
    if kind == "Practitioner" {
        resource["active"] = true.into();
        resource["name"] = json!([{ "text": "Solveig Fjæremo" }]);
        resource["identifier"] = json!([
            { "system": "urn:oid:2.16.578.1.12.4.1.4.1", "value": "12837512040" },
            { "system": "urn:oid:2.16.578.1.12.4.1.4.4", "value": "990000101" }
        ]);
    }
    resource
}

/// What a mood answers in place of the truth.
async fn moody(of: &AtomicU8) -> Option<Response> {
    match mood(of) {
        Mood::Well => None,
        Mood::Slow => {
            tokio::time::sleep(SLOW).await;
            None
        }
        // A resource that nobody asked for.
        Mood::Wrong => Some(fhir_json(&json!({ "resourceType": "Patient", "id": "somebody-else" }))),
        Mood::Down => Some((StatusCode::BAD_GATEWAY, [("content-type", "text/html")], "<h1>Bad gateway</h1>").into_response()),
    }
}

async fn read(State(of): State<Arc<AtomicU8>>, UrlPath((kind, id)): UrlPath<(String, String)>) -> Response {
    match moody(&of).await {
        Some(other) => other,
        None => fhir_json(&resource(&kind, &id)),
    }
}

async fn search(State(of): State<Arc<AtomicU8>>, UrlPath((kind, _)): UrlPath<(String, String)>, Form(_by): Form<Vec<(String, String)>>) -> Response {
    match moody(&of).await {
        Some(other) => other,
        None => fhir_json(&json!({ "resourceType": "Bundle", "type": "searchset", "total": 1,
            "entry": [{ "resource": resource(&kind, USER), "search": { "mode": "match" } }] })),
    }
}

impl Fhir {
    pub async fn start() -> Result<Self, Failed> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let (base, held) = (format!("http://{}/fhir", listener.local_addr()?), format!("http://{}/held", listener.local_addr()?));
        let mood = Arc::new(AtomicU8::new(0));
        let all = || get(read).post(search);
        let router = Router::new().route("/fhir/{kind}/{id}", all()).route("/held/{kind}/{id}", all()).with_state(Arc::clone(&mood));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { base, held, mood })
    }

    pub fn set(&self, mood: Mood) {
        let place = Mood::ALL.iter().position(|one| *one == mood).and_then(|place| u8::try_from(place).ok());
        self.mood.store(place.unwrap_or(0), Ordering::SeqCst);
    }
}

pub struct Helseid {
    mock: Running,
}

impl Helseid {
    /// `origin`: the issuer that is its client.
    pub async fn start(origin: &str) -> Result<Self, Failed> {
        let listener = Listener::bind("127.0.0.1:0").await?;
        let issuer = Issuer::parse(&format!("http://{}", listener.local_addr())).map_err(|error| error.to_string())?;
        let seed = Seed::generate().map_err(|error| error.to_string())?;
        let settings = Settings { issuer, seed, quirks: Quirks::default(), fresh_keys: false };
        let mock = start(settings, listener, SystemClock::shared(), Arc::new(SystemRandom)).await.map_err(|error| error.to_string())?;
        mock.idp.change_seed(|seed| {
            if let Some(client) = seed.clients.get_mut(table::SMART_AS) {
                client.redirect_uris.push(format!("{origin}/upstream/callback"));
                client.post_logout_redirect_uris.push(format!("{origin}/logout"));
                client.backchannel_logout_uri = Some(format!("{origin}/upstream/logout"));
            }
        });
        mock.idp.set_next_user(Some(USER.to_owned()));
        Ok(Self { mock })
    }

    /// The lines of `[issuer.upstream]`, and a row by which the app gets its claim: a token of HelseID's own in each id_token.
    pub fn config(&self) -> Result<String, Failed> {
        let key = self.mock.idp.seed().client(table::SMART_AS).and_then(|client| client.private_key.clone()).ok_or("the mock's client has no key")?;
        let key = key.to_private_jwk().map_err(|error| error.to_string())?;
        // An open circuit is to close again within the bound for recovery.
        Ok(format!(
            "[issuer.upstream]\nissuer = \"{issuer}\"\nclient_id = \"{client}\"\nclient_key = '{key}'\napi_audience = \"fjord:epj-api\"\n\
             scopes = \"fjord:epj-api/exchange demo:kjerne/read\"\nresources = [\"demo:kjerne\"]\ntenancy = \"own\"\nlongest_wait = \"0s\"\ncircuit_open = \"1s\"\n\
             [[issuer.exchange]]\nname = \"app-identity\"\ndirection = \"to-upstream\"\ncaller = \"held\"\naudience = \"demo:kjerne\"\nscopes = \"demo:kjerne/read\"\n\
             delivery = \"identity\"\n",
            issuer = self.mock.idp.issuer,
            client = table::SMART_AS,
        ))
    }

    pub fn set(&self, mood: Mood) -> Result<(), Failed> {
        let faults = &self.mock.idp.faults;
        faults.clear();
        let rules = match mood {
            Mood::Well => return Ok(()),
            Mood::Slow => vec![json!({ "match": {}, "action": { "kind": "delay_ms", "ms": 1500 }, "times": "always" })],
            Mood::Wrong => ["html_error", "wrong_content_type"]
                .iter()
                .zip(["token", "par"])
                .map(|(kind, endpoint)| json!({ "match": { "endpoint": endpoint }, "action": { "kind": kind }, "times": "always" }))
                .collect(),
            Mood::Down => vec![json!({ "match": {}, "action": { "kind": "drop_before" }, "times": "always" })],
        };
        for rule in rules {
            faults.add_json(rule.to_string().as_bytes()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
