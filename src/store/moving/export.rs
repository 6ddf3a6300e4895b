//! Writing an export, in pieces, to whoever wants it.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{End, FORMAT, Header, Line, Stamp, Totals};
use crate::secret::Digesting;
use crate::store::read_only::ReadOnly;
use crate::store::survey::{Walk, spaces};
use crate::store::{Backend as _, Key, Record, Space, StoreError};
use crate::time::UnixTime;

/// What is exported: a store that is read-only, or that nobody else has open.
pub struct From<'a> {
    pub store: Arc<ReadOnly>,
    /// Whether it has to be read-only all the while.
    pub served: bool,
    pub known: Vec<Space>,
    pub stamp: &'a Stamp,
    pub now: UnixTime,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    pub records: u64,
    /// Left out, since they had expired.
    pub expired: u64,
}

struct Writing {
    to: mpsc::Sender<Result<Bytes, StoreError>>,
    digest: Digesting,
}

impl Writing {
    async fn send(&mut self, piece: Vec<u8>) -> Result<(), StoreError> {
        self.digest.update(&piece);
        self.to.send(Ok(piece.into())).await.map_err(|_| StoreError::Unreachable("nobody takes the export any more".to_owned()))
    }
}

fn line(into: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *into, value).expect("texts and numbers are always JSON");
    into.push(b'\n');
}

/// Writes every record that has not expired into `to`, a page at a time. An export without its last line is not whole, and nobody takes it.
///
/// # Errors
/// When the store cannot answer, nobody takes it any more, or something may have been written meanwhile.
pub async fn export(from: From<'_>, to: mpsc::Sender<Result<Bytes, StoreError>>) -> Result<Exported, StoreError> {
    let turns = from.store.turns();
    let spaces = spaces(&*from.store, &from.known).await?;
    let mut writing = Writing { to, digest: Digesting::default() };
    let header = Header {
        format: FORMAT,
        made_at: from.now,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        from: from.store.about().kind.unwrap_or("unknown").to_owned(),
        seal_key: from.stamp.name(),
        spaces: spaces.iter().map(|space| space.to_string()).collect(),
    };
    let mut first = Vec::new();
    line(&mut first, &header);
    writing.send(first).await?;
    let mut done = Exported { records: 0, expired: 0 };
    let mut walk = Walk::new(&*from.store, &spaces);
    loop {
        let page = walk.next().await?;
        if page.is_empty() {
            break;
        }
        let mut piece = Vec::new();
        for (key, record) in page {
            if record.is_expired(from.now) {
                done.expired += 1;
            } else {
                done.records += 1;
                line(&mut piece, &shown(&spaces, &key, &record));
            }
        }
        if !piece.is_empty() {
            writing.send(piece).await?;
        }
    }
    if from.served && (!from.store.is_on() || from.store.turns() != turns) {
        return Err(StoreError::Unreachable("it was made writable again during the export, which is worth nothing now".to_owned()));
    }
    let sha256 = writing.digest.finish();
    let mut last = Vec::new();
    line(&mut last, &End { end: Totals { records: done.records, expired: done.expired, code: from.stamp.code(&sha256), sha256 } });
    writing.to.send(Ok(last.into())).await.map_err(|_| StoreError::Unreachable("nobody takes the export any more".to_owned()))?;
    Ok(done)
}

fn shown<'a>(spaces: &[Space], key: &'a Key, record: &Record) -> Line<'a> {
    Line {
        s: spaces.iter().position(|space| *space == key.space).unwrap_or(usize::MAX),
        k: Cow::Borrowed(key.kind.as_str()),
        i: Cow::Borrowed(&key.id),
        x: record.expires_at,
        v: Cow::Owned(STANDARD.encode(&record.bytes)),
    }
}
