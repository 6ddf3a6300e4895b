//! What a record's bytes look like in the file: packed, where that makes them shorter.
//!
//! Records are JSON, and most of a grant is the names of its members, which are in every grant. LZ4 with these names in its dictionary leaves little
//! more than what is the record's own, for about a microsecond each way. The first format of the file had the bytes as they are; so
//! has this one, but for those that begin with zero, and the first byte of a record is its format and never zero.

use bytes::Bytes;
use lz4_flex::block::{compress_into_with_dict, decompress_with_dict, get_maximum_output_size};

use super::Failed;
use crate::store::StoreError;

/// What packed bytes, and others that begin with zero, begin with.
const MARK: u8 = 0;
/// Behind the mark: the rest is as it was.
const PLAIN: u8 = 0;
/// Behind the mark: a length (4 bytes), and an LZ4 block by [`WORDS`].
const BY_WORDS: u8 = 1;

const HEAD: usize = 6;
/// Shorter ones are not worth it.
const WORTH_IT: usize = 96;
/// What one record can be: far more than anything we write, and no more than can be kept in memory on a damaged file's word.
const LONGEST: usize = 64 << 20;

/// What records are full of. Never changed: what was packed by it is unpacked by it. Other words are another byte behind the mark.
const WORDS: &[u8] = include_bytes!("words.txt");

/// Appends the bytes as they are to be in the file.
pub(super) fn pack(bytes: &[u8], into: &mut Vec<u8>) {
    let begun = into.len();
    if let Some(length) = u32::try_from(bytes.len()).ok().filter(|_| (WORTH_IT..=LONGEST).contains(&bytes.len())) {
        into.extend_from_slice(&[MARK, BY_WORDS]);
        into.extend_from_slice(&length.to_be_bytes());
        into.resize(begun + HEAD + get_maximum_output_size(bytes.len()), 0);
        let room = into.get_mut(begun + HEAD..).unwrap_or_default();
        if let Ok(packed) = compress_into_with_dict(bytes, room, WORDS)
            && HEAD + packed < bytes.len()
        {
            into.truncate(begun + HEAD + packed);
            return;
        }
        into.truncate(begun);
    }
    if bytes.first() == Some(&MARK) {
        into.extend_from_slice(&[MARK, PLAIN]);
    }
    into.extend_from_slice(bytes);
}

/// The bytes that were packed.
pub(super) fn unpack(stored: &[u8]) -> Result<Bytes, Failed> {
    let damaged = || Failed::Store(StoreError::Corrupt("a record does not unpack".to_owned()));
    let Some(packed) = stored.strip_prefix(&[MARK]) else { return Ok(Bytes::copy_from_slice(stored)) };
    let (how, rest) = packed.split_first().ok_or_else(damaged)?;
    match *how {
        PLAIN => Ok(Bytes::copy_from_slice(rest)),
        BY_WORDS => {
            let (length, block) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length <= LONGEST).ok_or_else(damaged)?;
            let bytes = decompress_with_dict(block, length, WORDS).map_err(|_| damaged())?;
            if bytes.len() == length { Ok(bytes.into()) } else { Err(damaged()) }
        }
        _ => Err(damaged()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut stored = Vec::new();
        pack(bytes, &mut stored);
        stored
    }

    fn unpacked(stored: &[u8]) -> Option<Bytes> {
        unpack(stored).ok()
    }

    const GRANT: &str = "\u{1}{\"id\":\"d5e33bb3f63e83b746e175641d29a0ae\",\"client\":\"journal-app\",\"base\":\"https://fhir.legekontor.example/r4\",\
        \"subject\":\"YwyDSS49Ug2R2OACzz2dZyOU00JSJNVm4NyBiYuNF0c\",\"fhir_user\":\"Practitioner/behandler-017\",\"user_name\":\"Live Testlege\",\
        \"scopes\":\"openid fhirUser launch offline_access patient/*.rs user/Patient.rs\",\"context\":{\"patient\":\"pasient-017\",\"encounter\":\"konsultasjon-017-3\"},\
        \"session\":\"c46f5822b5519aaf56540ff4b07e9476\",\"session_epoch\":0,\"ends_with_session\":false,\"auth\":{\"auth_time\":1795000000,\
        \"acr\":\"https://auth.legekontor.example/acr/ehr\",\"amr\":[\"ehr\"]},\"made_at\":1795000000,\"refresh_until\":1795043200,\"expires_at\":1795046860,\
        \"state\":{\"live\":{\"code\":\"iE8Zj1r2JHWLayQxuAiCx0txedSmwd1vEjjL1UxKamE\",\"redeemed_at\":1795000000,\"generation\":0}}}";

    #[test]
    fn a_grant_is_little_over_half_as_long() {
        let stored = packed(GRANT.as_bytes());
        assert!(stored.len() * 5 < GRANT.len() * 3, "{} of {}", stored.len(), GRANT.len());
        assert_eq!(unpacked(&stored).as_deref(), Some(GRANT.as_bytes()));
    }

    #[test]
    fn the_first_format_is_read_as_it_is() {
        assert_eq!(unpacked(GRANT.as_bytes()).as_deref(), Some(GRANT.as_bytes()));
    }

    /// What this format wrote: whoever changes the words can read it no more.
    const PACKED: &str = "\
        0001000002ec04e602f0116435653333626233663633653833623734366531373536343164323961306165e601106cf401f005223a226a6f75726e616c2d617070222c226261\
        738f00001b03000a0300e501b42e6c6567656b6f6e746f721903392f72341403f01f597779445353343955673252324f41437a7a32645a794f5530304a534a4e566d344e7942\
        6959754e463063222c2255000f3f0302db626568616e646c65722d3031374c03904c69766520546573748e00007d00045903032e030055000945030a3e0308e4020c3503000e\
        0104c90208f402307061732401038d0008ff02c06b6f6e73756c7461736a6f6e1f00452d33227db002f515223a22633436663538323262353531396161663536353430666634\
        6230376539343736222d0007dd020fce02070fc3020231393530010004cb0204b301002d000fb3010100ea0200c1020fce02090654000dcb02603935303433326f000ad30200\
        18004536383630a6060ddb02f01d6945385a6a3172324a48574c6179517875416943783074786564536d77643176456a6a4c3155784b616d45227900090603069200060e0360\
        223a307d7d7d";

    #[test]
    fn what_was_packed_once_unpacks() {
        let stored: Vec<u8> = (0..PACKED.len()).step_by(2).map(|at| u8::from_str_radix(&PACKED[at..at + 2], 16).unwrap()).collect();
        assert_eq!(unpacked(&stored).as_deref(), Some(GRANT.as_bytes()));
    }

    #[test]
    fn damage_is_an_error_and_takes_no_room() {
        for stored in [&[0][..], &[0, 2, 1], &[0, 1, 0, 0], &[0, 1, 0xff, 0xff, 0xff, 0xff, 1], &[0, 1, 0, 0, 0, 9, 0]] {
            assert_eq!(unpacked(stored), None, "{stored:?}");
        }
        let mut cut = packed(GRANT.as_bytes());
        cut.pop();
        assert_eq!(unpacked(&cut), None);
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out(bytes in prop_oneof![proptest::collection::vec(any::<u8>(), 0..400), proptest::collection::vec(0_u8..3, 0..4000)]) {
            prop_assert_eq!(unpacked(&packed(&bytes)), Some(Bytes::from(bytes)));
        }

        #[test]
        fn whatever_stands_there_is_read_or_refused(stored in proptest::collection::vec(0_u8..6, 0..80)) {
            let _ = unpack(&stored);
        }
    }
}
