//! The list of §7.4, word for word. Numbers are made up: months are raised by 80, check digits hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Api, ApiBinding, ApiClaim, Approval, AssertionForm, Client, Coded, DpopUse, Grant, Name, Organisation, RefreshUse, Seed, Tenancy, User};
use crate::jose::{Alg, JwkSet, KeyError, SigningKey};
use crate::secret::Secret;

/// Our bridge.
pub const SMART_AS: &str = "6d9c0d0e-3c1b-4b50-9d5a-2f3f6f5e0a11";
pub const SMART_AS_SINGLE: &str = "6d9c0d0e-3c1b-4b50-9d5a-2f3f6f5e0a12";
pub const DEMO_ACTOR: &str = "a0b7c2d1-0001-4a5e-9c11-5d1c8f0e7701";
/// A machine.
pub const BATCH: &str = "a0b7c2d1-0001-4a5e-9c11-5d1c8f0e7702";
pub const LEGACY: &str = "a0b7c2d1-0001-4a5e-9c11-5d1c8f0e7703";
pub const PORTAL: &str = "a0b7c2d1-0001-4a5e-9c11-5d1c8f0e7704";
pub const DISABLED: &str = "a0b7c2d1-0001-4a5e-9c11-5d1c8f0e7705";

pub const NORDVIK: &str = "310441007";
pub const NORDVIK_LEGEVAKT: &str = "310441015";
pub const NORDVIK_HJEMMETJENESTE: &str = "310441023";
pub const FJORDLIA: &str = "310441104";
pub const SKAGEN: &str = "310441201";
pub const SKAGEN_KIRURGISK: &str = "310441228";
pub const REGISTER: &str = "310441309";
pub const FJORD_EPJ: &str = "310441503";
pub const UTENFOR: &str = "310441600";

/// Scopes that name no API. §3.1; these are what discovery lists.
pub const IDENTITY_SCOPES: &[&str] = &[
    "openid",
    "profile",
    "offline_access",
    "helseid://scopes/identity/pid",
    "helseid://scopes/identity/pid_pseudonym",
    "helseid://scopes/identity/security_level",
    "helseid://scopes/identity/assurance_level",
    "helseid://scopes/identity/network",
    "helseid://scopes/hpr/hpr_number",
    "helseid://scopes/client/info",
    "helseid://scopes/client/client_name",
    "nhn:tillitsrammeverk:parameters",
    "nhn:sfm:journal-id",
];

pub(super) fn seed() -> Result<Seed, KeyError> {
    let delegations = [NORDVIK, FJORDLIA, SKAGEN].map(|parent| (parent.to_owned(), FJORD_EPJ.to_owned()));
    Ok(Seed { users: users(), organisations: organisations(), clients: clients()?, apis: apis(), delegations: delegations.into_iter().collect() })
}

fn organisations() -> Vec<Organisation> {
    let of =
        |number: &str, name: &str, parent: Option<&str>| Organisation { number: number.to_owned(), name: name.to_owned(), parent: parent.map(str::to_owned) };
    vec![
        of(NORDVIK, "Nordvik kommune", None),
        of(NORDVIK_LEGEVAKT, "Nordvik legevakt", Some(NORDVIK)),
        of(NORDVIK_HJEMMETJENESTE, "Nordvik hjemmetjeneste", Some(NORDVIK)),
        of(FJORDLIA, "Fjordlia legesenter AS", None),
        of(SKAGEN, "Skagen sykehus HF", None),
        of(SKAGEN_KIRURGISK, "Skagen kirurgisk avdeling", Some(SKAGEN)),
        of(REGISTER, "Registertjenesten Demo", None),
        of(FJORD_EPJ, "Fjord EPJ AS", None),
        of(UTENFOR, "Utenfor AS", None),
    ]
}

/// A full authorisation in a profession.
pub fn authorised(profession: &str) -> Approval {
    approval(profession, Coded::new("1", "Autorisasjon"), Vec::new())
}

/// An approval by profession; a number of 7704 and one of 7426.
pub(super) fn approval(profession: &str, authorization: Coded, specialities: Vec<Coded>) -> Approval {
    let full = profession == "LE" && authorization.value == "1";
    let requisition_rights = if full { vec![Coded::new("1", "Full rekvisisjonsrett")] } else { Vec::new() };
    Approval { profession: profession.to_owned(), authorization, requisition_rights, specialities }
}

fn users() -> Vec<User> {
    let of = |id: &str, (given, family): (&str, &str), pid: &str, hpr: Option<&str>, approvals: Vec<Approval>, works_at: &[&str]| User {
        id: id.to_owned(),
        name: Name { given: given.to_owned(), middle: None, family: family.to_owned() },
        pid: Secret::new(pid.to_owned()),
        hpr: hpr.map(|number| Secret::new(number.to_owned())),
        approvals,
        withdrawn: Vec::new(),
        level: 4,
        works_at: works_at.iter().map(|number| (*number).to_owned()).collect(),
        blocked: false,
    };
    let doctor = |specialities| vec![Approval { specialities, ..authorised("LE") }];
    let general_practice = || vec![Coded::new("1", "Allmennmedisin")];
    let surgery = vec![Coded::new("152", "Ortopedisk kirurgi")];
    let nurse = vec![authorised("SP")];
    // 7704 beyond 1 is not in our sources: what counts is that it is not 1.
    let licence = vec![approval("LE", Coded::new("2", "Lisens"), Vec::new())];
    let berit = of("berit", ("Berit", "Utmo"), "09895916002", Some("990000104"), Vec::new(), &[FJORDLIA]);
    let withdrawn = vec![approval("LE", Coded::new("0", "Tilbakekalt"), Vec::new())];
    let jonas = of("jonas", ("Jonas", "Lavnes"), "30818517110", Some("990000105"), doctor(Vec::new()), &[NORDVIK_LEGEVAKT]);
    vec![
        of("solveig", ("Solveig", "Fjæremo"), "12837512040", Some("990000101"), doctor(general_practice()), &[FJORDLIA, NORDVIK_LEGEVAKT]),
        of("torgeir", ("Torgeir", "Åsmundstad"), "04878113360", Some("990000102"), doctor(surgery), &[SKAGEN_KIRURGISK, NORDVIK_LEGEVAKT]),
        of("amina", ("Amina", "Nyborg"), "23918814000", Some("990000103"), nurse, &[NORDVIK_HJEMMETJENESTE]),
        of("lars", ("Lars", "Kontorvik"), "17859015115", None, Vec::new(), &[NORDVIK]),
        User { withdrawn, ..berit },
        User { level: 3, ..jonas },
        of("dnr", ("Ilja", "Midlertid"), "42829318363", Some("990000106"), licence, &[SKAGEN_KIRURGISK]),
        of("twin", ("Solveig", "Fjæremo"), "06849922260", Some("990000107"), doctor(Vec::new()), &[FJORDLIA]),
    ]
}

fn apis() -> Vec<Api> {
    use ApiClaim as C;
    let of = |audience: &str, owner: &str, scopes: &[&str], seconds: u64, claims: &[ApiClaim], binding: ApiBinding| Api {
        audience: audience.to_owned(),
        owner: owner.to_owned(),
        scopes: scopes.iter().map(|name| format!("{audience}/{name}")).collect(),
        lifetime: Duration::from_secs(seconds),
        claims: claims.iter().copied().collect(),
        binding,
    };
    vec![
        of("fjord:epj-api", FJORD_EPJ, &["exchange", "read"], 60, &[C::Pid, C::Level, C::Hpr, C::Organisations], ApiBinding::Dpop),
        of("demo:kjerne", REGISTER, &["read"], 60, &[C::Pid, C::Level, C::Hpr, C::Organisations, C::Attest], ApiBinding::Dpop),
        of("demo:resept", REGISTER, &["write"], 300, &[C::Pid, C::Level, C::Hpr, C::Sfm], ApiBinding::Dpop),
        of("demo:old", REGISTER, &["read"], 600, &[C::Organisations], ApiBinding::Bearer),
        of("nav-like:app", UTENFOR, &["identity"], 300, &[C::Pid, C::Level, C::Hpr], ApiBinding::Bearer),
    ]
}

fn clients() -> Result<BTreeMap<String, Client>, KeyError> {
    use Grant as G;
    let every_api = ["fjord:epj-api/exchange", "fjord:epj-api/read", "demo:kjerne/read", "demo:resept/write", "demo:old/read", "nav-like:app/identity"];
    let with_users = |apis: &[&str]| -> BTreeSet<String> { IDENTITY_SCOPES.iter().chain(apis).map(|scope| (*scope).to_owned()).collect() };
    let machine = |apis: &[&str]| -> BTreeSet<String> {
        // §2.12: an identity scope is no machine's.
        apis.iter().map(|scope| (*scope).to_owned()).collect()
    };
    let own = |number: &str| Tenancy::Own(number.to_owned());
    let single = Tenancy::Single { parent: NORDVIK.to_owned(), units: [NORDVIK_LEGEVAKT.to_owned()].into() };
    let multi = Tenancy::Multi { supplier: FJORD_EPJ.to_owned() };

    let mut smart_as = client(SMART_AS, "smart-as", multi, &[G::Code, G::Refresh, G::TokenExchange], with_users(&every_api))?;
    smart_as.may_be_exchanged_by = [SMART_AS.to_owned(), DEMO_ACTOR.to_owned()].into();
    smart_as.redirect_uris = vec!["https://smart-as.example.no/upstream/callback".to_owned()];
    smart_as.post_logout_redirect_uris = vec!["https://smart-as.example.no/".to_owned()];

    let scopes = with_users(&["fjord:epj-api/exchange", "fjord:epj-api/read", "demo:kjerne/read"]);
    let mut smart_as_single = client(SMART_AS_SINGLE, "smart-as-single", single, &[G::Code, G::Refresh], scopes)?;
    smart_as_single.redirect_uris = vec!["https://smart-as.example.no/single/callback".to_owned()];
    smart_as_single.post_logout_redirect_uris = vec!["https://smart-as.example.no/single/".to_owned()];

    let scopes = machine(&["demo:kjerne/read", "demo:resept/write", "demo:old/read", "fjord:epj-api/read", "nav-like:app/identity"]);
    let demo_actor = client(DEMO_ACTOR, "demo-actor", own(REGISTER), &[G::TokenExchange, G::ClientCredentials], scopes)?;

    let scopes = machine(&["fjord:epj-api/read", "demo:kjerne/read", "demo:old/read"]);
    let mut batch = client(BATCH, "batch", own(SKAGEN), &[G::ClientCredentials], scopes)?;
    batch.dpop = DpopUse::Optional;
    batch.may_be_exchanged_by = [DEMO_ACTOR.to_owned()].into();

    let mut legacy = client(LEGACY, "legacy", own(FJORDLIA), &[G::Code], with_users(&["demo:old/read", "nav-like:app/identity"]))?;
    legacy.dpop = DpopUse::Off;
    legacy.assertions = AssertionForm::Legacy;
    legacy.redirect_uris = vec!["https://legacy.example.no/callback".to_owned()];

    let scopes = with_users(&["fjord:epj-api/exchange", "fjord:epj-api/read", "demo:kjerne/read"]);
    let mut portal = client(PORTAL, "portal", own(SKAGEN), &[G::Code, G::Refresh], scopes)?;
    portal.redirect_uris = vec!["https://portal.example.no/callback".to_owned()];
    portal.post_logout_redirect_uris = vec!["https://portal.example.no/".to_owned()];

    let mut disabled = client(DISABLED, "disabled", own(REGISTER), &[G::ClientCredentials], machine(&["demo:kjerne/read"]))?;
    disabled.disabled = true;

    let all = [smart_as, smart_as_single, demo_actor, batch, legacy, portal, disabled];
    Ok(all.into_iter().map(|client| (client.id.clone(), client)).collect())
}

/// A client with a new key, DPoP required, refresh tokens good for once and strict assertions.
///
/// # Errors
/// [`KeyError::Generate`].
pub fn client(id: &str, name: &str, tenancy: Tenancy, grants: &[Grant], scopes: BTreeSet<String>) -> Result<Client, KeyError> {
    let key = SigningKey::generate(Alg::ES384)?;
    Ok(Client {
        id: id.to_owned(),
        name: name.to_owned(),
        tenancy,
        grants: grants.iter().copied().collect(),
        dpop: DpopUse::Required,
        refresh: RefreshUse::OneTime,
        assertions: AssertionForm::Strict,
        scopes,
        redirect_uris: Vec::new(),
        post_logout_redirect_uris: Vec::new(),
        backchannel_logout_uri: None,
        may_be_exchanged_by: BTreeSet::new(),
        disabled: false,
        keys: JwkSet { keys: vec![key.public_jwk().clone()] },
        private_key: Some(key),
    })
}
