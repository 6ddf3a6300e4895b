//! A fault from the JSON of a rule's `action`: `{"kind": "respond", "status": 503}`, `{"kind": "delay_ms", "ms": 1500}`. What has one
//! argument can also be written in one word, `delay_ms:1500`, `claim:sub="x"`.

use serde_json::{Map, Value};

use super::kind::*;

/// Why an action is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("an action is an object with a text `kind`")]
    NoKind,
    #[error("no fault is called `{0}`; docs/helseid-mock.md lists them all")]
    Unknown(String),
    #[error("`{kind}` knows no member `{member}`")]
    Member { kind: String, member: String },
    #[error("`{kind}` needs {what}")]
    Argument { kind: &'static str, what: &'static str },
    #[error("`tls_bad_cert` needs TLS, and this mock speaks plain HTTP: put a proxy with a bad certificate in front of it")]
    Tls,
}

/// The longest delay, in milliseconds, and the longest between two bytes.
pub const MAX_DELAY_MS: u64 = 60_000;
/// The most bytes of a huge body.
pub const MAX_HUGE_BYTES: u64 = 256 * 1024 * 1024;

/// Every kind: its group, its name, and its argument where it has one (`member: what it is`).
pub const KINDS: &[(&str, &str, Option<&str>)] = &[
    ("Transport", "respond", Some("status, headers, body")),
    ("Transport", "delay_ms", Some("ms")),
    ("Transport", "drip", Some("ms")),
    ("Transport", "drop_before", None),
    ("Transport", "drop_after", None),
    ("Transport", "truncate", None),
    ("Transport", "wrong_content_type", None),
    ("Transport", "html_error", None),
    ("Transport", "huge_body", Some("bytes")),
    ("Transport", "redirect_302", Some("location")),
    ("Transport", "tls_bad_cert", None),
    ("Discovery", "issuer_mismatch", None),
    ("Discovery", "missing_field", Some("name")),
    ("Discovery", "string_booleans", None),
    ("Discovery", "downgraded", None),
    ("Discovery", "http_endpoints", None),
    ("Discovery", "stale_cache", None),
    ("Keys", "rotate_midflight", Some("readings")),
    ("Keys", "retired_key", None),
    ("Keys", "unknown_kid", None),
    ("Keys", "missing_kid", None),
    ("Keys", "same_kid_other_key", None),
    ("Keys", "empty_jwks", None),
    ("Keys", "jwks_503", None),
    ("Tokens", "expired", None),
    ("Tokens", "not_yet_valid", None),
    ("Tokens", "wrong_iss", None),
    ("Tokens", "iss_trailing_slash", None),
    ("Tokens", "wrong_aud", None),
    ("Tokens", "multi_aud", None),
    ("Tokens", "missing_aud", None),
    ("Tokens", "wrong_typ", None),
    ("Tokens", "alg_none", None),
    ("Tokens", "alg_hs256", None),
    ("Tokens", "bad_signature", None),
    ("Tokens", "signed_by_other_key", None),
    ("Tokens", "missing_claim", Some("name")),
    ("Tokens", "claim", Some("name, value")),
    ("Tokens", "scope_as_string", None),
    ("Tokens", "pid_as_number", None),
    ("Tokens", "level_3", None),
    ("Tokens", "no_hpr", None),
    ("Tokens", "other_user", None),
    ("ID token", "wrong_nonce", None),
    ("ID token", "missing_nonce", None),
    ("ID token", "wrong_azp", None),
    ("ID token", "extra_aud", None),
    ("ID token", "old_auth_time", None),
    ("ID token", "other_sub_than_userinfo", None),
    ("DPoP", "nonce_demand", Some("mode")),
    ("DPoP", "stale_nonce", None),
    ("DPoP", "nonce_on_success_changes", None),
    ("DPoP", "wrong_cnf", None),
    ("DPoP", "no_cnf", None),
    ("DPoP", "token_type_bearer", None),
    ("DPoP", "proof_rejected", Some("text")),
    ("Client auth", "jti_replay_strict", None),
    ("Client auth", "life_cap_s", Some("seconds")),
    ("Client auth", "assertion_aud_legacy_off", None),
    ("Client auth", "client_disabled", None),
    ("Client auth", "key_expired", None),
    ("Refresh", "reuse_kills_family", None),
    ("Refresh", "no_new_rt", None),
    ("Refresh", "rt_expires_in_zero", None),
    ("Refresh", "no_id_token", None),
    ("Refresh", "scope_shrinks", None),
    ("Refresh", "wrong_sub_after_refresh", None),
    ("Grants", "rejected_scope", None),
    ("Grants", "hid", Some("code")),
    ("Grants", "double_structure", None),
    ("Grants", "unauthorized_client", None),
    ("TE", "not_permitted", None),
    ("TE", "max_exchanges", None),
    ("TE", "aud_not_owned", None),
    ("TE", "act_missing", None),
    ("TE", "act_wrong", None),
    ("TE", "client_id_is_subject", None),
    ("TE", "attest_not_copied", None),
    ("TE", "with_refresh_token", None),
    ("Clock", "server_clock", Some("seconds")),
    ("Clock", "date_skew", Some("seconds")),
    ("Callback", "iss_missing", None),
    ("Callback", "iss_wrong", None),
    ("Callback", "state_wrong", None),
    ("Callback", "code_reused", None),
    ("Callback", "extra_params", None),
    ("Callback", "error_with_code", None),
];

/// A fault from an action.
///
/// # Errors
/// [`ParseError`]: a kind or member nobody knows, an argument that is missing or out of range.
pub fn parse_action(action: &Value) -> Result<Fault, ParseError> {
    let members = action.as_object().ok_or(ParseError::NoKind)?;
    let word = members.get("kind").and_then(Value::as_str).ok_or(ParseError::NoKind)?;
    let (name, one) = match word.split_once(':') {
        None => (word, None),
        Some((name, argument)) => (name, Some(argument)),
    };
    let &(group, kind, arguments) = KINDS.iter().find(|(_, kind, _)| *kind == name).ok_or_else(|| ParseError::Unknown(name.to_owned()))?;
    let known = |member: &str| {
        member == "kind" || (group == "Tokens" && member == "token") || arguments.is_some_and(|names| names.split(", ").any(|name| name == member))
    };
    if let Some(member) = members.keys().find(|member| !known(member)) {
        return Err(ParseError::Member { kind: kind.to_owned(), member: member.clone() });
    }
    if one.is_some() && arguments.is_none() {
        return Err(ParseError::Argument { kind, what: "no argument" });
    }
    Arguments { kind, members, one }.fault()
}

/// A fault from one word: `expired`, `claim:sub="x"`.
///
/// # Errors
/// As [`parse_action`].
pub fn parse_kind(word: &str) -> Result<Fault, ParseError> {
    parse_action(&serde_json::json!({ "kind": word }))
}

struct Arguments<'a> {
    kind: &'static str,
    members: &'a Map<String, Value>,
    /// What stands behind the colon.
    one: Option<&'a str>,
}

impl Arguments<'_> {
    fn needs<T>(&self, found: Option<T>, what: &'static str) -> Result<T, ParseError> {
        found.ok_or(ParseError::Argument { kind: self.kind, what })
    }

    fn text(&self, member: &str, what: &'static str) -> Result<String, ParseError> {
        let text = self.one.or_else(|| self.members.get(member)?.as_str()).filter(|text| !text.is_empty());
        self.needs(text.map(str::to_owned), what)
    }

    fn number(&self, member: &str) -> Option<i64> {
        match self.one {
            Some(text) => text.parse().ok(),
            None => self.members.get(member)?.as_i64(),
        }
    }

    fn up_to(&self, member: &str, most: u64, default: Option<u64>, what: &'static str) -> Result<u64, ParseError> {
        if self.one.is_none() && !self.members.contains_key(member) {
            return self.needs(default, what);
        }
        self.needs(self.number(member).and_then(|number| u64::try_from(number).ok()).filter(|number| (1..=most).contains(number)), what)
    }

    fn seconds(&self) -> Result<i64, ParseError> {
        self.needs(self.number("seconds").filter(|number| number.abs() <= 10_000_000_000), "`seconds`, a whole number")
    }

    fn fault(&self) -> Result<Fault, ParseError> {
        use Fault as F;
        Ok(match self.kind {
            "respond" => F::Transport(Transport::Respond(self.respond()?)),
            "delay_ms" => F::Transport(Transport::DelayMs(self.up_to("ms", MAX_DELAY_MS, None, "`ms`, from 1 to 60000")?)),
            "drip" => F::Transport(Transport::Drip(self.up_to("ms", MAX_DELAY_MS, Some(100), "`ms`, from 1 to 60000")?)),
            "drop_before" => F::Transport(Transport::DropBefore),
            "drop_after" => F::Transport(Transport::DropAfter),
            "truncate" => F::Transport(Transport::Truncate),
            "wrong_content_type" => F::Transport(Transport::WrongContentType),
            "html_error" => F::Transport(Transport::HtmlError),
            "huge_body" => F::Transport(Transport::HugeBody(self.up_to("bytes", MAX_HUGE_BYTES, Some(16 * 1024 * 1024), "`bytes`, from 1 to 268435456")?)),
            "redirect_302" => F::Transport(Transport::Redirect302(self.text("location", "`location`, a URL")?)),
            "tls_bad_cert" => return Err(ParseError::Tls),
            "issuer_mismatch" => F::Discovery(DiscoveryFault::IssuerMismatch),
            "missing_field" => F::Discovery(DiscoveryFault::MissingField(self.text("name", "`name`, a member of the document")?)),
            "string_booleans" => F::Discovery(DiscoveryFault::StringBooleans),
            "downgraded" => F::Discovery(DiscoveryFault::Downgraded),
            "http_endpoints" => F::Discovery(DiscoveryFault::HttpEndpoints),
            "stale_cache" => F::Discovery(DiscoveryFault::StaleCache),
            "rotate_midflight" => F::Key(KeyFault::RotateMidflight(self.readings()?)),
            "retired_key" => F::Key(KeyFault::RetiredKey),
            "unknown_kid" => F::Key(KeyFault::UnknownKid),
            "missing_kid" => F::Key(KeyFault::MissingKid),
            "same_kid_other_key" => F::Key(KeyFault::SameKidOtherKey),
            "empty_jwks" => F::Key(KeyFault::EmptyJwks),
            "jwks_503" => F::Key(KeyFault::Jwks503),
            "expired" => self.token(TokenDefect::Expired)?,
            "not_yet_valid" => self.token(TokenDefect::NotYetValid)?,
            "wrong_iss" => self.token(TokenDefect::WrongIss)?,
            "iss_trailing_slash" => self.token(TokenDefect::IssTrailingSlash)?,
            "wrong_aud" => self.token(TokenDefect::WrongAud)?,
            "multi_aud" => self.token(TokenDefect::MultiAud)?,
            "missing_aud" => self.token(TokenDefect::MissingAud)?,
            "wrong_typ" => self.token(TokenDefect::WrongTyp)?,
            "alg_none" => self.token(TokenDefect::AlgNone)?,
            "alg_hs256" => self.token(TokenDefect::AlgHs256)?,
            "bad_signature" => self.token(TokenDefect::BadSignature)?,
            "signed_by_other_key" => self.token(TokenDefect::SignedByOtherKey)?,
            "missing_claim" => self.token(TokenDefect::MissingClaim(self.text("name", "`name`, a claim")?))?,
            "claim" => self.token(self.claim()?)?,
            "scope_as_string" => self.token(TokenDefect::ScopeAsString)?,
            "pid_as_number" => self.token(TokenDefect::PidAsNumber)?,
            "level_3" => self.token(TokenDefect::Level3)?,
            "no_hpr" => self.token(TokenDefect::NoHpr)?,
            "other_user" => self.token(TokenDefect::OtherUser)?,
            "wrong_nonce" => F::IdToken(IdTokenFault::WrongNonce),
            "missing_nonce" => F::IdToken(IdTokenFault::MissingNonce),
            "wrong_azp" => F::IdToken(IdTokenFault::WrongAzp),
            "extra_aud" => F::IdToken(IdTokenFault::ExtraAud),
            "old_auth_time" => F::IdToken(IdTokenFault::OldAuthTime),
            "other_sub_than_userinfo" => F::IdToken(IdTokenFault::OtherSubThanUserinfo),
            "nonce_demand" => F::Dpop(DpopFault::NonceDemand(self.nonces()?)),
            "stale_nonce" => F::Dpop(DpopFault::StaleNonce),
            "nonce_on_success_changes" => F::Dpop(DpopFault::NonceOnSuccessChanges),
            "wrong_cnf" => F::Dpop(DpopFault::WrongCnf),
            "no_cnf" => F::Dpop(DpopFault::NoCnf),
            "token_type_bearer" => F::Dpop(DpopFault::TokenTypeBearer),
            "proof_rejected" => F::Dpop(DpopFault::ProofRejected(self.text("text", "`text`, the description")?)),
            "jti_replay_strict" => F::ClientAuth(ClientAuthFault::JtiReplayStrict),
            "life_cap_s" => F::ClientAuth(ClientAuthFault::LifeCapS(self.cap()?)),
            "assertion_aud_legacy_off" => F::ClientAuth(ClientAuthFault::AssertionAudLegacyOff),
            "client_disabled" => F::ClientAuth(ClientAuthFault::ClientDisabled),
            "key_expired" => F::ClientAuth(ClientAuthFault::KeyExpired),
            "reuse_kills_family" => F::Refresh(RefreshFault::ReuseKillsFamily),
            "no_new_rt" => F::Refresh(RefreshFault::NoNewRt),
            "rt_expires_in_zero" => F::Refresh(RefreshFault::RtExpiresInZero),
            "no_id_token" => F::Refresh(RefreshFault::NoIdToken),
            "scope_shrinks" => F::Refresh(RefreshFault::ScopeShrinks),
            "wrong_sub_after_refresh" => F::Refresh(RefreshFault::WrongSubAfterRefresh),
            "rejected_scope" => F::Grant(GrantFault::RejectedScope),
            "hid" => F::Grant(GrantFault::Hid(self.hid()?)),
            "double_structure" => F::Grant(GrantFault::DoubleStructure),
            "unauthorized_client" => F::Grant(GrantFault::UnauthorizedClient),
            "not_permitted" => F::Exchange(ExchangeFault::NotPermitted),
            "max_exchanges" => F::Exchange(ExchangeFault::MaxExchanges),
            "aud_not_owned" => F::Exchange(ExchangeFault::AudNotOwned),
            "act_missing" => F::Exchange(ExchangeFault::ActMissing),
            "act_wrong" => F::Exchange(ExchangeFault::ActWrong),
            "client_id_is_subject" => F::Exchange(ExchangeFault::ClientIdIsSubject),
            "attest_not_copied" => F::Exchange(ExchangeFault::AttestNotCopied),
            "with_refresh_token" => F::Exchange(ExchangeFault::WithRefreshToken),
            "server_clock" => F::Clock(ClockFault::Server(self.seconds()?)),
            "date_skew" => F::Clock(ClockFault::Date(self.seconds()?)),
            "iss_missing" => F::Callback(CallbackFault::IssMissing),
            "iss_wrong" => F::Callback(CallbackFault::IssWrong),
            "state_wrong" => F::Callback(CallbackFault::StateWrong),
            "code_reused" => F::Callback(CallbackFault::CodeReused),
            "extra_params" => F::Callback(CallbackFault::ExtraParams),
            "error_with_code" => F::Callback(CallbackFault::ErrorWithCode),
            other => return Err(ParseError::Unknown(other.to_owned())),
        })
    }

    fn token(&self, defect: TokenDefect) -> Result<Fault, ParseError> {
        let which = match self.members.get("token").map(Value::as_str) {
            None | Some(Some("access_token")) => Which::AccessToken,
            Some(Some("id_token")) => Which::IdToken,
            Some(_) => return self.needs(None, "`token` to be access_token or id_token"),
        };
        Ok(Fault::Token(which, defect))
    }

    /// `claim:<name>=<json>`; a name may hold colons and none of ours holds `=`.
    fn claim(&self) -> Result<TokenDefect, ParseError> {
        const WHAT: &str = "`name` and `value`, or claim:<name>=<json>";
        if let Some((name, value)) = self.one.and_then(|one| one.split_once('=')) {
            let value = serde_json::from_str(value).ok();
            return Ok(TokenDefect::Claim(name.to_owned(), self.needs(value, WHAT)?));
        }
        let name = self.needs(self.members.get("name").and_then(Value::as_str).filter(|_| self.one.is_none()), WHAT)?;
        Ok(TokenDefect::Claim(name.to_owned(), self.needs(self.members.get("value").cloned(), WHAT)?))
    }

    fn respond(&self) -> Result<Respond, ParseError> {
        let status = self.number("status").and_then(|status| u16::try_from(status).ok()).filter(|status| (200..600).contains(status));
        let mut headers = Vec::new();
        match self.members.get("headers") {
            None => {}
            Some(Value::Object(members)) => {
                for (name, value) in members {
                    let fits = http::HeaderName::try_from(name.as_str()).is_ok();
                    let value = value.as_str().filter(|value| fits && http::HeaderValue::try_from(*value).is_ok());
                    headers.push((name.clone(), self.needs(value, "`headers`, an object of texts that fit in headers")?.to_owned()));
                }
            }
            Some(_) => return self.needs(None, "`headers`, an object of texts"),
        }
        let body = match self.members.get("body") {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(json) => json.to_string(),
        };
        Ok(Respond { status: self.needs(status, "`status`, from 200 to 599")?, headers, body })
    }

    fn nonces(&self) -> Result<Nonces, ParseError> {
        match self.text("mode", "`mode`: always, once or loop")?.as_str() {
            "always" => Ok(Nonces::Always),
            "once" => Ok(Nonces::Once),
            "loop" => Ok(Nonces::Loop),
            _ => self.needs(None, "`mode`: always, once or loop"),
        }
    }

    fn readings(&self) -> Result<Option<u32>, ParseError> {
        if self.one.is_none() && !self.members.contains_key("readings") {
            return Ok(None);
        }
        let readings = self.number("readings").and_then(|readings| u32::try_from(readings).ok());
        self.needs(readings, "`readings`, from 0").map(Some)
    }

    fn cap(&self) -> Result<u32, ParseError> {
        let seconds = self.number("seconds").and_then(|seconds| u32::try_from(seconds).ok());
        self.needs(seconds, "`seconds`, from 0")
    }

    fn hid(&self) -> Result<HidCode, ParseError> {
        let code = self.number("code").or_else(|| self.one?.strip_prefix("HID-")?.parse().ok());
        self.needs(code.and_then(|code| u16::try_from(code).ok()).and_then(HidCode::new), "`code`, from 1001 to 1010")
    }
}
