//! `[[issuer]]`: each alone, and all beside each other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::problem::{Findings, Place};
use super::raw::{RawFhir, RawIssuer, RawUser};
use super::read::{Field, Placed, print_duration};
use super::secrets::Environment;
use super::trusted;
use super::types::{IssuerConfig, KeySchedule, Server};
use super::upstream;
use super::values::{PROFILES, SIGNING_ALGS, duration, each_once, origin, parsed, required, word, word_or};
use crate::domain::client::Profile;
use crate::domain::dpop::DpopNonce;
use crate::domain::guess::GuessLimits;
use crate::domain::issuer::{FhirServer, IssuerRules, LONGEST_LAUNCH, Lifetimes, LocalUser, LoginWay};
use crate::domain::keys::{DEFAULT_MAX_AGE, DEFAULT_OVERLAP, SPREADING};
use crate::protocol::ids::{ClientId, FhirBase, Issuer, Reference};
use crate::protocol::internal_url::InternalUrl;
use crate::protocol::lang::Lang;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Every issuer of the file; clients come later. One whose URL is wrong gets a stand-in, so that the rest is checked too.
pub(super) fn check_all(
    raw: &Field<Vec<Placed<RawIssuer>>>,
    server: &Server,
    guess: GuessLimits,
    environment: &dyn Environment,
    found: &mut Findings,
) -> Vec<IssuerConfig> {
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    match raw {
        Field::Given(list, place) if list.is_empty() => found.refuse(place, "is empty; write [[issuer]] and its url"),
        Field::Absent(place) => found.refuse(place, "is missing; write [[issuer]], url = \"https://auth.epj.example\" and below it [[issuer.fhir]]"),
        Field::Given(..) | Field::Wrong(_) => {}
    }
    for item in raw.get().into_iter().flatten() {
        let url = match issuer_url(&item.value.url, found) {
            Some(url) => {
                for other in &issuers {
                    apart(&url, other.url(), item.value.url.place(), found);
                }
                url
            }
            None => stand_in(item.value.url.get()),
        };
        let mut issuer = check(&item.value, url, server, environment, &issuers, found);
        issuer.rules.guess = guess;
        issuer.rules.upstream = item.value.upstream.get().and_then(|raw| upstream::check(raw, issuer.url(), environment, found)).map(Arc::new);
        issuers.push(issuer);
    }
    issuers
}

fn issuer_url(field: &Field<String>, found: &mut Findings) -> Option<Issuer> {
    let (text, place) = required(field, "write url = \"https://auth.epj.example\"", found)?;
    match Issuer::parse(text) {
        Ok(issuer) => Some(issuer),
        Err(wrong) => {
            match canonical(text) {
                Some(url) => found.refuse_instead(place, text, wrong.to_string(), url),
                None => found.refuse_value(place, text, wrong.to_string()),
            }
            None
        }
    }
}

/// The issuer that was probably meant: without slash, query and fragment, and over https where it must be.
pub(super) fn canonical(text: &str) -> Option<Issuer> {
    let mut url = Url::parse(text).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    let plain = url.as_str().trim_end_matches('/');
    Issuer::parse(plain).or_else(|_| Issuer::parse(&plain.replacen("http:", "https:", 1))).ok()
}

fn stand_in(text: Option<&String>) -> Issuer {
    text.and_then(|text| canonical(text)).unwrap_or_else(|| Issuer::parse("https://issuer.invalid").expect("is an issuer"))
}

/// Two issuers on one host must not lie inside each other: the paths and cookies of the outer one would reach into the inner one.
fn apart(new: &Issuer, old: &Issuer, place: &Place, found: &mut Findings) {
    if new == old {
        found.refuse_value(place, new.as_str(), "is the URL of another issuer here too; each has its own");
        return;
    }
    let inside = |inner: &Issuer, outer: &Issuer| inner.path().strip_prefix(&outer.path()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if new.authority() == old.authority() && (inside(new, old) || inside(old, new)) {
        let text = format!("and \"{old}\" lie inside each other, so one's paths and cookies reach the other; write \"{0}/a\" and \"{0}/b\"", new.origin());
        found.refuse_value(place, new.as_str(), text);
    }
}

fn check(raw: &RawIssuer, url: Issuer, server: &Server, environment: &dyn Environment, others: &[IssuerConfig], found: &mut Findings) -> IssuerConfig {
    let loopback = url.is_loopback();
    if loopback && !server.listen.is_local() {
        found.warn(raw.url.place(), format!("is on loopback, with its leniencies, but {} can be reached from other machines", server.listen));
    }
    let login = login(&raw.login, &url, server, found);
    if login.contains(&LoginWay::HelseId) && raw.upstream.get().is_none() && !matches!(raw.upstream, Field::Wrong(_)) {
        found.refuse(raw.login.place(), "has \"helseid\" and there is no [issuer.upstream]: nobody to send people to");
    }
    let users = users(&raw.user, found);
    if login.contains(&LoginWay::Local) && raw.user.get().is_none_or(Vec::is_empty) && !matches!(raw.user, Field::Wrong(_)) {
        found.refuse(raw.user.place(), "is missing: login has \"local\" and nobody to choose; write [[issuer.user]] with name and fhir_user");
    } else if !login.contains(&LoginWay::Local) && !users.is_empty() {
        found.warn(raw.user.place(), "is not used: login does not have \"local\"");
    }
    if server.tls.is_some() && url.as_str().starts_with("http:") {
        found.refuse_value(
            raw.url.place(),
            url.as_str(),
            format!("is http, and [server.tls] speaks https alone; write \"{}\"", url.as_str().replacen("http:", "https:", 1)),
        );
    }
    let rules = IssuerRules {
        internal_urls: internal_urls(&raw.internal_urls, &url, server, found),
        name: raw.name.get().cloned().unwrap_or_else(|| url.authority()),
        default_lang: word_or(&raw.default_lang, Lang::Nb, &[("nb", Lang::Nb), ("en", Lang::En)], found),
        login,
        lifetimes: lifetimes(raw, found),
        frame_ancestors: each_once(&raw.frame_ancestors, found).into_iter().filter_map(|item| origin(item, loopback, found)).collect(),
        fhir: bases(&raw.fhir, others, found),
        users,
        exchange: Vec::new(),
        trusted: trusted::check(&raw.trusted, &url, environment, found),
        clients: HashMap::new(),
        dpop_nonce: word_or(&raw.dpop_nonce, DpopNonce::Never, &[("never", DpopNonce::Never), ("always", DpopNonce::Always)], found),
        profile: word_or(&raw.profile, Profile::Smart, PROFILES, found),
        require_par: raw.require_par.get().copied().unwrap_or(false),
        upstream: None,
        guess: GuessLimits::default(),
        issuer: url,
    };
    IssuerConfig { rules, keys: key_schedule(raw, found) }
}

/// Where else it is reached. Paths are the same under every name: what is told apart is the host alone.
fn internal_urls(field: &Field<Vec<Placed<String>>>, issuer: &Issuer, server: &Server, found: &mut Findings) -> Vec<InternalUrl> {
    let mut urls: Vec<InternalUrl> = Vec::new();
    for item in each_once(field, found) {
        let Some(url) = parsed(&item.value, &item.place, InternalUrl::parse, found) else { continue };
        if url.path() != issuer.path() {
            let host = url.authority();
            let scheme = if url.is_https() { "https" } else { "http" };
            found.refuse_value(&item.place, url.as_str(), format!("has another path than {issuer}; write \"{scheme}://{host}{}\"", issuer.path()));
            continue;
        }
        if urls.iter().any(|other| other.authority() == url.authority()) {
            found.refuse_value(&item.place, url.as_str(), "has the host of another internal URL of this issuer; each has its own");
            continue;
        }
        if !url.is_https() && server.tls.is_some() && server.proxies.is_nobody() {
            found.refuse_value(&item.place, url.as_str(), "is http, and [server.tls] speaks https alone; write https");
        } else if !url.is_https() && !url.is_loopback() && server.listen.tcp().is_some() {
            found
                .warn(&item.place, "is http: tokens and secrets go in the clear through that network (RFC 6749 §1.6); write https where anybody else is on it");
        }
        urls.push(url);
    }
    urls
}

/// A request must be for one issuer whatever name it uses: an internal host is nobody's public one, and on one that several share they do not
/// lie inside each other.
pub(super) fn internal_urls_apart(raw: &Field<Vec<Placed<RawIssuer>>>, issuers: &[IssuerConfig], found: &mut Findings) {
    for (index, (item, issuer)) in raw.get().into_iter().flatten().zip(issuers).enumerate() {
        let place = item.value.internal_urls.place();
        for url in &issuer.rules.internal_urls {
            if let Some(other) = issuers.iter().find(|other| other.url().authority() == url.authority()) {
                found.refuse_value(
                    place,
                    url.as_str(),
                    format!("has the host of {}, where pages and cookies are; an internal URL has a host of its own", other.url()),
                );
            }
            let before = issuers.iter().take(index).flat_map(|other| other.rules.internal_urls.iter().map(move |theirs| (other, theirs)));
            for (other, theirs) in before.filter(|(_, theirs)| theirs.authority() == url.authority()) {
                let (ours, path) = (url.path(), theirs.path());
                let inside = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                if url.is_https() != theirs.is_https() || inside(&ours, &path) || inside(&path, &ours) {
                    found.refuse_value(place, url.as_str(), format!("cannot be told from \"{theirs}\" of {}; give it a host of its own", other.url()));
                }
            }
        }
    }
}

/// A FHIR base where another issuer is: what apps read there would be one's discovery document in place of the other's.
pub(super) fn bases_apart(raw: &Field<Vec<Placed<RawIssuer>>>, issuers: &[IssuerConfig], found: &mut Findings) {
    for (item, issuer) in raw.get().into_iter().flatten().zip(issuers) {
        for server in &issuer.rules.fhir {
            for other in issuers.iter().filter(|other| other.url() != issuer.url() && server.base.is_named_by(other.url().as_str())) {
                let why = format!("is the URL of another issuer, {}; its discovery document is there", other.url());
                found.refuse_value(item.value.fhir.place(), server.base.as_str(), why);
            }
        }
    }
}

fn login(field: &Field<Vec<Placed<String>>>, issuer: &Issuer, server: &Server, found: &mut Findings) -> Vec<LoginWay> {
    let Field::Given(list, place) = field else { return vec![LoginWay::Ehr] };
    if list.is_empty() {
        found.refuse(place, "is empty, so nobody could log in; write [\"ehr\"]");
    }
    let mut ways = Vec::new();
    for item in each_once(field, found) {
        let known = [("ehr", LoginWay::Ehr), ("helseid", LoginWay::HelseId), ("local", LoginWay::Local)];
        let Some(way) = word(&item.value, &item.place, &known, found) else { continue };
        if way == LoginWay::Local && !issuer.is_loopback() {
            found.refuse_value(&item.place, &item.value, format!("lets anybody be anybody and is for loopback issuers only, not {issuer}; leave it out"));
        } else if way == LoginWay::Local && !server.listen.is_local() {
            found.refuse_value(
                &item.place,
                &item.value,
                format!("lets anybody be anybody, and {} can be reached from other machines; write server.listen = \"127.0.0.1:9400\"", server.listen),
            );
        }
        ways.push(way);
    }
    ways
}

fn lifetimes(raw: &RawIssuer, found: &mut Findings) -> Lifetimes {
    let default = Lifetimes::default();
    Lifetimes {
        code: duration(&raw.code_ttl, default.code, SECOND..=MINUTE, "SAL §7.3", found),
        launch: duration(&raw.launch_ttl, default.launch, SECOND..=LONGEST_LAUNCH, "SAL-013", found),
        start: duration(&raw.start_ttl, default.start, SECOND..=LONGEST_LAUNCH, "SAL §7.4", found),
        interaction: duration(&raw.interaction_ttl, default.interaction, MINUTE..=HOUR, "SAL §7.4", found),
        // FAPI 2.0 §5.3.2.2: `expires_in` below 600.
        pushed: duration(&raw.par_ttl, default.pushed, 5 * SECOND..=599 * SECOND, "FAPI 2.0 §5.3.2.2", found),
        session: duration(&raw.session_ttl, default.session, MINUTE..=DAY, "", found),
        refresh_reuse: duration(&raw.refresh_reuse_window, default.refresh_reuse, Duration::ZERO..=MINUTE, "SAL §7.6", found),
        code_replay: default.code_replay,
    }
}

fn key_schedule(raw: &RawIssuer, found: &mut Findings) -> KeySchedule {
    let keys = KeySchedule {
        rotation: duration(&raw.key_rotation, 90 * DAY, HOUR..=365 * DAY, "", found),
        overlap: duration(&raw.key_overlap, DEFAULT_OVERLAP, DEFAULT_OVERLAP..=7 * DAY, "NAV-040: others keep our keys for ten minutes", found),
        max_age: duration(&raw.jwks_max_age, DEFAULT_MAX_AGE, Duration::ZERO..=DAY, "", found),
    };
    if (DEFAULT_OVERLAP..keys.max_age + SPREADING).contains(&keys.overlap) {
        let shortest = print_duration(keys.max_age + SPREADING);
        let place = if let Field::Given(_, place) = &raw.jwks_max_age { place } else { raw.key_overlap.place() };
        found.refuse(
            place,
            format!(
                "is too long for this key_overlap: who kept the set would meet a key that is not in it; make key_overlap \"{shortest}\" at least (NAV-040)"
            ),
        );
    }
    if keys.overlap >= keys.rotation {
        found.refuse(raw.key_overlap.place(), "must be shorter than key_rotation: the next key is published while this one still signs");
    }
    keys
}

/// The bases, the default one first.
fn bases(field: &Field<Vec<Placed<RawFhir>>>, others: &[IssuerConfig], found: &mut Findings) -> Vec<FhirServer> {
    let list = match field {
        Field::Given(list, _) if !list.is_empty() => list,
        Field::Given(_, place) | Field::Absent(place) => {
            found.refuse(place, "is missing: an issuer decides about at least one FHIR server; write [[issuer.fhir]] and base = \"https://epj.example/fhir\"");
            return Vec::new();
        }
        Field::Wrong(_) => return Vec::new(),
    };
    let mut bases: Vec<FhirServer> = Vec::new();
    let mut default = None;
    for Placed { value: raw, place: _ } in list {
        let Some((text, place)) = required(&raw.base, "write base = \"https://epj.example/fhir\"", found) else { continue };
        let Some(base) = parsed(text, place, FhirBase::parse, found) else { continue };
        let known = others.iter().flat_map(|issuer| &issuer.rules.fhir).chain(&bases).any(|other| other.base.is_named_by(base.as_str()));
        if known {
            found.refuse_value(place, text, "is listed before: a FHIR base belongs to one issuer, once (SAL-027)");
            continue;
        }
        if raw.default.get() == Some(&true) {
            if default.is_some() {
                found.refuse(raw.default.place(), "is set on another base of this issuer too; keep one");
            }
            default = Some(bases.len());
        }
        bases.push(FhirServer {
            base,
            context_in_token: word_or(&raw.token_claims, false, &[("none", false), ("context", true)], found),
            access_token_alg: raw.access_token_alg.get().and_then(|text| word(text, raw.access_token_alg.place(), SIGNING_ALGS, found)),
            resource_servers: each_once(&raw.resource_servers, found)
                .into_iter()
                .filter_map(|item| parsed(&item.value, &item.place, ClientId::parse, found))
                .collect(),
        });
    }
    if list.len() > 1 && !list.iter().any(|item| item.value.default.get() == Some(&true)) {
        found.refuse(field.place(), "has several bases and no default one; write default = true on one of them");
    }
    if let Some(front) = default.and_then(|index| bases.get_mut(..=index)) {
        front.rotate_right(1);
    }
    bases
}

/// Clients a base names as its resource servers must be there, able to say who they are. SAL-120, RFC 7662 §2.1.
pub(super) fn resource_servers(raw: &Field<Vec<Placed<RawIssuer>>>, issuers: &[IssuerConfig], found: &mut Findings) {
    for item in raw.get().into_iter().flatten() {
        let Some(issuer) = issuers.iter().find(|issuer| item.value.url.get().is_some_and(|url| url == issuer.url().as_str())) else { continue };
        let named = item.value.fhir.get().into_iter().flatten().filter_map(|base| base.value.resource_servers.get()).flatten();
        for Placed { value, place } in named {
            match ClientId::parse(value).ok().map(|id| issuer.rules.clients.get(&id)) {
                Some(None) => found.refuse_value(place, value, "is not a client of this issuer; write a [[client]] for it (preset = \"fhir-server\")"),
                Some(Some(client)) if client.is_public() => {
                    found.refuse_value(
                        place,
                        value,
                        "is a public client: a resource server must authenticate (RFC 7662 §2.1); write auth = \"client_secret_basic\"",
                    );
                }
                Some(Some(_)) | None => {}
            }
        }
    }
}

fn users(field: &Field<Vec<Placed<RawUser>>>, found: &mut Findings) -> Vec<LocalUser> {
    let mut users: Vec<LocalUser> = Vec::new();
    for item in field.get().into_iter().flatten() {
        let name = required(&item.value.name, "write name = \"Live Testlege\"", found);
        let who = required(&item.value.fhir_user, "write fhir_user = \"Practitioner/lege-1\"", found)
            .and_then(|(text, place)| Some((parsed(text, place, Reference::parse, found)?, place)));
        let (Some((name, _)), Some((fhir_user, place))) = (name, who) else { continue };
        if users.iter().any(|user| user.fhir_user == fhir_user) {
            found.refuse_value(place, fhir_user.to_string(), "is another user too; each is somebody else");
            continue;
        }
        users.push(LocalUser { name: name.to_owned(), fhir_user });
    }
    users
}
