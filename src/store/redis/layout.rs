//! Names of keys, and how a record lies in its value.
//!
//! A record, its entry in the index of its kind and its entry among the expiries are changed by one script, so they must lie in one slot
//! of a cluster: what stands in braces decides that. Records are dealt to [`SHARDS`] such groups by their whole key, which spreads them over
//! the members, whoever uses them. A script never touches two groups.

use bytes::Bytes;

use super::super::{Key, Kind, Record, Space, StoreError, Version};
use crate::time::UnixTime;

/// Into how many groups records are dealt. Written into the names of keys: it never changes.
pub(super) const SHARDS: u8 = 16;

/// The groups' names.
const HEX: &[u8; SHARDS as usize] = b"0123456789abcdef";

/// Version, expiry, and the three versions before: then the record's bytes.
const HEAD: usize = 40;

/// An expiry that never comes.
const NEVER: i64 = i64::MAX;

/// The names of one installation's keys.
pub(super) struct Layout {
    prefix: String,
}

impl Layout {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Where changes that others wait for are told.
    pub fn channel(&self) -> String {
        format!("{}:changes", self.prefix)
    }

    fn named(&self, shard: u8, rest: &str) -> Vec<u8> {
        self.name(shard, &[rest])
    }

    /// Every read makes some of these: so without the machinery of formatting.
    fn name(&self, shard: u8, rest: &[&str]) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.prefix.len() + 5 + rest.iter().map(|part| part.len()).sum::<usize>());
        name.push(b'{');
        name.extend_from_slice(self.prefix.as_bytes());
        name.extend_from_slice(&[b':', HEX.get(usize::from(shard)).copied().unwrap_or(b'0')]);
        name.extend_from_slice(b"}:");
        rest.iter().for_each(|part| name.extend_from_slice(part.as_bytes()));
        name
    }

    pub fn record(&self, place: &Place) -> Vec<u8> {
        self.name(place.shard, &["r:", &place.member])
    }

    /// The ids of one kind in one group, in the order of their bytes.
    pub fn index(&self, shard: u8, space: &Space, kind: Kind) -> Vec<u8> {
        self.named(shard, &format!("i:{kind}:{space}"))
    }

    /// What expires in one group, by when.
    pub fn expiries(&self, shard: u8) -> Vec<u8> {
        self.named(shard, "x")
    }

    /// Written where a replica's word is waited for and there is nothing else to write.
    pub fn mark(&self, shard: u8) -> Vec<u8> {
        self.named(shard, "w")
    }
}

/// Where a key lies.
pub(super) struct Place {
    /// Its group.
    pub shard: u8,
    /// Its name there.
    pub member: String,
}

impl Place {
    pub fn of(key: &Key) -> Self {
        // The length keeps space and id apart.
        let (kind, length) = (key.kind.as_str(), key.space.len().to_string());
        let mut member = String::with_capacity(kind.len() + length.len() + 2 + key.space.len() + key.id.len());
        for part in [kind, ":", &length, ":", &key.space, &key.id] {
            member.push_str(part);
        }
        Self { shard: shard(&member), member }
    }
}

/// FNV-1a: the same on every node and for ever, which the standard library's hash is not. It moves a last letter's difference little, so its bits are
/// mixed once more (the finish of MurmurHash3).
fn shard(member: &str) -> u8 {
    let hash = member.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    u8::try_from((hash ^ (hash >> 33)) % u64::from(SHARDS)).unwrap_or_default()
}

/// The key a member stands for.
pub(super) fn key_of(member: &str) -> Option<Key> {
    let (kind, rest) = member.split_once(':')?;
    let (length, rest) = rest.split_once(':')?;
    let kind = Kind::ALL.iter().copied().find(|known| known.as_str() == kind)?;
    let (space, id) = rest.split_at_checked(length.parse().ok()?)?;
    Some(Key::new(&Space::from(space), kind, id))
}

pub(super) fn expiry(at: Option<UnixTime>) -> [u8; 8] {
    at.map_or(NEVER, |at| at.0).to_be_bytes()
}

pub(super) fn version_bytes(version: Version) -> [u8; 8] {
    version.0.to_be_bytes()
}

pub(super) fn record(value: Vec<u8>) -> Result<Record, StoreError> {
    let number = |at: usize| value.get(at..at + 8).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    let (Some(version), Some(expires_at), true) = (number(0), number(8), value.len() >= HEAD) else {
        return Err(StoreError::Corrupt("a value in Redis is too short for a record".to_owned()));
    };
    let expires_at = i64::from_be_bytes(expires_at);
    Ok(Record {
        version: Version(u64::from_be_bytes(version)),
        expires_at: (expires_at != NEVER).then_some(UnixTime(expires_at)),
        bytes: Bytes::from(value).slice(HEAD..),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_leads_back_to_its_key() {
        for (space, id) in [("https://ehr.example/a", "g1"), ("", ""), ("a:b", ":c"), ("æ", "a\0:9:å")] {
            for kind in Kind::ALL {
                let key = Key::new(&space.into(), *kind, id);
                assert_eq!(key_of(&Place::of(&key).member), Some(key));
            }
        }
        for wrong in ["", "grant", "grant:1", "grant:9:short", "nothing:0:", "grant:1:å"] {
            assert_eq!(key_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn records_are_spread_and_stay_where_they_are() {
        let key = |n: u32| Key::new(&"https://ehr.example".into(), Kind::Grant, &format!("{n:08x}"));
        let mut counts = [0_u32; SHARDS as usize];
        for n in 0..16_000 {
            counts[usize::from(Place::of(&key(n)).shard)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert_eq!(Layout::new("helsebro").record(&Place::of(&key(7))), b"{helsebro:7}:r:grant:19:https://ehr.example00000007");
    }
}
