//! Who there is at the start: clients, APIs, users and organisations. §7.4. All of it is synthetic; [`table`] is the list of §7.4 and
//! [`directory`] adds the practitioners of the data set the FHIR mock serves, so that the same person can log in here and work there.

pub mod directory;
pub mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::jose::{JwkSet, KeyError, SigningKey};
use crate::secret::Secret;

/// Nine digits of the register of organisations.
pub type OrgNumber = String;

/// A person who can log in.
#[derive(Clone, Debug)]
pub struct User {
    /// What the picker and `/__mock/next-user` call the person.
    pub id: String,
    pub name: Name,
    /// National identity number or D-number, eleven digits.
    pub pid: Secret<String>,
    /// Number in the register of health personnel.
    pub hpr: Option<Secret<String>>,
    /// What the register lets the person do; empty without a number, and where it was withdrawn. §3.3.
    pub approvals: Vec<Approval>,
    /// How what was withdrawn looks where it is listed at all.
    pub withdrawn: Vec<Approval>,
    /// The highest level the person's login reaches: 2, 3 or 4.
    pub level: u8,
    /// Where the person works: legal entities, or units of them.
    pub works_at: Vec<OrgNumber>,
    /// Logs in no more; what is running ends. §7.2 `/users/{id}/block`.
    pub blocked: bool,
}

impl User {
    pub fn pid(&self) -> &str {
        self.pid.expose()
    }

    pub fn hpr(&self) -> Option<&str> {
        self.hpr.as_ref().map(|number| number.expose().as_str())
    }

    /// The approvals as userinfo tells them; `withdrawn_listed` is the quirk of that name. §3.3.
    pub fn approvals_shown(&self, withdrawn_listed: bool) -> Vec<&Approval> {
        let withdrawn = if withdrawn_listed { self.withdrawn.as_slice() } else { &[] };
        self.approvals.iter().chain(withdrawn).collect()
    }

    /// The number is a D-number, whose first digit is 4 to 7. §6.6.
    pub fn has_d_number(&self) -> bool {
        matches!(self.pid().bytes().next(), Some(b'4'..=b'7'))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub given: String,
    pub middle: Option<String>,
    pub family: String,
}

impl Name {
    /// As it is written in full.
    pub fn full(&self) -> String {
        match &self.middle {
            None => format!("{} {}", self.given, self.family),
            Some(middle) => format!("{} {middle} {}", self.given, self.family),
        }
    }
}

/// One approval, as `hpr_details` prints it. §3.3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// A code of `urn:oid:2.16.578.1.12.4.1.1.9060`: LE, SP and so on.
    pub profession: String,
    /// Of 7704.
    pub authorization: Coded,
    pub requisition_rights: Vec<Coded>,
    /// Of 7426.
    pub specialities: Vec<Coded>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coded {
    pub value: String,
    pub description: String,
}

impl Coded {
    pub fn new(value: &str, description: &str) -> Self {
        Self { value: value.to_owned(), description: description.to_owned() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    pub number: OrgNumber,
    pub name: String,
    /// The legal entity of a unit, itself never a unit; `None` for a legal entity.
    pub parent: Option<OrgNumber>,
}

/// Whom a client acts for. §3.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// The organisation of the registration and no other; none is passed.
    Own(OrgNumber),
    /// One legal entity owns the client; a unit may be passed if it is on the list.
    Single { parent: OrgNumber, units: BTreeSet<OrgNumber> },
    /// A supplier's client: the legal entity is passed, and must have delegated to the supplier.
    Multi { supplier: OrgNumber },
}

impl Tenancy {
    /// The word of the claim `client_tenancy`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Own(_) => "none",
            Self::Single { .. } => "single-tenant",
            Self::Multi { .. } => "multi-tenant",
        }
    }

    /// Whose configuration the client is: what token exchange compares with the owner of an API. §5.2.
    pub fn owner(&self) -> &str {
        match self {
            Self::Own(owner) | Self::Single { parent: owner, .. } | Self::Multi { supplier: owner } => owner,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    Code,
    Refresh,
    ClientCredentials,
    TokenExchange,
}

impl Grant {
    pub const ALL: [Self; 4] = [Self::Code, Self::Refresh, Self::ClientCredentials, Self::TokenExchange];

    /// `grant_type` on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Code => "authorization_code",
            Self::Refresh => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == text)
    }
}

/// Whether a client proves a key with its token requests. M6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DpopUse {
    Required,
    /// A proof, where there is one, is checked and binds the token.
    Optional,
    /// Bearer tokens, whatever is sent.
    Off,
}

/// §2.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshUse {
    OneTime,
    Reusable,
}

/// Which client assertions a client may send. §2.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionForm {
    /// `client-authentication+jwt`, and `aud` the issuer.
    Strict,
    /// Besides, `typ` `JWT` or none, and `aud` an endpoint.
    Legacy,
}

/// A registered client.
#[derive(Clone, Debug)]
pub struct Client {
    /// A GUID.
    pub id: String,
    pub name: String,
    pub tenancy: Tenancy,
    pub grants: BTreeSet<Grant>,
    pub dpop: DpopUse,
    pub refresh: RefreshUse,
    pub assertions: AssertionForm,
    /// Every scope the client may ask for, identity and API.
    pub scopes: BTreeSet<String>,
    /// Compared as they stand.
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
    pub backchannel_logout_uri: Option<String>,
    /// The clients that may exchange tokens of this one. §5.2.
    pub may_be_exchanged_by: BTreeSet<String>,
    /// Always `invalid_client`.
    pub disabled: bool,
    /// What its assertions are verified with.
    pub keys: JwkSet,
    /// The private half, where it was made here: whoever plays the client gets it from here.
    pub private_key: Option<SigningKey>,
}

impl Client {
    pub fn may(&self, grant: Grant) -> bool {
        self.grants.contains(&grant)
    }

    /// The URI is registered; or, where `localhost_unregistered` (§2.1: so it is in the test environment), it is on `localhost`.
    pub fn takes_redirect(&self, uri: &str, localhost_unregistered: bool) -> bool {
        let localhost = || url::Url::parse(uri).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str() == Some("localhost"));
        self.redirect_uris.iter().any(|known| known == uri) || (localhost_unregistered && localhost())
    }

    pub fn takes_post_logout(&self, uri: &str) -> bool {
        self.post_logout_redirect_uris.iter().any(|known| known == uri)
    }
}

/// What an access token tells an API about its user and organisation. §7.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApiClaim {
    Pid,
    Level,
    Hpr,
    Organisations,
    Attest,
    Sfm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiBinding {
    Dpop,
    Bearer,
}

/// A registered API.
#[derive(Clone, Debug)]
pub struct Api {
    pub audience: String,
    pub owner: OrgNumber,
    /// In full: `demo:kjerne/read`.
    pub scopes: BTreeSet<String>,
    /// Of its access tokens.
    pub lifetime: Duration,
    pub claims: BTreeSet<ApiClaim>,
    pub binding: ApiBinding,
}

impl Api {
    pub fn tells(&self, claim: ApiClaim) -> bool {
        self.claims.contains(&claim)
    }
}

/// Everything that is registered.
#[derive(Clone, Debug, Default)]
pub struct Seed {
    pub users: Vec<User>,
    pub organisations: Vec<Organisation>,
    pub clients: BTreeMap<String, Client>,
    pub apis: Vec<Api>,
    /// Legal entity and the supplier it lets act for it.
    pub delegations: BTreeSet<(OrgNumber, OrgNumber)>,
}

impl Seed {
    /// The list of §7.4 and the practitioners of the data set, with new keys for the clients.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = table::seed()?;
        directory::add(&mut seed);
        Ok(seed)
    }

    pub fn user(&self, id: &str) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    pub fn user_by_pid(&self, pid: &str) -> Option<&User> {
        self.users.iter().find(|user| user.pid() == pid)
    }

    pub fn user_mut(&mut self, id: &str) -> Option<&mut User> {
        self.users.iter_mut().find(|user| user.id == id)
    }

    pub fn client(&self, id: &str) -> Option<&Client> {
        self.clients.get(id)
    }

    /// Adds a client, or puts it in the place of the one with its id.
    pub fn put_client(&mut self, client: Client) {
        self.clients.insert(client.id.clone(), client);
    }

    pub fn api(&self, audience: &str) -> Option<&Api> {
        self.apis.iter().find(|api| api.audience == audience)
    }

    pub fn api_of_scope(&self, scope: &str) -> Option<&Api> {
        self.apis.iter().find(|api| api.scopes.contains(scope))
    }

    pub fn organisation(&self, number: &str) -> Option<&Organisation> {
        self.organisations.iter().find(|organisation| organisation.number == number)
    }

    /// `unit` is one of `parent`'s.
    pub fn is_unit_of(&self, unit: &str, parent: &str) -> bool {
        self.organisation(unit).is_some_and(|unit| unit.parent.as_deref() == Some(parent))
    }

    /// The legal entity lets the supplier act for it.
    pub fn delegated(&self, parent: &str, supplier: &str) -> bool {
        self.delegations.contains(&(parent.to_owned(), supplier.to_owned()))
    }

    /// `subject`'s tokens may be exchanged by `actor`. §5.2.
    pub fn may_exchange(&self, subject: &str, actor: &str) -> bool {
        self.client(subject).is_some_and(|subject| subject.may_be_exchanged_by.contains(actor))
    }
}

#[cfg(test)]
mod tests;
