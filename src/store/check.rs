//! Looking at every record: whether it is understood, says of itself what its key says, and refers to what is there.
//!
//! What is found is told by kind and id. Ids that are secrets or could be somebody's are told as the beginning of their hash.

use std::time::Duration;

use super::records::AnyRecord;
use super::survey::{Walk, spaces};
use super::{Backend, Key, Kind, Record, Space, StoreError};
use crate::domain::consent::AppAccess;
use crate::domain::grant::GrantState;
use crate::time::UnixTime;

/// Something was live when it was referred to, so its record is there for this much longer at least.
const SURELY_THERE: Duration = Duration::from_secs(600);

/// No more findings than this are kept; the others are counted.
const MOST: usize = 1000;

/// Something wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Empty for what is about the store as a whole.
    pub space: Space,
    pub kind: Option<Kind>,
    pub id: String,
    pub what: String,
}

/// What a look at everything found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub records: u64,
    /// Records that have expired and wait for the sweep; nothing was asked of them.
    pub expired: u64,
    /// Grants and launches that are dead because their session has run out, as they should be.
    pub dead: u64,
    pub findings: Vec<Finding>,
    /// Findings beyond those that are kept.
    pub more: u64,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, key: &Key, what: impl Into<String>) {
        if self.findings.len() == MOST {
            self.more += 1;
        } else {
            self.findings.push(Finding { space: key.space.clone(), kind: Some(key.kind), id: key.shown(), what: what.into() });
        }
    }
}

/// Something a record refers to.
struct Reference {
    to: Key,
    /// Until when it is there for sure. After that it may have run out.
    surely_until: UnixTime,
}

/// Looks at everything. `seals` says what is wrong with what is sealed in a record, where something is.
///
/// # Errors
/// When the store cannot answer.
pub async fn check(backend: &dyn Backend, known: &[Space], now: UnixTime, seals: impl Fn(&Key, &AnyRecord) -> Option<String>) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let whole = |what| Finding { space: Space::from(""), kind: None, id: String::new(), what };
    report.findings.extend(backend.check_indexes().await?.into_iter().map(whole));
    let mut walk = Walk::new(backend, &spaces(backend, known).await?);
    loop {
        let page = walk.next_each().await?;
        if page.is_empty() {
            return Ok(report);
        }
        let mut references: Vec<(Key, Reference)> = Vec::new();
        for (key, record) in page {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    report.records += 1;
                    report.add(&key, plainly(&error));
                    continue;
                }
            };
            if record.is_expired(now) {
                report.expired += 1;
                continue;
            }
            report.records += 1;
            match AnyRecord::decode(key.kind, &record.bytes) {
                Err(error) => report.add(&key, plainly(&error)),
                Ok(value) => {
                    itself(&mut report, &key, &record, &value);
                    if let Some(wrong) = seals(&key, &value) {
                        report.add(&key, wrong);
                    }
                    references.extend(refers(&key, &value).into_iter().map(|reference| (key.clone(), reference)));
                }
            }
        }
        let keys: Vec<Key> = references.iter().map(|(_, reference)| reference.to.clone()).collect();
        for ((key, reference), there) in references.iter().zip(there(backend, &keys).await?) {
            if !there && now < reference.surely_until {
                report.add(key, format!("refers to a record of kind {} that is not there", reference.to.kind));
            } else if !there {
                report.dead += 1;
            }
        }
    }
}

/// Whether there are records under these keys, whatever they say. One that cannot be read is found by itself.
async fn there(backend: &dyn Backend, keys: &[Key]) -> Result<Vec<bool>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    match backend.read_many(keys).await {
        Ok(found) => Ok(found.iter().map(Option::is_some).collect()),
        Err(StoreError::Corrupt(_)) => {
            let mut there = Vec::with_capacity(keys.len());
            for key in keys {
                there.push(match backend.read_many(std::slice::from_ref(key)).await {
                    Ok(found) => found.iter().all(Option::is_some),
                    Err(StoreError::Corrupt(_)) => true,
                    Err(down) => return Err(down),
                });
            }
            Ok(there)
        }
        Err(down) => Err(down),
    }
}

/// Without the advice that goes with a whole store that is damaged.
fn plainly(error: &StoreError) -> String {
    match error {
        StoreError::Corrupt(what) => what.clone(),
        other => other.to_string(),
    }
}

/// Whether a record says the same as its key and its expiry.
fn itself(report: &mut Report, key: &Key, record: &Record, value: &AnyRecord) {
    let named: Option<String> = match value {
        AnyRecord::KeyRing(_) => Some("ring".to_owned()),
        AnyRecord::Client(change) => change.added.as_ref().map(|client| client.id.to_string()),
        AnyRecord::Session(session) => Some(session.id.to_string()),
        AnyRecord::Interaction(interaction) => Some(interaction.id.clone()),
        AnyRecord::Grant(grant) => Some(grant.id.to_string()),
        AnyRecord::Consent(access) => Some(AppAccess::key(&access.subject, &access.client)),
        AnyRecord::UpstreamLogin(login) => Some(login.session.to_string()),
        AnyRecord::LogoutParty(party) => Some(party.id()),
        AnyRecord::UpstreamLink(link) => key.id.split_once('.').map(|(from, _)| format!("{from}.{}", link.session)),
        // Their ids are hashes of what is not in them, or chance.
        AnyRecord::Launch(_)
        | AnyRecord::Replay(_)
        | AnyRecord::RevokedToken(_)
        | AnyRecord::Pushed(_)
        | AnyRecord::UpstreamAttempt(_)
        | AnyRecord::Failures(_)
        | AnyRecord::LogoutNotice(_)
        | AnyRecord::BroughtToken(_)
        | AnyRecord::Mark(_) => None,
    };
    if named.is_some_and(|named| named != *key.id) {
        report.add(key, "says of itself that it is another one");
    }
    if value.expires_at() != record.expires_at {
        report.add(key, "does not expire when it says");
    }
}

/// What a live record refers to.
fn refers(key: &Key, value: &AnyRecord) -> Vec<Reference> {
    let to = |kind, id: &str, surely_until| Reference { to: Key::new(&key.space, kind, id), surely_until };
    let mut found = Vec::new();
    match value {
        // A grant that outlives its session is not asked about it.
        AnyRecord::Grant(grant) if grant.ends_with_session && !matches!(grant.state, GrantState::Ended { .. }) => {
            found.extend(grant.session.iter().map(|session| to(Kind::Session, session.as_str(), grant.made_at + SURELY_THERE)));
        }
        AnyRecord::Launch(launch) => found.push(to(Kind::Session, launch.session.as_str(), launch.created_at + SURELY_THERE)),
        AnyRecord::Interaction(interaction) => {
            let until = interaction.created_at + SURELY_THERE;
            found.extend(interaction.request.launch.iter().map(|launch| to(Kind::Launch, launch.as_str(), until)));
        }
        AnyRecord::Grant(_)
        | AnyRecord::KeyRing(_)
        | AnyRecord::Client(_)
        | AnyRecord::Session(_)
        | AnyRecord::Consent(_)
        | AnyRecord::Replay(_)
        | AnyRecord::RevokedToken(_)
        | AnyRecord::Pushed(_)
        | AnyRecord::UpstreamLogin(_)
        | AnyRecord::UpstreamLink(_)
        | AnyRecord::UpstreamAttempt(_)
        | AnyRecord::Failures(_)
        | AnyRecord::LogoutParty(_)
        | AnyRecord::LogoutNotice(_)
        | AnyRecord::BroughtToken(_)
        | AnyRecord::Mark(_) => {}
    }
    found
}
