//! What `helsebro demo --json FILE` writes: where everything answers and with what credentials. DESIGN §2.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::secret::Secret;

/// The demo in one document. Secrets are exposed where it is serialised, and nowhere else: write it to a file of mode 0600 only.
#[derive(Clone, Debug, Serialize)]
pub struct DemoFacts {
    /// The authorization server's issuer URL, without a trailing slash at the root.
    pub issuer: String,
    /// The operations listener.
    pub ops: String,
    #[serde(serialize_with = "exposed")]
    pub ops_token: Secret<String>,
    /// The FHIR base.
    pub fhir: String,
    pub fhir_ops: String,
    /// Left out while no HelseID mock runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helseid: Option<HelseIdFacts>,
    pub epj: String,
    pub app: String,
    /// Left out while no sample API runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_api: Option<String>,
    /// Another system, which knows some of the patients by other ids. Left out while none runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hospital: Option<HospitalFacts>,
    /// By client id.
    pub clients: BTreeMap<String, ClientFacts>,
    pub users: Vec<UserFacts>,
    /// The ready launches. The first two are different people with the same practitioner.
    pub patients: Vec<PatientFacts>,
}

#[derive(Clone, Debug, Serialize)]
pub struct HelseIdFacts {
    pub issuer: String,
    pub admin: String,
    #[serde(serialize_with = "exposed")]
    pub admin_secret: Secret<String>,
}

/// An authorization server beside the first, with a FHIR server of its own.
#[derive(Clone, Debug, Serialize)]
pub struct HospitalFacts {
    pub issuer: String,
    pub fhir: String,
    /// The app that exchanges there, as the first issuer knows it.
    pub portal: ClientFacts,
    /// The hospital's own clients by id; the one that is not `fhir-server` is the same app.
    pub clients: BTreeMap<String, ClientFacts>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ClientFacts {
    pub client_id: String,
    /// `none`, `client_secret_basic`, `client_secret_post` or `private_key_jwt`.
    pub auth: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed_if_any")]
    pub client_secret: Option<Secret<String>>,
    /// The private JWK as JSON text, with `kid` and `alg`; written as an object.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed_json")]
    pub private_jwk: Option<Secret<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct UserFacts {
    pub name: String,
    /// `Practitioner/…`.
    pub fhir_user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helseid_user: Option<String>,
}

/// One ready launch: ids, and the practitioner as a relative reference.
#[derive(Clone, Debug, Serialize)]
pub struct PatientFacts {
    pub patient: String,
    pub encounter: String,
    pub fhir_user: String,
}

fn exposed<S: Serializer>(secret: &Secret<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose())
}

fn exposed_if_any<S: Serializer>(secret: &Option<Secret<String>>, to: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|secret| secret.expose().as_str()).serialize(to)
}

fn exposed_json<S: Serializer>(secret: &Option<Secret<String>>, to: S) -> Result<S::Ok, S::Error> {
    let Some(secret) = secret else { return to.serialize_none() };
    let value: serde_json::Value = serde_json::from_str(secret.expose()).map_err(|_| serde::ser::Error::custom("a private JWK is not JSON"))?;
    value.serialize(to)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts() -> DemoFacts {
        let secret = |text: &str| Secret::new(text.to_owned());
        let basic = ClientFacts {
            client_id: "syk-inn".into(),
            auth: "client_secret_basic".into(),
            client_secret: Some(secret("s1")),
            private_jwk: None,
            redirect_uris: vec!["http://127.0.0.1:9406/fhir/callback".into()],
        };
        let keyed = ClientFacts {
            client_id: "lab-sync".into(),
            auth: "private_key_jwt".into(),
            client_secret: None,
            private_jwk: Some(secret(r#"{"kty":"EC","kid":"k1","alg":"ES384","d":"x"}"#)),
            redirect_uris: vec![],
        };
        DemoFacts {
            issuer: "http://127.0.0.1:9400".into(),
            ops: "http://127.0.0.1:9401".into(),
            ops_token: secret("o1"),
            fhir: "http://127.0.0.1:9402/fhir".into(),
            fhir_ops: "http://127.0.0.1:9407".into(),
            helseid: Some(HelseIdFacts { issuer: "http://127.0.0.1:9403".into(), admin: "http://127.0.0.1:9404".into(), admin_secret: secret("a1") }),
            epj: "http://127.0.0.1:9405".into(),
            app: "http://127.0.0.1:9406".into(),
            sample_api: Some("http://127.0.0.1:9408".into()),
            hospital: None,
            clients: BTreeMap::from([("syk-inn".to_owned(), basic), ("lab-sync".to_owned(), keyed)]),
            users: vec![UserFacts { name: "lege-fastlege".into(), fhir_user: "Practitioner/lege-fastlege".into(), helseid_user: Some("u1".into()) }],
            patients: vec![PatientFacts {
                patient: "pasient-01".into(),
                encounter: "konsultasjon-01-3".into(),
                fhir_user: "Practitioner/lege-fastlege".into(),
            }],
        }
    }

    #[test]
    fn the_file_has_exactly_the_decided_shape() {
        let expected = json!({
            "issuer": "http://127.0.0.1:9400", "ops": "http://127.0.0.1:9401", "ops_token": "o1",
            "fhir": "http://127.0.0.1:9402/fhir", "fhir_ops": "http://127.0.0.1:9407",
            "helseid": { "issuer": "http://127.0.0.1:9403", "admin": "http://127.0.0.1:9404", "admin_secret": "a1" },
            "epj": "http://127.0.0.1:9405", "app": "http://127.0.0.1:9406", "sample_api": "http://127.0.0.1:9408",
            "clients": {
                "syk-inn": { "client_id": "syk-inn", "auth": "client_secret_basic", "client_secret": "s1",
                             "redirect_uris": ["http://127.0.0.1:9406/fhir/callback"] },
                "lab-sync": { "client_id": "lab-sync", "auth": "private_key_jwt",
                              "private_jwk": { "kty": "EC", "kid": "k1", "alg": "ES384", "d": "x" } } },
            "users": [ { "name": "lege-fastlege", "fhir_user": "Practitioner/lege-fastlege", "helseid_user": "u1" } ],
            "patients": [ { "patient": "pasient-01", "encounter": "konsultasjon-01-3", "fhir_user": "Practitioner/lege-fastlege" } ]
        });
        assert_eq!(serde_json::to_value(facts()).unwrap(), expected);
    }

    #[test]
    fn facts_printed_for_debugging_show_no_secret() {
        let printed = format!("{:?}", facts());
        for secret in ["\"s1\"", "\"o1\"", "\"a1\"", "\"d\""] {
            assert!(!printed.contains(secret), "{secret} shows in {printed}");
        }
    }
}
