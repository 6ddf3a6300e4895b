//! How a client says who it is. RFC 6749 §2.3, RFC 7523 §2.2; SAL §5.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::error::OAuthError;
use super::ids::ClientId;
use super::params::Params;
use crate::secret::Secret;

/// RFC 7523 §2.2.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request says about its sender; nothing is believed yet.
#[derive(Debug)]
pub enum ClientAuth {
    /// No credentials. A public client names itself; some, on refresh, not even that (NAV-049).
    None {
        client_id: Option<ClientId>,
    },
    /// HTTP Basic, in each way it can be read: as it is (SMART's example), then form-decoded (RFC 6749 §2.3.1). SAL-311.
    Basic {
        readings: Vec<(ClientId, Secret<String>)>,
    },
    Post {
        client_id: ClientId,
        secret: Secret<String>,
    },
    /// A signed assertion, with the `client_id` parameter where one was sent.
    Assertion {
        jwt: Secret<String>,
        client_id: Option<ClientId>,
    },
}

/// Why the credentials cannot even be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientAuthError {
    #[error("more than one way to authenticate in one request")]
    Several,
    #[error("the Authorization header is not Basic with base64 of id:secret")]
    Basic,
    #[error("client_id differs from the one that authenticates")]
    OtherClientId,
    #[error("client_id is not an identifier")]
    ClientId,
    #[error("client_secret without client_id")]
    SecretAlone,
    #[error("client_assertion and client_assertion_type belong together, and the type must be jwt-bearer")]
    AssertionType,
}

impl From<ClientAuthError> for OAuthError {
    fn from(reason: ClientAuthError) -> Self {
        use ClientAuthError as E;
        match reason {
            // RFC 6749 §2.3: at most one method. SAL §5.3.
            E::Several => Self::invalid_request("more than one way to authenticate").because(reason),
            E::Basic | E::OtherClientId | E::ClientId | E::SecretAlone | E::AssertionType => Self::invalid_client().because(reason).guessed(),
        }
    }
}

impl ClientAuth {
    /// Reads the credentials of a request to the token endpoint or one like it.
    ///
    /// # Errors
    /// [`ClientAuthError`]
    pub fn parse(authorization: Option<&str>, params: &Params) -> Result<Self, ClientAuthError> {
        let body_id = params.get("client_id").map(ClientId::parse).transpose().map_err(|_| ClientAuthError::ClientId)?;
        let basic = authorization.filter(|header| !is_scheme(header, "Bearer") && !is_scheme(header, "DPoP"));
        let (secret, assertion, kind) = (params.get("client_secret"), params.get("client_assertion"), params.get("client_assertion_type"));
        let ways = usize::from(basic.is_some()) + usize::from(secret.is_some()) + usize::from(assertion.is_some() || kind.is_some());
        if ways > 1 {
            return Err(ClientAuthError::Several);
        }
        if let Some(header) = basic {
            let mut readings = read_basic(header).ok_or(ClientAuthError::Basic)?;
            if let Some(id) = body_id {
                // NAV-033: where the body names the client too, both must mean the same one.
                readings.retain(|(named, _)| *named == id);
            }
            return if readings.is_empty() { Err(ClientAuthError::OtherClientId) } else { Ok(Self::Basic { readings }) };
        }
        match (secret, assertion, kind) {
            (Some(secret), _, _) => Ok(Self::Post { client_id: body_id.ok_or(ClientAuthError::SecretAlone)?, secret: Secret::new(secret.to_owned()) }),
            (None, Some(jwt), Some(ASSERTION_TYPE)) => Ok(Self::Assertion { jwt: Secret::new(jwt.to_owned()), client_id: body_id }),
            (None, None, None) => Ok(Self::None { client_id: body_id }),
            (None, _, _) => Err(ClientAuthError::AssertionType),
        }
    }
}

/// Whether an `Authorization` value is of this scheme; schemes are case-insensitive. RFC 9110 §11.1.
fn is_scheme(header: &str, scheme: &str) -> bool {
    header.split_once(' ').map_or(header, |(word, _)| word).eq_ignore_ascii_case(scheme)
}

/// The token of `Authorization: Bearer …`, if that is what the header is. RFC 6750 §2.1.
pub fn bearer(authorization: Option<&str>) -> Option<&str> {
    let (scheme, token) = authorization?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
}

fn read_basic(header: &str) -> Option<Vec<(ClientId, Secret<String>)>> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    // The first colon ends the id; a secret may hold more of them. RFC 7617 §2.
    let (id, secret) = pair.split_once(':')?;
    let decoded = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8().ok().map(|text| text.into_owned());
    let mut readings = Vec::new();
    if let Ok(id) = ClientId::parse(id) {
        readings.push((id, Secret::new(secret.to_owned())));
    }
    if pair.contains(['+', '%'])
        && let (Some(plain_id), Some(plain_secret)) = (decoded(id), decoded(secret))
        && (plain_id != id || plain_secret != secret)
        && let Ok(plain_id) = ClientId::parse(&plain_id)
    {
        readings.push((plain_id, Secret::new(plain_secret)));
    }
    (!readings.is_empty()).then_some(readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn parse(header: Option<&str>, form: &str) -> Result<ClientAuth, ClientAuthError> {
        ClientAuth::parse(header, &Params::parse(form.as_bytes()).unwrap())
    }

    #[test]
    fn basic_is_read_raw_and_decoded() {
        let Ok(ClientAuth::Basic { readings }) = parse(Some(&basic("app:a%2Bb:c+d")), "client_id=app") else { panic!() };
        let secrets: Vec<&str> = readings.iter().map(|(_, secret)| secret.expose().as_str()).collect();
        assert_eq!(secrets, ["a%2Bb:c+d", "a+b:c d"]);
        let Ok(ClientAuth::Basic { readings }) = parse(Some(&basic("app:plain")), "") else { panic!() };
        assert_eq!(readings.len(), 1);
        // Only the id was encoded: a URL as client_id has a colon, which must be.
        let Ok(ClientAuth::Basic { readings }) = parse(Some(&basic("https%3A%2F%2Fapp.example:plain")), "client_id=https://app.example") else { panic!() };
        assert!(readings.iter().any(|(id, secret)| id.as_str() == "https://app.example" && secret.expose() == "plain"));
    }

    #[test]
    fn refusals() {
        let good = basic("app:secret");
        for (header, form, why) in [
            (Some(good.as_str()), "client_secret=x&client_id=app", ClientAuthError::Several),
            (Some(&good), "client_assertion=x", ClientAuthError::Several),
            (Some(&good), "client_id=other", ClientAuthError::OtherClientId),
            (Some("Basic ???"), "", ClientAuthError::Basic),
            (Some("Digest x"), "", ClientAuthError::Basic),
            (None, "client_secret=x", ClientAuthError::SecretAlone),
            (None, "client_assertion=x", ClientAuthError::AssertionType),
            (None, "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer", ClientAuthError::AssertionType),
            (None, "client_assertion=x&client_assertion_type=y", ClientAuthError::AssertionType),
            (None, "client_id=a%20b", ClientAuthError::ClientId),
        ] {
            assert_eq!(parse(header, form).err(), Some(why), "{form}");
        }
        assert!(matches!(parse(None, "grant_type=refresh_token"), Ok(ClientAuth::None { client_id: None })));
        assert!(matches!(parse(Some("bearer x"), "token=y"), Ok(ClientAuth::None { .. })));
    }
}
