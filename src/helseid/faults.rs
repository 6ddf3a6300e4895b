//! Faults on demand: what a tester asks for, and which requests it meets. §7.2 has the form of a rule, §7.3 the list of kinds; [`kind`] has
//! them as types, and `docs/helseid-mock.md` as a table.

mod kind;
mod parse;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use kind::{
    CallbackFault, ClientAuthFault, ClockFault, DiscoveryFault, DpopFault, ExchangeFault, Fault, GrantFault, HidCode, IdTokenFault, KeyFault, Nonces,
    RefreshFault, Respond, TokenDefect, Transport, Which,
};
pub use parse::{KINDS, ParseError, parse_action, parse_kind};

/// An endpoint, as `match.endpoint` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    Discovery,
    Jwks,
    ExpiredJwks,
    AvailableIdps,
    Par,
    Authorize,
    Token,
    Userinfo,
    EndSession,
    Revocation,
    Introspection,
    ClientInfo,
    CheckSession,
    DeviceAuthorization,
    Ciba,
    /// The pages of a login, and whatever else there is.
    Other,
}

impl Endpoint {
    /// The endpoint at a path below the issuer. §1.2.
    pub fn at(path: &str) -> Self {
        match path {
            "/.well-known/openid-configuration" => Self::Discovery,
            "/.well-known/openid-configuration/jwks" => Self::Jwks,
            "/connect/expiredjwks" => Self::ExpiredJwks,
            "/connect/availableidps" => Self::AvailableIdps,
            "/connect/par" => Self::Par,
            "/connect/authorize" => Self::Authorize,
            "/connect/token" => Self::Token,
            "/connect/userinfo" => Self::Userinfo,
            "/connect/endsession" => Self::EndSession,
            "/connect/revocation" => Self::Revocation,
            "/connect/introspect" => Self::Introspection,
            "/connect/clientinfo" => Self::ClientInfo,
            "/connect/checksession" => Self::CheckSession,
            "/connect/deviceauthorization" => Self::DeviceAuthorization,
            "/connect/ciba" => Self::Ciba,
            _ => Self::Other,
        }
    }
}

/// What a request is known by before anything is done with it. Nothing of it is believed.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub endpoint: Endpoint,
    pub grant_type: Option<&'a str>,
    pub client_id: Option<&'a str>,
}

/// Which requests a rule is for. What is left out, and `"*"`, matches all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "endpoint_or_star")]
    pub endpoint: Option<Endpoint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The first of the matching requests that is met, from 1.
    #[serde(default = "one")]
    pub nth: u64,
}

fn one() -> u64 {
    1
}

fn endpoint_or_star<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Endpoint>, D::Error> {
    let name = String::deserialize(from)?;
    if name == "*" { Ok(None) } else { serde_json::from_value(Value::String(name)).map(Some).map_err(serde::de::Error::custom) }
}

impl Default for Match {
    fn default() -> Self {
        Self { endpoint: None, grant_type: None, client_id: None, nth: one() }
    }
}

impl Match {
    fn takes(&self, ask: &Ask<'_>) -> bool {
        let same = |wanted: &Option<String>, got: Option<&str>| wanted.as_deref().is_none_or(|wanted| wanted == "*" || got == Some(wanted));
        self.endpoint.is_none_or(|wanted| wanted == ask.endpoint) && same(&self.grant_type, ask.grant_type) && same(&self.client_id, ask.client_id)
    }
}

/// How many matching requests in a row are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "times must be a number from 1, or \"always\"")]
pub enum Times {
    So(u64),
    Always(Always),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Always {
    Always,
}

/// A rule as it is sent. §7.2.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(default, rename = "match")]
    matches: Match,
    action: Value,
    #[serde(default = "once")]
    times: Times,
}

fn once() -> Times {
    Times::So(1)
}

/// A rule that is set.
#[derive(Clone, Debug, Serialize)]
pub struct Rule {
    pub id: u64,
    #[serde(rename = "match")]
    pub matches: Match,
    /// As it was sent.
    pub action: Value,
    pub times: Times,
    /// How many requests matched so far.
    pub seen: u64,
    /// How many of them were met.
    pub met: u64,
    #[serde(skip)]
    fault: Fault,
}

/// How many rules can be set at once.
const MOST: usize = 100;

/// Why a rule is not set.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("not a rule: {0}")]
    Form(#[from] serde_json::Error),
    #[error(transparent)]
    Action(#[from] ParseError),
    #[error("nth and times must be at least 1")]
    Range,
    #[error("{MOST} rules are set already")]
    Many,
}

/// The rules that are set.
#[derive(Default)]
pub struct Faults {
    any: AtomicBool,
    set: Mutex<Set>,
}

#[derive(Default)]
struct Set {
    last: u64,
    rules: Vec<Rule>,
}

impl Faults {
    /// Sets a rule in the form of §7.2.
    ///
    /// # Errors
    /// [`RuleError`]
    pub fn add_json(&self, rule: &[u8]) -> Result<Rule, RuleError> {
        let RawRule { matches, action, times } = serde_json::from_slice(rule)?;
        let fault = parse_action(&action)?;
        if matches.nth == 0 || times == Times::So(0) {
            return Err(RuleError::Range);
        }
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        if set.rules.len() >= MOST {
            return Err(RuleError::Many);
        }
        set.last += 1;
        let rule = Rule { id: set.last, matches, action, times, seen: 0, met: 0, fault };
        set.rules.push(rule.clone());
        self.any.store(true, Ordering::Release);
        Ok(rule)
    }

    pub fn list(&self) -> Vec<Rule> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).rules.clone()
    }

    pub fn clear(&self) {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).rules.clear();
        self.any.store(false, Ordering::Release);
    }

    /// What meets this request; counts it. Once for a request: [`Met`] carries the result to the endpoint.
    pub fn meet(&self, ask: &Ask<'_>) -> Met {
        if !self.any.load(Ordering::Acquire) {
            return Met::default();
        }
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut faults, mut kinds) = (Vec::new(), Vec::new());
        for rule in set.rules.iter_mut().filter(|rule| rule.matches.takes(ask)) {
            rule.seen += 1;
            let left = match rule.times {
                Times::So(times) => rule.met < times,
                Times::Always(_) => true,
            };
            if rule.seen >= rule.matches.nth && left {
                rule.met += 1;
                faults.push(rule.fault.clone());
                kinds.push(rule.action.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned());
            }
        }
        Met { faults: faults.into(), kinds: kinds.into() }
    }

    /// The faults of [`Faults::meet`] alone.
    pub fn take(&self, ask: &Ask<'_>) -> Vec<Fault> {
        self.meet(ask).faults.to_vec()
    }
}

/// The faults that meet one request: in the extensions of every request, `Extension<Met>`. Transport faults are dealt with by the layer
/// around the endpoints; the rest is for them.
#[derive(Clone, Debug, Default)]
pub struct Met {
    faults: std::sync::Arc<[Fault]>,
    /// As the rules wrote them.
    kinds: std::sync::Arc<[String]>,
}

impl Met {
    pub fn new(faults: Vec<Fault>) -> Self {
        Self { faults: faults.into(), kinds: std::sync::Arc::default() }
    }

    pub fn kinds(&self) -> &[String] {
        &self.kinds
    }

    pub fn all(&self) -> &[Fault] {
        &self.faults
    }

    /// `met.has(&Fault::Refresh(RefreshFault::NoNewRt))`
    pub fn has(&self, fault: &Fault) -> bool {
        self.faults.contains(fault)
    }

    /// What is to be wrong with a token of that kind in the answer, in the order the rules were set.
    pub fn defects(&self, which: Which) -> impl Iterator<Item = &TokenDefect> {
        self.faults.iter().filter_map(move |fault| match fault {
            Fault::Token(of, defect) if *of == which => Some(defect),
            _ => None,
        })
    }

    /// How far the server's clock is off for this request, in seconds.
    pub fn clock_offset_s(&self) -> i64 {
        let offsets = self.faults.iter().filter_map(|fault| if let Fault::Clock(ClockFault::Server(by)) = fault { Some(*by) } else { None });
        offsets.fold(0, i64::saturating_add)
    }
}

#[cfg(test)]
mod tests;
