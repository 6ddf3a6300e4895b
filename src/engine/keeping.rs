//! Looking after the store of a process as a whole: counting, checking, moving it. For operators, never for requests.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::keys::{Sealer, ring_opens};
use crate::domain::upstream_session::{Sealed, UpstreamState};
use crate::jose::seal::SealKey;
use crate::metrics::Metrics;
use crate::protocol::ids::Issuer;
use crate::random::Random;
use crate::store::check::{self, Report};
use crate::store::moving::{self, Exported, PURPOSE, Stamp};
use crate::store::read_only::ReadOnly;
use crate::store::records::AnyRecord;
use crate::store::{Backend as _, Key, Space, StoreError, survey};
use crate::time::Clock;

/// The store with what is needed to look after it. Cheap to clone.
#[derive(Clone)]
pub struct Keeping {
    pub store: Arc<ReadOnly>,
    /// What everything that stands on the store counts.
    pub metrics: Arc<Metrics>,
    pub seal: Arc<SealKey>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    /// The issuers of the configuration: a shared store cannot list what it has.
    pub known: Vec<Space>,
    /// Requests are served from it.
    pub served: bool,
}

impl Keeping {
    /// The stamp of exports under this seal key.
    pub fn stamp(&self) -> Stamp {
        Stamp::new(self.seal.derive(PURPOSE))
    }

    /// What there is, as JSON: the back end, and for each space and kind how many records, bytes and expired ones.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn stats(&self) -> Result<Value, StoreError> {
        let about = self.store.about();
        let counted = survey::count(&*self.store, &self.known, self.clock.now()).await?;
        let kinds: Vec<Value> = counted
            .iter()
            .map(|((space, kind), counted)| {
                let mut row = json!({ "issuer": **space, "kind": kind.as_str() });
                if let (Some(row), Ok(Value::Object(counted))) = (row.as_object_mut(), serde_json::to_value(counted)) {
                    row.extend(counted.into_iter().filter(|(_, value)| !value.is_null()));
                }
                row
            })
            .collect();
        let formats: serde_json::Map<String, Value> = AnyRecord::FORMATS.iter().map(|(kind, format)| (kind.to_string(), (*format).into())).collect();
        Ok(json!({
            "store": about.kind,
            "file_format": about.format,
            "file_bytes": about.file_bytes,
            "read_only": self.store.is_on(),
            "records": counted.values().map(|one| one.records).sum::<u64>(),
            "bytes": counted.values().map(|one| one.bytes).sum::<u64>(),
            "kinds": kinds,
            "record_formats": formats,
        }))
    }

    /// Refuses writes from here on, or takes them again.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn switch(&self, on: bool) -> Result<(), StoreError> {
        self.store.switch(on, self.clock.now()).await
    }

    /// Lets go of the store, where nobody is served from it.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }

    /// Looks at every record, and whether what is sealed in it opens.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn check(&self) -> Result<Report, StoreError> {
        check::check(&*self.store, &self.known, self.clock.now(), |key, record| self.seals(key, record)).await
    }

    /// Writes everything that has not expired into `to`.
    ///
    /// # Errors
    /// [`StoreError`]; what was written so far is worth nothing then.
    pub async fn export(&self, to: mpsc::Sender<Result<Bytes, StoreError>>) -> Result<Exported, StoreError> {
        let (stamp, now) = (self.stamp(), self.clock.now());
        moving::export(moving::From { store: Arc::clone(&self.store), served: self.served, known: self.known.clone(), stamp: &stamp, now }, to).await
    }

    /// What does not open of a record.
    fn seals(&self, key: &Key, record: &AnyRecord) -> Option<String> {
        let Ok(issuer) = Issuer::parse(&key.space) else { return Some("is in the space of something that is no issuer".to_owned()) };
        let sealer = Sealer::new(issuer.clone(), Arc::clone(&self.seal), Arc::clone(&self.random));
        let opens = |what: &str, sealed: &Sealed| sealer.open(what, &key.id, &sealed.0).is_ok();
        let good = match record {
            AnyRecord::KeyRing(ring) => ring_opens(&issuer, &self.seal, &*self.random, ring, self.clock.now()),
            AnyRecord::UpstreamLogin(login) => match &login.state {
                UpstreamState::Live(live) => {
                    let of = |what: &str, sealed: &Option<Sealed>| sealed.as_ref().is_none_or(|sealed| opens(what, sealed));
                    opens("key", &live.key) && of("refresh", &live.refresh) && of("id_token", &live.id_token)
                }
                UpstreamState::Dead { .. } => true,
            },
            AnyRecord::BroughtToken(brought) => opens("brought", &brought.token) && opens("key", &brought.key),
            AnyRecord::UpstreamAttempt(attempt) => opens("attempt", &attempt.secrets),
            AnyRecord::Client(_)
            | AnyRecord::Session(_)
            | AnyRecord::Launch(_)
            | AnyRecord::Interaction(_)
            | AnyRecord::Grant(_)
            | AnyRecord::Consent(_)
            | AnyRecord::Replay(_)
            | AnyRecord::RevokedToken(_)
            | AnyRecord::Pushed(_)
            | AnyRecord::UpstreamLink(_)
            | AnyRecord::Failures(_)
            | AnyRecord::LogoutParty(_)
            | AnyRecord::LogoutNotice(_)
            | AnyRecord::Mark(_) => true,
        };
        (!good).then(|| "what is sealed in it does not open: the seal key is another one, or it was altered".to_owned())
    }
}
