//! Proofs of possession, and the nonces that make them fresh. RFC 9449; §2.7, M6.

use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use url::Url;

use super::discovery::takes;
use super::quirks::NonceDemand as Demand;
use super::refusal::{Code, Refusal};
use crate::jose::seal::hmac;
use crate::jose::{Alg, Jwk, JwkError, JwtError, UnverifiedJwt, verify_signature};
use crate::random::Random;
use crate::secret::{Digest, Secret};
use crate::time::UnixTime;

/// What is asked of a proof besides a good signature.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// `POST`
    pub method: &'a str,
    /// The endpoint, absolute and without a query.
    pub url: &'a str,
    /// The token it comes with, at a resource: `ath` must be its digest. RFC 9449 §4.3.
    pub access_token: Option<&'a str>,
    pub now: UnixTime,
    /// How far `iat` may be from now in either direction, in seconds.
    pub skew_s: u32,
    /// How old a proof may be beyond that, in seconds.
    pub life_s: u32,
}

/// A proof that holds. Whether its nonce is good and whether it was seen before is for the caller to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// RFC 7638 thumbprint of its key: `cnf.jkt` of what is issued for it.
    pub jkt: String,
    /// An empty one counts as none (§2.7).
    pub nonce: Option<String>,
    /// What it is remembered by, together with `jkt`.
    pub jti: String,
    /// Until when it could be sent again.
    pub until: UnixTime,
}

/// Why a proof is refused; the text names the member at fault. §2.7.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("Missing DPoP proof value.")]
    Missing,
    #[error("More than one DPoP proof.")]
    Several,
    #[error("Malformed DPoP token.")]
    Malformed,
    #[error("Invalid 'typ' value.")]
    Typ,
    #[error("Invalid 'alg' value.")]
    Alg,
    #[error("Invalid 'jwk' value.")]
    Jwk,
    #[error("'jwk' value contains a private key.")]
    PrivateKey,
    #[error("Invalid signature on DPoP token.")]
    Signature,
    #[error("Invalid 'jti' value.")]
    Jti,
    #[error("Invalid 'htm' value.")]
    Htm,
    #[error("Invalid 'htu' value.")]
    Htu,
    #[error("Invalid 'ath' value.")]
    Ath,
    #[error("Missing 'iat' value.")]
    IatMissing,
    #[error("Invalid 'iat' value.")]
    Iat,
    #[error("Detected DPoP proof token replay.")]
    Replayed,
    /// A fault: whatever text was asked for.
    #[error("{0}")]
    Asked(String),
}

impl From<ProofError> for Refusal {
    fn from(reason: ProofError) -> Self {
        Self::new(Code::InvalidDpopProof, reason.to_string())
    }
}

/// Checks everything about a proof that does not need memory, in the order of §2.7.
///
/// # Errors
/// [`ProofError`]
pub fn check(proof: &str, ask: &Ask<'_>) -> Result<Proof, ProofError> {
    // The header is read as JSON, so that an escaped `dpop\u002Bjwt` is what it says (§2.7).
    let header = header(proof).ok_or(ProofError::Malformed)?;
    if header.get("typ").and_then(Value::as_str) != Some("dpop+jwt") {
        return Err(ProofError::Typ);
    }
    // dpop_signing_alg_values_supported
    let alg = header.get("alg").and_then(Value::as_str).and_then(Alg::parse).filter(|alg| takes(*alg)).ok_or(ProofError::Alg)?;
    let key = Jwk::parse(header.get("jwk").ok_or(ProofError::Jwk)?).map_err(|wrong| match wrong {
        JwkError::Private(_) => ProofError::PrivateKey,
        JwkError::Malformed
        | JwkError::NotASet
        | JwkError::Symmetric
        | JwkError::Kind
        | JwkError::Algorithm
        | JwkError::Use
        | JwkError::Rsa
        | JwkError::Point
        | JwkError::NoKid
        | JwkError::DuplicateKid => ProofError::Jwk,
    })?;
    if !key.fits(alg) {
        return Err(ProofError::Alg);
    }
    let jwt = UnverifiedJwt::parse(proof).map_err(|_| ProofError::Malformed)?;
    let claims = verify_signature(jwt, &key).map_err(|wrong| if wrong == JwtError::Signature { ProofError::Signature } else { ProofError::Alg })?;
    let text = |name| claims.get(name).and_then(Value::as_str);
    let jti = text("jti").filter(|jti| !jti.is_empty() && jti.len() <= 255).ok_or(ProofError::Jti)?;
    if text("htm") != Some(ask.method) {
        return Err(ProofError::Htm);
    }
    if !text("htu").is_some_and(|htu| same_place(htu, ask.url)) {
        return Err(ProofError::Htu);
    }
    if let Some(token) = ask.access_token
        && text("ath") != Some(Digest::of(token.as_bytes()).text().as_str())
    {
        return Err(ProofError::Ath);
    }
    let iat = claims.get("iat").ok_or(ProofError::IatMissing)?.as_i64().ok_or(ProofError::Iat)?;
    let (skew, life) = (i64::from(ask.skew_s), i64::from(ask.life_s));
    let until = UnixTime(iat.saturating_add(skew).saturating_add(life));
    if ask.now > until || iat.saturating_sub(skew) > ask.now.0 {
        return Err(ProofError::Iat);
    }
    let nonce = match claims.get("nonce") {
        None => None,
        // Something that is no text is a nonce we never gave.
        Some(value) => value.as_str().map_or(Some("?"), |text| Some(text).filter(|text| !text.is_empty())).map(str::to_owned),
    };
    let jkt = key.thumbprint();
    Ok(Proof { jkt, nonce, jti: jti.to_owned(), until: UnixTime(until.0.saturating_add(1)) })
}

fn header(proof: &str) -> Option<Map<String, Value>> {
    let first = proof.split('.').next().filter(|first| first.len() <= crate::jose::jwt::MAX_BYTES)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(first).ok()?).ok()
}

/// Scheme, host, port and path agree, and `htu` has no query or fragment. RFC 9449 §4.3, RFC 3986 §6.2.2.
fn same_place(htu: &str, url: &str) -> bool {
    // As it stands, first: it is the common case, and needs no parsing.
    htu == url || matches!((Url::parse(htu), Url::parse(url)), (Ok(htu), Ok(url)) if htu == url && !htu.as_str().contains(['?', '#']))
}

/// Nonces: a time under a seal, so that nothing needs remembering. §2.7.
pub struct Nonces {
    key: Secret<Vec<u8>>,
    asked: AtomicU32,
}

/// What becomes of the nonce of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// It is good; `worn`: past half its life, so that a new one is sent along.
    Good { worn: bool },
    /// It is not, but none was asked for.
    NotNeeded,
    /// A new one is needed: `use_dpop_nonce`.
    Needed,
}

impl Nonces {
    pub fn new(random: &dyn Random) -> Self {
        let mut key = vec![0; 32];
        random.fill(&mut key);
        Self { key: Secret::new(key), asked: AtomicU32::new(0) }
    }

    /// A nonce of this moment.
    pub fn issue(&self, now: UnixTime, random: &dyn Random) -> String {
        let mut bytes = [0; 48];
        let (time, rest) = bytes.split_at_mut(8);
        let (salt, mac) = rest.split_at_mut(8);
        time.copy_from_slice(&now.0.to_be_bytes());
        random.fill(salt);
        mac.copy_from_slice(&hmac(self.key.expose(), &[b"nonce", time, salt]));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// When a nonce was issued, if it was.
    fn issued(&self, nonce: &str) -> Option<UnixTime> {
        let bytes: [u8; 48] = URL_SAFE_NO_PAD.decode(nonce).ok()?.try_into().ok()?;
        let (time, rest) = bytes.split_at(8);
        let (salt, mac) = rest.split_at(8);
        // Compared as digests are, in constant time.
        let same = Digest::of(mac) == Digest::of(&hmac(self.key.expose(), &[b"nonce", time, salt]));
        same.then_some(UnixTime(i64::from_be_bytes(time.try_into().ok()?)))
    }

    /// Judges the nonce of a proof; `life_s`: how old one may be, in seconds.
    pub fn judge(&self, nonce: Option<&str>, demand: Demand, life_s: u32, now: UnixTime) -> Fresh {
        let age = nonce.and_then(|nonce| self.issued(nonce)).map(|issued| now.since(issued));
        match (age, demand) {
            (Some(age), Demand::Always | Demand::Never | Demand::EveryN(_)) if (0..=i64::from(life_s)).contains(&age) => {
                Fresh::Good { worn: age.saturating_mul(2) > i64::from(life_s) }
            }
            (_, Demand::Always) => Fresh::Needed,
            (_, Demand::Never) => Fresh::NotNeeded,
            (_, Demand::EveryN(n)) => {
                let before = self.asked.fetch_add(1, Ordering::Relaxed);
                if before.wrapping_add(1) % n == 0 { Fresh::Needed } else { Fresh::NotNeeded }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::SigningKey;
    use crate::random::SeededRandom;

    const URL: &str = "https://helseid-mock.example.no/connect/token";
    const NOW: UnixTime = UnixTime(1_790_000_000);
    const ASK: Ask<'static> = Ask { method: "POST", url: URL, access_token: None, now: NOW, skew_s: 300, life_s: 1 };

    fn key() -> &'static SigningKey {
        static KEY: std::sync::LazyLock<SigningKey> = std::sync::LazyLock::new(|| SigningKey::generate(Alg::ES256).unwrap());
        &KEY
    }

    fn public() -> Value {
        key().public_jwk().to_value()
    }

    fn proof(change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": public()});
        let mut claims = json!({"jti": "one", "htm": "POST", "htu": URL, "iat": NOW.0});
        change(&mut header, &mut claims);
        key().sign_with_header(&header, &claims).unwrap()
    }

    fn remove(value: &mut Value, name: &str) {
        value.as_object_mut().unwrap().remove(name);
    }

    #[test]
    fn a_good_proof_tells_its_key() {
        let good = check(&proof(|_, _| {}), &ASK).unwrap();
        assert_eq!((good.jkt, good.nonce, good.until), (key().public_jwk().thumbprint(), None, UnixTime(NOW.0 + 302)));
        assert_eq!(check(&proof(|_, c| c["nonce"] = json!("")), &ASK).unwrap().nonce, None, "an empty nonce is none");
        assert_eq!(check(&proof(|_, c| c["nonce"] = json!("n")), &ASK).unwrap().nonce.as_deref(), Some("n"));
        assert_eq!(check(&proof(|_, c| c["nonce"] = json!(7)), &ASK).unwrap().nonce.as_deref(), Some("?"));
        assert!(check(&proof(|h, _| h["kid"] = json!("any")), &ASK).is_ok());
        assert!(check(&proof(|_, c| c["htu"] = json!("HTTPS://helseid-mock.example.no:443/connect/token")), &ASK).is_ok(), "the same URL in other words");
    }

    /// §2.7: .NET clients escape the plus sign.
    #[test]
    fn an_escaped_typ_is_what_it_says() {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
        let header = format!(r#"{{"typ":"dpop\u002Bjwt","alg":"ES256","jwk":{jwk}}}"#);
        let claims = json!({"jti": "one", "htm": "POST", "htu": URL, "iat": NOW.0, "nonce": ""}).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes()).unwrap();
        let proof = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
        assert_eq!(check(&proof, &ASK).map(|proof| proof.nonce), Ok(None));
    }

    #[test]
    fn each_member_at_fault_is_named() {
        use ProofError as E;
        type Change = fn(&mut Value, &mut Value);
        let rows: &[(&str, Change, ProofError)] = &[
            ("typ", |h, _| h["typ"] = json!("JWT"), E::Typ),
            ("no typ", |h, _| remove(h, "typ"), E::Typ),
            ("alg none", |h, _| h["alg"] = json!("none"), E::Alg),
            ("alg HS256", |h, _| h["alg"] = json!("HS256"), E::Alg),
            ("no alg", |h, _| remove(h, "alg"), E::Alg),
            ("alg of another key", |h, _| h["alg"] = json!("RS256"), E::Alg),
            ("no jwk", |h, _| remove(h, "jwk"), E::Jwk),
            ("symmetric jwk", |h, _| h["jwk"] = json!({"kty": "oct", "k": "AAAA"}), E::Jwk),
            ("private jwk", |h, _| h["jwk"] = key().to_private_jwk().unwrap(), E::PrivateKey),
            ("another jwk", |h, _| h["jwk"] = SigningKey::generate(Alg::ES256).unwrap().public_jwk().to_value(), E::Signature),
            ("no jti", |_, c| remove(c, "jti"), E::Jti),
            ("empty jti", |_, c| c["jti"] = json!(""), E::Jti),
            ("no htm", |_, c| remove(c, "htm"), E::Htm),
            ("htm", |_, c| c["htm"] = json!("GET"), E::Htm),
            ("htm in small letters", |_, c| c["htm"] = json!("post"), E::Htm),
            ("no htu", |_, c| remove(c, "htu"), E::Htu),
            ("htu", |_, c| c["htu"] = json!("https://helseid-mock.example.no/connect/par"), E::Htu),
            ("query in htu", |_, c| c["htu"] = json!(format!("{URL}?x=1")), E::Htu),
            ("fragment in htu", |_, c| c["htu"] = json!(format!("{URL}#x")), E::Htu),
            ("no iat", |_, c| remove(c, "iat"), E::IatMissing),
            ("iat as text", |_, c| c["iat"] = json!("1790000000"), E::Iat),
            ("iat past", |_, c| c["iat"] = json!(NOW.0 - 302), E::Iat),
            ("iat future", |_, c| c["iat"] = json!(NOW.0 + 301), E::Iat),
            ("crit", |h, _| h["crit"] = json!(["x"]), E::Malformed),
        ];
        for (what, change, why) in rows {
            assert_eq!(check(&proof(change), &ASK).unwrap_err(), *why, "{what}");
        }
        for at in [NOW.0 - 301, NOW.0 + 300] {
            assert!(check(&proof(|_, c| c["iat"] = json!(at)), &ASK).is_ok(), "{at}");
        }
        for garbage in ["", "x", "a.b.c", "..", "bnVsbA..", "e30.e30.e30"] {
            assert!(matches!(check(garbage, &ASK), Err(E::Malformed | E::Typ)), "{garbage}");
        }
        let broken = {
            let good = proof(|_, _| {});
            format!("{}AA", &good[..good.len() - 2])
        };
        assert_eq!(check(&broken, &ASK), Err(E::Signature));
    }

    #[test]
    fn at_a_resource_the_token_is_named() {
        let ask = Ask { access_token: Some("token"), ..ASK };
        let ath = Digest::of(b"token").text();
        assert!(check(&proof(|_, c| c["ath"] = json!(ath)), &ask).is_ok());
        assert_eq!(check(&proof(|_, _| {}), &ask), Err(ProofError::Ath));
        assert_eq!(check(&proof(|_, c| c["ath"] = json!("x")), &ask), Err(ProofError::Ath));
    }

    #[test]
    fn a_nonce_ages_and_nobody_else_can_make_one() {
        let random = SeededRandom::new(1);
        let nonces = Nonces::new(&random);
        let nonce = nonces.issue(NOW, &random);
        let judge = |nonce: Option<&str>, seconds: i64| nonces.judge(nonce, Demand::Always, 15, UnixTime(NOW.0 + seconds));
        assert_eq!(judge(Some(&nonce), 0), Fresh::Good { worn: false });
        assert_eq!(judge(Some(&nonce), 8), Fresh::Good { worn: true });
        assert_eq!(judge(Some(&nonce), 15), Fresh::Good { worn: true });
        assert_eq!(judge(Some(&nonce), 16), Fresh::Needed);
        assert_eq!(judge(Some(&nonce), -1), Fresh::Needed, "from the future");
        assert_eq!(judge(None, 0), Fresh::Needed);
        let foreign = Nonces::new(&random).issue(NOW, &random);
        assert_eq!(judge(Some(&foreign), 0), Fresh::Needed);
        assert_eq!(judge(Some("x"), 0), Fresh::Needed);
        assert_ne!(nonces.issue(NOW, &random), nonce);
    }

    #[test]
    fn a_nonce_is_asked_for_as_often_as_was_said() {
        let random = SeededRandom::new(2);
        let nonces = Nonces::new(&random);
        let ask = |demand| nonces.judge(None, demand, 15, NOW);
        let every = |n| Demand::EveryN(std::num::NonZeroU32::new(n).unwrap());
        assert_eq!([(); 6].map(|()| ask(every(3)) == Fresh::Needed), [false, false, true, false, false, true]);
        assert_eq!(ask(Demand::Never), Fresh::NotNeeded);
        let good = nonces.issue(NOW, &random);
        assert_eq!(nonces.judge(Some(&good), every(1), 15, NOW), Fresh::Good { worn: false });
    }
}
