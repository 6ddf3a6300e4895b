//! Finding sessions and grants, and ending them, for whoever administers.
//!
//! Nothing is indexed by person or patient: that would be one write more for every grant there is, for a question that is asked once a month.
//! So a search reads records one after the other, in the order of their ids, and only so many at a time; the caller goes on where it stopped.

use futures_util::StreamExt as _;

use super::Engine;
use super::clients::as_it_is;
use crate::audit::trail;
use crate::domain::audit::{Action, Outcome, Person};
use crate::domain::consent::AppAccess;
use crate::domain::grant::{EndedBecause, Grant, GrantState};
use crate::domain::session::Session;
use crate::domain::upstream_session::UpstreamEnd;
use crate::protocol::ids::{ClientId, FhirBase, FhirId, GrantId, Reference, SessionId, Subject};
use crate::store::records::ClientChange;
use crate::store::{Commit, StoreError};

/// Records looked at for one answer.
const LOOKED_AT: usize = 5000;

/// Records read at once.
const PAGE: usize = 250;

/// Ended at once, so that they share commits.
const AT_ONCE: usize = 16;

/// Which grants. Everything that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct GrantQuery {
    pub subject: Option<Subject>,
    pub fhir_user: Option<Reference>,
    pub patient: Option<FhirId>,
    pub base: Option<FhirBase>,
    pub client: Option<ClientId>,
    pub session: Option<SessionId>,
    /// Those too from which nothing good can be had any more.
    pub over: bool,
}

/// Which sessions. Everything that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct SessionQuery {
    pub subject: Option<Subject>,
    pub fhir_user: Option<Reference>,
    pub base: Option<FhirBase>,
    /// The EHR that vouches for it.
    pub ehr: Option<ClientId>,
    pub over: bool,
}

impl GrantQuery {
    fn fits(&self, grant: &Grant) -> bool {
        is(self.subject.as_ref(), Some(&grant.subject))
            && is(self.fhir_user.as_ref(), grant.fhir_user.as_ref())
            && is(self.patient.as_ref(), grant.context.patient.as_ref())
            && is(self.base.as_ref(), Some(&grant.base))
            && is(self.client.as_ref(), Some(&grant.client))
            && is(self.session.as_ref(), grant.session.as_ref())
    }

    /// Whether it says which at all.
    pub fn says_which(&self) -> bool {
        let Self { subject, fhir_user, patient, base: _, client, session, over: _ } = self;
        subject.is_some() || fhir_user.is_some() || patient.is_some() || client.is_some() || session.is_some()
    }
}

impl SessionQuery {
    fn fits(&self, session: &Session) -> bool {
        is(self.subject.as_ref(), Some(&session.subject))
            && is(self.fhir_user.as_ref(), Some(&session.fhir_user))
            && is(self.base.as_ref(), Some(&session.base))
            && is(self.ehr.as_ref(), session.ehr.as_ref())
    }

    /// Whether it says which at all.
    pub fn says_which(&self) -> bool {
        self.subject.is_some() || self.fhir_user.is_some() || self.ehr.is_some()
    }
}

fn is<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
    wanted.is_none_or(|wanted| found == Some(wanted))
}

/// How a grant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantStanding {
    /// Its code is not redeemed yet.
    CodeIssued,
    Live,
    Ended,
    Expired,
    SessionEnded,
    Withdrawn,
    /// Good again where the client is enabled again.
    ClientDisabled,
}

impl GrantStanding {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CodeIssued => "code_issued",
            Self::Live => "live",
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::SessionEnded => "session_ended",
            Self::Withdrawn => "withdrawn",
            Self::ClientDisabled => "client_disabled",
        }
    }

    /// Whether something may come of it yet.
    const fn may_give(self) -> bool {
        match self {
            Self::CodeIssued | Self::Live | Self::ClientDisabled => true,
            Self::Ended | Self::Expired | Self::SessionEnded | Self::Withdrawn => false,
        }
    }
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStanding {
    Live,
    Ended,
    Expired,
}

impl SessionStanding {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ended => "ended",
            Self::Expired => "expired",
        }
    }
}

/// Part of what there is.
#[derive(Debug)]
pub struct Part<T> {
    pub rows: Vec<T>,
    /// Behind which id to go on; there may be more.
    pub next: Option<String>,
}

/// How many were ended, and where to go on.
#[derive(Debug)]
pub struct EndedMany {
    pub count: u64,
    pub next: Option<String>,
}

impl Engine {
    /// The grants that fit, at most `limit`, beginning behind `after`.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn find_grants(&self, query: &GrantQuery, after: Option<&str>, limit: usize) -> Result<Part<(Grant, GrantStanding)>, StoreError> {
        let (mut rows, mut after, mut looked_at) = (Vec::new(), after.map(str::to_owned), 0);
        loop {
            let page = self.store.list::<Grant>(after.as_deref(), PAGE).await?;
            let ended = page.len() < PAGE;
            looked_at += page.len();
            after = page.last().map(|(id, _)| id.clone()).or(after);
            let fitting: Vec<Grant> = page.into_iter().map(|(_, grant)| grant).filter(|grant| query.fits(grant)).collect();
            let mut more = false;
            for (grant, standing) in self.standings(fitting).await? {
                if !query.over && !standing.may_give() {
                    continue;
                }
                if rows.len() == limit {
                    more = true;
                    break;
                }
                rows.push((grant, standing));
            }
            if more {
                let next = rows.last().map(|(grant, _): &(Grant, _)| grant.id.as_str().to_owned());
                return Ok(Part { rows, next });
            }
            if ended {
                return Ok(Part { rows, next: None });
            }
            if looked_at >= LOOKED_AT {
                return Ok(Part { rows, next: after });
            }
        }
    }

    /// One grant, however it stands.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn find_grant(&self, id: &GrantId) -> Result<Option<(Grant, GrantStanding)>, StoreError> {
        let Some(held) = self.store.load::<Grant>(id.as_str()).await? else { return Ok(None) };
        Ok(self.standings(vec![held.value]).await?.pop())
    }

    /// How grants stand, from one read of what they stand on.
    async fn standings(&self, grants: Vec<Grant>) -> Result<Vec<(Grant, GrantStanding)>, StoreError> {
        if grants.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.now();
        let mut reads = self.store.reads();
        let wanted: Vec<_> = grants
            .iter()
            .map(|grant| {
                let session = reads.want_opt::<Session>(grant.session.as_ref().map(SessionId::as_str));
                let access = reads.want::<AppAccess>(&AppAccess::key(&grant.subject, &grant.client));
                (session, access, reads.want::<ClientChange>(grant.client.as_str()))
            })
            .collect();
        let found = reads.fetch().await?;
        let mut rows = Vec::with_capacity(grants.len());
        for (grant, (session, access, change)) in grants.into_iter().zip(wanted) {
            let (session, access, change) = (found.take(session)?, found.take(access)?, found.take(change)?);
            let session_lives = session.is_some_and(|held| held.value.subject == grant.subject && held.value.carries(grant.session_epoch, now));
            let client = as_it_is(self.rules.clients.get(&grant.client), change.as_ref().map(|held| &held.value), now);
            let standing = match &grant.state {
                GrantState::Ended { .. } => GrantStanding::Ended,
                GrantState::CodeIssued { expires_at, .. } if now >= *expires_at => GrantStanding::Expired,
                _ if now >= grant.expires_at => GrantStanding::Expired,
                _ if access.is_some_and(|held| held.value.withdraws(grant.made_at)) => GrantStanding::Withdrawn,
                _ if grant.ends_with_session && !session_lives => GrantStanding::SessionEnded,
                _ if client.is_none_or(|client| client.disabled) => GrantStanding::ClientDisabled,
                GrantState::CodeIssued { .. } => GrantStanding::CodeIssued,
                GrantState::Live { .. } => GrantStanding::Live,
            };
            rows.push((grant, standing));
        }
        Ok(rows)
    }

    /// Ends a grant on an operator's word. `None` where there is none; false where it had ended before.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn revoke_grant(&self, id: &GrantId) -> Result<Option<bool>, StoreError> {
        loop {
            let Some(held) = self.store.load::<Grant>(id.as_str()).await? else { return Ok(None) };
            let about = &held.value;
            if matches!(about.state, GrantState::Ended { .. }) {
                return Ok(Some(false));
            }
            if self.store.replace(&held, &about.end(EndedBecause::Revoked, self.now())).await? == Commit::Applied {
                trail::also(Action::GrantRevoke, Outcome::Allowed, |facts| {
                    facts.about = Some(about.client.clone());
                    facts.grant = Some(about.id.clone());
                    facts.session.clone_from(&about.session);
                    facts.user = about.fhir_user.clone().map(Person::Reference);
                    facts.context(&about.context);
                });
                return Ok(Some(true));
            }
        }
    }

    /// Ends the grants that fit, as many as one search looks at.
    ///
    /// # Errors
    /// A store that cannot answer; those that were ended until then are.
    pub async fn revoke_grants(&self, query: &GrantQuery, after: Option<&str>) -> Result<EndedMany, StoreError> {
        let found = self.find_grants(query, after, LOOKED_AT).await?;
        let ids: Vec<GrantId> = found.rows.into_iter().map(|(grant, _)| grant.id).collect();
        let ended: Vec<_> = futures_util::stream::iter(ids).map(|id| async move { self.revoke_grant(&id).await }).buffer_unordered(AT_ONCE).collect().await;
        let mut count = 0;
        for ended in ended {
            count += u64::from(ended? == Some(true));
        }
        Ok(EndedMany { count, next: found.next })
    }

    fn session_standing(&self, session: &Session) -> SessionStanding {
        match session.ended_at {
            Some(_) => SessionStanding::Ended,
            None if session.is_live(self.now()) => SessionStanding::Live,
            None => SessionStanding::Expired,
        }
    }

    /// The sessions that fit, at most `limit`, beginning behind `after`.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn find_sessions(&self, query: &SessionQuery, after: Option<&str>, limit: usize) -> Result<Part<(Session, SessionStanding)>, StoreError> {
        let (mut rows, mut after, mut looked_at) = (Vec::new(), after.map(str::to_owned), 0);
        loop {
            let page = self.store.list::<Session>(after.as_deref(), PAGE).await?;
            let ended = page.len() < PAGE;
            looked_at += page.len();
            for (id, session) in page {
                let standing = self.session_standing(&session);
                if query.fits(&session) && (query.over || standing == SessionStanding::Live) {
                    if rows.len() == limit {
                        return Ok(Part { rows, next: after });
                    }
                    rows.push((session, standing));
                }
                after = Some(id);
            }
            if ended {
                return Ok(Part { rows, next: None });
            }
            if looked_at >= LOOKED_AT {
                return Ok(Part { rows, next: after });
            }
        }
    }

    /// One session, however it stands.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn find_session(&self, id: &SessionId) -> Result<Option<(Session, SessionStanding)>, StoreError> {
        let session = self.store.load::<Session>(id.as_str()).await?.map(|held| held.value);
        Ok(session.map(|session| (session.clone(), self.session_standing(&session))))
    }

    /// Ends a session on an operator's word, the EPJ's too, with what hangs on it. `None` where there is none; false where it had ended before.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn revoke_session(&self, id: &SessionId) -> Result<Option<bool>, StoreError> {
        let Some((session, standing)) = self.find_session(id).await? else { return Ok(None) };
        // What hangs on it is ended again where the process stopped in the middle of it.
        self.end_session(id).await?;
        self.end_vouched_by(id).await?;
        self.end_upstream_of(id, UpstreamEnd::LoggedOut).await?;
        if standing == SessionStanding::Ended {
            return Ok(Some(false));
        }
        trail::also(Action::SessionRevoke, Outcome::Allowed, |facts| {
            facts.about.clone_from(&session.ehr);
            facts.session = Some(session.id.clone());
            facts.user = Some(Person::Reference(session.fhir_user.clone()));
            facts.way = Some(session.way.as_str());
        });
        Ok(Some(true))
    }

    /// Ends the sessions that fit, as many as one search looks at.
    ///
    /// # Errors
    /// A store that cannot answer; those that were ended until then are.
    pub async fn revoke_sessions(&self, query: &SessionQuery, after: Option<&str>) -> Result<EndedMany, StoreError> {
        let found = self.find_sessions(query, after, LOOKED_AT).await?;
        let mut count = 0;
        for (session, _) in found.rows {
            count += u64::from(self.revoke_session(&session.id).await? == Some(true));
        }
        Ok(EndedMany { count, next: found.next })
    }
}
