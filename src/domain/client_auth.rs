//! Whether a client proved itself the way it is registered to. SAL §5.1, §5.3.

use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::client::{Client, ClientAuthMethod};
use crate::jose::Verified;
use crate::protocol::error::OAuthError;
use crate::protocol::ids::{ClientId, TokenId};
use crate::secret::{Digest, Secret};
use crate::time::UnixTime;

/// A client that proved itself the way it is registered to; made by [`authenticate`] alone.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient(Arc<Client>);

impl AuthenticatedClient {
    pub fn client(&self) -> &Client {
        &self.0
    }

    pub fn id(&self) -> &ClientId {
        &self.0.id
    }
}

/// The claims of a client assertion. RFC 7523 §3; SAL §5.2.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AssertionClaims {
    pub iss: ClientId,
    pub sub: ClientId,
    #[serde(deserialize_with = "numeric_date")]
    pub exp: UnixTime,
    pub jti: TokenId,
}

/// Some libraries write fractions of a second. RFC 7519 §2, NumericDate.
fn numeric_date<'de, D: Deserializer<'de>>(from: D) -> Result<UnixTime, D::Error> {
    let number = serde_json::Number::deserialize(from)?;
    if let Some(seconds) = number.as_i64() {
        return Ok(UnixTime(seconds));
    }
    let seconds = number.as_f64().filter(|seconds| seconds.abs() < 1e15).ok_or_else(|| D::Error::custom("not a NumericDate"))?;
    #[expect(clippy::cast_possible_truncation, reason = "finite, floored and within 2^53")]
    Ok(UnixTime(seconds.floor() as i64))
}

/// What the client showed.
#[derive(Debug)]
pub enum Proof {
    /// Its name only.
    Name,
    Basic(Secret<String>),
    Post(Secret<String>),
    /// A verified assertion; its `jti` is remembered once the client is known to be the one.
    Assertion(Verified<AssertionClaims>),
}

/// Why a client is not who it says.
#[derive(Debug, thiserror::Error)]
pub enum ClientRefused {
    #[error("no client has this client_id")]
    Unknown,
    #[error("the client is disabled")]
    Disabled,
    #[error("the client is not registered to authenticate this way")]
    OtherMethod,
    #[error("the secret is wrong")]
    WrongSecret,
    #[error("iss and sub of the assertion are not both the client")]
    OtherClient,
    #[error("the assertion's jku is not the registered address of the client's keys")]
    Jku,
    #[error("the assertion was used before")]
    Replayed,
    #[error("the assertion is not valid")]
    Assertion(#[source] crate::jose::JwtError),
    #[error("the client's keys cannot be had")]
    Keys(#[source] Arc<dyn std::error::Error + Send + Sync>),
    #[error("no client was named")]
    Unnamed,
}

impl From<ClientRefused> for OAuthError {
    fn from(reason: ClientRefused) -> Self {
        use ClientRefused as C;
        match &reason {
            // SAL-107: any authentication failure is invalid_client, and tells nothing more.
            // What was right once, and what we could not look at, is no guess.
            C::Replayed | C::Keys(_) => Self::invalid_client().because(reason),
            C::Unknown | C::Disabled | C::OtherMethod | C::WrongSecret | C::OtherClient | C::Jku | C::Assertion(_) => {
                Self::invalid_client().because(reason).guessed()
            }
            // Nobody was named, so nothing was tried.
            C::Unnamed => Self::invalid_client().because(reason),
        }
    }
}

/// Whether the secret is one of these. Every one is looked at, so that time does not tell which of two was tried.
fn is_among(secrets: &[Digest], shown: &Secret<String>) -> bool {
    #[cfg(test)]
    tests::COMPARED.with(|compared| compared.set(compared.get() + 1));
    let shown = shown.digest();
    secrets.iter().fold(false, |found, secret| (*secret == shown) | found)
}

/// What is done with a secret where there is none to compare it with: the same work, so that time does not tell.
pub fn compare_in_vain(shown: &Secret<String>) {
    // Through a black box: a result nobody uses would not be worked out.
    std::hint::black_box(is_among(&[Digest::of(b"")], shown));
}

/// Decides whether the proof is the one this client is registered to give. RFC 6749 §2.3.1.
///
/// # Errors
/// [`ClientRefused`]
pub fn authenticate(client: Arc<Client>, proof: &Proof) -> Result<AuthenticatedClient, ClientRefused> {
    let proven = match (&client.auth, proof) {
        (ClientAuthMethod::None, Proof::Name) => true,
        (ClientAuthMethod::SecretBasic { secrets }, Proof::Basic(shown)) | (ClientAuthMethod::SecretPost { secrets }, Proof::Post(shown)) => {
            is_among(secrets, shown)
        }
        (ClientAuthMethod::PrivateKeyJwt { .. }, Proof::Assertion(assertion)) => {
            let claims = assertion.claims();
            if claims.iss != client.id || claims.sub != client.id {
                return Err(ClientRefused::OtherClient);
            }
            true
        }
        (
            ClientAuthMethod::None | ClientAuthMethod::SecretBasic { .. } | ClientAuthMethod::SecretPost { .. } | ClientAuthMethod::PrivateKeyJwt { .. },
            Proof::Basic(shown) | Proof::Post(shown),
        ) => {
            compare_in_vain(shown);
            return Err(ClientRefused::OtherMethod);
        }
        (
            ClientAuthMethod::None | ClientAuthMethod::SecretBasic { .. } | ClientAuthMethod::SecretPost { .. } | ClientAuthMethod::PrivateKeyJwt { .. },
            Proof::Name | Proof::Assertion(_),
        ) => return Err(ClientRefused::OtherMethod),
    };
    // Last, so that a client that is disabled takes as long as one that is not.
    if client.disabled {
        return Err(ClientRefused::Disabled);
    }
    if proven { Ok(AuthenticatedClient(client)) } else { Err(ClientRefused::WrongSecret) }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Home, client_from_json};
    use crate::domain::client::Profile;
    use crate::protocol::ids::Issuer;
    use crate::random::SystemRandom;

    thread_local! {
        /// How many secrets were compared on this thread.
        pub static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";

    fn client(auth: &str, disabled: bool) -> Arc<Client> {
        let mut registration = json!({ "client_id": "app", "auth": auth, "scopes": "user/*.rs", "redirect_uris": ["https://app.example/cb"] });
        match auth {
            "private_key_jwt" => registration["jwks_uri"] = "https://app.example/jwks".into(),
            "none" => {}
            _ => registration["client_secret"] = Value::from(SECRET),
        }
        let issuer = Issuer::parse("http://127.0.0.1:9400").unwrap();
        let made =
            client_from_json(&registration, Home { issuer: &issuer, profile: Profile::Smart }, &SystemRandom).unwrap_or_else(|problems| panic!("{problems:?}"));
        Arc::new(Client { disabled, ..made.client })
    }

    #[test]
    fn whoever_shows_a_secret_has_it_compared_whatever_comes_of_it() {
        let shown = |text: &str| Secret::new(text.to_owned());
        let basic = |text: &str| Proof::Basic(shown(text));
        let post = |text: &str| Proof::Post(shown(text));
        let cases = [
            ("good", client("client_secret_basic", false), basic(SECRET), true),
            ("wrong", client("client_secret_basic", false), basic("wrong"), false),
            ("disabled", client("client_secret_basic", true), basic(SECRET), false),
            ("the other way", client("client_secret_basic", false), post(SECRET), false),
            ("and back", client("client_secret_post", false), basic(SECRET), false),
            ("a client with keys", client("private_key_jwt", false), basic(SECRET), false),
            ("a client with nothing", client("none", false), post(SECRET), false),
        ];
        for (case, client, proof, good) in cases {
            let before = COMPARED.get();
            assert_eq!(authenticate(client, &proof).is_ok(), good, "{case}");
            assert_eq!(COMPARED.get() - before, 1, "{case}");
        }
        let before = COMPARED.get();
        compare_in_vain(&shown("of nobody"));
        assert_eq!(COMPARED.get() - before, 1);
    }
}
