//! Access tokens of the provider, verified as an API must. `reference/helseid.md` §2.11, §3.2.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::Upstream;
use super::error::{TokenFault, UpstreamError};
use super::id_token::{not_ahead, number_or_text, one_or_many, read};
use crate::domain::person::{HprNumber, OrgNumber, PersonNumber};
use crate::domain::upstream::{ActingFor, SecurityLevel, TOKEN_ALGS, UpstreamRules, UpstreamSession, UpstreamSubject};
use crate::jose::{AudienceForm, Expect};
use crate::protocol::ids::{ClientId, TokenId};
use crate::secret::{Secret, same};
use crate::time::UnixTime;

/// A token somebody brings us must be over by then, since it cannot be recalled. `reference/helseid.md` §6.5.
const LONGEST_LEFT: Duration = Duration::from_secs(15 * 60);

/// More actors in a chain than this are not read. `reference/helseid.md` P6 allows fewer.
const DEEPEST_CHAIN: usize = 4;

/// A verified access token of the provider.
#[derive(Clone, Debug)]
pub struct UpstreamToken {
    pub audience: String,
    pub client_id: ClientId,
    /// Who had the token before it was first exchanged.
    pub original_client_id: Option<ClientId>,
    pub scope: BTreeSet<String>,
    pub jti: TokenId,
    pub issued_at: Option<UnixTime>,
    pub expires_at: UnixTime,
    /// The thumbprint of the key it is bound to.
    pub jkt: Option<String>,
    /// Who acted, newest first.
    pub actors: Vec<ActorLink>,
    /// Absent in the token of a machine, as is everything below that is about a person.
    pub subject: Option<UpstreamSubject>,
    pub session: Option<UpstreamSession>,
    pub person: Option<PersonNumber>,
    pub hpr: Option<HprNumber>,
    pub level: Option<SecurityLevel>,
    pub auth_time: Option<UnixTime>,
    pub amr: Vec<String>,
    pub idp: Option<String>,
    pub org_parent: Option<OrgNumber>,
    pub org_child: Option<OrgNumber>,
    pub org_supplier: Option<OrgNumber>,
    pub tenancy: Option<String>,
    /// What was attested, for audit. It never sets context (`reference/helseid.md` §3.4).
    pub attest: Option<Map<String, Value>>,
}

/// One link of `act`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorLink {
    pub issuer: Option<String>,
    pub client_id: ClientId,
    pub org_parent: Option<OrgNumber>,
}

impl UpstreamToken {
    /// Whether it was issued for this organisation.
    pub fn acts_for(&self, who: &ActingFor) -> bool {
        self.org_parent.as_ref() == Some(&who.parent) && self.org_child == who.child
    }

    /// Whether a machine got it for itself: it names nobody.
    pub fn is_machine(&self) -> bool {
        self.subject.is_none() || self.person.is_none()
    }
}

/// What a token we asked for must be.
#[derive(Clone, Copy)]
pub(super) struct AccessExpect<'a> {
    pub audience: &'a str,
    pub jkt: &'a str,
    pub subject: Option<&'a UpstreamSubject>,
    pub acting_for: Option<&'a ActingFor>,
    /// Whether it must name that organisation, or may name none.
    pub names_one: bool,
}

/// The level, where it is known and high enough.
pub(super) fn high_enough(level: Option<&Value>, rules: &UpstreamRules) -> Result<SecurityLevel, TokenFault> {
    known_level(level).filter(|level| *level >= rules.min_level).ok_or(TokenFault::Level)
}

/// The provider writes a text. Anything else is not known, and so not sure.
fn known_level(level: Option<&Value>) -> Option<SecurityLevel> {
    level.and_then(Value::as_str).and_then(SecurityLevel::parse)
}

/// RFC 9449 §6.1.
#[derive(Deserialize)]
struct Bound {
    jkt: String,
}

#[derive(Deserialize)]
pub(super) struct Claims {
    exp: i64,
    iat: Option<i64>,
    nbf: Option<i64>,
    jti: Option<TokenId>,
    client_id: Option<ClientId>,
    #[serde(default, deserialize_with = "scopes")]
    scope: Option<BTreeSet<String>>,
    /// Id_tokens have one.
    nonce: Option<Value>,
    cnf: Option<Bound>,
    act: Option<Value>,
    sub: Option<UpstreamSubject>,
    sid: Option<UpstreamSession>,
    auth_time: Option<i64>,
    #[serde(default, deserialize_with = "one_or_many")]
    amr: Vec<String>,
    idp: Option<String>,
    #[serde(rename = "helseid://claims/identity/pid")]
    pid: Option<Secret<String>>,
    #[serde(rename = "helseid://claims/identity/security_level")]
    level: Option<Value>,
    #[serde(rename = "helseid://claims/hpr/hpr_number", default, deserialize_with = "number_or_text")]
    hpr: Option<Secret<String>>,
    #[serde(rename = "helseid://claims/client/claims/orgnr_parent")]
    parent: Option<String>,
    #[serde(rename = "helseid://claims/client/claims/orgnr_child")]
    child: Option<String>,
    #[serde(rename = "helseid://claims/client/claims/orgnr_supplier")]
    supplier: Option<String>,
    #[serde(rename = "helseid://claims/client/client_tenancy")]
    tenancy: Option<String>,
    /// Where the test service writes it. `reference/helseid.md` §3.2.
    #[serde(rename = "helseid://claims/client/claims/client_tenancy")]
    tenancy_of_tests: Option<String>,
    #[serde(rename = "helseid://claims/client/original_client_id")]
    original_client_id: Option<ClientId>,
    #[serde(rename = "nhn:tillitsrammeverk:parameters")]
    attest: Option<Map<String, Value>>,
}

impl Upstream {
    /// Verifies an access token somebody brings us: for this one audience, soon over, of whomever. The proof of its key is the caller's to
    /// check against [`UpstreamToken::jkt`], and whether the person will do is [`UpstreamToken::person`]'s.
    ///
    /// # Errors
    /// [`UpstreamError::Token`], or why its key cannot be had.
    pub async fn verify_access_token(&self, token: &Secret<String>, audience: &str) -> Result<UpstreamToken, UpstreamError> {
        let verified = self.access_token(token, audience).await?;
        if verified.expires_at > self.now() + LONGEST_LEFT {
            return Err(TokenFault::TooLongLived.into());
        }
        Ok(verified)
    }

    /// Verifies an access token the provider gave us: bound to our key, of the same person, for the organisation we asked for.
    pub(super) async fn our_access_token(&self, token: &Secret<String>, expect: AccessExpect<'_>) -> Result<UpstreamToken, UpstreamError> {
        let verified = self.access_token(token, expect.audience).await?;
        // T9: a token that lost its binding, or has another's, is not used.
        if !verified.jkt.as_deref().is_some_and(|jkt| same(jkt.as_bytes(), expect.jkt.as_bytes())) {
            return Err(TokenFault::Binding.into());
        }
        if expect.subject.is_some() && verified.subject.as_ref() != expect.subject {
            return Err(TokenFault::Subject.into());
        }
        // T16.
        let nameless = verified.org_parent.is_none() && verified.org_child.is_none() && !expect.names_one;
        if !nameless && expect.acting_for.is_some_and(|who| !verified.acts_for(who)) {
            return Err(TokenFault::Organisation.into());
        }
        Ok(verified)
    }

    async fn access_token(&self, token: &Secret<String>, audience: &str) -> Result<UpstreamToken, UpstreamError> {
        let rules = self.rules();
        let jwt = read(token.expose())?;
        let wanted = Expect {
            issuer: Some(rules.issuer.as_str()),
            audiences: &[audience],
            // T3: one audience, exactly.
            audience_form: AudienceForm::Single,
            typ: &["at+jwt", "JWT"],
            algs: TOKEN_ALGS,
            leeway: rules.leeway,
            ..Expect::default()
        };
        let claims: Claims = self.verified(&jwt, &wanted).await?.into_claims();
        Ok(claims.read(audience, rules, self.now())?)
    }
}

impl Claims {
    pub(super) fn read(self, audience: &str, rules: &UpstreamRules, now: UnixTime) -> Result<UpstreamToken, TokenFault> {
        not_ahead([self.iat, self.nbf], rules, now)?;
        // T13: whatever `typ` says, an id_token, assertion or proof has not these, or has a nonce.
        let (Some(client_id), Some(scope), None) = (self.client_id, self.scope, self.nonce) else { return Err(TokenFault::NotAnAccessToken) };
        let jti = self.jti.ok_or(TokenFault::Claim("jti"))?;
        let hpr = self.hpr.map(|number| HprNumber::parse(number.expose()).ok_or(TokenFault::Claim("hpr_number"))).transpose()?;
        let person = self.pid.map(|number| PersonNumber::parse(number.expose()).ok_or(TokenFault::Claim("pid"))).transpose()?;
        Ok(UpstreamToken {
            audience: audience.to_owned(),
            client_id,
            original_client_id: self.original_client_id,
            scope,
            jti,
            issued_at: self.iat.map(UnixTime),
            expires_at: UnixTime(self.exp),
            jkt: self.cnf.map(|cnf| cnf.jkt),
            actors: actors(self.act.as_ref())?,
            subject: self.sub,
            session: self.sid,
            person,
            hpr,
            level: known_level(self.level.as_ref()),
            auth_time: self.auth_time.map(UnixTime),
            amr: self.amr,
            idp: self.idp,
            org_parent: organisation(self.parent.as_deref(), "orgnr_parent")?,
            org_child: organisation(self.child.as_deref(), "orgnr_child")?,
            org_supplier: organisation(self.supplier.as_deref(), "orgnr_supplier")?,
            tenancy: self.tenancy.or(self.tenancy_of_tests),
            attest: self.attest,
        })
    }
}

fn organisation(text: Option<&str>, claim: &'static str) -> Result<Option<OrgNumber>, TokenFault> {
    text.map(|text| OrgNumber::parse(text).ok_or(TokenFault::Claim(claim))).transpose()
}

/// The chain of `act`, newest first. RFC 8693 §4.1; `reference/helseid.md` §5.2.
fn actors(mut act: Option<&Value>) -> Result<Vec<ActorLink>, TokenFault> {
    let mut links = Vec::new();
    while let Some(link) = act {
        if links.len() == DEEPEST_CHAIN {
            return Err(TokenFault::Actor);
        }
        let text = |name: &str| link.get(name).and_then(Value::as_str);
        let client_id = text("client_id").and_then(|id| ClientId::parse(id).ok()).ok_or(TokenFault::Actor)?;
        let org_parent = organisation(text("helseid://claims/client/claims/orgnr_parent"), "act.orgnr_parent")?;
        links.push(ActorLink { issuer: text("iss").map(str::to_owned), client_id, org_parent });
        act = link.get("act");
    }
    Ok(links)
}

/// An array of texts as the provider writes them, or one text with spaces (RFC 9068 §2.2.3).
fn scopes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeSet<String>>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) => Some(text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect()),
        Value::Array(several) => several.into_iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => None,
    })
}
