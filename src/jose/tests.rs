//! Signing and verifying together: every algorithm both ways, and everything that must be refused.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::*;
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime(1_790_000_000);
const ISSUER: &str = "https://auth.example";
const AUDIENCE: &str = "https://fhir.example";

/// One key per algorithm; the RSA ones share a pair, which is slow to make.
fn key(alg: Alg) -> &'static SigningKey {
    static KEYS: LazyLock<HashMap<Alg, SigningKey>> = LazyLock::new(|| {
        let rsa = SigningKey::generate(Alg::RS256).unwrap().to_pkcs8_der().unwrap();
        let make = |alg: Alg| match alg.kind() {
            KeyKind::Rsa => SigningKey::from_pkcs8_der(rsa.expose(), alg).unwrap(),
            KeyKind::P256 | KeyKind::P384 | KeyKind::Ed25519 => SigningKey::generate(alg).unwrap(),
        };
        Alg::ALL.iter().map(|alg| (*alg, make(*alg))).collect()
    });
    &KEYS[&alg]
}

fn set(keys: &[&Jwk]) -> JwkSet {
    JwkSet { keys: keys.iter().map(|key| (*key).clone()).collect() }
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "app", "iat": NOW.0, "exp": NOW.0 + 300, "jti": "1" })
}

fn expect() -> Expect<'static> {
    Expect { issuer: Some(ISSUER), audiences: &[AUDIENCE], typ: &["at+jwt"], algs: Alg::ALL, max_ahead: Some(Duration::from_secs(310)), ..Expect::default() }
}

fn check(token: &str, keys: &JwkSet, expect: &Expect<'_>) -> Result<Value, JwtError> {
    verify::<Value>(&UnverifiedJwt::parse(token)?, keys, expect, NOW).map(Verified::into_claims)
}

/// Signs `claims` with the ES256 key and checks the result.
fn judge(claims: &Value, expect: &Expect<'_>) -> Result<Value, JwtError> {
    let key = key(Alg::ES256);
    check(&key.sign("at+jwt", claims).unwrap(), &set(&[key.public_jwk()]), expect)
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// A token with any header, payload and signature.
fn forge(header: &str, payload: &str, signature: &[u8]) -> String {
    format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(signature))
}

fn header_of(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap()
}

#[test]
fn each_algorithm_signs_what_it_verifies_and_nothing_else() {
    for &alg in Alg::ALL {
        let token = key(alg).sign("at+jwt", &claims()).unwrap();
        assert_eq!(header_of(&token), json!({ "typ": "at+jwt", "alg": alg.as_str(), "kid": key(alg).kid() }));
        assert_eq!(check(&token, &set(&[key(alg).public_jwk()]), &expect()), Ok(claims()), "{alg}");
        assert_eq!(check(&token, &set(&[key(alg).public_jwk()]), &Expect { algs: &[], ..expect() }), Err(JwtError::Algorithm), "{alg} where none is allowed");

        let stranger = set(&[SigningKey::generate(Alg::ES384).unwrap().public_jwk(), SigningKey::generate(Alg::ES256).unwrap().public_jwk()]);
        assert_eq!(check(&token, &stranger, &expect()), Err(JwtError::UnknownKey), "{alg} with keys of others");

        let mut same_name = SigningKey::generate(if alg.family() == "RSA" { Alg::RS256 } else { alg }).unwrap().public_jwk().to_value();
        same_name["kid"] = json!(key(alg).kid());
        same_name["alg"] = json!(alg.as_str());
        assert_eq!(check(&token, &set(&[&Jwk::parse(&same_name).unwrap()]), &expect()), Err(JwtError::Signature), "{alg} with another key of that name");
    }
}

/// RFC 7515 §A.2 and §A.3: tokens that others signed.
#[test]
fn the_published_examples_verify() {
    let rows = [
        (
            json!({ "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" }),
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }),
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ];
    for (jwk, token) in rows {
        let jwt = UnverifiedJwt::parse(token).unwrap();
        assert_eq!(jwt.issuer_hint(), Some("joe"));
        let keys = JwkSet::parse(&json!({ "keys": [jwk] })).unwrap();
        let expect = Expect { issuer: Some("joe"), algs: Alg::ALL, ..Expect::default() };
        assert!(verify::<Value>(&jwt, &keys, &expect, UnixTime(1_300_819_379)).is_ok());
        assert_eq!(verify::<Value>(&jwt, &keys, &expect, UnixTime(1_300_819_380)).unwrap_err(), JwtError::Expired);
    }
}

/// RFC 8037 §A.4: Ed25519 has no randomness, so the very signature is published.
#[test]
fn the_published_ed25519_signature_is_ours() {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let key = SigningKey::from_private_jwk(&jwk).unwrap();
    let published =
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let (signed, signature) = published.rsplit_once('.').unwrap();
    let made = key.signer().sign(signed.as_bytes()).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(made), signature);
}

/// What a hardware module would be: it has the private half, we have three functions.
struct Device {
    inside: SigningKey,
    broken: bool,
}

impl Signer for Device {
    fn alg(&self) -> Alg {
        self.inside.alg()
    }

    fn public_jwk(&self) -> &Jwk {
        self.inside.public_jwk()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        if self.broken { Err(SignError("the slot is empty".to_owned())) } else { self.inside.signer().sign(message) }
    }
}

#[test]
fn a_key_that_is_elsewhere_signs_like_any_other_and_does_not_come_out() {
    let device = |broken| SigningKey::held_by(std::sync::Arc::new(Device { inside: key(Alg::EdDSA).clone(), broken }));
    let held = device(false);
    assert_eq!((held.kid(), held.public_jwk()), (key(Alg::EdDSA).kid(), key(Alg::EdDSA).public_jwk()));
    let token = held.sign("at+jwt", &claims()).unwrap();
    assert_eq!(check(&token, &set(&[held.public_jwk()]), &expect()), Ok(claims()));
    assert!(matches!(held.to_pkcs8_der(), Err(KeyError::Held)));
    assert!(matches!(held.to_private_jwk(), Err(KeyError::Held)));
    assert!(matches!(device(true).sign("at+jwt", &claims()), Err(KeyError::Sign(_))), "a device that fails fails the call, and nothing else");
}

#[test]
fn a_key_survives_pkcs8_and_private_jwk() {
    for &alg in Alg::ALL {
        let der = key(alg).to_pkcs8_der().unwrap();
        let from_der = SigningKey::from_pkcs8_der(der.expose(), alg).unwrap();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64::engine::general_purpose::STANDARD.encode(der.expose()));
        let from_pem = SigningKey::from_pkcs8_pem(&pem, alg).unwrap();
        let jwk = key(alg).to_private_jwk().unwrap();
        let from_jwk = SigningKey::from_private_jwk(&jwk).unwrap();
        let members = match alg.kind() {
            KeyKind::Rsa => &["n", "e", "d", "p", "q", "dp", "dq", "qi"][..],
            KeyKind::P256 | KeyKind::P384 => &["crv", "x", "y", "d"],
            KeyKind::Ed25519 => &["crv", "x", "d"],
        };
        for name in members {
            assert!(jwk.get(name).is_some(), "{alg} {name}");
            assert!(SigningKey::from_private_jwk(&without(jwk.clone(), name)).is_err(), "{alg} without {name}");
        }
        assert_eq!(Jwk::parse(&jwk).unwrap_err(), JwkError::Private("d"), "a private key is never taken for a public one");
        for copy in [from_der, from_pem, from_jwk] {
            assert_eq!(copy.public_jwk(), key(alg).public_jwk());
            assert_eq!(copy.kid(), thumbprint(key(alg).public_jwk()));
            let token = copy.sign("at+jwt", &claims()).unwrap();
            assert_eq!(check(&token, &set(&[key(alg).public_jwk()]), &expect()), Ok(claims()));
        }
    }
    assert_eq!(SigningKey::from_private_jwk(&with(key(Alg::ES256).to_private_jwk().unwrap(), "kid", json!("mine"))).unwrap().kid(), "mine");
}

#[test]
fn private_keys_that_are_none() {
    let (ec, rsa) = (key(Alg::ES256).to_pkcs8_der().unwrap(), key(Alg::RS256).to_pkcs8_der().unwrap());
    for (der, alg) in [(&ec, Alg::ES384), (&ec, Alg::RS256), (&rsa, Alg::ES256)] {
        assert!(matches!(SigningKey::from_pkcs8_der(der.expose(), alg), Err(KeyError::Pkcs8(_))), "{alg}");
    }
    assert!(matches!(SigningKey::from_pkcs8_pem("-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----", Alg::RS256), Err(KeyError::Pem)));
    let jwk = key(Alg::ES256).to_private_jwk().unwrap();
    let other = key(Alg::ES384).to_private_jwk().unwrap();
    for wrong in
        [with(jwk.clone(), "alg", json!("ES384")), with(jwk.clone(), "d", other["d"].clone()), with(jwk.clone(), "x", jwk["y"].clone()), json!(null), json!([])]
    {
        assert!(SigningKey::from_private_jwk(&wrong).is_err(), "{wrong}");
    }
    let short = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
    let short = rsa::pkcs8::EncodePrivateKey::to_pkcs8_der(&short).unwrap();
    assert!(matches!(SigningKey::from_pkcs8_der(short.as_bytes(), Alg::RS256), Err(KeyError::Pkcs8(_) | KeyError::Public(JwkError::Rsa))));
    // The right length, and still the private key of someone else.
    let stranger = SigningKey::generate(Alg::ES256).unwrap().to_private_jwk().unwrap();
    assert!(SigningKey::from_private_jwk(&with(jwk, "d", stranger["d"].clone())).is_err());
    assert!(!format!("{:?}", key(Alg::ES256)).contains(other["d"].as_str().unwrap()));
}

/// RFC 8725 §2.1: the public key, known to all, taken as a shared secret.
#[test]
fn algorithm_confusion_is_refused() {
    let public = key(Alg::RS256).public_jwk();
    let secrets = [public.to_value().to_string(), public.to_value()["n"].as_str().unwrap().to_owned()];
    for secret in secrets {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        header.kid = Some(key(Alg::RS256).kid().to_owned());
        let token = jsonwebtoken::encode(&header, &claims(), &jsonwebtoken::EncodingKey::from_secret(secret.as_bytes())).unwrap();
        assert_eq!(UnverifiedJwt::parse(&token).err(), Some(JwtError::Algorithm));
    }
    for alg in ["none", "None", "nOnE", "HS256", "HS512", "", "RSA1_5"] {
        let token = forge(&json!({ "alg": alg }).to_string(), &claims().to_string(), b"");
        assert_eq!(UnverifiedJwt::parse(&token).err(), Some(JwtError::Algorithm), "{alg}");
    }
}

/// RFC 7518 §3.4: r and s side by side, 96 bytes.
#[test]
fn an_es384_signature_in_der_is_refused() {
    let signer = key(Alg::ES384);
    let token = signer.sign("at+jwt", &claims()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(signature).unwrap().len(), 96);
    let der = signer.to_pkcs8_der().unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, der.expose()).unwrap();
    let asn1 = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes()).unwrap();
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(asn1.as_ref()));
    assert_eq!(check(&token, &set(&[signer.public_jwk()]), &expect()), Err(JwtError::Signature));
}

#[test]
fn the_key_decides_the_algorithm_not_the_header() {
    // The same RSA pair, published for RS256; the token says PS256 and is rightly signed with it.
    let mut header = header_of(&key(Alg::PS256).sign("at+jwt", &claims()).unwrap());
    header["kid"] = json!(key(Alg::RS256).kid());
    let token = key(Alg::PS256).sign_with_header(&header, &claims()).unwrap();
    assert_eq!(check(&token, &set(&[key(Alg::RS256).public_jwk()]), &expect()), Err(JwtError::Algorithm));
    // A header that names another algorithm of the same type than the one that signed.
    let open = Jwk::parse(&without(key(Alg::RS256).public_jwk().to_value(), "alg")).unwrap();
    header["alg"] = json!("RS384");
    let token = key(Alg::PS256).sign_with_header(&header, &claims()).unwrap();
    assert_eq!(check(&token, &set(&[&open]), &expect()), Err(JwtError::Signature));
}

/// RFC 8725 §3.10: what a header points to is the sender's, not ours.
#[test]
fn keys_in_the_header_are_never_trusted() {
    let thief = SigningKey::generate(Alg::ES256).unwrap();
    let header = json!({
        "alg": "ES256", "typ": "at+jwt", "kid": key(Alg::ES256).kid(), "jwk": thief.public_jwk(),
        "x5u": "https://evil.example/chain", "x5c": ["MIIB"], "jku": "https://evil.example/jwks"
    });
    let token = thief.sign_with_header(&header, &claims()).unwrap();
    let ours = set(&[key(Alg::ES256).public_jwk()]);
    assert_eq!(check(&token, &ours, &expect()), Err(JwtError::Signature));
    let jwt = UnverifiedJwt::parse(&token).unwrap();
    assert_eq!(jwt.jku(), Some("https://evil.example/jwks"), "for comparing with what is registered");
    assert_eq!(jwt.proof_key().unwrap_err(), JwtError::Type, "only a DPoP proof speaks for its own key");
}

#[test]
fn a_proof_speaks_for_its_own_public_key() {
    let own = key(Alg::ES256);
    let proof = |jwk: Value| own.sign_with_header(&json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk }), &json!({ "jti": "1" })).unwrap();
    let token = proof(own.public_jwk().to_value());
    let jwt = UnverifiedJwt::parse(&token).unwrap();
    let inside = jwt.proof_key().unwrap();
    assert_eq!(inside.thumbprint(), own.kid());
    let expect = Expect { typ: &["dpop+jwt"], algs: &[Alg::ES256], expiry: Expiry::Optional, ..Expect::default() };
    let unnamed = Jwk::parse(&without(inside.to_value(), "kid")).unwrap();
    assert!(verify::<Value>(&jwt, &JwkSet { keys: vec![unnamed] }, &expect, NOW).is_ok());
    for wrong in [own.to_private_jwk().unwrap(), key(Alg::ES384).public_jwk().to_value(), json!({ "kty": "oct", "k": "AA" }), json!(null)] {
        assert_eq!(UnverifiedJwt::parse(&proof(wrong)).unwrap().proof_key().unwrap_err(), JwtError::UnknownKey);
    }
}

#[test]
fn tampering_shows() {
    let signer = key(Alg::ES256);
    let keys = set(&[signer.public_jwk()]);
    let token = signer.sign("at+jwt", &claims()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let other = signer.sign("at+jwt", &with(claims(), "sub", json!("admin"))).unwrap();
    let other: Vec<&str> = other.split('.').collect();
    assert_eq!(check(&format!("{}.{}.{}", parts[0], other[1], parts[2]), &keys, &expect()), Err(JwtError::Signature));
    assert_eq!(check(&format!("{}.{}.", parts[0], parts[1]), &keys, &expect()), Err(JwtError::Signature));
    let mut header = header_of(&token);
    header["extra"] = json!(1);
    let header = URL_SAFE_NO_PAD.encode(header.to_string());
    assert_eq!(check(&format!("{header}.{}.{}", parts[1], parts[2]), &keys, &expect()), Err(JwtError::Signature));
    assert_eq!(check(&token, &set(&[signer.public_jwk(), signer.public_jwk()]), &expect()), Err(JwtError::AmbiguousKey), "SAL-105");
}

#[test]
fn what_is_not_a_jwt() {
    let good = claims().to_string();
    let es = r#"{"alg":"ES256"}"#;
    let ok = forge(es, &good, b"s");
    assert!(UnverifiedJwt::parse(&ok).is_ok());
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(33_000));
    let rows = [
        ("nothing", String::new(), JwtError::Malformed),
        ("two parts", "e30.e30".to_owned(), JwtError::Malformed),
        ("four parts", format!("{ok}.e30"), JwtError::Malformed),
        ("five parts, a JWE", format!("{ok}.e30.e30"), JwtError::Malformed),
        ("padding", ok.replace('.', "=."), JwtError::Malformed),
        ("white space", format!(" {ok}"), JwtError::Malformed),
        ("a line end", format!("{ok}\n"), JwtError::Malformed),
        ("the other alphabet", format!("{}.{}.+/+/", URL_SAFE_NO_PAD.encode(es), URL_SAFE_NO_PAD.encode(&good)), JwtError::Malformed),
        ("loose last bits", format!("{}.{}.AB", URL_SAFE_NO_PAD.encode(es), URL_SAFE_NO_PAD.encode(&good)), JwtError::Malformed),
        ("header is an array", forge(r#"["ES256"]"#, &good, b"s"), JwtError::Malformed),
        ("payload is a text", forge(es, "\"claims\"", b"s"), JwtError::Malformed),
        ("payload is not JSON", forge(es, "{", b"s"), JwtError::Malformed),
        ("no algorithm", forge("{}", &good, b"s"), JwtError::Malformed),
        ("algorithm is a number", forge(r#"{"alg":256}"#, &good, b"s"), JwtError::Malformed),
        ("kid is a number", forge(r#"{"alg":"ES256","kid":1}"#, &good, b"s"), JwtError::Malformed),
        ("typ is null", forge(r#"{"alg":"ES256","typ":null}"#, &good, b"s"), JwtError::Malformed),
        ("algorithm twice", forge(r#"{"alg":"ES256","alg":"ES256"}"#, &good, b"s"), JwtError::Malformed),
        ("sub twice", forge(es, r#"{"sub":"a","sub":"b"}"#, b"s"), JwtError::Malformed),
        ("sub twice, once in disguise", forge(es, r#"{"sub":"a","su\u0062":"b"}"#, b"s"), JwtError::Malformed),
        ("an extension", forge(r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, &good, b"s"), JwtError::Crit),
        ("an empty list of extensions", forge(r#"{"alg":"ES256","crit":[]}"#, &good, b"s"), JwtError::Crit),
        ("too long", forge(es, &long, b"s"), JwtError::Malformed),
    ];
    for (what, token, why) in rows {
        assert_eq!(UnverifiedJwt::parse(&token).err(), Some(why), "{what}");
    }
}

#[test]
fn refused_claims() {
    let rows = [
        ("another issuer", with(claims(), "iss", json!("https://auth.example/")), JwtError::Issuer),
        ("several issuers", with(claims(), "iss", json!([ISSUER])), JwtError::Issuer),
        ("no issuer", without(claims(), "iss"), JwtError::Missing("iss")),
        ("another audience", with(claims(), "aud", json!("https://other.example")), JwtError::Audience),
        ("an audience that begins like ours", with(claims(), "aud", json!("https://fhir.example/")), JwtError::Audience),
        ("audiences without us", with(claims(), "aud", json!(["a", "b"])), JwtError::Audience),
        ("an empty list of audiences", with(claims(), "aud", json!([])), JwtError::Audience),
        ("an audience that is no text", with(claims(), "aud", json!([AUDIENCE, 1])), JwtError::Audience),
        ("no audience", without(claims(), "aud"), JwtError::Missing("aud")),
        ("expired", with(claims(), "exp", json!(NOW.0)), JwtError::Expired),
        ("expired in the middle ages", with(claims(), "exp", json!(i64::MIN)), JwtError::Expired),
        ("too far ahead", with(claims(), "exp", json!(NOW.0 + 311)), JwtError::TooLong),
        ("for ever", with(claims(), "exp", json!(i64::MAX)), JwtError::TooLong),
        ("beyond numbers", with(claims(), "exp", serde_json::from_str("1e400").unwrap_or(Value::Null)), JwtError::Claims),
        ("no expiry", without(claims(), "exp"), JwtError::Missing("exp")),
        ("expiry in words", with(claims(), "exp", json!("1790000300")), JwtError::Claims),
        ("expiry null", with(claims(), "exp", json!(null)), JwtError::Claims),
        ("issued in the future", with(claims(), "iat", json!(NOW.0 + 11)), JwtError::NotYet),
        ("not yet", with(claims(), "nbf", json!(NOW.0 + 11)), JwtError::NotYet),
        ("not before in words", with(claims(), "nbf", json!("now")), JwtError::Claims),
    ];
    for (what, claims, why) in rows {
        assert_eq!(judge(&claims, &expect()), Err(why), "{what}");
    }
}

#[test]
fn accepted_claims() {
    let rows = [
        ("one second left", with(claims(), "exp", json!(NOW.0 + 1))),
        ("the last second allowed", with(claims(), "exp", json!(NOW.0 + 310))),
        ("a fraction of a second", with(claims(), "exp", json!(NOW.0 as f64 + 1.5))),
        ("a clock 10 s ahead", with(with(claims(), "iat", json!(NOW.0 + 10)), "nbf", json!(NOW.0 + 10))),
        ("no iat", without(claims(), "iat")),
        ("several audiences", with(claims(), "aud", json!(["https://other.example", AUDIENCE]))),
    ];
    for (what, claims) in rows {
        assert!(judge(&claims, &expect()).is_ok(), "{what}");
    }
    assert!(judge(&with(claims(), "exp", json!(NOW.0 - 59)), &Expect { leeway: Duration::from_secs(60), ..expect() }).is_ok());
    assert_eq!(judge(&with(claims(), "exp", json!(NOW.0 - 60)), &Expect { leeway: Duration::from_secs(60), ..expect() }), Err(JwtError::Expired));
    assert!(judge(&without(claims(), "exp"), &Expect { expiry: Expiry::Optional, ..expect() }).is_ok());
    assert_eq!(judge(&with(claims(), "exp", json!(1)), &Expect { expiry: Expiry::Optional, ..expect() }), Err(JwtError::Expired));
    assert!(judge(&with(claims(), "exp", json!(1)), &Expect { expiry: Expiry::Ignored, ..expect() }).is_ok());
}

/// DESIGN §3, assertion audience.
#[test]
fn forms_of_audience() {
    use AudienceForm as F;
    let rows = [
        (json!(AUDIENCE), [true, true, true]),
        (json!([AUDIENCE]), [true, true, false]),
        (json!([AUDIENCE, "https://other.example"]), [true, false, false]),
        (json!({ "a": AUDIENCE }), [false, false, false]),
    ];
    for (aud, fits) in rows {
        for (form, fits) in [F::AnyOf, F::Single, F::SingleString].into_iter().zip(fits) {
            let got = judge(&with(claims(), "aud", aud.clone()), &Expect { audience_form: form, ..expect() });
            assert_eq!(got.is_ok(), fits, "{aud} as {form:?}");
        }
    }
}

#[test]
fn types() {
    let signer = key(Alg::ES256);
    let keys = set(&[signer.public_jwk()]);
    let judge = |typ: Option<&str>, allowed: &'static [&'static str]| {
        let mut header = json!({ "alg": "ES256" });
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        check(&signer.sign_with_header(&header, &claims()).unwrap(), &keys, &Expect { typ: allowed, ..expect() }).map(|_| ())
    };
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/at+JWT"] {
        assert_eq!(judge(Some(typ), &["at+jwt"]), Ok(()), "{typ}");
        assert_eq!(judge(Some(typ), &["application/at+jwt"]), Ok(()), "{typ}");
        assert_eq!(judge(Some(typ), &["JWT", ""]), Err(JwtError::Type), "{typ}");
    }
    for typ in ["", "JWT", "application/", "application/application/at+jwt", "at+jwt ", "påpåpåpåpåpå"] {
        assert_eq!(judge(Some(typ), &["at+jwt", ""]), Err(JwtError::Type), "{typ:?}");
    }
    assert_eq!(judge(None, &["at+jwt"]), Err(JwtError::Type));
    assert_eq!(judge(None, &["JWT", ""]), Ok(()), "an empty text in the list allows none");
    assert_eq!(judge(None, &[]), Ok(()));
    assert_eq!(judge(Some("anything"), &[]), Ok(()));
}

/// Claims of another crate's shape: flattened members and numbers go together only when read from members, not from text.
#[test]
fn claims_are_read_as_the_type_asked_for() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        exp: UnixTime,
        jti: String,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        iss: String,
        aud: String,
        #[serde(flatten)]
        inner: Inner,
        #[serde(flatten)]
        rest: Map<String, Value>,
    }
    let signer = key(Alg::ES256);
    let said = Outer {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        inner: Inner { exp: UnixTime(NOW.0 + 5), jti: "1".to_owned() },
        rest: json!({ "n": 1 }).as_object().unwrap().clone(),
    };
    let token = signer.sign("at+jwt", &said).unwrap();
    let jwt = UnverifiedJwt::parse(&token).unwrap();
    let keys = set(&[signer.public_jwk()]);
    assert_eq!(verify::<Outer>(&jwt, &keys, &expect(), NOW).unwrap().claims(), &said);
    #[derive(Debug, Deserialize)]
    struct Needs {
        #[expect(dead_code, reason = "only its absence matters")]
        client_id: String,
    }
    assert_eq!(verify::<Needs>(&jwt, &keys, &expect(), NOW).unwrap_err(), JwtError::Claims);
}

#[test]
fn a_type_cannot_break_out_of_the_header() {
    let token = key(Alg::ES256).sign(r#"x","alg":"none"#, &claims()).unwrap();
    assert_eq!(header_of(&token)["typ"], r#"x","alg":"none"#);
    assert_eq!(UnverifiedJwt::parse(&token).unwrap().alg(), Alg::ES256);
}

fn es256_token() -> &'static str {
    static TOKEN: LazyLock<String> = LazyLock::new(|| key(Alg::ES256).sign("at+jwt", &claims()).unwrap());
    &TOKEN
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn parsing_anything_never_panics(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = UnverifiedJwt::parse(&text);
        let _ = UnverifiedJwt::parse(&String::from_utf8_lossy(&bytes));
        let part = URL_SAFE_NO_PAD.encode(&bytes);
        let _ = UnverifiedJwt::parse(&format!("{part}.{part}.{part}"));
        let _ = UnverifiedJwt::parse(&format!("eyJhbGciOiJFUzI1NiJ9.{part}.{part}"));
    }

    /// No single changed, missing or added character of a valid token leaves it valid.
    #[test]
    fn a_mutated_token_is_refused(at in any::<prop::sample::Index>(), with in prop::sample::select(b"ABCXYZaz059-_.=+/ {\"".to_vec()), how in 0..3u8) {
        let good = es256_token();
        let at = at.index(good.len());
        let mut bytes = good.as_bytes().to_vec();
        match how {
            0 => bytes[at] = with,
            1 => { bytes.remove(at); }
            _ => bytes.insert(at, with),
        }
        let mutated = String::from_utf8(bytes).unwrap();
        prop_assume!(mutated != good);
        prop_assert!(check(&mutated, &set(&[key(Alg::ES256).public_jwk()]), &expect()).is_err());
    }

    /// Whatever a rightful issuer signs, verifying it answers.
    #[test]
    fn any_claims_are_judged_without_a_panic(exp in any::<i64>(), iat in any::<f64>(), aud in prop::collection::vec(".{0,5}", 0..3), now in any::<i64>()) {
        let signer = key(Alg::ES256);
        let token = signer.sign("at+jwt", &json!({ "iss": ISSUER, "aud": aud, "exp": exp, "iat": iat })).unwrap();
        let jwt = UnverifiedJwt::parse(&token).unwrap();
        let _ = verify::<Value>(&jwt, &set(&[signer.public_jwk()]), &Expect { audiences: &[], ..expect() }, UnixTime(now));
    }
}

/// A token of ours, as `verify_own` reads it.
#[derive(Debug, Deserialize, PartialEq)]
struct Mine {
    iss: String,
    sub: String,
    iat: UnixTime,
    exp: UnixTime,
}

impl Own for Mine {
    fn issuer(&self) -> &str {
        &self.iss
    }

    fn issued_at(&self) -> UnixTime {
        self.iat
    }

    fn expires_at(&self) -> UnixTime {
        self.exp
    }
}

fn own(claims: &Value, typ: &str, algs: &[Alg]) -> Result<Mine, JwtError> {
    let key = key(Alg::ES256);
    verify_own(&key.sign(typ, claims).unwrap(), ISSUER, &set(&[key.public_jwk()]), "at+jwt", algs, NOW).map(Verified::into_claims)
}

#[test]
fn tokens_of_our_own_are_judged_as_all_are() {
    let told = own(&claims(), "at+jwt", Alg::ALL).unwrap();
    assert_eq!(told, Mine { iss: ISSUER.to_owned(), sub: "app".to_owned(), iat: NOW, exp: NOW + Duration::from_secs(300) });
    for (name, value, wanted) in [
        ("iss", json!("https://auth.example/"), JwtError::Issuer),
        ("exp", json!(NOW.0), JwtError::Expired),
        ("iat", json!(NOW.0 + 11), JwtError::NotYet),
        // What we never write, read as anybody's.
        ("nbf", json!(NOW.0 + 11), JwtError::NotYet),
        ("sub", json!(7), JwtError::Claims),
        ("exp", Value::Null, JwtError::Claims),
    ] {
        assert_eq!(own(&with(claims(), name, value.clone()), "at+jwt", Alg::ALL), Err(wanted), "{name} {value}");
    }
    for (name, value) in [("exp", json!(NOW.0 + 1)), ("iat", json!(NOW.0 + 10)), ("nbf", json!(NOW.0)), ("more", json!("\"nbf\""))] {
        assert!(own(&with(claims(), name, value.clone()), "at+jwt", Alg::ALL).is_ok(), "{name} {value}");
    }
    assert_eq!(own(&claims(), "logout+jwt", Alg::ALL), Err(JwtError::Type));
    assert_eq!(own(&claims(), "at+jwt", &[Alg::RS256]), Err(JwtError::Algorithm));
    let stranger = SigningKey::generate(Alg::ES256).unwrap();
    let token = stranger.sign("at+jwt", &claims()).unwrap();
    assert_eq!(verify_own::<Mine>(&token, ISSUER, &set(&[key(Alg::ES256).public_jwk()]), "at+jwt", Alg::ALL, NOW).unwrap_err(), JwtError::UnknownKey);
    let signed = key(Alg::ES256).sign("at+jwt", &claims()).unwrap();
    let other = format!("{}{}", &signed[..signed.rfind('.').unwrap()], &token[token.rfind('.').unwrap()..]);
    assert_eq!(verify_own::<Mine>(&other, ISSUER, &set(&[key(Alg::ES256).public_jwk()]), "at+jwt", Alg::ALL, NOW).unwrap_err(), JwtError::Signature);
}
