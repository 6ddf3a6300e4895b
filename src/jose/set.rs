//! Sets of public keys, and finding the one that signed. RFC 7517 §5.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alg::Alg;
use super::jwk::{Jwk, JwkError};
use super::verify::JwtError;

/// A set of public keys. RFC 7517 §5. Prints as it is published; deserializing refuses any key that [`Jwk::parse`] refuses,
/// and what comes from outside goes through [`JwkSet::parse`] or [`JwkSet::parse_registered`] instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    pub keys: Vec<Jwk>,
}

impl JwkSet {
    /// A set that was fetched from its owner. Keys we cannot use (another type, use or algorithm, too short, private) are passed
    /// over, as RFC 7517 §5 asks.
    ///
    /// # Errors
    /// [`JwkError::NotASet`].
    pub fn parse(value: &Value) -> Result<Self, JwkError> {
        let keys = value.get("keys").and_then(Value::as_array).ok_or(JwkError::NotASet)?;
        Ok(Self { keys: keys.iter().filter_map(|key| Jwk::parse(key).ok()).collect() })
    }

    /// [`JwkSet::parse`] from the bytes of a response.
    ///
    /// # Errors
    /// [`JwkError::NotASet`].
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, JwkError> {
        Self::parse(&serde_json::from_slice(bytes).map_err(|_| JwkError::NotASet)?)
    }

    /// A set that a client registers: every key must be usable and have a `kid` of its own. SAL-008, SAL-009.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn parse_registered(value: &Value) -> Result<Self, JwkError> {
        let keys = value.get("keys").and_then(Value::as_array).ok_or(JwkError::NotASet)?;
        let keys: Vec<Jwk> = keys.iter().map(Jwk::parse_registered).collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        if keys.iter().all(|key| seen.insert(key.kid())) { Ok(Self { keys }) } else { Err(JwkError::DuplicateKid) }
    }

    /// The one key a token was signed with: with a `kid`, exactly one key of that `kid` and of a type that fits `alg` (SAL-105),
    /// which must then be meant for `alg`; without, exactly one key that fits.
    ///
    /// # Errors
    /// [`JwtError::UnknownKey`], [`JwtError::AmbiguousKey`]; [`JwtError::Algorithm`] where the key is meant for another algorithm.
    pub fn find(&self, kid: Option<&str>, alg: Alg) -> Result<&Jwk, JwtError> {
        let mut fitting = self.keys.iter().filter(|key| match kid {
            Some(kid) => key.kid() == Some(kid) && key.kind().kty() == alg.kind().kty(),
            None => key.fits(alg),
        });
        match (fitting.next(), fitting.next()) {
            (None, _) => Err(JwtError::UnknownKey),
            (Some(_), Some(_)) => Err(JwtError::AmbiguousKey),
            (Some(key), None) if key.fits(alg) => Ok(key),
            (Some(_), None) => Err(JwtError::Algorithm),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::jwk::tests::{ec_key, rsa_key, with, without};
    use super::*;

    /// SAL-008, SAL-009.
    #[test]
    fn registered_keys_have_names_of_their_own() {
        let set = |keys: Value| JwkSet::parse_registered(&json!({ "keys": keys }));
        assert_eq!(set(json!([without(rsa_key(), "kid")])).unwrap_err(), JwkError::NoKid);
        assert_eq!(set(json!([rsa_key(), with(ec_key(), "kid", json!("2011-04-29"))])).unwrap_err(), JwkError::DuplicateKid);
        assert_eq!(set(json!([rsa_key(), ec_key()])).unwrap().keys.len(), 2);
        assert_eq!(JwkSet::parse_registered(&json!([rsa_key()])).unwrap_err(), JwkError::NotASet);
    }

    /// SAL-105.
    #[test]
    fn exactly_one_key_fits() {
        let set = |keys: &[Value]| JwkSet::parse(&json!({ "keys": keys })).unwrap();
        let found = |keys: &[Value], kid: Option<&str>, alg| set(keys).find(kid, alg).map(|key| key.kid().unwrap_or("-").to_owned());

        assert_eq!(found(&[rsa_key(), ec_key()], Some("ec"), Alg::ES256).unwrap(), "ec");
        assert_eq!(found(&[rsa_key(), ec_key()], None, Alg::RS256).unwrap(), "2011-04-29");
        assert_eq!(found(&[rsa_key()], Some("other"), Alg::RS256), Err(JwtError::UnknownKey));
        assert_eq!(found(&[rsa_key()], Some("2011-04-29"), Alg::ES256), Err(JwtError::UnknownKey), "the type does not fit");
        assert_eq!(found(&[ec_key()], Some("ec"), Alg::ES384), Err(JwtError::Algorithm), "the curve does not fit");
        assert_eq!(found(&[rsa_key()], Some("2011-04-29"), Alg::RS384), Err(JwtError::Algorithm), "the key is for RS256");
        assert_eq!(found(&[rsa_key(), rsa_key()], Some("2011-04-29"), Alg::RS256), Err(JwtError::AmbiguousKey));
        assert_eq!(found(&[rsa_key(), with(rsa_key(), "alg", json!("RS384"))], Some("2011-04-29"), Alg::RS256), Err(JwtError::AmbiguousKey));
        assert_eq!(found(&[rsa_key(), with(ec_key(), "kid", json!("2011-04-29"))], Some("2011-04-29"), Alg::RS256).unwrap(), "2011-04-29");
        assert_eq!(found(&[without(rsa_key(), "kid"), rsa_key()], None, Alg::RS256), Err(JwtError::AmbiguousKey));
        assert_eq!(found(&[], None, Alg::RS256), Err(JwtError::UnknownKey));
    }
}
