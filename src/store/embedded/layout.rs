//! How keys and records look inside the file.

use redb::TableDefinition;

use super::Failed;
use super::packed::{pack, unpack};
use crate::store::{Key, Kind, Record, Space, StoreError, Version};
use crate::time::UnixTime;

/// The records: [`record_key`] to [`record_value`].
pub(super) const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");

/// The records that expire, in the order in which they do: [`expiry_key`], nothing. Written together with the record.
pub(super) const EXPIRIES: TableDefinition<'static, &[u8], ()> = TableDefinition::new("expiries");

const NEVER: i64 = i64::MAX;

/// Length of the space (4 bytes), the space, the kind's code, the id. The length makes it unambiguous whatever a space contains.
pub(super) fn record_key(key: &Key) -> Vec<u8> {
    with_id(&key.space, key.kind, &key.id)
}

/// Where the records of one kind in one space begin. All of them start with these bytes.
pub(super) fn kind_prefix(space: &Space, kind: Kind) -> Vec<u8> {
    with_id(space, kind, "")
}

fn with_id(space: &str, kind: Kind, id: &str) -> Vec<u8> {
    let length = u32::try_from(space.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(5 + space.len() + id.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(space.as_bytes());
    bytes.push(kind.code());
    bytes.extend_from_slice(id.as_bytes());
    bytes
}

/// The space of a record's key, and the bytes that every key of that space begins with.
pub(super) fn space_of(record_key: &[u8]) -> Result<(&str, &[u8]), Failed> {
    let cut = || Failed::Store(StoreError::Corrupt("a key is cut short".to_owned()));
    let (length, _) = record_key.split_first_chunk::<4>().ok_or_else(cut)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let prefix = record_key.get(..length.saturating_add(4)).ok_or_else(cut)?;
    let space = prefix.get(4..).and_then(|space| std::str::from_utf8(space).ok()).ok_or_else(cut)?;
    Ok((space, prefix))
}

/// The key of a [`record_key`], where it is one.
pub(super) fn key_of(record_key: &[u8]) -> Option<Key> {
    let (space, prefix) = space_of(record_key).ok()?;
    let (kind, id) = record_key.get(prefix.len()..)?.split_first()?;
    Some(Key::new(&Space::from(space), Kind::from_code(*kind)?, std::str::from_utf8(id).ok()?))
}

/// Version (8 bytes), expiry (8 bytes), what the caller wrote, packed.
pub(super) fn record_value(version: u64, expires_at: Option<UnixTime>, bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(16 + bytes.len() + bytes.len() / 8);
    value.extend_from_slice(&version.to_be_bytes());
    value.extend_from_slice(&expires_at.map_or(NEVER, |at| at.0).to_be_bytes());
    pack(bytes, &mut value);
    value
}

/// Version and expiry of a value from [`record_value`], and the rest of it, still packed.
pub(super) fn split_value(value: &[u8]) -> Result<(u64, Option<UnixTime>, &[u8]), Failed> {
    let cut = || Failed::Store(StoreError::Corrupt("a record is cut short".to_owned()));
    let (version, rest) = value.split_first_chunk::<8>().ok_or_else(cut)?;
    let (expiry, bytes) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let expires_at = match i64::from_be_bytes(*expiry) {
        NEVER => None,
        at => Some(UnixTime(at)),
    };
    Ok((u64::from_be_bytes(*version), expires_at, bytes))
}

/// What is wrong with one that cannot be read is said without its key: [`Failed::in_record`].
pub(super) fn record(value: &[u8]) -> Result<Record, Failed> {
    let (version, expires_at, packed) = split_value(value)?;
    Ok(Record { version: Version(version), expires_at, bytes: unpack(packed)? })
}

/// The expiry (8 bytes, ordered as the numbers are, negative ones first), then the record's key.
pub(super) fn expiry_key(at: UnixTime, record_key: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + record_key.len());
    key.extend_from_slice(&((at.0 as u64) ^ (1 << 63)).to_be_bytes());
    key.extend_from_slice(record_key);
    key
}

/// The expiry and the record's key of an [`expiry_key`].
pub(super) fn split_expiry(key: &[u8]) -> Result<(UnixTime, &[u8]), Failed> {
    let (at, record_key) = key.split_first_chunk::<8>().ok_or_else(|| Failed::Store(StoreError::Corrupt("an expiry is cut short".to_owned())))?;
    Ok((UnixTime((u64::from_be_bytes(*at) ^ (1 << 63)) as i64), record_key))
}
