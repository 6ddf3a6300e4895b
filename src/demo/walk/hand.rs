//! One launch with every call made by hand: EPJ, browser and app server in turn. SMART 2.2 EHR launch; SAL §3.

use std::str::FromStr as _;

use serde_json::{Value, json};
use url::Url;

use crate::demo::app::NAV_SCOPES;
use crate::demo::sealed::{Keys, SmartIdToken};
use crate::demo::wire::{secret_at, text_at};
use crate::secret::{Digest, Secret};

use super::report::Look;
use super::{Cast, Stop, Walker, resources, subject_of};

/// What the launch by hand left, for the steps that follow.
pub(super) struct Grant {
    pub at: Endpoints,
    pub ehr_token: Secret<String>,
    pub launch: Secret<String>,
    pub code: Secret<String>,
    pub verifier: Secret<String>,
    pub access: Secret<String>,
    pub refresh: Secret<String>,
    pub scope: String,
    /// The patient's name as FHIR gave it: what a foreign app must show.
    pub patient_name: String,
}

pub(super) struct Endpoints {
    pub issuer: String,
    pub authorization: String,
    pub token: String,
    pub introspection: String,
}

/// An authorization request for what was handed over. SAL §3.1.
pub(super) struct Request<'a> {
    pub client_id: &'a str,
    pub scope: &'a str,
    pub redirect_uri: &'a str,
    pub aud: &'a str,
    pub launch: &'a str,
    pub state: &'a str,
}

impl Request<'_> {
    pub fn url(&self, endpoint: &str, verifier: &Secret<String>) -> String {
        // RFC 7636 §4.2: the challenge is the digest of the verifier's characters.
        let challenge = Digest::of(verifier.expose().as_bytes()).text();
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("response_type", "code"),
                ("client_id", self.client_id),
                ("scope", self.scope),
                ("redirect_uri", self.redirect_uri),
                ("aud", self.aud),
                ("launch", self.launch),
                ("state", self.state),
                ("code_challenge", &challenge),
                ("code_challenge_method", "S256"),
            ])
            .finish();
        format!("{endpoint}?{query}")
    }
}

impl Walker<'_> {
    pub(super) async fn launch_by_hand(&mut self, cast: &Cast<'_>) -> Result<Grant, Stop> {
        let at = self.discover().await?;
        let ehr_token = self.ehr_token(cast, &at).await?;
        self.unknown_patient(cast, &ehr_token).await;
        let (launch, start_url) = self.hand_over(cast, &ehr_token).await?;
        self.start(&start_url, &launch).await?;
        self.foreign_aud(cast, &at, &launch).await;
        let verifier = self.random.token();
        let code = self.authorize(cast, &at, &launch, &verifier).await?;
        let tokens = self.redeem(cast, &at, &code, &verifier).await?;
        let access = secret_at(&tokens, "/access_token").ok_or(Stop)?;
        self.verify(cast, &at, &tokens).await;
        self.introspection(cast, &at, &tokens, &access).await;
        let patient_name = self.reads(cast, &access).await;
        self.write_back(cast, &access).await;
        Ok(Grant {
            at,
            ehr_token,
            launch,
            code,
            verifier,
            access,
            refresh: secret_at(&tokens, "/refresh_token").ok_or(Stop)?,
            scope: text_at(&tokens, "/scope").unwrap_or("").to_owned(),
            patient_name,
        })
    }

    pub(super) async fn discover(&mut self) -> Result<Endpoints, Stop> {
        let mut look = Look::new("app → FHIR server", "Discovery");
        let url = format!("{}/.well-known/smart-configuration", self.facts.fhir);
        look.request(format!("GET {url}"));
        let answer = self.send(&mut look, self.wire.get(&url)).await;
        look.answer(&answer, &["issuer", "token_endpoint", "code_challenge_methods_supported", "grant_types_supported"]);
        look.status(&answer, &[200]);
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(text_at(&said, "/issuer") == Some(&self.facts.issuer), "issuer is not the demo's");
        look.expect(said.pointer("/code_challenge_methods_supported") == Some(&json!(["S256"])), "code_challenge_methods_supported is not exactly S256");
        let has = |list: &str, one: &str| said.get(list).and_then(Value::as_array).is_some_and(|all| all.iter().any(|item| item == one));
        look.expect(has("capabilities", "launch-ehr"), "launch-ehr is not among the capabilities");
        look.expect(has("grant_types_supported", "refresh_token"), "refresh_token is not among the grant types");
        let member = |name: &str| text_at(&said, name).filter(|url| Url::parse(url).is_ok()).map(str::to_owned);
        let found = (member("/issuer"), member("/authorization_endpoint"), member("/token_endpoint"), member("/introspection_endpoint"), member("/jwks_uri"));
        let (Some(issuer), Some(authorization), Some(token), Some(introspection), Some(_)) = found else {
            look.expect(false, "an endpoint is missing or not absolute");
            self.report.add(look, "SAL-140, SAL-142, SAL-144 to 147");
            return Err(Stop);
        };
        look.expect(!authorization.contains('?'), "the authorization endpoint has a query");
        self.report.add(look, "the FHIR base says who authorizes for it, with PKCE S256 and nothing weaker: SAL-140, SAL-142, SAL-144 to 147");
        Ok(Endpoints { issuer, authorization, token, introspection })
    }

    pub(super) async fn ehr_token(&mut self, cast: &Cast<'_>, at: &Endpoints) -> Result<Secret<String>, Stop> {
        let mut look = Look::new("EPJ → authorization server", "The EPJ gets a token of its own");
        let answer = self.token_request(&mut look, &at.token, cast.epj, &[("grant_type", "client_credentials"), ("scope", "launch:create")]).await;
        look.answer(&answer, &["access_token", "token_type", "expires_in", "scope"]);
        look.status(&answer, &[200]);
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(text_at(&said, "/scope") == Some("launch:create"), "scope is not launch:create");
        look.expect(said.get("expires_in").is_some_and(Value::is_u64), "expires_in is not a number");
        look.expect(said.get("refresh_token").is_none(), "there is a refresh token");
        look.expect(answer.header("cache-control").is_some_and(|value| value.contains("no-store")), "the answer may be stored");
        let token = secret_at(&said, "/access_token");
        look.expect(token.is_some(), "there is no access token");
        self.report.add(look, "who may open apps is a right of its own, and is short-lived: RFC 6749 §4.4, SAL-067, SAL-115, SAL-116");
        token.ok_or(Stop)
    }

    async fn unknown_patient(&mut self, cast: &Cast<'_>, token: &Secret<String>) {
        let mut look = Look::new("EPJ → authorization server", "A patient that does not exist cannot be handed over");
        let mut body = self.handover(cast.app, cast.first);
        if let Some(patient) = body.get_mut("patient") {
            *patient = json!("finnes-ikke");
        }
        let answer = self.launch_api(&mut look, "/launches", token, &body).await;
        look.answer(&answer, &["error", "member"]);
        look.status(&answer, &[422]);
        look.expect(answer.json().is_some_and(|said| text_at(&said, "/member") == Some("patient")), "member does not name the patient");
        self.report.add(look, "nothing reaches the app that FHIR does not know; the EPJ is told which member is wrong");
    }

    async fn hand_over(&mut self, cast: &Cast<'_>, token: &Secret<String>) -> Result<(Secret<String>, String), Stop> {
        let mut look = Look::new("EPJ → authorization server", "The EPJ hands over patient, encounter and doctor");
        let answer = self.launch_api(&mut look, "/launches", token, &self.handover(cast.app, cast.first)).await;
        look.answer(&answer, &["launch", "iss", "launch_url", "start_url", "expires_at"]);
        look.status(&answer, &[201]);
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(text_at(&said, "/iss") == Some(&self.facts.fhir), "iss is not the FHIR base");
        let launch = secret_at(&said, "/launch");
        let handle = launch.as_ref().map(|launch| launch.expose().clone()).unwrap_or_default();
        look.expect(handle.len() >= 43, "the handle is shorter than 256 bits");
        look.expect(!handle.contains(&cast.first.patient), "the handle names the patient");
        let query = text_at(&said, "/launch_url").and_then(|url| Url::parse(url).ok()).map(|url| url.query_pairs().into_owned().collect::<Vec<_>>());
        let carries = |name: &str, value: &str| query.as_ref().is_some_and(|pairs| pairs.iter().any(|(key, found)| key == name && found == value));
        look.expect(carries("iss", &self.facts.fhir) && carries("launch", &handle), "launch_url does not carry iss and launch");
        let start_url = text_at(&said, "/start_url").map(str::to_owned);
        look.expect(start_url.is_some(), "there is no start_url");
        let left = said.get("expires_at").and_then(Value::as_i64).map(|at| at - self.clock.now().0);
        look.expect(left.is_some_and(|left| (1..=300).contains(&left)), "the handle does not expire within 300 s");
        self.report.add(look, "context is bound to an opaque, short-lived handle: SAL-010 to 013, NAV-023, NAV-024");
        Ok((launch.ok_or(Stop)?, start_url.ok_or(Stop)?))
    }

    async fn start(&mut self, start_url: &str, launch: &Secret<String>) -> Result<(), Stop> {
        let mut look = Look::new("browser → authorization server → app", "The browser opens the launch");
        let app = self.facts.app.clone();
        let landing = self.browse(&mut look, start_url, Some(&app)).await;
        if let Some(landing) = &landing {
            let first = landing.hops.first();
            look.expect(first.is_some_and(|hop| hop.sets_cookie), "no session begins in the browser");
            look.expect(first.is_some_and(|hop| hop.cache_control.contains("no-store")), "the start may be stored");
            let carries = |name: &str, value: &str| landing.url.query_pairs().any(|(key, found)| key == name && found == value);
            look.expect(landing.answer.is_none(), "it does not lead to the app");
            look.expect(carries("iss", &self.facts.fhir), "iss is not the FHIR base");
            look.expect(carries("launch", launch.expose()), "launch is not the handle that was handed over");
        }
        let held = self.report.add(look, "the EPJ vouches for the doctor once, in this browser, and the app is opened with iss and launch: SAL-010");
        if held { Ok(()) } else { Err(Stop) }
    }

    pub(super) fn authorization_url(&self, cast: &Cast<'_>, endpoint: &str, launch: &str, state: &str, verifier: &Secret<String>, aud: &str) -> String {
        Request { client_id: &cast.app.client_id, scope: NAV_SCOPES, redirect_uri: cast.redirect_uri, aud, launch, state }.url(endpoint, verifier)
    }

    async fn foreign_aud(&mut self, cast: &Cast<'_>, at: &Endpoints, launch: &Secret<String>) {
        let mut look = Look::new("browser → authorization server", "An app that was sent to another FHIR server gets nothing");
        let state = self.random.token();
        let url = self.authorization_url(cast, &at.authorization, launch.expose(), state.expose(), &self.random.token(), "https://evil.example/fhir");
        if let Some(landing) = self.browse(&mut look, &url, Some(cast.redirect_uri)).await {
            look.expect(landing.answer.is_none(), "it does not come back to the app");
            let get = |name: &str| landing.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
            look.expect(get("error").as_deref() == Some("invalid_request"), "the error is not invalid_request");
            look.expect(get("state").as_deref() == Some(state.expose()), "state did not come back");
            look.expect(get("code").is_none(), "there is a code");
        }
        self.report.add(look, "aud must be a FHIR base this server answers for; the error goes back with state: SAL-024, SAL-027, NAV-030");
    }

    async fn authorize(&mut self, cast: &Cast<'_>, at: &Endpoints, launch: &Secret<String>, verifier: &Secret<String>) -> Result<Secret<String>, Stop> {
        let mut look = Look::new("browser → authorization server → app", "The app asks, and gets a code");
        let state = self.random.token();
        let url = self.authorization_url(cast, &at.authorization, launch.expose(), state.expose(), verifier, &self.facts.fhir);
        let mut code = None;
        if let Some(landing) = self.browse(&mut look, &url, Some(cast.redirect_uri)).await {
            look.expect(landing.answer.is_none(), "it does not come back to the app");
            let get = |name: &str| landing.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
            look.expect(landing.hops.iter().all(|hop| (300..400).contains(&hop.status)), "somebody has to press a button");
            if let Some(error) = get("error") {
                look.expect(false, format!("the error is {error}"));
            }
            look.expect(get("state").as_deref() == Some(state.expose()), "state did not come back");
            look.expect(get("iss").as_deref() == Some(&at.issuer), "iss does not name the issuer");
            code = get("code").map(Secret::new);
            look.expect(code.is_some(), "there is no code");
        }
        let proves = "exactly the parameters of NAV's app suffice; no click for a pre-approved client: SAL-020 to 033, NAV-025, NAV-029, RFC 9207 §2";
        self.report.add(look, proves);
        code.ok_or(Stop)
    }

    async fn redeem(&mut self, cast: &Cast<'_>, at: &Endpoints, code: &Secret<String>, verifier: &Secret<String>) -> Result<Value, Stop> {
        let mut look = Look::new("app server → authorization server", "The code becomes tokens and context");
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", &cast.app.client_id),
            ("code", code.expose()),
            ("redirect_uri", cast.redirect_uri),
            ("code_verifier", verifier.expose()),
        ];
        let answer = self.token_request(&mut look, &at.token, cast.app, &form).await;
        look.answer(&answer, &["access_token", "token_type", "expires_in", "refresh_token", "id_token", "patient", "encounter", "scope", "error"]);
        look.status(&answer, &[200]);
        let said = answer.json().unwrap_or(Value::Null);
        for member in ["access_token", "id_token", "refresh_token"] {
            look.expect(said.get(member).is_some_and(Value::is_string), format!("{member} is not there"));
        }
        look.expect(text_at(&said, "/token_type") == Some("Bearer"), "token_type is not Bearer");
        look.expect(text_at(&said, "/patient") == Some(&cast.first.patient), "patient is not the one handed over");
        look.expect(text_at(&said, "/encounter") == Some(&cast.first.encounter), "encounter is not the one handed over");
        look.expect(said.get("practitioner").is_none(), "there is a practitioner member");
        let scope: Vec<&str> = text_at(&said, "/scope").unwrap_or("").split(' ').collect();
        look.expect(scope.contains(&"patient/Patient.read") && scope.contains(&"offline_access"), "scope lacks what NAV needs, in the spelling it asked in");
        look.expect(scope.iter().all(|one| NAV_SCOPES.split(' ').any(|asked| asked == *one)), "scope has what was not asked for");
        let stored = |name: &str, value: &str| answer.header(name).is_some_and(|found| found.contains(value));
        look.expect(stored("cache-control", "no-store") && stored("pragma", "no-cache"), "the answer may be stored");
        self.report.add(look, "five strings beside each other, context outside the token: SAL-066, SAL-067, SAL-071, SAL-072, NAV-035 to 037, NAV-048");
        said.get("access_token").is_some_and(Value::is_string).then_some(said).ok_or(Stop)
    }

    async fn verify(&mut self, cast: &Cast<'_>, at: &Endpoints, tokens: &Value) {
        let mut look = Look::new("app server", "The tokens verify with a library that is not ours");
        look.request(format!("GET {}/.well-known/openid-configuration, then its jwks_uri", at.issuer));
        match Keys::discover(&self.wire, &at.issuer).await {
            Err(why) => look.expect(false, why.to_string()),
            Ok(keys) => {
                match SmartIdToken::from_str(text_at(tokens, "/id_token").unwrap_or("")) {
                    Err(_) => look.expect(false, "the id_token cannot be read"),
                    Ok(token) => match keys.verify_id_token(&token, &cast.app.client_id, &self.clock) {
                        Err(why) => look.expect(false, why.to_string()),
                        Ok(id) => {
                            look.response(format!("id_token: signature, iss, aud and exp are right; fhirUser={}", id.fhir_user.as_deref().unwrap_or("absent")));
                            look.expect(id.fhir_user.as_deref() == Some(&cast.first.fhir_user), "fhirUser is not the doctor handed over, relative");
                            look.expect(id.aud_is_one_string, "aud is an array");
                        }
                    },
                }
                match keys.verify_access_token(text_at(tokens, "/access_token").unwrap_or(""), &*self.clock) {
                    Err(why) => look.expect(false, why.to_string()),
                    Ok(brief) => {
                        look.response(format!("access token: alg=RS256 typ={} claims: {}", brief.typ().unwrap_or("absent"), brief.claim_names()));
                        let aud = text_at(&brief.payload, "/aud").or_else(|| text_at(&brief.payload, "/aud/0"));
                        look.expect(brief.typ() == Some("at+jwt"), "typ is not at+jwt");
                        look.expect(aud == Some(&self.facts.fhir), "aud is not the FHIR base");
                        let lifetime = brief.number("exp").zip(brief.number("iat")).map(|(exp, iat)| exp - iat);
                        look.expect(lifetime == tokens.get("expires_in").and_then(Value::as_i64), "exp and expires_in differ");
                        look.expect(brief.payload.get("patient").is_none(), "the token names the patient");
                    }
                }
            }
        }
        self.report.add(look, "OIDC Core §3.1.3.7 and RFC 9068 over the published keys: SAL-080 to 084, NAV-038, NAV-041");
    }

    async fn introspection(&mut self, cast: &Cast<'_>, at: &Endpoints, tokens: &Value, access: &Secret<String>) {
        let mut look = Look::new("FHIR server → authorization server", "The FHIR server asks what the token is good for");
        let answer = self.introspect(&mut look, &at.introspection, cast.fhir_server, access).await;
        look.answer(&answer, &["active", "client_id", "patient", "encounter", "fhirUser", "scope", "exp"]);
        look.status(&answer, &[200]);
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(said.get("active") == Some(&Value::Bool(true)), "the token is not active");
        for member in ["scope", "patient", "encounter"] {
            look.expect(said.get(member).is_some() && said.get(member) == tokens.get(member), format!("{member} differs from the token response"));
        }
        look.expect(text_at(&said, "/client_id") == Some(&cast.app.client_id), "client_id is not the app");
        look.expect(text_at(&said, "/fhirUser") == Some(&cast.first.fhir_user), "fhirUser is not the doctor");
        look.expect(said.get("exp").is_some_and(Value::is_i64), "exp is not an integer");
        self.report.add(look, "introspection says what the token response said: SAL-120 to 124, RFC 7662 §2.2");
    }

    /// What the app may read, and whose it is. Gives the patient's name.
    async fn reads(&mut self, cast: &Cast<'_>, access: &Secret<String>) -> String {
        let mut look = Look::new("app server → FHIR server", "The app reads its patient");
        let answer = self.fhir(&mut look, &format!("Patient/{}", cast.first.patient), Some(access)).await;
        let patient = answer.json().unwrap_or(Value::Null);
        let name = [text_at(&patient, "/name/0/given/0"), text_at(&patient, "/name/0/family")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        look.response(format!("{} {name}", answer.status));
        look.status(&answer, &[200]);
        look.expect(text_at(&patient, "/id") == Some(&cast.first.patient), "it is another patient");
        look.expect(!name.is_empty(), "the patient has no name");
        self.report.add(look, "patient/Patient.read opens the patient of the launch");

        let mut look = Look::new("app server → FHIR server", "… and no other");
        let answer = self.fhir(&mut look, &format!("Patient/{}", cast.second.patient), Some(access)).await;
        look.answer(&answer, &["resourceType"]);
        look.status(&answer, &[403, 404]);
        look.expect(answer.json().is_some_and(|said| text_at(&said, "/resourceType") == Some("OperationOutcome")), "there is no OperationOutcome");
        self.report.add(look, "the token carries one patient, and the answer does not tell whether another exists: SMART 2.2 patient scopes");

        let mut look = Look::new("app server → FHIR server", "Doctor, encounter, organization and diagnoses come along");
        let doctor = self.fhir(&mut look, &cast.first.fhir_user, Some(access)).await;
        look.answer(&doctor, &["resourceType", "id"]);
        look.status(&doctor, &[200]);
        let visit = self.fhir(&mut look, &format!("Encounter/{}", cast.first.encounter), Some(access)).await;
        look.answer(&visit, &["resourceType", "id", "status"]);
        look.status(&visit, &[200]);
        let visit = visit.json().unwrap_or(Value::Null);
        let own = format!("Patient/{}", cast.first.patient);
        look.expect(subject_of(&visit) == Some(&own), "the encounter is another patient's");
        let provider = text_at(&visit, "/serviceProvider/reference").unwrap_or("").to_owned();
        let organization = self.fhir(&mut look, &provider, Some(access)).await;
        look.answer(&organization, &["resourceType", "id", "name"]);
        look.status(&organization, &[200]);
        let conditions = self.fhir(&mut look, &format!("Condition?encounter={}", cast.first.encounter), Some(access)).await;
        let bundle = conditions.json().unwrap_or(Value::Null);
        let found = resources(&bundle);
        look.response(format!("{} {} Condition", conditions.status, found.len()));
        look.status(&conditions, &[200]);
        look.expect(!found.is_empty(), "there are no diagnoses");
        look.expect(found.iter().all(|one| subject_of(one) == Some(&own)), "a diagnosis is another patient's");
        self.report.add(look, "fhirUser and the launch encounter imply two reads no scope names: NAV-042, NAV-043");

        let mut look = Look::new("anybody → FHIR server", "Without a token there is nothing");
        let answer = self.fhir(&mut look, &format!("Patient/{}", cast.first.patient), None).await;
        look.answer(&answer, &["resourceType"]);
        look.status(&answer, &[401]);
        look.expect(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "there is no Bearer challenge");
        self.report.add(look, "RFC 6750 §3");
        name
    }

    /// Starts the same request again with a handle that has been used. For the refusals.
    pub(super) async fn authorize_again(&mut self, cast: &Cast<'_>, grant: &Grant, look: &mut Look) -> Option<Url> {
        let url = self.authorization_url(cast, &grant.at.authorization, grant.launch.expose(), "igjen", &self.random.token(), &self.facts.fhir);
        self.browse(look, &url, Some(cast.redirect_uri)).await.filter(|landing| landing.answer.is_none()).map(|landing| landing.url)
    }
}
