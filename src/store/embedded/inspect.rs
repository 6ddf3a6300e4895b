//! Looking at the file as a whole: which spaces there are, and whether the index of expiries says what the records say.

use std::ops::Bound;

use redb::ReadableTable as _;

use super::layout::{EXPIRIES, RECORDS, space_of, split_expiry, split_value};
use super::{Shared, Space, StoreError};

impl Shared {
    /// Every space, found by stepping from one to the next.
    pub(super) fn spaces(&self) -> Result<Vec<Space>, StoreError> {
        self.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let mut spaces: Vec<Space> = Vec::new();
            let mut from: Vec<u8> = Vec::new();
            while let Some(entry) = records.range::<&[u8]>((Bound::Included(from.as_slice()), Bound::Unbounded))?.next() {
                let (key, _) = entry?;
                let (space, prefix) = space_of(key.value())?;
                spaces.push(space.into());
                // No kind has the code 255, so this is behind every record of the space and before the next one.
                from = prefix.to_vec();
                from.push(u8::MAX);
            }
            // Keys begin with the length of the space: their order is not that of the names.
            spaces.sort_unstable();
            Ok(spaces)
        })
    }

    /// Every entry of the index has its record, and every record that expires its entry.
    pub(super) fn check_expiries(&self) -> Result<Vec<String>, StoreError> {
        self.read(|transaction| {
            let (records, expiries) = (transaction.open_table(RECORDS)?, transaction.open_table(EXPIRIES)?);
            let mut lost: u64 = 0;
            let mut good: u64 = 0;
            for entry in expiries.iter()? {
                let (entry, ()) = entry.map(|(key, nothing)| (key, nothing.value()))?;
                let (at, key) = split_expiry(entry.value())?;
                let expires = match records.get(key)? {
                    // One that is cut short is found where each record is looked at.
                    Some(value) => split_value(value.value()).ok().and_then(|(_, expires_at, _)| expires_at),
                    None => None,
                };
                *if expires == Some(at) { &mut good } else { &mut lost } += 1;
            }
            let mut expiring: u64 = 0;
            for entry in records.iter()? {
                expiring += u64::from(split_value(entry?.1.value()).is_ok_and(|(_, expires_at, _)| expires_at.is_some()));
            }
            let mut wrong = Vec::new();
            if lost > 0 {
                wrong.push(format!("{lost} entries of the index of expiries lead to no record that expires then"));
            }
            if expiring > good {
                wrong.push(format!("{} records that expire are not in the index of expiries, so nothing sweeps them", expiring - good));
            }
            Ok(wrong)
        })
    }
}
