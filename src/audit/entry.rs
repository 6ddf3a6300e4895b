//! What this folder reads back, as functions of bytes: for `crate::entry`.

use super::fhir;
use super::line::{sound, split};
use super::read::seq_of;
use crate::secret::Digest;

pub fn lines(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for line in text.lines() {
        let _ = seq_of(line);
        if let (Some(hash), Some((before, _))) = (sound(line), split(line)) {
            assert!(Digest::of(before.as_bytes()).text() == hash, "a line passes for sound under another hash");
        }
        if let Ok(record) = serde_json::from_str(line) {
            let _ = fhir::resource(&record);
        }
    }
}
