//! Token exchange policy: which row of the configuration permits what. DESIGN §3, Token exchange; `reference/helseid.md` §6.3–6.7.
//!
//! Nothing here reads a token or asks anybody: facts in, permission or the reason against it out.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::{Client, ClientAuthMethod};
use super::person::OrgNumber;
use crate::protocol::claims::Actor;
use crate::protocol::dpop::Thumbprint;
use crate::protocol::error::{ErrorCode, OAuthError};
use crate::protocol::exchange::TokenType;
use crate::protocol::ids::{ClientId, Issuer};
use crate::protocol::scope::{Interactions, Level, ResourceScope, Scope, ScopeSet, Target};
use crate::time::UnixTime;

/// P6: how deep `act` may nest where a row says nothing.
pub const DEFAULT_DEPTH: usize = 2;

/// §6.5: the longest life of a result where a row says nothing.
pub const DEFAULT_LIFE: Duration = Duration::from_secs(300);

/// Whose token becomes whose. It follows from the verified issuer of the subject token, never from a parameter. §6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// (a) Ours becomes the upstream's.
    ToUpstream,
    /// (b) The upstream's becomes ours.
    FromUpstream,
    /// (c) Ours becomes ours: narrower, for another audience or another actor.
    Own,
    /// (d) Another trusted SMART issuer's becomes ours.
    Foreign,
}

impl Direction {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToUpstream => "to-upstream",
            Self::FromUpstream => "from-upstream",
            Self::Own => "own",
            Self::Foreign => "foreign",
        }
    }

    /// Whether the strict rules of §6.3 hold: no `actor_token`, no id_tokens, `scope` always named.
    pub fn is_bridge(self) -> bool {
        matches!(self, Self::ToUpstream | Self::FromUpstream)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an upstream token reaches the caller. §6.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Not at all: a handle for our gateway route, which adds token and proof.
    Gateway,
    /// The token itself, as proof of who the user is: its audience is the caller's own upstream API.
    Identity,
    /// The token itself, bound to the caller's key by the caller's own upstream proof.
    Handover,
}

impl Delivery {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Identity => "identity",
            Self::Handover => "handover",
        }
    }
}

/// Whether the result says who acts. RFC 8693 §1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantics {
    /// The caller is in `act`.
    Delegation,
    /// Nothing in the result tells it from the subject's own token.
    Impersonation,
}

/// Whether a proof key is demanded of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// A DPoP proof, always.
    Required,
    /// A result is bound where a proof is shown. (c) and (d) only.
    WhereShown,
}

/// Who may present an upstream token. §6.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presenter {
    /// Its holder: audience is ours alone, bound to the key of this request, of the client this caller is upstream.
    Holder,
    /// An API that got it from somebody else, under its own audience.
    Actor,
}

/// One permitted exchange: a row of the configuration. P1: what no row permits is refused.
#[derive(Clone, Debug)]
pub struct ExchangeRow {
    /// Shown by `config explain-exchange` and in the audit.
    pub name: String,
    pub direction: Direction,
    pub caller: ClientId,
    /// The target, compared byte for byte.
    pub audience: String,
    /// (d) only: which trusted issuer's tokens.
    pub issuer: Option<Issuer>,
    /// No result has more.
    pub scopes: ScopeSet,
    /// (a) only.
    pub delivery: Delivery,
    /// (a) with [`Delivery::Gateway`]: what is behind the gateway route, without a trailing slash.
    pub gateway: Option<String>,
    /// (a) with [`Delivery::Gateway`]: the header that carries the patient's identity number to what is behind it.
    pub patient_header: Option<String>,
    /// (a) only: by an exchange there, where the target was not named at the login.
    pub upstream_exchange: bool,
    /// (a) only: an attest goes along, for this health care service (system and code). §3.4.
    pub attest_service: Option<(String, String)>,
    /// (b) only.
    pub presenter: Presenter,
    /// (b) only: the audience the presented token must have, where it is not our own upstream API.
    pub subject_audience: Option<String>,
    /// (b) with [`Presenter::Holder`]: who the caller is at the upstream.
    pub subject_client: Option<ClientId>,
    /// (b) only: the legal entities whose tokens are taken, by organisation number. T16.
    pub organisations: Vec<OrgNumber>,
    /// (b) only: a subject token gives one result and no more. T6.
    pub once: bool,
    pub binding: Binding,
    pub semantics: Semantics,
    /// (c) and (d): `actor_token` may be sent.
    pub actor_token: bool,
    /// What the subject may be. (a) and (b): access tokens only.
    pub subject_types: Vec<TokenType>,
    /// What the result may be.
    pub result_types: Vec<TokenType>,
    /// How deep `act` may nest in the result.
    pub depth: usize,
    /// P6: whether a token that came from an exchange may be exchanged once more.
    pub again: bool,
    /// No result lives longer.
    pub longest: Duration,
    /// How long ago the person may have logged in.
    pub max_age: Option<Duration>,
}

impl ExchangeRow {
    /// Whether this client may show an id_token of ours that was issued to it.
    pub fn takes_id_token_of(&self, client: &ClientId) -> bool {
        self.caller == *client && self.subject_types.contains(&TokenType::IdToken)
    }
}

/// What was asked, as far as policy looks at it.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub direction: Direction,
    /// The subject's issuer; told from ours for (d).
    pub issuer: &'a str,
    pub caller: &'a Client,
    pub target: &'a str,
    /// `None`: as much as the subject and the row give.
    pub scope: Option<&'a str>,
    pub subject_type: TokenType,
    pub requested: Option<TokenType>,
    pub actor_token: bool,
    /// Thumbprint of the key the caller proved.
    pub proven: Option<&'a Thumbprint>,
}

/// What is known of a subject token that was verified and is live.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Whether it stands for a person, or for a client itself.
    pub person: bool,
    /// The client it was issued to, by its name here; `None` where that name means nothing here.
    pub client: Option<ClientId>,
    /// Other clients that one lets act with its tokens. RFC 8693 §4.4.
    pub may_act: Vec<ClientId>,
    /// `may_act` of the token itself.
    pub may_act_claim: Option<Actor>,
    /// Nothing beyond this is given; `None` where its scopes are of another world than the result's.
    pub scopes: Option<ScopeSet>,
    pub expires_at: UnixTime,
    pub auth_time: Option<UnixTime>,
    /// `act` of the token.
    pub act: Option<Actor>,
    /// It came from an exchange itself.
    pub exchanged: bool,
    /// The issuers in its history, for P6's round trip.
    pub came_from: Vec<String>,
    /// Thumbprint of the key it is bound to.
    pub bound_to: Option<Thumbprint>,
    /// Whether the person may write: P2's role ceiling. Who is not in the register of health personnel may not.
    pub may_write: bool,
}

/// What a row permits.
#[derive(Clone, Debug)]
pub struct Permit<'a> {
    pub row: &'a ExchangeRow,
    pub scopes: ScopeSet,
    pub expires_at: UnixTime,
    pub result: TokenType,
    /// Thumbprint of the key the result is bound to.
    pub bound_to: Option<Thumbprint>,
}

impl Permit<'_> {
    /// The same without what depends on a patient: where nobody is one, or the patient's id means nothing.
    ///
    /// # Errors
    /// [`ExchangeRefusal::NothingLeft`], of an access token.
    pub fn without_patient(&mut self) -> Result<(), ExchangeRefusal> {
        self.scopes.retain(|scope| !matches!(scope, Scope::Resource(resource) if resource.level == Level::Patient));
        if self.scopes.is_empty() && self.result != TokenType::IdToken { Err(ExchangeRefusal::NothingLeft) } else { Ok(()) }
    }
}

/// Why an exchange is refused. The wire tells the code alone and one sentence per code (T25).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeRefusal {
    #[error("no row of the policy has this client as its caller")]
    NotACaller,
    #[error("no row of the policy permits this direction, caller, target and issuer")]
    NoRow,
    #[error("the subject token is not an access token, id_token or what it was declared to be")]
    SubjectType,
    #[error("the subject token is not signed by an issuer we know, or not in time")]
    Subject,
    #[error("the subject token has ended, was revoked, or its session, grant or client has")]
    SubjectEnded,
    #[error("the subject token is meant for another audience")]
    SubjectAudience,
    #[error("the subject token was issued to another client, which does not let this one act")]
    OtherClient,
    #[error("the subject token says itself who may act, and it is not the caller")]
    MayAct,
    #[error("the row does not take a subject of this type")]
    SubjectTypeNotPermitted,
    #[error("the row does not give a result of this type")]
    ResultTypeNotPermitted,
    #[error("the row takes no actor_token, or this direction has none")]
    ActorToken,
    #[error("the actor token is not the caller's own live access token")]
    Actor,
    #[error("`scope` is missing, and this direction has no default")]
    ScopeMissing,
    #[error("nothing of what was asked for is permitted")]
    NothingLeft,
    #[error("a DPoP proof is missing")]
    NoProof,
    #[error("the subject token is bound to another key than the one proved")]
    OtherKey,
    #[error("the subject token is bound to a key, so that who it is about cannot be read where it comes from")]
    SubjectBound,
    #[error("`act` would nest deeper than the row permits")]
    TooDeep,
    #[error("the subject came from an exchange, and the row does not permit another")]
    ExchangedBefore,
    #[error("the exchange would go back to an issuer the subject came from")]
    RoundTrip,
    #[error("the person logged in too long ago, or nobody knows when")]
    LoginTooOld,
    #[error("the subject expires too soon to be exchanged")]
    NoTimeLeft,
    #[error("the launch is missing, unknown, used, or of another client, person or organisation")]
    Launch,
    #[error("a machine's token where a person's is needed")]
    Machine,
    #[error("the security level of the login is too low")]
    Level,
    #[error("the person is not one we know, or not the same one everywhere")]
    Person,
    #[error("the organisation is not one the person acts for here")]
    Organisation,
    #[error("the patient of the subject token is not found here by identifier")]
    Patient,
    #[error("no upstream session stands behind the subject token")]
    NoUpstreamSession,
    #[error("the upstream session has ended")]
    UpstreamSessionEnded,
    #[error("the upstream refuses this target or organisation")]
    UpstreamTarget,
    #[error("the upstream token was replayed, is on the deny-list or lives too long")]
    UpstreamToken,
}

impl ExchangeRefusal {
    /// RFC 8693 §2.2.2: an unacceptable subject or actor is `invalid_request`, an unacceptable target `invalid_target`.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::NotACaller => ErrorCode::UnauthorizedClient,
            Self::NoRow | Self::UpstreamTarget => ErrorCode::InvalidTarget,
            Self::NothingLeft | Self::ScopeMissing => ErrorCode::InvalidScope,
            Self::NoProof => ErrorCode::InvalidDpopProof,
            Self::SubjectType
            | Self::Subject
            | Self::SubjectEnded
            | Self::SubjectAudience
            | Self::OtherClient
            | Self::MayAct
            | Self::SubjectTypeNotPermitted
            | Self::ResultTypeNotPermitted
            | Self::ActorToken
            | Self::Actor
            | Self::OtherKey
            | Self::SubjectBound
            | Self::TooDeep
            | Self::ExchangedBefore
            | Self::RoundTrip
            | Self::LoginTooOld
            | Self::NoTimeLeft
            | Self::Launch
            | Self::Machine
            | Self::Level
            | Self::Person
            | Self::Organisation
            | Self::Patient
            | Self::NoUpstreamSession
            | Self::UpstreamSessionEnded
            | Self::UpstreamToken => ErrorCode::InvalidRequest,
        }
    }
}

impl From<ExchangeRefusal> for OAuthError {
    fn from(reason: ExchangeRefusal) -> Self {
        // T25: the text tells the code once more and nothing besides, whoever exists or does not. One exception helps an app to do
        // the right thing without telling anything about others: §6.4, the app should be launched anew.
        let text = match (reason, reason.code()) {
            (ExchangeRefusal::UpstreamSessionEnded | ExchangeRefusal::NoUpstreamSession, _) => "upstream_session_ended: the app must be launched anew",
            (_, ErrorCode::UnauthorizedClient) => "the client is not registered for this grant type",
            (_, ErrorCode::InvalidTarget) => "no exchange for this target is permitted",
            (_, ErrorCode::InvalidScope) => "nothing that was asked for is permitted",
            (_, ErrorCode::InvalidDpopProof) => "a DPoP proof is needed",
            (_, _) => "a token of this request, or what it was sent with, is not acceptable",
        };
        Self::new(reason.code(), text).because(reason)
    }
}

/// Whether an exchange is permitted, and how much of it. P1–P6; the order is that of §6.3 from the presenter on.
///
/// # Errors
/// The first rule that stands against it.
pub fn permit<'a>(rows: &'a [ExchangeRow], ask: &Ask<'_>, subject: &Subject, now: UnixTime) -> Result<Permit<'a>, ExchangeRefusal> {
    presented_by(ask, subject)?;
    let row = find(rows, ask)?;
    presented_as(row, ask)?;
    let depth = subject.act.as_ref().map_or(0, Actor::depth) + usize::from(row.semantics == Semantics::Delegation);
    if depth > row.depth {
        return Err(ExchangeRefusal::TooDeep);
    }
    if subject.exchanged && !row.again {
        return Err(ExchangeRefusal::ExchangedBefore);
    }
    if ask.direction == Direction::ToUpstream && subject.came_from.iter().any(|issuer| issuer != ask.issuer) {
        return Err(ExchangeRefusal::RoundTrip);
    }
    if let Some(max_age) = row.max_age
        && subject.auth_time.is_none_or(|at| at + max_age < now)
    {
        return Err(ExchangeRefusal::LoginTooOld);
    }
    let result = ask.requested.unwrap_or(TokenType::AccessToken);
    // An id_token says who, not what may be done.
    let scopes = if result == TokenType::IdToken { ScopeSet::default() } else { scopes(row, ask, subject)? };
    let expires_at = subject.expires_at.min(now + row.longest.min(ask.caller.access_ttl));
    if expires_at <= now {
        return Err(ExchangeRefusal::NoTimeLeft);
    }
    Ok(Permit { row, scopes, expires_at, result, bound_to: ask.proven.cloned() })
}

/// T1: the subject is the caller's own, or its client lets the caller act; T8: and the caller holds the key it is bound to.
fn presented_by(ask: &Ask<'_>, subject: &Subject) -> Result<(), ExchangeRefusal> {
    let own = subject.client.as_ref() == Some(&ask.caller.id);
    if !own && !subject.may_act.contains(&ask.caller.id) {
        return Err(ExchangeRefusal::OtherClient);
    }
    // RFC 8693 §4.4: the claim names the one party that may.
    if subject.may_act_claim.as_ref().is_some_and(|may_act| !own && may_act.sub != ask.caller.id.as_str()) {
        return Err(ExchangeRefusal::MayAct);
    }
    match (&subject.bound_to, ask.proven) {
        (Some(_), None) => Err(ExchangeRefusal::NoProof),
        (Some(bound), Some(proven)) if bound != proven => Err(ExchangeRefusal::OtherKey),
        (Some(_) | None, _) => Ok(()),
    }
}

/// The row for what was asked: there is at most one.
///
/// # Errors
/// [`ExchangeRefusal::NotACaller`] where the client exchanges nothing at all, [`ExchangeRefusal::NoRow`] where not this.
pub fn find<'a>(rows: &'a [ExchangeRow], ask: &Ask<'_>) -> Result<&'a ExchangeRow, ExchangeRefusal> {
    let mut of_caller = rows.iter().filter(|row| row.lets(ask.caller)).peekable();
    if of_caller.peek().is_none() {
        return Err(ExchangeRefusal::NotACaller);
    }
    of_caller.find(|row| row.serves(ask)).ok_or(ExchangeRefusal::NoRow)
}

/// What the row says about the form of the exchange.
fn presented_as(row: &ExchangeRow, ask: &Ask<'_>) -> Result<(), ExchangeRefusal> {
    let kind = if ask.subject_type == TokenType::Jwt { TokenType::AccessToken } else { ask.subject_type };
    if !row.subject_types.contains(&kind) {
        return Err(ExchangeRefusal::SubjectTypeNotPermitted);
    }
    if ask.requested.is_some_and(|requested| !row.result_types.contains(&requested)) {
        return Err(ExchangeRefusal::ResultTypeNotPermitted);
    }
    if ask.actor_token && !row.actor_token {
        return Err(ExchangeRefusal::ActorToken);
    }
    if row.binding == Binding::Required && ask.proven.is_none() {
        return Err(ExchangeRefusal::NoProof);
    }
    Ok(())
}

/// P2: requested ∩ registration ∩ row ∩ subject; P3: and nothing that begins a session or a launch.
fn scopes(row: &ExchangeRow, ask: &Ask<'_>, subject: &Subject) -> Result<ScopeSet, ExchangeRefusal> {
    let asked = match (ask.scope, &subject.scopes) {
        (Some(text), _) => ScopeSet::parse_request(text),
        (None, Some(scopes)) if !ask.direction.is_bridge() => scopes.clone(),
        (None, _) => return Err(ExchangeRefusal::ScopeMissing),
    };
    let mut given = asked.narrow(&row.scopes).narrow(&ask.caller.scopes);
    if let Some(ceiling) = &subject.scopes {
        given = given.narrow(ceiling);
    }
    given.retain(|scope| survives(scope, subject.person));
    if !subject.may_write {
        given = given.narrow(&reading());
    }
    let given = given.limited();
    if given.is_empty() { Err(ExchangeRefusal::NothingLeft) } else { Ok(given) }
}

/// Everything that changes nothing.
fn reading() -> ScopeSet {
    let read = Interactions::READ.or(Interactions::SEARCH);
    let levels = [Level::Patient, Level::User, Level::System];
    levels.into_iter().map(|level| Scope::Resource(ResourceScope::new(level, Target::Any, read))).chain([Scope::FhirUser]).collect()
}

/// P3. The levels are never mixed: a person's token gives no `system/` scope, a machine's nothing else (T17).
fn survives(scope: &Scope, person: bool) -> bool {
    match scope {
        Scope::Resource(resource) => (resource.level != Level::System) == person,
        Scope::FhirUser | Scope::Extension(_) => true,
        Scope::OpenId | Scope::Profile | Scope::OfflineAccess | Scope::OnlineAccess | Scope::Launch | Scope::Context(_) => false,
    }
}

impl ExchangeRow {
    /// Whether the client may exchange by this row at all. §6.3: across the bridge with a key of its own; with a shared secret it gets the
    /// claim in its id_token and nothing here.
    pub fn lets(&self, client: &Client) -> bool {
        self.caller == client.id && (!self.direction.is_bridge() || matches!(client.auth, ClientAuthMethod::PrivateKeyJwt { .. }))
    }

    /// Whether this is the row for what was asked.
    fn serves(&self, ask: &Ask<'_>) -> bool {
        self.misses(ask).is_none()
    }

    /// The first thing about a request that makes this row not the one for it.
    pub fn misses(&self, ask: &Ask<'_>) -> Option<&'static str> {
        if self.caller != ask.caller.id {
            Some("it is for another caller")
        } else if self.direction != ask.direction {
            Some("it is for another direction")
        } else if self.audience != ask.target {
            Some("it is for another audience (compared byte for byte)")
        } else if self.issuer.as_ref().is_some_and(|issuer| issuer.as_str() != ask.issuer) {
            Some("it is for tokens of another issuer")
        } else {
            None
        }
    }

    /// Whether two rows would permit the same request: the configuration refuses that.
    pub fn clashes(&self, other: &Self) -> bool {
        self.caller == other.caller && self.direction == other.direction && self.audience == other.audience && self.issuer == other.issuer
    }
}

#[cfg(test)]
mod tests;
