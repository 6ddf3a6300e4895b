//! The numbers Norway knows people and organisations by. Those of people are never printed: they are compared, sent in the body of a
//! FHIR search, and remembered only as a keyed hash. DESIGN §3, Failure.

use std::fmt;

use crate::jose::seal::hmac;
use crate::secret::{Digest, Secret, same};

/// A national identity number (fødselsnummer) or D-number: 11 digits, leading zeros kept. `reference/helseid.md` §3.2.
#[derive(Clone)]
pub struct PersonNumber(Secret<String>);

impl PersonNumber {
    const NATIONAL: &'static str = "urn:oid:2.16.578.1.12.4.1.4.1";
    const D_NUMBER: &'static str = "urn:oid:2.16.578.1.12.4.1.4.2";

    /// The identifier systems a person can be known under: identity numbers, then D-numbers. `reference/helseid.md` §6.6.
    pub const SYSTEMS: [&'static str; 2] = [Self::NATIONAL, Self::D_NUMBER];

    /// `None` unless the text is 11 digits. Check digits are not looked at: who sends the number has looked the person up, and synthetic
    /// series count them differently.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 11 && text.bytes().all(|b| b.is_ascii_digit())).then(|| Self(Secret::new(text.to_owned())))
    }

    /// Whether it is a D-number, which other identifier systems hold than the birth number's: its first digit is 4 to 7.
    pub fn is_d_number(&self) -> bool {
        self.0.expose().starts_with(['4', '5', '6', '7'])
    }

    /// `identifier.system` in FHIR. `reference/helseid.md` §6.6.
    pub fn system(&self) -> &'static str {
        if self.is_d_number() { Self::D_NUMBER } else { Self::NATIONAL }
    }

    /// Whether both are the same number; takes as long for any two.
    pub fn is_same(&self, other: &Self) -> bool {
        same(self.0.expose().as_bytes(), other.0.expose().as_bytes())
    }

    /// What may be kept in its place. Without the key nobody can try all numbers against it.
    pub fn keyed(&self, key: &[u8]) -> Digest {
        Digest::of(&hmac(key, &[b"person", self.0.expose().as_bytes()]))
    }

    /// The number itself, for the body of a search.
    pub fn secret(&self) -> &Secret<String> {
        &self.0
    }
}

impl fmt::Debug for PersonNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonNumber(…)")
    }
}

/// A number in the register of health personnel: 1 to 12 digits, compared without leading zeros.
#[derive(Clone)]
pub struct HprNumber(Secret<String>);

impl HprNumber {
    pub fn parse(text: &str) -> Option<Self> {
        let digits = (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.trim_start_matches('0');
        (digits && !number.is_empty()).then(|| Self(Secret::new(number.to_owned())))
    }

    /// `identifier.system` in FHIR. `reference/helseid.md` §6.6.
    pub const SYSTEM: &'static str = "urn:oid:2.16.578.1.12.4.1.4.4";

    pub fn is_same(&self, other: &Self) -> bool {
        same(self.0.expose().as_bytes(), other.0.expose().as_bytes())
    }

    /// What may be kept in its place.
    pub fn keyed(&self, key: &[u8]) -> Digest {
        Digest::of(&hmac(key, &[b"hpr", self.0.expose().as_bytes()]))
    }

    /// The number itself, for the body of a search.
    pub fn secret(&self) -> &Secret<String> {
        &self.0
    }
}

impl fmt::Debug for HprNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HprNumber(…)")
    }
}

/// An organisation's number: nine digits, the last one by MOD-11. `reference/helseid.md` §4.3. No secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrgNumber(String);

impl OrgNumber {
    /// The identifier system of organisation numbers. `reference/helseid.md` §6.6.
    pub const SYSTEM: &'static str = "urn:oid:2.16.578.1.12.4.1.4.101";

    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u32> = text.chars().map(|c| c.to_digit(10)).collect::<Option<_>>()?;
        let (check, rest) = digits.split_last()?;
        // 8 and 9 are real, 2 and 3 synthetic.
        let sum: u32 = rest.iter().zip([3, 2, 7, 6, 5, 4, 3, 2]).map(|(digit, weight)| digit * weight).sum();
        let fits = digits.len() == 9 && matches!(digits.first(), Some(2 | 3 | 8 | 9)) && (11 - sum % 11) % 11 == *check;
        fits.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrgNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for OrgNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persons_number_is_eleven_digits_and_never_shown() {
        let number = PersonNumber::parse("12837512040").unwrap();
        assert_eq!(format!("{number:?} {:?}", HprNumber::parse("990000101").unwrap()), "PersonNumber(…) HprNumber(…)");
        assert!(!number.is_d_number() && PersonNumber::parse("42829318363").unwrap().is_d_number());
        for wrong in ["", "1283751204", "128375120400", "1283751204x", "１2837512040"] {
            assert!(PersonNumber::parse(wrong).is_none(), "{wrong}");
        }
        assert!(number.is_same(&PersonNumber::parse("12837512040").unwrap()));
        assert!(!number.is_same(&PersonNumber::parse("06849922260").unwrap()));
        assert_eq!(number.keyed(b"k"), PersonNumber::parse("12837512040").unwrap().keyed(b"k"));
        assert_ne!(number.keyed(b"k"), number.keyed(b"l"));
    }

    #[test]
    fn an_hpr_number_is_compared_as_a_number() {
        let number = HprNumber::parse("990000101").unwrap();
        assert!(number.is_same(&HprNumber::parse("000990000101").unwrap()));
        assert!(!number.is_same(&HprNumber::parse("990000102").unwrap()));
        for wrong in ["", "0", "9900x", "1234567890123"] {
            assert!(HprNumber::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn an_organisation_has_a_check_digit() {
        for good in ["310441007", "310441015", "310441023", "310441104", "310441503"] {
            assert!(OrgNumber::parse(good).is_some(), "{good}");
        }
        for wrong in ["310441008", "31044100", "3104410070", "110441007", "31044100a", ""] {
            assert!(OrgNumber::parse(wrong).is_none(), "{wrong}");
        }
    }
}
