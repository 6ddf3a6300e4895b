//! The issuer's keys, read over HTTP and kept for a day; an unknown `kid` is a reason to read them again, not more often than every ten
//! seconds. §1.1.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;

use crate::jose::{Alg, Jwk, JwkSet};
use crate::protocol::ids::Issuer;
use crate::time::UnixTime;

const KEEP_S: i64 = 24 * 3600;
const AGAIN_AFTER_S: i64 = 10;
const TIMEOUT: Duration = Duration::from_secs(5);

pub struct Keys {
    issuer: Issuer,
    http: reqwest::Client,
    kept: Mutex<Option<(UnixTime, JwkSet)>>,
}

/// The issuer does not answer, or with something else.
#[derive(Debug)]
pub struct Unreachable;

impl Keys {
    pub fn of(issuer: Issuer) -> reqwest::Result<Self> {
        // Whoever installs a provider first wins; there is only this one to install.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
        Ok(Self { issuer, http, kept: Mutex::new(None) })
    }

    /// The key of this `kid`, if the issuer has it.
    pub async fn find(&self, kid: Option<&str>, now: UnixTime) -> Result<Option<Jwk>, Unreachable> {
        let mut kept = self.kept.lock().await;
        let found = kept.as_ref().and_then(|(_, set)| set.find(kid, Alg::RS256).ok().cloned());
        let age = kept.as_ref().map(|(read, _)| now.since(*read));
        let enough = match age {
            None => false,
            Some(age) if found.is_some() => (0..KEEP_S).contains(&age),
            Some(age) => (0..AGAIN_AFTER_S).contains(&age),
        };
        if enough {
            return Ok(found);
        }
        let set = self.read().await?;
        let found = set.find(kid, Alg::RS256).ok().cloned();
        *kept = Some((now, set));
        Ok(found)
    }

    async fn read(&self) -> Result<JwkSet, Unreachable> {
        let metadata = self.get(&self.issuer.at("/.well-known/openid-configuration")).await?;
        if metadata.get("issuer").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(Unreachable);
        }
        let at = metadata.get("jwks_uri").and_then(Value::as_str).ok_or(Unreachable)?;
        JwkSet::parse(&self.get(at).await?).map_err(|_| Unreachable)
    }

    async fn get(&self, url: &str) -> Result<Value, Unreachable> {
        let answer = self.http.get(url).send().await.and_then(reqwest::Response::error_for_status);
        answer.map_err(|_| Unreachable)?.json().await.map_err(|_| Unreachable)
    }
}
