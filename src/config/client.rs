//! One client: the same check for the file, for `--clients` and for the administration API.

use std::collections::BTreeSet;
use std::time::Duration;

use super::auth;
use super::presets;
use super::problem::{Findings, Place};
use super::raw::RawClient;
use super::read::{Field, Layer as _, Placed, RawSecret, Read as _};
use super::secrets::Source;
use super::values::{PROFILES, SIGNING_ALGS, allowed_by, duration, each_once, origin, parsed, required, word, word_or};
use crate::domain::client::{
    Client, ClientAuthMethod, CodeReplay, ConsentPolicy, FhirUserForm, GrantType, HelseIdNeed, LAUNCH_CREATE, LaunchTrust, ParPolicy, Profile, Required,
    introspect_scope,
};
use crate::domain::dpop::DpopPolicy;
use crate::domain::issuer::{IssuerRules, SELF_CLIENT};
use crate::domain::keys::LONGEST_TOKEN_LIFE;
use crate::protocol::ids::{ClientId, Issuer, RedirectUri, is_loopback};
use crate::protocol::scope::{Level, Scope, ScopeSet};
use crate::random::Random;
use crate::secret::Secret;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// SAL-116.
const BACKEND_TTL: Duration = Duration::from_secs(5 * 60);

const PAR: &[(&str, ParPolicy)] = &[("required", ParPolicy::Required), ("optional", ParPolicy::Optional)];
const DPOP: &[(&str, DpopPolicy)] = &[("required", DpopPolicy::Required), ("optional", DpopPolicy::Optional), ("off", DpopPolicy::Off)];

/// A client registered over the administration API.
#[derive(Debug)]
pub struct Registration {
    pub client: Client,
    /// Made here because the request brought none: to be shown once, in the answer, and nowhere else. SAL-002.
    pub secret: Option<Secret<String>>,
    /// What the registrar should know, one sentence each. SAL-007.
    pub reminders: Vec<String>,
}

/// Where a client is registered, and what that gives it where it says nothing itself.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    pub issuer: &'a Issuer,
    pub profile: Profile,
}

impl<'a> Home<'a> {
    pub fn of(rules: &'a IssuerRules) -> Self {
        Self { issuer: &rules.issuer, profile: rules.profile }
    }
}

/// Checks a client that arrives as JSON, with the member names of `[[client]]`.
///
/// A confidential client with a secret brings none (outside loopback it must not): one of 256 bits is made.
///
/// # Errors
/// Every problem at once; none of them holds a secret.
pub fn client_from_json(value: &serde_json::Value, home: Home<'_>, random: &dyn Random) -> Result<Registration, Vec<super::Problem>> {
    let issuer = home.issuer;
    let mut found = Findings::default();
    let raw = RawClient::read(&super::node::Node::from_json(value), &mut found).map(|raw| with_preset(raw, &Place::default(), &mut found));
    let mut made = None;
    let client = raw.and_then(|mut raw| {
        let asks_secret = raw.auth.get().is_some_and(|auth| auth.starts_with("client_secret_"));
        if asks_secret && raw.client_secret.is_absent() && raw.client_secrets.is_absent() {
            let secret = random.token();
            raw.client_secret = Field::Given(RawSecret::Inline(secret.clone()), raw.client_secret.place().clone());
            made = Some(secret);
        }
        if let Field::Given(named, place) = &raw.issuer
            && named != issuer.as_str()
        {
            found.refuse_value(place, named, format!("is not the issuer asked; leave it out, or write \"{issuer}\""));
        }
        let source = if made.is_some() { Source::Made } else { Source::Request };
        if raw.helseid.get().is_some_and(|need| need == "required") {
            found.warn(raw.helseid.place(), "has a meaning once an \"identity\" row names the client, which only a [[client]] of the configuration can be");
        }
        check(&raw, &Place::default(), home, source, &mut found)
    });
    match client {
        Some(client) if found.problems.is_empty() => {
            Ok(Registration { client, secret: made, reminders: found.warnings.iter().map(ToString::to_string).collect() })
        }
        _ => Err(found.problems),
    }
}

/// What the client says itself, else what its preset says.
pub(super) fn with_preset(raw: RawClient, at: &Place, found: &mut Findings) -> RawClient {
    let Field::Given(name, place) = &raw.preset else { return raw };
    let words: Vec<(&'static str, &'static str)> = presets::NAMES.iter().map(|name| (*name, *name)).collect();
    match word(name, place, &words, found).and_then(|name| presets::preset(name, at, found)) {
        Some(preset) => raw.or(preset),
        None => raw,
    }
}

/// Checks one client of one issuer, its preset already filled in. `None` where it is too broken to build.
pub(super) fn check(raw: &RawClient, at: &Place, home: Home<'_>, source: Source<'_>, found: &mut Findings) -> Option<Client> {
    let issuer = home.issuer;
    let loopback = issuer.is_loopback();
    let id = required(&raw.client_id, "write client_id = \"…\"", found).and_then(|(text, place)| client_id(text, place, found));
    let name = match &raw.name {
        Field::Given(name, place) if name.trim().is_empty() || name.len() > 200 || name.chars().any(char::is_control) => {
            found.refuse(place, "must be 1 to 200 characters without control characters: people read it");
            None
        }
        Field::Given(name, _) => Some(name.clone()),
        Field::Absent(_) | Field::Wrong(_) => None,
    };
    let profile = word_or(&raw.profile, home.profile, PROFILES, found);
    let auth = auth::check(raw, issuer, profile, source, found);

    let redirect_uris = uris(&raw.redirect_uris, loopback, true, found);
    let launch_urls = uris(&raw.launch_urls, loopback, false, found);
    let post_logout_redirect_uris = uris(&raw.post_logout_redirect_uris, loopback, true, found);
    let backchannel_logout_uri = match &raw.backchannel_logout_uri {
        Field::Given(text, place) => uri(&Placed { value: text.clone(), place: place.clone() }, loopback, false, found),
        Field::Absent(_) | Field::Wrong(_) => None,
    };
    let mut cors_origins: BTreeSet<String> = redirect_uris.iter().filter_map(script_origin).collect();
    cors_origins.extend(each_once(&raw.cors_origins, found).into_iter().filter_map(|item| origin(item, loopback, found)));

    let scopes = scopes(&raw.scopes, issuer, found);
    let backend = scopes.has_level(Level::System);
    let longest = if backend { BACKEND_TTL } else { LONGEST_TOKEN_LIFE };
    let default_ttl = if backend || redirect_uris.is_empty() { BACKEND_TTL } else { HOUR };
    let why = if backend { "SAL-116: short-lived where system/ scopes are" } else { "SAL §7.6" };
    let access_ttl = duration(&raw.access_ttl, default_ttl, SECOND..=longest, why, found);
    let refresh_ttl = duration(&raw.refresh_ttl, 12 * HOUR, SECOND..=365 * 24 * HOUR, "", found);

    let required_context: &[(&str, Required)] = &[("patient", Required::Patient), ("encounter", Required::Encounter)];
    let requires = each_once(&raw.requires, found).into_iter().filter_map(|item| word(&item.value, &item.place, required_context, found)).collect();
    let launch_trust = word_or(&raw.launch_trust, LaunchTrust::Session, &[("session", LaunchTrust::Session), ("handle", LaunchTrust::Handle)], found);
    let consents = &[("pre-approved", ConsentPolicy::PreApproved), ("once", ConsentPolicy::Once), ("always", ConsentPolicy::Always)];
    let signing_algs = allowed_by(profile, SIGNING_ALGS);
    let access_token_alg = match &raw.access_token_alg {
        Field::Given(text, place) => word(text, place, &signing_algs, found),
        Field::Absent(_) | Field::Wrong(_) => None,
    };
    // FAPI 2.0 §5.3.2.1, §5.3.2.2: tokens bound to a key, and pushed requests alone.
    let (dpop_default, par_default) = match profile {
        Profile::Smart | Profile::Oidc => (DpopPolicy::Optional, ParPolicy::Optional),
        Profile::Fapi2 => (DpopPolicy::Required, ParPolicy::Required),
    };
    let id = id?;
    let client = Client {
        name: name.unwrap_or_else(|| id.to_string()),
        id,
        // Where the method is wrong in itself, the rules below still find what else is; the client is then not built.
        auth: auth.clone().or_else(|| auth::outline(raw)).unwrap_or(ClientAuthMethod::SecretBasic { secrets: Vec::new() }),
        redirect_uris,
        launch_urls,
        post_logout_redirect_uris,
        backchannel_logout_uri,
        scopes,
        consent: word_or(&raw.consent, ConsentPolicy::Once, consents, found),
        profile,
        fhir_user: word_or(&raw.fhir_user, FhirUserForm::Relative, &[("relative", FhirUserForm::Relative), ("absolute", FhirUserForm::Absolute)], found),
        requires,
        cors_origins,
        access_ttl,
        refresh_ttl,
        access_token_alg,
        id_token_alg: word_or(&raw.id_token_signed_response_alg, profile.default_alg(), &signing_algs, found),
        code_replay: word_or(&raw.code_replay, CodeReplay::Revoke, &[("revoke", CodeReplay::Revoke), ("refuse", CodeReplay::Refuse)], found),
        end_with_session: raw.end_with_session.get().copied().unwrap_or(false),
        launch_trust,
        dpop: word_or(&raw.dpop, dpop_default, DPOP, found),
        par: word_or(&raw.par, par_default, PAR, found),
        refresh_context: raw.refresh_context.get().copied().unwrap_or(false),
        may_act: each_once(&raw.may_act, found).into_iter().filter_map(|item| parsed(&item.value, &item.place, ClientId::parse, found)).collect(),
        helseid: word_or(&raw.helseid, HelseIdNeed::Optional, &[("optional", HelseIdNeed::Optional), ("required", HelseIdNeed::Required)], found),
        disabled: raw.disabled.get().copied().unwrap_or(false),
    };
    rules(raw, &client, auth::outline(raw).is_some(), at, issuer, found);
    auth.map(|_| client)
}

/// What must hold between the parts.
fn rules(raw: &RawClient, client: &Client, auth_known: bool, at: &Place, issuer: &Issuer, found: &mut Findings) {
    let asymmetric = matches!(client.auth, ClientAuthMethod::PrivateKeyJwt { .. });
    let scopes = &client.scopes;
    if auth_known && !asymmetric {
        if scopes.has_level(Level::System) {
            found.refuse(raw.scopes.place(), "has system/ scopes, which need auth = \"private_key_jwt\" (SAL-111)");
        }
        if scopes.has_extension(LAUNCH_CREATE) && !client.is_public() && !issuer.is_loopback() {
            found.refuse(
                raw.scopes.place(),
                "has launch:create, which can speak for every doctor: outside loopback it needs auth = \"private_key_jwt\" (RFC 9700 §2.5)",
            );
        }
        if client.profile == Profile::Fapi2 && !client.is_public() {
            found.refuse(raw.profile.place(), "is \"fapi2\", which needs auth = \"private_key_jwt\" (FAPI 2.0 §5.3.2.1)");
        }
    }
    if client.is_public() {
        if scopes.has_extension(LAUNCH_CREATE) || scopes.has_extension(&introspect_scope(issuer)) {
            found.refuse(raw.scopes.place(), "has a scope only client_credentials gives, which a public client cannot use (RFC 6749 §4.4)");
        }
        if client.profile != Profile::Smart {
            found.refuse(raw.profile.place(), "needs a client that can authenticate; write auth = \"private_key_jwt\", or profile = \"smart\"");
        }
        if client.helseid == HelseIdNeed::Required {
            found.refuse(raw.helseid.place(), "\"required\" is for confidential clients only: a public one never gets the HelseID scope (DESIGN §3)");
        }
        if client.launch_trust == LaunchTrust::Handle {
            found.refuse(raw.launch_trust.place(), "\"handle\" is for confidential clients only (DESIGN §3); write launch_trust = \"session\"");
        }
    } else if client.launch_trust == LaunchTrust::Handle {
        found.warn(
            raw.launch_trust.place(),
            "\"handle\" lets whoever holds a launch link in as the doctor it was made for; no offline_access, auth_time, acr or amr",
        );
    }
    let redirects = client.may(GrantType::AuthorizationCode, issuer);
    if redirects && scopes.is_empty() && !matches!(raw.scopes, Field::Wrong(_)) && raw.scopes.get().is_none_or(String::is_empty) {
        found.refuse(raw.scopes.place(), "is missing, so nothing could ever be granted; write scopes = \"openid fhirUser launch patient/*.rs\"");
    }
    let none_written = raw.redirect_uris.is_absent() || raw.redirect_uris.get().is_some_and(Vec::is_empty);
    if none_written && !client.launch_urls.is_empty() {
        found.refuse(raw.redirect_uris.place(), "is missing: an app that is launched must be redirected back to (SAL-001)");
    }
    if none_written && client.launch_urls.is_empty() {
        if client.is_public() {
            found.refuse(raw.redirect_uris.place(), "is missing: a public client can do nothing without one (SAL-001)");
        } else if scopes.iter().any(|scope| !system_side(scope)) {
            found.warn(raw.scopes.place(), "has scopes that only a redirect URI leads to; they are never granted");
        }
    }
    let ours = scopes.has_extension(LAUNCH_CREATE) || scopes.has_extension(&introspect_scope(issuer));
    if ours && scopes.resources().next().is_some() {
        found.warn(raw.scopes.place(), "has scopes for this server and for FHIR; they never share a token, so ask for them one after the other");
    }
    let launched = scopes.contains(&Scope::Launch) || scopes.asks_context("patient");
    if !client.launch_urls.is_empty() && !scopes.contains(&Scope::Launch) {
        found.warn(raw.launch_urls.place(), "cannot be used: the client may not have the scope `launch` (SMART 2.2 launch context)");
    }
    if !client.requires.is_empty() && !launched && redirects {
        found.warn(raw.requires.place(), "can never be met: the client may have neither `launch` nor `launch/patient`");
    }
    if client.profile != Profile::Smart && (scopes.contains(&Scope::Launch) || scopes.has_level(Level::Patient)) {
        found.warn(raw.scopes.place(), "has launch or patient/ scopes, which are dropped where a request of this profile names no aud");
    }
    if scopes.has_level(Level::User) && raw.preset.get().is_some_and(|preset| preset == "nav-validator") && !issuer.is_loopback() {
        found.warn(at, "may do whatever its user may, with no secret: keep the validator to test systems (NAV §8)");
    }
    if client.profile == Profile::Fapi2 {
        fapi2(raw, client, found);
    }
    if client.backchannel_logout_uri.is_some() && !scopes.contains(&Scope::OpenId) {
        found.warn(raw.backchannel_logout_uri.place(), "is never used: without openid the client gets no id_token, and so no session to be told of");
    }
    if raw.backchannel_logout_session_required.get() == Some(&true) && raw.backchannel_logout_uri.is_absent() {
        found.refuse(raw.backchannel_logout_session_required.place(), "says how to be told and backchannel_logout_uri, which says where, is missing");
    }
    if client.refresh_context {
        found.warn(raw.refresh_context.place(), "repeats patient and encounter at refresh, which SMART leaves out (SAL-328)");
    }
}

/// What FAPI 2.0 leaves no choice in, besides how the client authenticates and what is signed with.
fn fapi2(raw: &RawClient, client: &Client, found: &mut Findings) {
    if client.dpop != DpopPolicy::Required {
        found.refuse(raw.dpop.place(), "must be \"required\": fapi2 has no tokens that are not bound to a key (FAPI 2.0 §5.3.2.1)");
    }
    if client.par != ParPolicy::Required {
        found.refuse(raw.par.place(), "must be \"required\": fapi2 has no authorization requests that are not pushed (FAPI 2.0 §5.3.2.2)");
    }
    if client.launch_trust == LaunchTrust::Handle {
        found.refuse(raw.launch_trust.place(), "must be \"session\": under fapi2 nobody is let in without having shown who they are (FAPI 2.0 §5.3.2.2)");
    }
    for item in raw.redirect_uris.get().into_iter().flatten() {
        let private = RedirectUri::parse(&item.value).is_ok_and(|uri| !matches!(uri.url().scheme(), "https" | "http"));
        if private {
            found.refuse_value(&item.place, &item.value, "must be https under fapi2 (FAPI 2.0 §5.3.2.2)");
        }
    }
}

/// Whether a scope is one client_credentials can give.
fn system_side(scope: &Scope) -> bool {
    match scope {
        Scope::Resource(resource) => resource.level == Level::System,
        Scope::Extension(_) => true,
        Scope::Launch | Scope::Context(_) | Scope::OpenId | Scope::FhirUser | Scope::Profile | Scope::OfflineAccess | Scope::OnlineAccess => false,
    }
}

fn client_id(text: &str, place: &Place, found: &mut Findings) -> Option<ClientId> {
    if text == SELF_CLIENT {
        found.refuse_value(place, text, "is this server's own; choose another");
        return None;
    }
    parsed(text, place, ClientId::parse, found)
}

/// Every scope of the ceiling must be understood: a typo would otherwise narrow in silence.
fn scopes(field: &Field<String>, issuer: &Issuer, found: &mut Findings) -> ScopeSet {
    let mut set = ScopeSet::default();
    let Field::Given(text, place) = field else { return set };
    for item in text.split_ascii_whitespace() {
        match Scope::parse(item) {
            Ok(Scope::Extension(uri)) if uri.ends_with("/scopes/introspect") && *uri != *introspect_scope(issuer) => {
                found.refuse_value(place, item, format!("is not this issuer's; write \"{}\"", introspect_scope(issuer)));
            }
            Ok(scope) => set.push(scope),
            Err(why) => found.refuse_value(place, item, why.to_string()),
        }
    }
    set
}

fn uris(field: &Field<Vec<Placed<String>>>, loopback: bool, private_schemes: bool, found: &mut Findings) -> Vec<RedirectUri> {
    each_once(field, found).into_iter().filter_map(|item| uri(item, loopback, private_schemes, found)).collect()
}

fn uri(item: &Placed<String>, loopback: bool, private_schemes: bool, found: &mut Findings) -> Option<RedirectUri> {
    let Placed { value, place } = item;
    let Ok(uri) = RedirectUri::parse(value) else {
        let (text, instead) = if value.contains('*') {
            ("has a wildcard: only whole URIs are compared (RFC 9700 §2.1, SAL-001); list each one", None)
        } else if let Some((before, _)) = value.split_once('#') {
            ("has a fragment (RFC 6749 §3.1.2)", Some(before))
        } else {
            ("must be an absolute URI without user information (RFC 6749 §3.1.2, RFC 9700 §2.1); write \"https://app.example/callback\"", None)
        };
        match instead {
            // Not shown as a value where it might carry a password.
            _ if value.contains('@') => found.refuse(place, text),
            Some(instead) => found.refuse_instead(place, value, text, instead),
            None => found.refuse_value(place, value, text),
        }
        return None;
    };
    let url = uri.url();
    let text = match url.scheme() {
        "https" => return Some(uri),
        "http" if loopback && is_loopback(&url) => return Some(uri),
        "http" if loopback => "must be https, or http on 127.0.0.1, localhost or [::1] (RFC 9700 §2.6)",
        "http" if is_loopback(&url) => "must be https: http on loopback is allowed where the issuer is on loopback too (RFC 9700 §2.6)",
        "http" => {
            found.refuse_instead(place, value, "must be https (RFC 9700 §2.6)", value.replacen("http:", "https:", 1));
            return None;
        }
        _ if private_schemes => return Some(uri),
        _ => "must be https (SAL-004)",
    };
    found.refuse_value(place, value, text);
    None
}

/// The origin a script at this redirect URI has. SAL §7.2.
fn script_origin(uri: &RedirectUri) -> Option<String> {
    let url = uri.url();
    matches!(url.scheme(), "http" | "https").then(|| url.origin().ascii_serialization())
}
