//! What is unsure about the real service, as switches. Every point the sources mark as unverified has its name here, so that a finding
//! about the real service is a change of one line. §7.5.

use serde::{Deserialize, Serialize};

/// The defaults are those of §7.5 and of the sections named. Unknown names are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// The longest a client assertion may live, in seconds from its `iat` (or from now). Strict: 10. §2.5.
    pub assertion_max_life_s: u32,
    /// The `jti` of an assertion is good for once. §2.5.
    pub assertion_jti_single_use: bool,
    /// The assertion of a request that was answered with `use_dpop_nonce` may be sent again with the nonce. §2.5.
    pub assertion_reuse_on_nonce_retry_ok: bool,
    /// Status of `invalid_client`: 400 or 401. §2.12.
    pub invalid_client_status: ClientErrorStatus,
    /// How long a `request_uri` is good. §2.2.
    pub request_uri_life_s: u32,
    /// How long a code is good.
    pub code_life_s: u32,
    /// `client_id` of an exchanged token is the actor's, else the subject client's. §5.2.
    pub te_client_id_is_actor: bool,
    /// An exchanged token ends with its subject at the latest. §5.2.
    pub te_cap_to_subject_exp: bool,
    /// The attest is copied into an exchanged token. §5.2.
    pub te_copy_attest: bool,
    /// `resource` is understood at an exchange. §5.1.
    pub te_accept_resource: bool,
    /// `assertion_details` is understood at an exchange. §4.2.
    pub te_accept_assertion_details: bool,
    /// A client may exchange a token of its own, if its list names it. §9.
    pub te_self_exchange: bool,
    /// How many times what came from one token may be exchanged. §7.4.
    pub te_max_exchanges: u32,
    /// What a refresh token used twice does. §9.
    pub rt_reuse: RefreshReuse,
    /// How long refresh tokens are good, counted from the first of them; rotation does not move their end. §2.8.
    pub rt_life_s: u32,
    /// How long a login is good for other clients.
    pub session_life_s: u32,
    /// A refresh needs the key the session began with. §2.7.
    pub rt_bound_to_dpop_key: bool,
    /// An organisation in the assertion of a code redemption is HID-1009. §2.12.
    pub hid_1009_enforced: bool,
    /// The check digit of an organisation number is looked at. §4.3.
    pub org_checksum: bool,
    /// PAR needs a proof. §2.2.
    pub par_requires_dpop: bool,
    /// Userinfo needs the proof of a bound token; else it takes it as a bearer token. §2.10.
    pub userinfo_requires_dpop: bool,
    /// When the token endpoint asks for a nonce. M6.
    pub dpop_nonce: NonceDemand,
    /// How long a nonce is good. M6.
    pub dpop_nonce_life_s: u32,
    /// How far the `iat` of a proof may be from now, in either direction. §2.7.
    pub dpop_skew_s: u32,
    /// How long a proof is good beyond that. §2.7.
    pub dpop_proof_life_s: u32,
    /// Whose salt goes into `sub`. §3.2, §9.
    pub sub_salt: SubSalt,
    /// A withdrawn authorisation is shown as another kind of approval, rather than not at all. §3.3.
    pub withdrawn_listed: bool,
    /// Redirect URIs on `localhost` need not be registered, as in the test environment. §2.1.
    pub localhost_redirects: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            assertion_max_life_s: 60,
            assertion_jti_single_use: true,
            assertion_reuse_on_nonce_retry_ok: false,
            invalid_client_status: ClientErrorStatus::BadRequest,
            request_uri_life_s: 600,
            code_life_s: 300,
            te_client_id_is_actor: true,
            te_cap_to_subject_exp: true,
            te_copy_attest: true,
            te_accept_resource: true,
            te_accept_assertion_details: true,
            te_self_exchange: true,
            te_max_exchanges: 2,
            rt_reuse: RefreshReuse::RejectOnly,
            rt_life_s: 28_800,
            session_life_s: 43_200,
            rt_bound_to_dpop_key: false,
            hid_1009_enforced: false,
            org_checksum: true,
            par_requires_dpop: false,
            userinfo_requires_dpop: false,
            dpop_nonce: NonceDemand::Always,
            dpop_nonce_life_s: 15,
            dpop_skew_s: 300,
            dpop_proof_life_s: 1,
            sub_salt: SubSalt::Client,
            withdrawn_listed: false,
            localhost_redirects: true,
        }
    }
}

/// 400 or 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum ClientErrorStatus {
    BadRequest,
    Unauthorized,
}

impl TryFrom<u16> for ClientErrorStatus {
    type Error = &'static str;

    fn try_from(status: u16) -> Result<Self, Self::Error> {
        match status {
            400 => Ok(Self::BadRequest),
            401 => Ok(Self::Unauthorized),
            _ => Err("must be 400 or 401"),
        }
    }
}

impl From<ClientErrorStatus> for u16 {
    fn from(status: ClientErrorStatus) -> Self {
        match status {
            ClientErrorStatus::BadRequest => 400,
            ClientErrorStatus::Unauthorized => 401,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshReuse {
    RejectOnly,
    /// Every token of the session goes with it.
    KillFamily,
}

/// `"always"`, `"never"`, or `{"every_n": 3}`: every third request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonceDemand {
    Always,
    Never,
    EveryN(std::num::NonZeroU32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubSalt {
    /// One `sub` everywhere.
    None,
    /// One for all clients of an owner.
    Owner,
    Client,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_reference_and_unknown_names_are_refused() {
        let quirks: Quirks = serde_json::from_str("{}").unwrap();
        assert_eq!(quirks, Quirks::default());
        assert_eq!((quirks.assertion_max_life_s, quirks.request_uri_life_s, quirks.rt_life_s, quirks.session_life_s), (60, 600, 28800, 43200));
        assert!(serde_json::from_str::<Quirks>(r#"{"te_cap": true}"#).is_err());
        assert!(serde_json::from_str::<Quirks>(r#"{"invalid_client_status": 403}"#).is_err());
        let quirks: Quirks = serde_json::from_str(r#"{"dpop_nonce": {"every_n": 3}, "invalid_client_status": 401, "rt_reuse": "kill_family"}"#).unwrap();
        assert_eq!(u16::from(quirks.invalid_client_status), 401);
        assert_eq!(serde_json::to_value(&quirks).unwrap()["dpop_nonce"]["every_n"], 3);
    }
}
