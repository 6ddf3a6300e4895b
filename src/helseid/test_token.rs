//! Any access token on request, right or wrong in chosen ways, and a proof to go with it. §7.3, M15. What is not said is as it would be for
//! Solveig in the bridge.

mod proof;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Idp;
use super::admin::{Problem, read};
use super::defect;
use super::faults::{DpopFault, Fault, KeyFault, TokenDefect, Which, parse_kind};
use super::seed::{ApiClaim, Client, Seed, User, table};
use super::subject::subject;
use crate::secret::Digest;
use crate::time::UnixTime;

/// What a token lives whose audience is no API of the mock, in seconds.
const LIFE_S: i64 = 600;
const ORG: &str = "urn:oid:2.16.578.1.12.4.1.4.101";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ask {
    audience: Option<String>,
    /// Seconds from now.
    expires_in: Option<i64>,
    issuer: Option<String>,
    typ: Option<String>,
    /// No user at all, as after `client_credentials`.
    machine: bool,
    user: UserAsk,
    client: ClientAsk,
    attest: Option<AttestAsk>,
    act: Option<Value>,
    /// The thumbprint the token is bound to, where no proof is asked for.
    jkt: Option<String>,
    /// Over everything else; `null` takes a claim away.
    claims: Map<String, Value>,
    /// Kinds of the groups Tokens and Keys, `no_cnf` and `wrong_cnf`.
    defects: Vec<String>,
    dpop: Option<proof::ProofAsk>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserAsk {
    /// One of the seed.
    id: Option<String>,
    pid: Option<String>,
    hpr_number: Option<String>,
    security_level: Option<String>,
    sub: Option<String>,
    sid: Option<String>,
    auth_time: Option<i64>,
    idp: Option<String>,
    amr: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ClientAsk {
    /// Of the seed, or any other.
    id: Option<String>,
    name: Option<String>,
    tenancy: Option<String>,
    orgnr_parent: Option<String>,
    orgnr_child: Option<String>,
    orgnr_supplier: Option<String>,
    scopes: Option<Vec<String>>,
    jti: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AttestAsk {
    /// Members of the claim, by their path: `practitioner.department`, `patients`.
    leave_out: BTreeSet<String>,
    /// In the place of the whole.
    value: Option<Value>,
}

/// Makes what was asked for.
///
/// # Errors
/// [`Problem`]: something that is not known, or does not fit together.
pub fn mint(idp: &Idp, body: &[u8]) -> Result<Value, Problem> {
    let ask: Ask = read(if body.is_empty() { b"{}" } else { body })?;
    let (seed, now) = (idp.seed(), idp.now());
    let client_id = ask.client.id.as_deref().unwrap_or(table::SMART_AS);
    let client = seed.client(client_id);
    let user = match &ask.user.id {
        Some(id) => seed.user(id).ok_or_else(|| Problem::unfit(format!("user.id: there is no `{id}`")))?,
        None => seed.user("solveig").or(seed.users.first()).ok_or_else(|| Problem::unfit("there are no users"))?,
    };
    let defects = Defects::read(&ask.defects)?;
    let maker = Maker { idp, seed: &seed, ask: &ask, client_id, client, user, now };
    let mut claims = maker.claims();

    let key = ask.dpop.as_ref().map(proof::ProofAsk::key).transpose()?;
    let jkt = key.as_ref().map(|key| key.public_jwk().thumbprint()).or_else(|| ask.jkt.clone());
    if let Some(jkt) = jkt {
        let other = defects.wrong_cnf || ask.dpop.as_ref().is_some_and(proof::ProofAsk::is_for_another_key);
        let jkt = if other { Digest::of(jkt.as_bytes()).text() } else { jkt };
        claims.insert("cnf".to_owned(), json!({ "jkt": jkt }));
    }
    if defects.no_cnf {
        claims.shift_remove("cnf");
    }
    for (name, value) in &ask.claims {
        match value {
            Value::Null => drop(claims.shift_remove(name)),
            value => drop(claims.insert(name.clone(), value.clone())),
        }
    }
    let bound = claims.contains_key("cnf");
    let typ = ask.typ.as_deref().unwrap_or("at+jwt");
    let chosen: Vec<&TokenDefect> = defects.tokens.iter().collect();
    let signed = defect::sign_with(idp, typ, claims, &chosen, defects.key, now);
    let token = signed.map_err(|why| Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR, "server_error", why.to_string()))?;
    let proof = match (&ask.dpop, &key) {
        (Some(ask), Some(key)) => Some(ask.make(key, token.expose(), &*idp.random, now)?),
        _ => None,
    };
    Ok(json!({
        "access_token": token.expose(),
        "token_type": if bound { "DPoP" } else { "Bearer" },
        "dpop": proof
    }))
}

/// What is to be wrong, sorted.
#[derive(Default)]
struct Defects {
    tokens: Vec<TokenDefect>,
    key: Option<KeyFault>,
    no_cnf: bool,
    wrong_cnf: bool,
}

impl Defects {
    fn read(words: &[String]) -> Result<Self, Problem> {
        let mut all = Self::default();
        for word in words {
            match parse_kind(word).map_err(Problem::unfit)? {
                Fault::Token(Which::AccessToken, defect) => all.tokens.push(defect),
                Fault::Key(fault) if !matches!(fault, KeyFault::EmptyJwks | KeyFault::Jwks503) => all.key = Some(fault),
                Fault::Dpop(DpopFault::NoCnf) => all.no_cnf = true,
                Fault::Dpop(DpopFault::WrongCnf) => all.wrong_cnf = true,
                _ => return Err(Problem::unfit(format!("defects: `{word}` is no defect of an access token"))),
            }
        }
        Ok(all)
    }
}

struct Maker<'a> {
    idp: &'a Idp,
    seed: &'a Seed,
    ask: &'a Ask,
    client_id: &'a str,
    client: Option<&'a Client>,
    user: &'a User,
    now: UnixTime,
}

impl Maker<'_> {
    /// In the order of §4.3.
    fn claims(&self) -> Map<String, Value> {
        let Ask { audience, expires_in, issuer, client, .. } = self.ask;
        let audience = audience.as_deref().unwrap_or("fjord:epj-api");
        let api = self.seed.api(audience);
        let tells = |claim| api.is_none_or(|api| api.tells(claim));
        let life = expires_in.unwrap_or_else(|| api.map_or(LIFE_S, |api| i64::try_from(api.lifetime.as_secs()).unwrap_or(LIFE_S)));
        let scopes = client.scopes.clone().unwrap_or_else(|| match api {
            Some(api) => api.scopes.iter().cloned().collect(),
            None => vec![format!("{audience}/read")],
        });
        // What was already over before it began is over when it was to begin.
        let began = self.now.0.min(self.now.0.saturating_add(life));
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
        put("iss", json!(issuer.as_deref().unwrap_or(self.idp.issuer.as_str())));
        put("aud", json!(audience));
        put("nbf", json!(began));
        put("iat", json!(began));
        put("exp", json!(self.now.0.saturating_add(life)));
        put("jti", json!(client.jti.clone().unwrap_or_else(|| self.idp.random.id().to_ascii_uppercase())));
        put("client_id", json!(self.client_id));
        let person = (!self.ask.machine).then(|| self.person());
        for (name, value) in person.iter().flatten().filter(|(name, _)| !name.starts_with("helseid://")) {
            put(name, value.clone());
        }
        put("scope", json!(scopes));
        put("client_amr", json!("private_key_jwt"));
        if let Some(name) = &client.name {
            put("helseid://claims/client/client_name", json!(name));
        }
        if tells(ApiClaim::Organisations) {
            self.organisations().into_iter().for_each(|(name, value)| put(name, json!(value)));
        }
        let wanted = [
            ("helseid://claims/identity/pid", ApiClaim::Pid),
            ("helseid://claims/identity/security_level", ApiClaim::Level),
            ("helseid://claims/hpr/hpr_number", ApiClaim::Hpr),
        ];
        for (name, claim) in wanted {
            let value = person.iter().flatten().find(|(found, _)| *found == name).filter(|_| tells(claim));
            if let Some((_, value)) = value {
                put(name, value.clone());
            }
        }
        if let Some(attest) = &self.ask.attest {
            put("nhn:tillitsrammeverk:parameters", self.attest(attest));
        }
        if let Some(act) = &self.ask.act {
            put("act", act.clone());
        }
        claims
    }

    fn person(&self) -> Vec<(&'static str, Value)> {
        let UserAsk { pid, hpr_number, security_level, sub, sid, auth_time, idp, amr, .. } = &self.ask.user;
        let own = || self.client.map_or_else(|| Digest::of(self.user.pid().as_bytes()).text(), |client| subject(self.idp, self.user, client));
        let mut person = vec![
            ("sub", json!(sub.clone().unwrap_or_else(own))),
            ("sid", json!(sid.clone().unwrap_or_else(|| self.idp.random.id().to_ascii_uppercase()))),
            ("auth_time", json!(auth_time.unwrap_or(self.now.0.saturating_sub(60)))),
            ("idp", json!(idp.as_deref().unwrap_or("testidpnew-oidc"))),
            ("amr", json!(amr.clone().unwrap_or_else(|| vec!["pwd".to_owned()]))),
            ("helseid://claims/identity/pid", json!(pid.as_deref().unwrap_or(self.user.pid()))),
            ("helseid://claims/identity/security_level", json!(security_level.clone().unwrap_or_else(|| self.user.level.to_string()))),
        ];
        if let Some(number) = hpr_number.as_deref().or(self.user.hpr()) {
            person.push(("helseid://claims/hpr/hpr_number", json!(number)));
        }
        person
    }

    /// The legal entity and unit the token speaks for: what was said, else where the user works.
    fn place(&self) -> (Option<String>, Option<String>) {
        let ClientAsk { orgnr_parent, orgnr_child, .. } = &self.ask.client;
        if orgnr_parent.is_some() {
            return (orgnr_parent.clone(), orgnr_child.clone());
        }
        let own = self.client.map(|client| &client.tenancy);
        match own {
            Some(super::seed::Tenancy::Own(parent) | super::seed::Tenancy::Single { parent, .. }) => (Some(parent.clone()), orgnr_child.clone()),
            Some(super::seed::Tenancy::Multi { .. }) | None => {
                let Some(place) = self.user.works_at.first() else { return (None, orgnr_child.clone()) };
                match self.seed.organisation(place).and_then(|unit| unit.parent.clone()) {
                    Some(parent) => (Some(parent), Some(orgnr_child.clone().unwrap_or_else(|| place.clone()))),
                    None => (Some(place.clone()), orgnr_child.clone()),
                }
            }
        }
    }

    fn organisations(&self) -> Vec<(&'static str, String)> {
        let ask = &self.ask.client;
        let supplier = match self.client.map(|client| &client.tenancy) {
            Some(super::seed::Tenancy::Multi { supplier }) => Some(supplier.clone()),
            Some(super::seed::Tenancy::Own(_) | super::seed::Tenancy::Single { .. }) | None => None,
        };
        let tenancy = ask.tenancy.clone().unwrap_or_else(|| self.client.map_or("none", |client| client.tenancy.word()).to_owned());
        let (parent, child) = self.place();
        let named = [
            ("helseid://claims/client/client_tenancy", Some(tenancy)),
            ("helseid://claims/client/claims/orgnr_parent", parent),
            ("helseid://claims/client/claims/orgnr_child", child),
            ("helseid://claims/client/claims/orgnr_supplier", ask.orgnr_supplier.clone().or(supplier)),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// §3.4, as a token carries it.
    fn attest(&self, ask: &AttestAsk) -> Value {
        let (parent, child) = self.place();
        let place = |number: Option<&str>| {
            let name = number.and_then(|number| self.seed.organisation(number)).map(|organisation| organisation.name.as_str());
            json!({"id": number, "system": ORG, "name": name, "authority": "https://www.brreg.no"})
        };
        let unit = place(child.as_deref().or(parent.as_deref()));
        let numbers = if self.user.has_d_number() { "urn:oid:2.16.578.1.12.4.1.4.2" } else { "urn:oid:2.16.578.1.12.4.1.4.1" };
        let profession = self.user.approvals.first().map(|approval| json!({"code": approval.profession, "system": "urn:oid:2.16.578.1.12.4.1.1.9060"}));
        let hpr =
            self.user.hpr().map(|number| json!({"id": number, "system": "urn:oid:2.16.578.1.12.4.1.4.4", "authority": "https://www.helsedirektoratet.no"}));
        let mut attest = ask.value.clone().unwrap_or_else(|| {
            json!({
                "practitioner": {
                    "identifier": {"id": self.user.pid(), "name": self.user.name.full(), "system": numbers, "authority": "https://www.skatteetaten.no"},
                    "hpr_nr": hpr,
                    "authorization": profession,
                    "legal_entity": place(parent.as_deref()),
                    "point_of_care": unit,
                    "department": {"id": "4200001", "system": "urn:oid:2.16.578.1.12.4.1.4.102"}
                },
                "care_relationship": {
                    "healthcare_service": {"code": "KX17", "system": "urn:oid:2.16.578.1.12.4.1.1.8663"},
                    "purpose_of_use": {"code": "TREAT", "system": "urn:oid:2.16.840.1.113883.1.11.20448"},
                    "purpose_of_use_details": {"code": "15", "system": "urn:oid:2.16.578.1.12.4.1.1.9151"},
                    "decision_ref": {"id": "enc-7f21c0", "user_selected": true}
                },
                "patients": [{"point_of_care": unit}],
                "toa": self.now.0
            })
        });
        for path in &ask.leave_out {
            let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
            let pointer: String = above.split('.').filter(|part| !part.is_empty()).map(|part| format!("/{part}")).collect();
            if let Some(members) = attest.pointer_mut(&pointer).and_then(Value::as_object_mut) {
                members.shift_remove(name);
            }
        }
        attest
    }
}
