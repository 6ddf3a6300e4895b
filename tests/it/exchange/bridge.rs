//! Across the bridge: the upstream's becomes ours and the other way, with the mock's journal open. `reference/helseid.md` §6.3–6.8.

mod claim;
mod faults;
mod gateway;
mod inbound;
mod isolation;
mod launch_token;
mod outbound;
mod subjects;

use helsebro::helseid::seed::table;
use helsebro::jose::{Alg, SigningKey};
use reqwest::Method;
use serde_json::{Value, json};

use super::{PORTAL, PORTAL_SCOPES, exchange_form};
use crate::world::{ASSERTION_TYPE, App, Browser, Prover, Reply, VERIFIER, World, assertion, jwks_toml};

/// Who is logged in, here and there.
const DOCTOR: &str = "lege-fastlege";
/// A second caller, with rows of its own: see [`with_second`].
const SECOND: &str = "second";
/// An API that acts with tokens it was given; its keys are those of [`SECOND`].
const THIRD: &str = "third";
const SECOND_AT: &str = "http://127.0.0.1:4567/second";
/// Who it is there.
const SECOND_THERE: &str = "a0b7c2d1-0001-4a5e-9c11-5d1c8f0e77ff";

/// A client of ours that may exchange: one key to say who it is, one its tokens are bound to.
struct Caller<'w> {
    world: &'w World,
    id: &'static str,
    key: SigningKey,
    prover: Prover,
}

impl<'w> Caller<'w> {
    fn portal(world: &'w World) -> Self {
        Self { world, id: PORTAL, key: world.key(PORTAL), prover: Prover::new() }
    }

    fn proof(&self) -> String {
        self.prover.proof("POST", &self.world.token_endpoint(), self.world.now())
    }

    async fn token_with(&self, proof: Option<&str>, form: &[(&str, &str)]) -> Reply {
        let (header, claims) = assertion(&self.key, self.id, &self.world.token_endpoint(), self.world.now());
        let assertion = self.key.sign_with_header(&header, &claims).unwrap();
        let mut form = form.to_vec();
        form.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &assertion)]);
        let mut request = self.world.http.post(self.world.token_endpoint()).form(&form);
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    async fn token(&self, form: &[(&str, &str)]) -> Reply {
        self.token_with(Some(&self.proof()), form).await
    }

    /// For the demo's FHIR base, unless `more` says otherwise.
    async fn exchange(&self, subject: &str, more: &[(&str, &str)]) -> Reply {
        self.token(&exchange_form(subject, self.world.fhir(), more)).await
    }

    /// A token of the upstream's as this caller would have it, except for what `change` says.
    async fn theirs(&self, change: Value) -> String {
        let client = if self.id == PORTAL { table::PORTAL } else { SECOND_THERE };
        let mut ask = json!({
            "audience": "fjord:epj-api", "jkt": self.prover.jkt(), "user": { "id": DOCTOR },
            "client": { "id": client, "orgnr_parent": "376213609" }
        });
        merge(&mut ask, &change);
        mint(self.world, ask).await
    }

    /// A request with a token that is bound to this caller's key. RFC 9449 §7.1.
    async fn call(&self, method: &str, url: &str, token: &str, headers: &[(&str, &str)]) -> Reply {
        let proof = self.prover.beside(method, url, token, self.world.now());
        let mut request = self.world.http.request(method.parse().unwrap(), url).header("authorization", format!("DPoP {token}")).header("dpop", proof);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    /// From a launch to tokens, logged in at HelseID on the way.
    async fn logged_in(&self, launch: &Value, scope: &str) -> Value {
        let app = if self.id == PORTAL { App::new(self.world, PORTAL) } else { App::new(self.world, self.id).at(SECOND_AT) };
        let app = app.set("scope", scope).launched(launch);
        let code = through_helseid(self.world, &app).await;
        let form = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", &app.redirect_uri), ("code_verifier", VERIFIER)];
        self.token(&form).await.is(200).json()
    }

    /// The same for the demo's first launch, and the access token of it.
    async fn subject(&self) -> String {
        let launch = self.world.ehr().client(self.id).launch().await;
        let scope = if self.id == PORTAL { PORTAL_SCOPES } else { "launch openid fhirUser patient/Patient.rs" };
        text(&self.logged_in(&launch, scope).await, "access_token")
    }
}

/// A code for this request, in a browser that never opened `start_url`: the person logs in at HelseID.
async fn through_helseid(world: &World, app: &App<'_>) -> String {
    through_helseid_as(world, app, &mut Browser::new(world.http.clone()), DOCTOR).await
}

/// The same in this browser, as this person where nobody is logged in there yet.
async fn through_helseid_as(world: &World, app: &App<'_>, browser: &mut Browser, user: &str) -> String {
    world.lever(Method::PUT, "next-user", Some(json!({ "user": user }))).await;
    let mut page = app.authorize(browser).await;
    for _ in 0..20 {
        page = match page.location() {
            Some(next) if next.as_str().starts_with(&app.redirect_uri) => return page.param("code").unwrap_or_else(|| panic!("no code but {next}")),
            Some(next) => browser.get(next.as_str()).await,
            None => {
                let page = page.is(200);
                browser.submit(&page, &[]).await
            }
        };
    }
    panic!("no way to the app, last {}: {}", page.url, page.reply.body)
}

/// A world where a second client takes upstream tokens once, and has the other ways of delivery.
async fn with_second() -> (World, SigningKey) {
    let key = SigningKey::generate(Alg::ES384).unwrap();
    let client = format!(
        "[[client]]\nclient_id = \"{SECOND}\"\nauth = \"private_key_jwt\"\n{}\nredirect_uris = [\"{SECOND_AT}\"]\nlaunch_urls = [\"http://127.0.0.1:4567/launch\"]\n\
         scopes = \"launch openid fhirUser patient/Patient.rs fjord:epj-api/exchange fjord:epj-api/read demo:resept/write nav-like:app/identity\"\n\
         consent = \"pre-approved\"\ndpop = \"required\"\n",
        jwks_toml(&[&key])
    );
    let third =
        format!("[[client]]\nclient_id = \"{THIRD}\"\nauth = \"private_key_jwt\"\n{}\nscopes = \"fhirUser\"\ndpop = \"required\"\n", jwks_toml(&[&key]));
    let row = |name: &str, direction: &str, audience: &str, scopes: &str, more: &str| {
        format!(
            "[[issuer.exchange]]\nname = \"{name}\"\ndirection = \"{direction}\"\ncaller = \"{SECOND}\"\naudience = \"{audience}\"\nscopes = \"{scopes}\"\n{more}\n\n"
        )
    };
    let once = format!("subject_client = \"{SECOND_THERE}\"\norganisations = [\"376213609\"]\nonce = true");
    let policy = [
        row("second-once", "from-upstream", "{fhir}", "fhirUser patient/Patient.rs", &once),
        format!(
            "[[issuer.exchange]]\nname = \"third-acts\"\ndirection = \"from-upstream\"\ncaller = \"{THIRD}\"\naudience = \"{{fhir}}\"\nscopes = \"fhirUser\"\n\
             presenter = \"actor\"\nsubject_audience = \"demo:kjerne\"\norganisations = [\"376213609\"]\n\n"
        ),
        row("second-identity", "to-upstream", "nav-like:app", "nav-like:app/identity", "delivery = \"identity\""),
        row("second-handover", "to-upstream", "demo:resept", "demo:resept/write", "delivery = \"handover\""),
        row("second-gateway", "to-upstream", "fjord:epj-api", "fjord:epj-api/exchange fjord:epj-api/read", "gateway_url = \"http://127.0.0.1:9\""),
    ];
    (World::with(&format!("{client}{third}"), &policy.concat()).await, key)
}

fn second(world: &World, key: SigningKey) -> Caller<'_> {
    Caller { world, id: SECOND, key, prover: Prover::new() }
}

async fn mint(world: &World, ask: Value) -> String {
    let made = world.lever(Method::POST, "test-token", Some(ask)).await;
    made["access_token"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => change.iter().for_each(|(name, value)| merge(into.entry(name.clone()).or_insert(Value::Null), value)),
        (into, change) => *into = change.clone(),
    }
}

#[track_caller]
fn text(answer: &Value, member: &str) -> String {
    answer[member].as_str().unwrap_or_else(|| panic!("no {member} in {answer}")).to_owned()
}

/// Up to where the mock's journal goes.
async fn mark(world: &World) -> u64 {
    world.lever(Method::GET, "journal", None).await["last"].as_u64().unwrap()
}

/// Requests for tokens there since then.
async fn asked_since(world: &World, mark: u64) -> usize {
    let told = world.lever(Method::GET, &format!("journal?since={mark}"), None).await;
    told["entries"].as_array().unwrap().iter().filter(|entry| entry["endpoint"] == "token").count()
}

/// What the sample API was asked so far.
async fn sample_calls(world: &World) -> usize {
    world.lever(Method::GET, "sample-api/calls", None).await["calls"].as_array().unwrap().len()
}

async fn fault(world: &World, matches: Value, action: Value) {
    world.lever(Method::POST, "faults", Some(json!({ "match": matches, "action": action, "times": "always" }))).await;
}
