//! Single requests, each of which becomes an entry of the history with what came back, read and compared with what was wanted.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::browser::{Browser, End, Http, Reply, send};
use crate::cast::{APP, SCOPES, SECRET};
use crate::dice::Dice;
use crate::history::{Answer, Came, Content, Entry, Goal, Id, Op, Recorder};
use crate::upstream::PRACTITIONER;

/// RFC 7636 Appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Everything a request needs besides what it is about.
pub struct Asker {
    pub http: Http,
    pub recorder: Recorder,
    pub base: String,
    pub held_base: String,
    pub dice: Mutex<Dice>,
}

/// Whose grant it is, and what its answers must say.
#[derive(Clone, Debug)]
pub struct Flow {
    pub number: u64,
    pub client: &'static str,
    pub patient: Option<String>,
}

/// What a client holds after a success.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access: String,
    pub refresh: Option<String>,
}

pub fn basic(client: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{client}:{SECRET}")))
}

/// The claims of a JWT, which nobody verifies here.
fn claims(jwt: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?).ok()
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}

/// What a token answer or an introspection says.
fn content(body: &Value) -> Content {
    let access = text(body, "access_token").and_then(|token| claims(&token));
    let id = text(body, "id_token").and_then(|token| claims(&token));
    let issuer = [access.as_ref(), id.as_ref(), Some(body)].into_iter().flatten().filter_map(|from| text(from, "iss"));
    // Where two of them are there, they agree or the answer is wrong whatever was wanted.
    let issuers: std::collections::BTreeSet<String> = issuer.collect();
    let audience = access.as_ref().and_then(|access| text(access, "aud")).or_else(|| text(body, "aud"));
    Content {
        patient: text(body, "patient"),
        issuer: issuers.into_iter().reduce(|one, other| format!("{one} and {other}")),
        audience,
        scope: text(body, "scope"),
    }
}

/// What came, as a history has it.
fn came(reply: &Reply, gives: &str) -> Came {
    let json = reply.json();
    // RFC 7009 §2.2, OIDC: some answers have no body.
    let form = json.is_some() || (reply.body.is_empty() && (200..=399).contains(&reply.status));
    let body = json.unwrap_or_default();
    Came {
        status: reply.status,
        form,
        error: text(&body, "error"),
        retry_after: reply.retry_after(),
        gave: text(&body, gives).map(|gave| Id::of(&gave)),
        access: text(&body, "access_token").map(|token| Id::of(&token)),
        active: body.get("active").and_then(Value::as_bool),
        said: content(&body),
    }
}

impl Asker {
    pub fn throw<T>(&self, dice: impl FnOnce(&mut Dice) -> T) -> T {
        dice(&mut self.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn node(&self) -> usize {
        self.throw(|dice| dice.below(self.http.nodes()))
    }

    /// What an answer about this grant must say.
    fn wanted(&self, flow: &Flow) -> Content {
        let scope = if flow.patient.is_some() { SCOPES } else { "offline_access openid user/Patient.rs" };
        Content { patient: flow.patient.clone(), issuer: Some(self.http.issuer().to_owned()), audience: Some(self.base.clone()), scope: Some(scope.to_owned()) }
    }

    #[expect(clippy::too_many_arguments, reason = "each is a member of the entry it makes")]
    fn note(&self, from: u64, node: usize, op: Op, goal: Goal, flow: u64, shown: Option<&str>, wanted: Content, answer: Answer) {
        let entry = Entry { from, to: self.recorder.now(), node, op, goal, flow, shown: shown.map(Id::of), wanted, answer };
        self.recorder.add(entry);
    }

    /// A form to an endpoint of the issuer.
    #[expect(clippy::too_many_arguments, reason = "each is a member of the entry it makes")]
    async fn form(
        &self,
        node: usize,
        path: &str,
        client: &str,
        form: &[(&str, &str)],
        op: Op,
        goal: Goal,
        flow: u64,
        shown: &str,
        wanted: Content,
        gives: &str,
    ) -> Option<Value> {
        let request = self.http.post(node, &format!("{}{path}", self.http.issuer()));
        let request = if client == "public" {
            request.form(&[form, &[("client_id", client)]].concat())
        } else {
            request.form(form).header("authorization", basic(client))
        };
        let from = self.recorder.now();
        let (answer, body) = match send(request).await {
            Ok(reply) => (Answer::Came(came(&reply, gives)), Some(reply).filter(|reply| reply.status == 200).map(|reply| reply.json().unwrap_or_default())),
            Err(why) => (Answer::Lost(why), None),
        };
        self.note(from, node, op, goal, flow, Some(shown), wanted, answer);
        body
    }

    /// A token of the EHR's own. Not recorded: what it is for is.
    pub async fn ehr(&self, node: usize, client: &str, issuer: &str) -> Option<String> {
        let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
        let reply = send(self.http.post(node, &format!("{issuer}/token")).form(&form).header("authorization", basic(client))).await.ok()?;
        text(&reply.json()?, "access_token")
    }

    /// A launch for this app; the handle and where it starts.
    pub async fn launch(&self, ehr: &str, flow: &Flow) -> Option<(String, String)> {
        let held = flow.client == "held";
        let issuer = if held { self.http.held() } else { self.http.issuer().to_owned() };
        let mut body = serde_json::json!({ "client_id": flow.client, "fhir_user": PRACTITIONER });
        if let Some(patient) = &flow.patient {
            body["patient"] = patient.as_str().into();
        }
        let node = self.node();
        let request = self.http.post(node, &format!("{issuer}/launches")).bearer_auth(ehr).json(&body);
        let from = self.recorder.now();
        let (answer, body) = match send(request).await {
            Ok(reply) => (Answer::Came(came(&reply, "launch")), Some(reply).filter(|reply| reply.status == 201).and_then(|reply| reply.json())),
            Err(why) => (Answer::Lost(why), None),
        };
        self.note(from, node, Op::Launch, Goal::Served, flow.number, None, Content::default(), answer);
        body.and_then(|body| Some((text(&body, "launch")?, text(&body, "start_url")?)))
    }

    /// The URL of an authorization request.
    pub fn request(&self, flow: &Flow, more: &[(&str, &str)]) -> String {
        let held = flow.client == "held";
        let (issuer, base) = if held { (self.http.held(), &self.held_base) } else { (self.http.issuer().to_owned(), &self.base) };
        let redirect = format!("{APP}/{}", flow.client);
        let scope = match (held, &flow.patient) {
            (true, _) => "openid fhirUser launch user/Patient.rs https://helseid.nhn.no",
            (false, Some(_)) => SCOPES,
            (false, None) => "openid offline_access user/Patient.rs",
        };
        let mut url = url::form_urlencoded::Serializer::new(format!("{issuer}/authorize?"));
        url.extend_pairs([("response_type", "code"), ("client_id", flow.client), ("redirect_uri", &redirect), ("scope", scope), ("state", "s"), ("aud", base)]);
        url.extend_pairs([("code_challenge", CHALLENGE), ("code_challenge_method", "S256")]).extend_pairs(more);
        url.finish()
    }

    /// Opens the start link, which may be asked again, so nothing is recorded of it.
    pub async fn start(&self, browser: &mut Browser, url: &str) -> bool {
        browser.get(&self.http, self.node(), url).await.is_ok_and(|reply| reply.status == 303)
    }

    /// Walks to the app; the code.
    #[expect(clippy::too_many_arguments, reason = "each is a member of the entry it makes, or a part of what is asked")]
    pub async fn authorize(
        &self,
        browser: &mut Browser,
        flow: &Flow,
        op: Op,
        goal: Goal,
        shown: Option<&str>,
        more: &[(&str, &str)],
        fill: &[(&str, &str)],
    ) -> Option<String> {
        let (node, from) = (self.node(), self.recorder.now());
        // One node at a time where the history has one; the pages of a login go everywhere.
        let somewhere = || if op == Op::Helseid || op == Op::Authorize { self.node() } else { node };
        let end = browser.walk(&self.http, somewhere, &self.request(flow, more), &format!("{APP}/{}", flow.client), fill).await;
        let (answer, code) = match end {
            End::App(params) => {
                let code = params.get("code").cloned();
                let error = params.get("error").cloned().or_else(|| code.is_none().then(|| "neither code nor error".to_owned()));
                // RFC 9207 §2: the answer says whose it is.
                let said = Content { issuer: params.get("iss").cloned(), ..Content::default() };
                (Answer::Came(Came { status: 303, form: true, error, gave: code.as_deref().map(Id::of), said, ..Came::default() }), code)
            }
            End::Page(reply) => {
                let (form, retry_after) = (reply.is_page(), reply.retry_after());
                (Answer::Came(Came { status: reply.status, form, error: Some("page".to_owned()), retry_after, ..Came::default() }), None)
            }
            End::Lost(why) => (Answer::Lost(why), None),
        };
        let issuer = if flow.client == "held" { self.http.held() } else { self.http.issuer().to_owned() };
        let served = matches!(&answer, Answer::Came(came) if came.status == 303);
        let wanted = Content { issuer: served.then_some(issuer), ..Content::default() };
        self.note(from, node, op, goal, flow.number, shown, wanted, answer);
        code
    }

    pub async fn redeem(&self, flow: &Flow, code: &str, goal: Goal) -> Option<Tokens> {
        let redirect = format!("{APP}/{}", flow.client);
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect.as_str()), ("code_verifier", VERIFIER)];
        let body = self.form(self.node(), "/token", flow.client, &form, Op::Redeem, goal, flow.number, code, self.wanted(flow), "refresh_token").await?;
        Some(Tokens { access: text(&body, "access_token")?, refresh: text(&body, "refresh_token") })
    }

    /// The code of a login at the identity provider: its id_token carries a token of that provider's own.
    pub async fn redeem_held(&self, flow: &Flow, code: &str) -> Option<()> {
        let (node, from, redirect) = (self.node(), self.recorder.now(), format!("{APP}/held"));
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect.as_str()), ("code_verifier", VERIFIER)];
        let request = self.http.post(node, &format!("{}/token", self.http.held())).form(&form).header("authorization", basic("held"));
        let reply = match send(request).await {
            Ok(reply) => reply,
            Err(why) => {
                self.note(from, node, Op::Helseid, Goal::Served, flow.number, None, Content::default(), Answer::Lost(why));
                return None;
            }
        };
        let mut came = came(&reply, "refresh_token");
        let id_token = reply.json().and_then(|body| claims(&text(&body, "id_token")?));
        // The token inside is for the API it was made for; where there is none the identity provider did not give one, which is an error here.
        let inner = id_token.and_then(|id| claims(id.get("https://helseid.nhn.no")?.get("access_token")?.as_str()?));
        came.said.audience = inner.as_ref().and_then(|inner| text(inner, "aud"));
        if came.status == 200 && inner.is_none() {
            came = Came { status: 503, error: Some("temporarily_unavailable".to_owned()), retry_after: true, ..came };
        }
        let wanted = Content { issuer: Some(self.http.held()), audience: Some("demo:kjerne".to_owned()), ..Content::default() };
        self.note(from, node, Op::Helseid, Goal::Served, flow.number, None, wanted, Answer::Came(came));
        Some(())
    }

    pub async fn refresh(&self, flow: &Flow, token: &str, goal: Goal, op: Op, node: usize) -> Option<Tokens> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        // A refresh repeats no context. SAL-328.
        let wanted = Content { patient: None, ..self.wanted(flow) };
        let body = self.form(node, "/token", flow.client, &form, op, goal, flow.number, token, wanted, "refresh_token").await?;
        Some(Tokens { access: text(&body, "access_token")?, refresh: text(&body, "refresh_token") })
    }

    pub async fn introspect(&self, flow: &Flow, token: &str) {
        let (node, from) = (self.node(), self.recorder.now());
        let request = self.http.post(node, &format!("{}/introspect", self.http.issuer())).form(&[("token", token)]).header("authorization", basic("rs"));
        let answer = send(request).await.map_or_else(Answer::Lost, |reply| Answer::Came(came(&reply, "")));
        let active = matches!(&answer, Answer::Came(came) if came.active == Some(true));
        let wanted = if active { self.wanted(flow) } else { Content::default() };
        self.note(from, node, Op::Introspect, Goal::Served, flow.number, Some(token), wanted, answer);
    }

    pub async fn revoke(&self, flow: &Flow, token: &str) -> bool {
        self.form(self.node(), "/revoke", flow.client, &[("token", token)], Op::Revoke, Goal::Served, flow.number, token, Content::default(), "")
            .await
            .is_some()
    }

    pub async fn exchange(&self, flow: &Flow, token: &str) {
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", ACCESS_TOKEN),
            ("audience", &self.base),
            ("scope", "patient/Patient.rs"),
        ];
        let wanted = Content { patient: None, scope: Some("patient/Patient.rs".to_owned()), ..self.wanted(flow) };
        self.form(self.node(), "/token", "exchanger", &form, Op::Exchange, Goal::Served, flow.number, token, wanted, "").await;
    }
}
