//! What can be said afterwards about a decision: who asked for what, for whom, and what became of it. Never with what would open anything,
//! and people only as [`Person`], which is written as a keyed hash.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::protocol::claims::Actor;
use crate::protocol::dpop::Thumbprint;
use crate::protocol::ids::{ClientId, FhirId, GrantId, Issuer, Reference, SessionId, TokenId};
use crate::protocol::launch::LaunchContext;
use crate::time::UnixTime;

/// What was decided about. `docs/audit.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// The EHR made a launch.
    Launch,
    /// A start link was opened, and with it the session the EHR vouches for.
    Start,
    /// Somebody logged in here or at the identity provider.
    Login,
    /// A code was issued to an app.
    Authorize,
    /// A person said what an app may do.
    Consent,
    /// A request was pushed. RFC 9126.
    PushedRequest,
    /// Tokens for a code, or for a client itself.
    Token,
    Refresh,
    Exchange,
    /// Only refusals are recorded.
    Introspect,
    Revoke,
    UserInfo,
    /// A request was passed on to a national API.
    Gateway,
    /// The EHR ended a session of its own.
    EndSession,
    Logout,
    /// The identity provider ended a session.
    UpstreamLogout,
    /// A person took back what an app was allowed.
    Withdraw,
    ClientAdd,
    ClientRemove,
    ClientDisable,
    ClientEnable,
    ClientSecret,
    /// Keys were made on request.
    KeyRotate,
    /// Keys, and the belief in what they signed, were ended at once.
    KeyRevoke,
    /// Keys took turns by their age, or followed what another node did.
    KeyChange,
    /// Everything that is kept was written out.
    StoreExport,
    /// The store was made read-only, or writable again.
    StoreReadOnly,
    /// The configuration was read again.
    Reload,
    /// An operator ended what somebody was allowed.
    GrantRevoke,
    /// An operator ended a session.
    SessionRevoke,
    /// Anything else on the operations listener; only refusals are recorded.
    Operate,
    /// About this log: started, stopped, mended, records lost.
    Log,
}

impl Action {
    pub const ALL: [Self; 32] = [
        Self::Launch,
        Self::Start,
        Self::Login,
        Self::Authorize,
        Self::Consent,
        Self::PushedRequest,
        Self::Token,
        Self::Refresh,
        Self::Exchange,
        Self::Introspect,
        Self::Revoke,
        Self::UserInfo,
        Self::Gateway,
        Self::EndSession,
        Self::Logout,
        Self::UpstreamLogout,
        Self::Withdraw,
        Self::ClientAdd,
        Self::ClientRemove,
        Self::ClientDisable,
        Self::ClientEnable,
        Self::ClientSecret,
        Self::KeyRotate,
        Self::KeyRevoke,
        Self::KeyChange,
        Self::StoreExport,
        Self::StoreReadOnly,
        Self::Reload,
        Self::GrantRevoke,
        Self::SessionRevoke,
        Self::Operate,
        Self::Log,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Start => "start",
            Self::Login => "login",
            Self::Authorize => "authorize",
            Self::Consent => "consent",
            Self::PushedRequest => "par",
            Self::Token => "token",
            Self::Refresh => "refresh",
            Self::Exchange => "exchange",
            Self::Introspect => "introspect",
            Self::Revoke => "revoke",
            Self::UserInfo => "userinfo",
            Self::Gateway => "gateway",
            Self::EndSession => "end-session",
            Self::Logout => "logout",
            Self::UpstreamLogout => "upstream-logout",
            Self::Withdraw => "withdraw",
            Self::ClientAdd => "client-add",
            Self::ClientRemove => "client-remove",
            Self::ClientDisable => "client-disable",
            Self::ClientEnable => "client-enable",
            Self::ClientSecret => "client-secret",
            Self::KeyRotate => "key-rotate",
            Self::KeyRevoke => "key-revoke",
            Self::KeyChange => "key-change",
            Self::StoreExport => "store-export",
            Self::StoreReadOnly => "store-read-only",
            Self::Reload => "reload",
            Self::GrantRevoke => "grant-revoke",
            Self::SessionRevoke => "session-revoke",
            Self::Operate => "operate",
            Self::Log => "log",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }

    /// Whether somebody gets something by it that they did not have. Where nothing can be recorded, this is refused; what only takes away
    /// (revocation, logout, disabling) goes on, for stopping it would help nobody but who holds what should end.
    pub fn grants(self) -> bool {
        match self {
            Self::Launch
            | Self::Start
            | Self::Login
            | Self::Authorize
            | Self::Consent
            | Self::PushedRequest
            | Self::Token
            | Self::Refresh
            | Self::Exchange
            | Self::UserInfo
            | Self::Gateway
            | Self::ClientAdd
            | Self::ClientEnable
            | Self::ClientSecret
            | Self::KeyRotate
            | Self::StoreExport
            | Self::Reload => true,
            Self::Introspect
            | Self::Revoke
            | Self::EndSession
            | Self::Logout
            | Self::UpstreamLogout
            | Self::Withdraw
            | Self::ClientRemove
            | Self::ClientDisable
            | Self::KeyRevoke
            | Self::KeyChange
            | Self::StoreReadOnly
            | Self::GrantRevoke
            | Self::SessionRevoke
            | Self::Operate
            | Self::Log => false,
        }
    }
}

/// What became of it, with the words of the request log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Allowed,
    /// `error` is what was answered, `reason` why.
    Refused {
        error: &'static str,
        reason: String,
    },
}

/// Somebody, by where they stand in a FHIR server: `Patient/1`. Written only as a keyed hash, and not shown otherwise.
#[derive(Clone, PartialEq, Eq)]
pub enum Person {
    Reference(Reference),
    Patient(FhirId),
    Encounter(FhirId),
}

impl Person {
    /// The reference that is hashed.
    pub fn reference(&self) -> String {
        match self {
            Self::Reference(reference) => reference.to_string(),
            Self::Patient(id) => format!("Patient/{id}"),
            Self::Encounter(id) => format!("Encounter/{id}"),
        }
    }
}

/// A text as a reference to somebody, the way [`Person::reference`] writes it.
pub fn reference(text: &str) -> Option<String> {
    Reference::parse(text).ok().map(|reference| reference.to_string())
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Person(…)")
    }
}

/// What became known of a decision on the way to it. Everything is cheap to clone: this is filled in where speed counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Who asked, once it is known who that is.
    pub client: Option<ClientId>,
    /// Whom it is about, where that is another: the app of a launch, the client an operator changed.
    pub about: Option<ClientId>,
    /// Which of several ways: a grant type, a way of logging in, a direction of exchange.
    pub way: Option<&'static str>,
    pub user: Option<Person>,
    pub patient: Option<Person>,
    pub encounter: Option<Person>,
    /// The first 16 characters of the digest of the launch handle.
    pub launch: Option<String>,
    pub session: Option<SessionId>,
    pub grant: Option<GrantId>,
    /// The `jti` of the token that was issued, shown or revoked: its name, not what opens anything.
    pub token: Option<TokenId>,
    /// What it is for: the `aud` of a token, the target of an exchange that a row has.
    pub audience: Option<String>,
    pub asked: Option<String>,
    pub given: Option<String>,
    /// Thumbprint of the key a token is bound to. RFC 9449 §6.1.
    pub jkt: Option<Thumbprint>,
    /// The row of the exchange policy.
    pub row: Option<String>,
    /// Who acts, the latest first. RFC 8693 §4.1.
    pub actors: Vec<String>,
    /// Ids of the keys that were made or changed.
    pub keys: Vec<String>,
    /// What there is to count: bytes cut, records lost.
    pub count: Option<u64>,
}

impl Facts {
    /// The patient and the encounter of a launch.
    pub fn context(&mut self, context: &LaunchContext) {
        self.patient = context.patient.clone().map(Person::Patient);
        self.encounter = context.encounter.clone().map(Person::Encounter);
    }

    /// `act` as a list. RFC 8693 §4.1: the outermost acts now, those inside acted before.
    pub fn acting(&mut self, act: Option<&Actor>) {
        let mut next = act;
        self.actors.clear();
        while let Some(actor) = next {
            self.actors.push(actor.client_id.as_ref().map_or_else(|| actor.sub.clone(), ToString::to_string));
            next = actor.act.as_deref();
        }
    }
}

/// One decision, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    pub time: UnixTime,
    pub action: Action,
    pub outcome: Outcome,
    /// Absent for what is the process's own.
    pub issuer: Option<Issuer>,
    /// The id of the request, as in the request log. Absent for what nobody asked for.
    pub request: Option<Arc<str>>,
    /// Where the request came from: the peer of the connection.
    pub source: Option<IpAddr>,
    pub facts: Facts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_word_of_its_own() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
        }
        assert_eq!(Action::parse("nothing"), None);
    }

    #[test]
    fn a_chain_of_actors_is_listed_from_the_last_to_the_first() {
        let first = Actor { sub: "a".into(), iss: None, client_id: None, act: None };
        let last = Actor { sub: "b".into(), iss: None, client_id: Some(ClientId::parse("app").unwrap()), act: Some(Box::new(first)) };
        let mut facts = Facts::default();
        facts.acting(Some(&last));
        assert_eq!(facts.actors, ["app", "a"]);
        facts.acting(None);
        assert_eq!(facts.actors, [""; 0]);
    }

    #[test]
    fn a_person_is_not_shown() {
        let person = Person::Patient(FhirId::parse("pasient-01").unwrap());
        assert_eq!(format!("{person:?}"), "Person(…)");
        assert_eq!(person.reference(), "Patient/pasient-01");
    }
}
