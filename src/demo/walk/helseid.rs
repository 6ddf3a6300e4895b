//! HelseID in the walk: the doctor logs in there, one system's token becomes another's in both directions, and one logout ends it all.
//! `reference/helseid.md` §6; DESIGN §3, Who is the user, Token exchange.

use std::time::Duration;

use serde_json::{Value, json};

use crate::demo::facts::{ClientFacts, HelseIdFacts, PatientFacts};
use crate::demo::levers::{Lever, Levers};
use crate::demo::sealed::{Brief, Keys, SmartIdToken};
use crate::demo::wire::{origin_of, secret_at, text_at};
use crate::secret::Secret;

use super::browser::{Browser, Landing};
use super::form::first_form;
use super::hand::{Endpoints, Request};
use super::portal::{ACCESS_TOKEN, EXCHANGE, Portal};
use super::report::Look;
use super::{Cast, Stop, Walker, resources};

/// What the portal asks for at a launch of its own, and of what it exchanges.
const PORTAL_SCOPES: &str = "launch openid fhirUser patient/Patient.rs patient/Encounter.rs patient/Condition.rs";
const FROM_HELSEID_SCOPES: &str = "fhirUser patient/Patient.rs patient/Condition.rs";
/// A national API behind the gateway.
pub(super) struct NationalApi {
    title: &'static str,
    pub audience: &'static str,
    pub scope: &'static str,
    /// Under the issuer: the row of the exchange policy, and the API's path.
    pub route: &'static str,
    /// Whether HelseID exchanges the token, and so names us in `act`.
    exchanged: bool,
    proves: &'static str,
}

pub(super) const CORE: NationalApi = NationalApi {
    title: "Ours becomes HelseID's: the portal reaches a national API through the gateway",
    audience: "demo:kjerne",
    scope: "demo:kjerne/read",
    route: "/gateway/portal-gateway/kjerne",
    exchanged: false,
    proves: "the row names caller, audience and scope; HelseID's token and its key stay in the server: DESIGN §3, Token exchange; helseid.md §6.4, T1 to T4",
};

pub(super) const PRESCRIPTIONS: NationalApi = NationalApi {
    title: "… and another one, by HelseID's own token exchange",
    audience: "demo:resept",
    scope: "demo:resept/write",
    route: "/gateway/portal-prescriptions/resept",
    exchanged: true,
    proves: "an API that the login did not name is reached as the actor, and HelseID says so in act: helseid.md §5.2, §6.4",
};
/// How often it is looked whether HelseID's word of a logout has come, and how long between: all in all longer than HelseID goes on saying it, and than a
/// disk stands still.
const LOOKS: usize = 400;
const BETWEEN: Duration = Duration::from_millis(50);

/// The parties that only this part needs.
pub(super) struct There<'a> {
    pub helseid: &'a HelseIdFacts,
    pub portal: &'a ClientFacts,
    /// The first patient's doctor, as HelseID calls her.
    pub person: &'a str,
}

impl<'a> Walker<'a> {
    /// Whoever is needed; `None` where no HelseID runs.
    pub(super) fn there(&self, cast: &Cast<'_>) -> Option<There<'a>> {
        let facts = self.facts;
        let person = facts.users.iter().find(|user| user.fhir_user == cast.first.fhir_user)?.helseid_user.as_deref()?;
        Some(There { helseid: facts.helseid.as_ref()?, portal: facts.clients.get("regional-portal")?, person })
    }

    pub(super) fn levers(&self, helseid: &HelseIdFacts) -> Levers {
        let fhir = Lever { url: self.facts.fhir_ops.clone(), secret: self.facts.ops_token.clone() };
        Levers::new(self.wire.clone(), Lever { url: helseid.admin.clone(), secret: helseid.admin_secret.clone() }, fhir)
    }

    /// All of it, in a browser and an EPJ session of its own.
    pub(super) async fn with_helseid(&mut self, cast: &Cast<'_>, at: &Endpoints, ehr_token: &Secret<String>, there: &There<'_>) -> Result<(), Stop> {
        self.begin_anew();
        let app_token = self.login_by_form(cast, at, ehr_token, there).await?;
        self.in_passing(cast, at, ehr_token, there).await;
        let portal = self.portal(there).await?;
        let own = self.portal_launch(cast, at, ehr_token, &portal).await?;
        self.narrower(cast, at, &portal, &own).await;
        for api in [&CORE, &PRESCRIPTIONS] {
            self.through_the_gateway(at, &portal, &own, api).await;
        }
        let from_helseid = self.helseid_to_ours(cast, at, ehr_token, there, &portal).await;
        self.logout_at_helseid(
            cast,
            at,
            there,
            &portal,
            &[("the app's own", Some(&app_token)), ("the portal's", Some(&own)), ("the exchanged", from_helseid.as_ref())],
        )
        .await;
        Ok(())
    }

    /// Another browser, and another session of the EPJ.
    pub(super) fn begin_anew(&mut self) {
        self.browser = Browser::new(self.wire.clone());
        self.session = format!("walk-{}", self.random.id());
    }

    /// Hands a context over and gives the handle, as an app gets it that is opened without the EPJ's start.
    pub(super) async fn handle(&self, look: &mut Look, client: &ClientFacts, of: &PatientFacts, ehr_token: &Secret<String>) -> Option<Secret<String>> {
        let answer = self.launch_api(look, "/launches", ehr_token, &self.handover(client, of)).await;
        look.answer(&answer, &["launch", "error", "member"]);
        look.status(&answer, &[201]);
        secret_at(&answer.json()?, "/launch")
    }

    /// Opens an address; on the server's page presses its first button, and at HelseID picks the person. Forms elsewhere are left alone.
    pub(super) async fn log_in_there(&mut self, look: &mut Look, url: &str, until: &str, there: &There<'_>) -> Option<Landing> {
        let landed = self.browser.open(url, Some(until), &[]).await;
        let page = Self::landed(look, landed)?;
        let Some(form) = form_on(&page, &self.facts.issuer) else { return Some(page) };
        let landed = self.browser.press(page.url.as_str(), form, Some(until), &[]).await;
        let page = Self::landed(look, landed)?;
        let Some(mut form) = form_on(&page, &there.helseid.issuer) else { return Some(page) };
        form.fields.iter_mut().filter(|(name, _)| name == "user").for_each(|(_, user)| there.person.clone_into(user));
        look.sees("HelseID's page", format!("the doctor picks herself: {}", there.person));
        let landed = self.browser.press(page.url.as_str(), form, Some(until), &[]).await;
        Self::landed(look, landed)
    }

    /// Gives the app's access token.
    async fn login_by_form(&mut self, cast: &Cast<'_>, at: &Endpoints, ehr_token: &Secret<String>, there: &There<'_>) -> Result<Secret<String>, Stop> {
        let mut look = Look::new("browser → authorization server → HelseID and back → app", "The doctor logs in at HelseID");
        let verifier = self.random.token();
        let mut code = None;
        if let Some(launch) = self.handle(&mut look, cast.app, cast.first, ehr_token).await {
            let url = self.authorization_url(cast, &at.authorization, launch.expose(), "helseid", &verifier, &self.facts.fhir);
            let landing = self.log_in_there(&mut look, &url, cast.redirect_uri, there).await;
            code = landing.and_then(|landing| code_of(&mut look, &landing));
        }
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", cast.app.client_id.as_str()),
            ("code", code.as_deref().unwrap_or_default()),
            ("redirect_uri", cast.redirect_uri),
            ("code_verifier", verifier.expose()),
        ];
        let answer = self.token_request(&mut look, &at.token, cast.app, &form).await;
        look.answer(&answer, &["access_token", "id_token", "patient", "encounter", "error"]);
        look.status(&answer, &[200]);
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(text_at(&said, "/patient") == Some(&cast.first.patient), "patient is not the one handed over");
        self.id_token(&mut look, cast, at, &said).await;
        let proves = "a handle that no EPJ vouches for in this browser leads to HelseID; the person there must be the launch's doctor, by HPR and identity \
                      number, at level 4; acr and amr say how she logged in: helseid.md §6.5 P7, P9, §6.6";
        self.report.add(look, proves);
        secret_at(&said, "/access_token").ok_or(Stop)
    }

    async fn id_token(&self, look: &mut Look, cast: &Cast<'_>, at: &Endpoints, tokens: &Value) {
        let text = text_at(tokens, "/id_token").unwrap_or_default();
        let verified = match Keys::discover(&self.wire, &at.issuer).await {
            Ok(keys) => text.parse::<SmartIdToken>().ok().and_then(|token| keys.verify_id_token(&token, &cast.app.client_id, &self.clock).ok()),
            Err(_) => None,
        };
        let Some(id) = verified else { return look.expect(false, "the id_token does not verify") };
        let payload = Brief::of(text).map(|brief| brief.payload).unwrap_or(Value::Null);
        let acr = text_at(&payload, "/acr").unwrap_or("absent");
        look.expect(acr == format!("{}/acr/helseid", at.issuer), "acr does not say HelseID");
        look.expect(id.fhir_user.as_deref() == Some(&cast.first.fhir_user), "fhirUser is not the doctor of the launch");
        let amr = payload.get("amr").map(Value::to_string).unwrap_or_default();
        look.sees("the app", format!("fhirUser={}  acr={acr}  amr={amr}; no identity number, no HPR number", id.fhir_user.as_deref().unwrap_or("absent")));
        look.expect(!payload.to_string().contains("helseid://claims"), "HelseID's own claims are passed on");
        look.expect(id.helseid.is_some(), "the HelseID claim is not there");
        if let Some(claim) = id.helseid {
            let expires_in = claim.expires_in.map(|left| left.to_string()).unwrap_or_default();
            let scope = claim.scope.unwrap_or_default();
            look.sees("the app", format!("a HelseID token for itself alone: scope={scope}  expires_in={expires_in}"));
        }
    }

    /// The EPJ vouches in a session of its own; the app wants the HelseID claim, and the doctor is logged in there already.
    async fn in_passing(&mut self, cast: &Cast<'_>, at: &Endpoints, ehr_token: &Secret<String>, there: &There<'_>) {
        let mut look = Look::new("EPJ → browser → authorization server → HelseID in passing → app", "The EPJ vouches, and HelseID is asked in passing");
        self.session = format!("walk-{}", self.random.id());
        let verifier = self.random.token();
        let answer = self.launch_api(&mut look, "/launches", ehr_token, &self.handover(cast.app, cast.second)).await;
        look.answer(&answer, &["launch", "start_url", "error", "member"]);
        look.status(&answer, &[201]);
        let said = answer.json().unwrap_or(Value::Null);
        let mut code = None;
        if let (Some(launch), Some(start_url)) = (secret_at(&said, "/launch"), text_at(&said, "/start_url")) {
            let app = self.facts.app.clone();
            self.browse(&mut look, start_url, Some(&app)).await;
            let url = self.authorization_url(cast, &at.authorization, launch.expose(), "passing", &verifier, &self.facts.fhir);
            let landing = self.browse(&mut look, &url, Some(cast.redirect_uri)).await;
            if let Some(landing) = &landing {
                let passed = landing.hops.iter().any(|hop| hop.request.starts_with(&format!("{}/connect/authorize", there.helseid.issuer)));
                look.expect(passed, "HelseID is not asked");
                look.expect(landing.hops.iter().all(|hop| (300..400).contains(&hop.status)), "somebody has to press a button");
            }
            code = landing.and_then(|landing| code_of(&mut look, &landing));
        }
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", cast.app.client_id.as_str()),
            ("code", code.as_deref().unwrap_or_default()),
            ("redirect_uri", cast.redirect_uri),
            ("code_verifier", verifier.expose()),
        ];
        let answer = self.token_request(&mut look, &at.token, cast.app, &form).await;
        look.answer(&answer, &["access_token", "id_token", "patient", "encounter", "error"]);
        look.status(&answer, &[200]);
        let payload = answer.json().and_then(|said| Brief::of(text_at(&said, "/id_token")?)).map(|brief| brief.payload).unwrap_or(Value::Null);
        let acr = text_at(&payload, "/acr").unwrap_or("absent");
        let claim = payload.get("https://helseid.nhn.no");
        look.expect(claim.is_some(), "the HelseID claim is not there");
        look.sees("the app", format!("acr={acr}  a HelseID token for itself: {}", if claim.is_some() { "yes" } else { "no" }));
        self.report.add(look, "one silent login in passing for the claim, no page and no second password: DESIGN §3, HelseID in SMART; nav.md §3.10");
    }

    pub(super) async fn portal<'p>(&mut self, there: &There<'p>) -> Result<Portal<'p>, Stop> {
        let client = match self.levers(there.helseid).client("portal").await {
            Ok(client) => Portal::new(there.portal, client).ok_or_else(|| "the portal's keys are not in the facts".to_owned()),
            Err(why) => Err(why.to_string()),
        };
        client.map_err(|why| {
            let mut look = Look::new("the demo", "The portal is known here and at HelseID");
            look.expect(false, why);
            self.report.add(look, "the exchanges can begin");
            Stop
        })
    }

    /// A launch of the portal's own, in the same browser. Gives its token, bound to its key.
    pub(super) async fn portal_launch(
        &mut self,
        cast: &Cast<'_>,
        at: &Endpoints,
        ehr_token: &Secret<String>,
        portal: &Portal<'_>,
    ) -> Result<Secret<String>, Stop> {
        let mut look = Look::new("browser → authorization server → portal", "The same doctor opens the regional portal, and is not asked again");
        let redirect_uri = portal.client.redirect_uris.first().cloned().unwrap_or_default();
        let verifier = self.random.token();
        let mut code = None;
        if let Some(launch) = self.handle(&mut look, portal.client, cast.first, ehr_token).await {
            let (client_id, launch) = (portal.client.client_id.as_str(), launch.expose().as_str());
            let request = Request { client_id, scope: PORTAL_SCOPES, redirect_uri: &redirect_uri, aud: &self.facts.fhir, launch, state: "portal" };
            let landing = self.browse(&mut look, &request.url(&at.authorization, &verifier), Some(&redirect_uri)).await;
            if let Some(landing) = &landing {
                let to_helseid = landing.hops.iter().any(|hop| hop.request.ends_with("/connect/login") || hop.posted && hop.request.contains("/connect/"));
                look.expect(!to_helseid, "HelseID asks again");
            }
            code = landing.and_then(|landing| code_of(&mut look, &landing));
        }
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_deref().unwrap_or_default()),
            ("redirect_uri", redirect_uri.as_str()),
            ("code_verifier", verifier.expose()),
        ];
        let answer = self.portal_token(&mut look, portal, &at.token, &form).await;
        look.answer(&answer, &["access_token", "token_type", "patient", "scope", "error", "error_description"]);
        look.status(&answer, &[200]);
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(text_at(&said, "/token_type") == Some("DPoP"), "token_type is not DPoP");
        self.report.add(look, "one login is enough for a browser; the token is bound to the portal's key: RFC 7523 §2.2, RFC 9449 §5");
        secret_at(&said, "/access_token").ok_or(Stop)
    }

    /// (c) The portal makes its own token narrower.
    async fn narrower(&mut self, cast: &Cast<'_>, at: &Endpoints, portal: &Portal<'_>, own: &Secret<String>) {
        let mut look = Look::new("portal → authorization server, FHIR server", "Ours becomes ours: the portal makes its token narrower");
        let form = exchange(own, &self.facts.fhir, "patient/Patient.rs");
        let answer = self.portal_token(&mut look, portal, &at.token, &form).await;
        look.answer(&answer, &["access_token", "issued_token_type", "token_type", "expires_in", "scope", "error", "error_description"]);
        look.status(&answer, &[200]);
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(text_at(&said, "/scope") == Some("patient/Patient.rs"), "the scope is not the narrower one");
        look.expect(said.get("refresh_token").is_none(), "an exchange gave a refresh token");
        if let Some(narrow) = secret_at(&said, "/access_token") {
            let patient = self.portal_get(&mut look, portal, &format!("{}/Patient/{}", self.facts.fhir, cast.first.patient), &narrow).await;
            look.answer(&patient, &["resourceType", "id"]);
            look.status(&patient, &[200]);
            let diagnoses = self.portal_get(&mut look, portal, &format!("{}/Condition?patient={}", self.facts.fhir, cast.first.patient), &narrow).await;
            look.answer(&diagnoses, &["resourceType"]);
            look.status(&diagnoses, &[403]);
            look.sees("whoever holds it", "who the patient is, and no diagnosis");
            self.who_acts(&mut look, cast, at, &narrow).await;
        }
        self.report.add(look, "an exchange narrows and never widens, and says in act who acts: RFC 8693 §2.2, §4.1; helseid.md §6.7 P2, P3");
    }

    /// What a resource server is told of a token: on whose behalf, and who acts.
    async fn who_acts(&self, look: &mut Look, cast: &Cast<'_>, at: &Endpoints, token: &Secret<String>) {
        let answer = self.introspect(look, &at.introspection, cast.fhir_server, token).await;
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(said.get("active") == Some(&Value::Bool(true)), "the token is not active");
        let chain = chain(said.get("act"));
        look.expect(chain.first().is_some_and(|actor| actor == "regional-portal"), "act does not name the portal");
        let of = |name: &str| text_at(&said, &format!("/{name}")).unwrap_or("absent").to_owned();
        look.sees("the FHIR server", format!("fhirUser={}  patient={}  act: {}  scope={}", of("fhirUser"), of("patient"), chain.join(" ← "), of("scope")));
    }

    /// (a) The portal's token becomes HelseID's, which it never holds: it calls a national API through the gateway.
    async fn through_the_gateway(&mut self, at: &Endpoints, portal: &Portal<'_>, own: &Secret<String>, api: &NationalApi) {
        let mut look = Look::new("portal → authorization server → national API", api.title);
        let form = exchange(own, api.audience, api.scope);
        let answer = self.portal_token(&mut look, portal, &at.token, &form).await;
        look.answer(&answer, &["access_token", "issued_token_type", "token_type", "expires_in", "scope", "error", "error_description"]);
        look.status(&answer, &[200]);
        if let Some(handle) = answer.json().and_then(|said| secret_at(&said, "/access_token")) {
            let issuer = Brief::of(handle.expose()).and_then(|brief| text_at(&brief.payload, "/iss").map(str::to_owned));
            look.expect(issuer.as_deref() != self.facts.helseid.as_ref().map(|helseid| helseid.issuer.as_str()), "the portal holds a token of HelseID's");
            look.sees("the portal", "a handle that is good at this gateway alone, with its own key; no token of HelseID's");
            let url = format!("{}{}", at.issuer.trim_end_matches('/'), api.route);
            let answer = self.portal_get(&mut look, portal, &url, &handle).await;
            look.answer(&answer, &["api", "scheme", "user", "error", "error_description"]);
            look.status(&answer, &[200]);
            let seen = answer.json().unwrap_or(Value::Null);
            look.expect(text_at(&seen, "/api") == Some(api.audience), "the national API did not answer");
            look.expect(seen.get("user") == Some(&Value::Bool(true)), "the national API sees no person");
            look.expect(text_at(&seen, "/scheme") == Some("DPoP"), "the national API was not shown a proof");
            let between = seen_there(&mut look, &seen);
            look.expect(api.exchanged == (between > 0), "the chain of act is not what the way of getting the token makes it");
        }
        self.report.add(look, api.proves);
    }

    /// (b) HelseID's token and a launch handle become a SMART token. Gives it.
    async fn helseid_to_ours(
        &mut self,
        cast: &Cast<'_>,
        at: &Endpoints,
        ehr_token: &Secret<String>,
        there: &There<'_>,
        portal: &Portal<'_>,
    ) -> Option<Secret<String>> {
        let mut look = Look::new("browser → HelseID → portal", "The portal logs her in at HelseID itself, silently");
        let theirs = self.portal_at_helseid(&mut look, portal, &there.helseid.issuer).await;
        look.expect(theirs.is_some(), "the portal has no token of HelseID's");
        self.report.add(look, "PAR, private_key_jwt, DPoP with a nonce; the session at HelseID is the browser's: helseid.md §2.4 to §2.7");
        let theirs = theirs?;

        let mut look = Look::new("portal → authorization server, FHIR server", "HelseID's becomes ours: with a launch it opens the patient");
        let launch = self.handle(&mut look, portal.client, cast.second, ehr_token).await;
        let mut form = exchange(&theirs, &self.facts.fhir, FROM_HELSEID_SCOPES);
        let handle = launch.as_ref().map(|launch| launch.expose().as_str()).unwrap_or_default();
        form.push(("launch", handle));
        let answer = self.portal_token(&mut look, portal, &at.token, &form).await;
        look.answer(&answer, &["access_token", "issued_token_type", "token_type", "expires_in", "patient", "encounter", "scope", "error", "error_description"]);
        look.status(&answer, &[200]);
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(text_at(&said, "/patient") == Some(&cast.second.patient), "patient is not that of the launch");
        look.expect(said.get("refresh_token").is_none() && said.get("id_token").is_none(), "an exchange gave more than an access token");
        let token = secret_at(&said, "/access_token");
        if let Some(token) = &token {
            let diagnoses = self.portal_get(&mut look, portal, &format!("{}/Condition?patient={}", self.facts.fhir, cast.second.patient), token).await;
            let bundle = diagnoses.json().unwrap_or(Value::Null);
            look.response(format!("{} {} Condition", diagnoses.status, resources(&bundle).len()));
            look.status(&diagnoses, &[200]);
            let other = self.portal_get(&mut look, portal, &format!("{}/Patient/{}", self.facts.fhir, cast.first.patient), token).await;
            look.answer(&other, &["resourceType"]);
            look.status(&other, &[403, 404]);
            look.sees("the portal", "the patient of the launch and nobody else");
            self.who_acts(&mut look, cast, at, token).await;
            let payload = Brief::of(token.expose()).map(|brief| brief.payload.to_string()).unwrap_or_default();
            look.expect(!payload.contains("helseid://claims"), "HelseID's claims are copied into our token");
        }
        let again = self.portal_token(&mut look, portal, &at.token, &form).await;
        look.answer(&again, &["error"]);
        look.expect(again.status == 400, "a launch that is spent opened the patient again");
        self.report.add(
            look,
            "same person by HPR and identity number, an organisation she works for, one launch, one use; context is ours and never a parameter: helseid.md §6.5, §6.6",
        );
        token
    }

    /// The doctor logs out at HelseID, which tells this server behind the browser's back.
    async fn logout_at_helseid(&mut self, cast: &Cast<'_>, at: &Endpoints, there: &There<'_>, portal: &Portal<'_>, tokens: &[(&str, Option<&Secret<String>>)]) {
        let mut look = Look::new("browser → HelseID → authorization server", "She logs out at HelseID, and everything ends");
        let landing = self.browse(&mut look, &format!("{}/connect/endsession", there.helseid.issuer), None).await;
        look.expect(landing.is_some_and(|landing| landing.hops.iter().any(|hop| hop.posted)), "HelseID does not ask whether to log out");
        for (which, token) in tokens.iter().filter_map(|(which, token)| Some((which, (*token)?))) {
            let mut active = true;
            // The message goes from server to server, and may take its time.
            for _ in 0..LOOKS {
                let form = [("token", token.expose().as_str())];
                let request = self.wire.post(&at.introspection).header("authorization", super::basic_of(cast.fhir_server)).form(&form);
                let said = self.send(&mut look, request).await.json().unwrap_or(Value::Null);
                active = said != json!({ "active": false });
                if !active {
                    break;
                }
                tokio::time::sleep(BETWEEN).await;
            }
            look.response(format!("{which} token: active={active}"));
            look.expect(!active, format!("{which} token is still good"));
        }
        if let Some((_, Some(own))) = tokens.get(1) {
            let form = exchange(own, CORE.audience, CORE.scope);
            let answer = self.portal_token(&mut look, portal, &at.token, &form).await;
            look.answer(&answer, &["error"]);
            look.status(&answer, &[400]);
        }
        self.report.add(
            look,
            "back-channel logout ends sessions, grants and exchanges, though no token has expired: helseid.md §6.7 P10; OIDC Back-Channel Logout §2",
        );
    }
}

/// What the national API says it saw; numbers are not printed. Gives how many actors stand between.
fn seen_there(look: &mut Look, seen: &Value) -> usize {
    let claim = |name: &str| seen.get("claims").and_then(|claims| claims.get(name)).and_then(Value::as_str).map(str::to_owned);
    let level = claim("helseid://claims/identity/security_level").unwrap_or_else(|| "absent".to_owned());
    let is_there = |name: &str| if claim(name).is_some() { "yes" } else { "no" };
    let parent = claim("helseid://claims/client/claims/orgnr_parent").unwrap_or_else(|| "absent".to_owned());
    let chain: Vec<String> = seen
        .get("act_chain")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|actor| text_at(actor, "/client_id").or_else(|| text_at(actor, "/sub")).unwrap_or("?").to_owned())
        .collect();
    let between = chain.len();
    let chain = if chain.is_empty() { "nobody between".to_owned() } else { chain.join(" ← ") };
    let client = claim("client_id").unwrap_or_else(|| "absent".to_owned());
    let patient = seen.pointer("/headers/nhn-patient-nin") == Some(&Value::Bool(true));
    look.sees(
        "the national API",
        format!(
            "identity number: {}  HPR number: {}  level {level}  legal entity {parent}  act: {chain}  client {client}  patient's number in a header: {}",
            is_there("helseid://claims/identity/pid"),
            is_there("helseid://claims/hpr/hpr_number"),
            if patient { "yes" } else { "no" }
        ),
    );
    between
}

/// The first form of a page of this origin.
fn form_on(page: &Landing, of: &str) -> Option<super::form::Form> {
    let answer = page.answer.as_ref().filter(|answer| answer.status == 200)?;
    (origin_of(of)? == page.url.origin().ascii_serialization()).then(|| first_form(&answer.text()))?
}

/// The code a browser brings back; what is there instead fails the step.
pub(super) fn code_of(look: &mut Look, landing: &Landing) -> Option<String> {
    let get = |name: &str| landing.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if let Some(answer) = &landing.answer {
        look.expect(false, format!("it ends at a page ({}) and not at the app", answer.status));
        return None;
    }
    if let Some(error) = get("error") {
        look.expect(false, format!("the error is {error}"));
    }
    get("code")
}

/// RFC 8693 §2.1.
pub(super) fn exchange<'f>(subject: &'f Secret<String>, audience: &'f str, scope: &'f str) -> Vec<(&'f str, &'f str)> {
    vec![("grant_type", EXCHANGE), ("subject_token", subject.expose()), ("subject_token_type", ACCESS_TOKEN), ("audience", audience), ("scope", scope)]
}

/// The actors of a chain, the latest first. RFC 8693 §4.1.
fn chain(act: Option<&Value>) -> Vec<String> {
    let mut actors = Vec::new();
    let mut act = act;
    while let Some(actor) = act {
        actors.push(text_at(actor, "/sub").or_else(|| text_at(actor, "/client_id")).unwrap_or("?").to_owned());
        act = actor.get("act");
    }
    actors
}
