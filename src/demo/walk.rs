//! The walk-through of `helsebro demo`: an EPJ, a browser, an app's server and a FHIR server's introspection, played over real HTTP and
//! printed step by step. A step holds because of what came over the wire; nothing is read from the server's memory.

mod app;
mod browser;
mod fault;
mod fault_bridge;
mod form;
mod guard;
mod hand;
mod helseid;
mod hospital;
mod portal;
mod report;
#[cfg(test)]
mod tests;
mod write;

use std::io::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::demo::facts::{ClientFacts, DemoFacts, PatientFacts};
use crate::demo::faults::Fault;
use crate::demo::wire::{Answer, Wire, WireError, basic, bearer, origin_of, text_at};
use crate::random::Random;
use crate::secret::Secret;
use crate::time::Clock;

use browser::{BrowseError, Browser};
use report::{Look, Report};

/// One thing that was tried, and how it went.
#[derive(Clone, Debug)]
pub struct Step {
    pub title: String,
    /// Who asked whom.
    pub who: String,
    /// Requests and answers in brief, in their order, secrets as `…`.
    pub lines: Vec<Line>,
    /// What it shows, with the sections.
    pub proves: String,
    pub held: bool,
    /// Empty when it held.
    pub why_not: String,
}

/// What went over the wire, one way or the other; or what somebody knows by it.
#[derive(Clone, Debug)]
pub enum Line {
    Sent(String),
    Came(String),
    Sees(String),
}

/// How the walk went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkSummary {
    pub held: usize,
    pub failed: usize,
}

/// Walks one launch through by hand and two through the demo app, logs out of the EPJ, then logs in at HelseID where there is one, exchanges
/// tokens in each direction and logs out there; last, where there is a hospital beside, exchanges a token there. Prints each step as it is done.
///
/// `clock` is the demo's own; `colour` is the caller's decision. Output that cannot be written is lost, not an error: the steps count.
pub async fn walk(facts: &DemoFacts, clock: Arc<dyn Clock>, random: Arc<dyn Random>, out: &mut (dyn Write + Send), colour: bool) -> WalkSummary {
    let mut walker = Walker::new(facts, clock, random, out, colour);
    // Where the way ends early, the step that ended it has been printed and counted.
    let _ = walker.through().await;
    walker.report.sum_up()
}

/// The same with something broken: puts the fault on, walks where it shows, takes it off and walks again. A fault nobody knows is a step that
/// did not hold.
pub async fn walk_with_fault(
    facts: &DemoFacts,
    fault: &Fault,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    out: &mut (dyn Write + Send),
    colour: bool,
) -> WalkSummary {
    let mut walker = Walker::new(facts, clock, random, out, colour);
    let _ = walker.through_a_fault(fault).await;
    walker.report.sum_up()
}

/// The way ends here: a step failed that the following ones build on.
struct Stop;

struct Walker<'a> {
    facts: &'a DemoFacts,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    wire: Wire,
    browser: Browser,
    /// The EPJ session all launches of the walk belong to.
    session: String,
    report: Report<'a>,
}

/// The parties that the facts must name.
struct Cast<'a> {
    epj: &'a ClientFacts,
    fhir_server: &'a ClientFacts,
    app: &'a ClientFacts,
    redirect_uri: &'a str,
    first: &'a PatientFacts,
    second: &'a PatientFacts,
}

impl<'a> Walker<'a> {
    fn new(facts: &'a DemoFacts, clock: Arc<dyn Clock>, random: Arc<dyn Random>, out: &'a mut (dyn Write + Send), colour: bool) -> Self {
        let wire = Wire::new();
        let session = format!("walk-{}", random.id());
        Self { facts, clock, browser: Browser::new(wire.clone()), session, random, wire, report: Report::new(out, colour) }
    }

    async fn through(&mut self) -> Result<(), Stop> {
        let cast = self.cast()?;
        self.report.heading("One launch by hand");
        let grant = self.launch_by_hand(&cast).await?;
        self.report.heading("What is refused");
        self.refusals(&cast, &grant).await?;
        self.report.heading("The same through a foreign app");
        self.through_the_app(&cast, &grant).await?;
        self.report.heading("The doctor leaves");
        self.the_end(&cast, &grant).await?;
        if let Some(there) = self.there(&cast) {
            self.report.heading("With HelseID, in both directions");
            self.with_helseid(&cast, &grant.at, &grant.ehr_token, &there).await?;
        }
        self.goes_on(&cast, &grant.at, &grant.ehr_token).await;
        Ok(())
    }

    fn cast(&mut self) -> Result<Cast<'a>, Stop> {
        let facts: &'a DemoFacts = self.facts;
        let client = |name: &str| facts.clients.get(name).filter(|client| client.client_secret.is_some() || client.auth == "private_key_jwt");
        let found = (|| {
            let app = client("syk-inn")?;
            let [first, second, ..] = facts.patients.as_slice() else { return None };
            let redirect_uri = app.redirect_uris.first()?;
            Some(Cast { epj: client("epj")?, fhir_server: client("fhir-server")?, app, redirect_uri, first, second })
        })();
        found.ok_or_else(|| {
            let mut look = Look::new("the demo", "The parties are known");
            look.expect(false, "clients epj, fhir-server and syk-inn with secrets, a redirect URI and two patients are needed");
            self.report.add(look, "the walk can begin");
            Stop
        })
    }

    /// Sends; an answer that did not come fails the step.
    async fn send(&self, look: &mut Look, request: reqwest::RequestBuilder) -> Answer {
        let sent = self.wire.send(request).await;
        self.received(look, sent)
    }

    fn received(&self, look: &mut Look, sent: Result<Answer, WireError>) -> Answer {
        match sent {
            Ok(answer) => answer,
            Err(why) => {
                look.expect(false, why.to_string());
                Answer { status: 0, headers: http::HeaderMap::new(), body: Vec::new() }
            }
        }
    }

    /// Opens an address in the browser and shows the way.
    async fn browse(&mut self, look: &mut Look, url: &str, until: Option<&str>) -> Option<browser::Landing> {
        let forms_at = self.forms_at();
        let landed = self.browser.open(url, until, &forms_at).await;
        Self::landed(look, landed)
    }

    /// Presses the button of a form on the page at `url` and shows the way.
    async fn press(&mut self, look: &mut Look, url: &str, form: form::Form) -> Option<browser::Landing> {
        let forms_at = self.forms_at();
        let landed = self.browser.press(url, form, None, &forms_at).await;
        Self::landed(look, landed)
    }

    /// Whose pages only stand between.
    fn forms_at(&self) -> Vec<String> {
        let upstream = self.facts.helseid.as_ref().map(|helseid| &helseid.issuer);
        [Some(&self.facts.issuer), upstream].into_iter().flatten().filter_map(|url| origin_of(url)).collect()
    }

    fn landed(look: &mut Look, landed: Result<browser::Landing, BrowseError>) -> Option<browser::Landing> {
        match landed {
            Ok(landing) => {
                look.way(&landing.hops);
                Some(landing)
            }
            Err(why @ (BrowseError::Wire(_) | BrowseError::Address | BrowseError::TooFar)) => {
                look.expect(false, why.to_string());
                None
            }
        }
    }

    /// `POST {token endpoint}` as a client with a secret, Basic. RFC 6749 §2.3.1.
    async fn token_request(&self, look: &mut Look, endpoint: &str, client: &ClientFacts, form: &[(&str, &str)]) -> Answer {
        let names: Vec<String> =
            form.iter().map(|(name, value)| if *name == "grant_type" || *name == "scope" { format!("{name}={value}") } else { format!("{name}=…") }).collect();
        look.request(format!("POST {endpoint}  Authorization: Basic {}:…  {}", client.client_id, names.join("&")));
        self.send(look, self.wire.post(endpoint).header("authorization", basic_of(client)).header("accept", "application/json").form(form)).await
    }

    /// `GET {fhir}/{path}` with a token.
    async fn fhir(&self, look: &mut Look, path: &str, token: Option<&Secret<String>>) -> Answer {
        let url = format!("{}/{path}", self.facts.fhir);
        let shown = if token.is_some() { "  Authorization: Bearer …" } else { "" };
        look.request(format!("GET {url}{shown}"));
        let mut request = self.wire.get(&url).header("accept", "application/fhir+json");
        if let Some(token) = token {
            request = request.header("authorization", bearer(token));
        }
        self.send(look, request).await
    }

    /// Introspection with the resource server's own credentials. RFC 7662 §2.1.
    async fn introspect(&self, look: &mut Look, endpoint: &str, fhir_server: &ClientFacts, token: &Secret<String>) -> Answer {
        look.request(format!("POST {endpoint}  Authorization: Basic {}:…  token=…", fhir_server.client_id));
        let form = [("token", token.expose().as_str())];
        self.send(look, self.wire.post(endpoint).header("authorization", basic_of(fhir_server)).form(&form)).await
    }

    /// `POST {issuer}/launches…` with the EPJ's token.
    async fn launch_api(&self, look: &mut Look, path: &str, token: &Secret<String>, body: &Value) -> Answer {
        let url = format!("{}{path}", self.facts.issuer.trim_end_matches('/'));
        look.request(format!("POST {url}  Authorization: Bearer …  {body}"));
        self.send(look, self.wire.post(&url).header("authorization", bearer(token)).json(body)).await
    }

    /// The context of a ready launch, as the launch API takes it.
    fn handover(&self, client: &ClientFacts, of: &PatientFacts) -> Value {
        json!({ "client_id": client.client_id, "patient": of.patient, "encounter": of.encounter, "fhir_user": of.fhir_user, "session": self.session })
    }
}

fn basic_of(client: &ClientFacts) -> String {
    client.client_secret.as_ref().map(|secret| basic(&client.client_id, secret)).unwrap_or_default()
}

/// What FHIR calls a searchset's resources.
fn resources(bundle: &Value) -> Vec<&Value> {
    let entries = bundle.get("entry").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(|entry| entry.get("resource")).collect()
}

fn subject_of(resource: &Value) -> Option<&str> {
    text_at(resource, "/subject/reference").or_else(|| text_at(resource, "/patient/reference"))
}
