//! The tokens this server issues to itself for reading FHIR. DESIGN §3, How we reach FHIR.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Engine;
use super::keys::KeysError;
use crate::domain::issuer::SELF_CLIENT;
use crate::protocol::claims::{ACCESS_TOKEN, AccessTokenClaims};
use crate::protocol::ids::{ClientId, FhirBase, Reference, Subject, TokenId};
use crate::protocol::launch::LaunchContext;
use crate::protocol::scope::{Interactions, Level, ResourceScope, Scope, ScopeSet, Target};
use crate::secret::Secret;
use crate::time::UnixTime;

/// DESIGN §3: 60 s.
const LIFE: Duration = Duration::from_secs(60);

/// A token is used until this long before its end, so that it does not expire on the way.
const MARGIN: Duration = Duration::from_secs(10);

/// What resolving a launch, the picker and the person match read.
const ALWAYS_READ: &[&str] = &["Encounter", "Organization", "Patient", "Person", "Practitioner", "PractitionerRole", "RelatedPerson"];

/// Until when, signed when how many keys had been revoked, and the token.
type Kept = (UnixTime, usize, Arc<Secret<String>>);

/// Tokens in use, one for each base.
#[derive(Default)]
pub(super) struct OwnTokens(Mutex<BTreeMap<FhirBase, Kept>>);

impl Engine {
    /// A token for reading at this base, with `also` besides what is always read.
    ///
    /// # Errors
    /// When the issuer has no key to sign it.
    pub(super) fn own_token(&self, base: &FhirBase, also: &BTreeSet<String>) -> Result<Arc<Secret<String>>, KeysError> {
        if !also.is_empty() {
            return self.mint_own(base, also).map(|(_, _, token)| token);
        }
        let now = self.now();
        let kept = self.own_tokens.0.lock().expect("nothing panics while holding this lock").get(base).cloned();
        // A clock that was moved back makes a kept token look too far ahead; it would be refused.
        if let Some((expires, revocations, token)) = kept
            && revocations == self.keys.revocations()
            && now + MARGIN < expires
            && expires <= now + LIFE
        {
            return Ok(token);
        }
        let fresh = self.mint_own(base, also)?;
        self.own_tokens.0.lock().expect("nothing panics while holding this lock").insert(base.clone(), fresh.clone());
        Ok(fresh.2)
    }

    /// A token for reading what this user may read: for the picker, where the person chooses among their own patients.
    ///
    /// # Errors
    /// When the issuer has no key to sign it.
    pub(super) fn token_as(&self, base: &FhirBase, user: &Reference) -> Result<Secret<String>, KeysError> {
        let scope = reading(Level::User, ["Encounter", "Patient"].into_iter());
        self.sign_own(base, scope, Some(user)).map(|(_, token)| token)
    }

    fn mint_own(&self, base: &FhirBase, also: &BTreeSet<String>) -> Result<Kept, KeysError> {
        let scope = reading(Level::System, ALWAYS_READ.iter().copied().chain(also.iter().map(String::as_str)));
        let revocations = self.keys.revocations();
        self.sign_own(base, scope, None).map(|(expires, token)| (expires, revocations, Arc::new(token)))
    }

    fn sign_own(&self, base: &FhirBase, scope: ScopeSet, user: Option<&Reference>) -> Result<(UnixTime, Secret<String>), KeysError> {
        let now = self.now();
        let claims = AccessTokenClaims {
            iss: self.rules.issuer.clone(),
            sub: Subject::parse(SELF_CLIENT).expect("the name is visible ASCII"),
            aud: base.as_str().to_owned(),
            client_id: ClientId::parse(SELF_CLIENT).expect("the name is visible ASCII"),
            scope,
            jti: TokenId::parse(&self.random.id()).expect("hexadecimal is visible ASCII"),
            iat: now,
            exp: now + LIFE,
            grant_id: None,
            sid: None,
            auth_time: None,
            acr: None,
            amr: Vec::new(),
            cnf: None,
            act: None,
            may_act: None,
            src: Vec::new(),
            fhir_user: user.map(Reference::to_string),
            context: LaunchContext::default(),
        };
        let alg = self.rules.fhir_at(base).and_then(|server| server.access_token_alg).unwrap_or(crate::jose::Alg::RS256);
        Ok((claims.exp, self.keys.sign(alg, ACCESS_TOKEN, &claims)?))
    }
}

/// Reading and searching these types, and nothing else.
fn reading<'a>(level: Level, kinds: impl Iterator<Item = &'a str>) -> ScopeSet {
    let read = Interactions::READ.or(Interactions::SEARCH);
    kinds.map(|kind| Scope::Resource(ResourceScope::new(level, Target::Type(kind.into()), read))).collect()
}
