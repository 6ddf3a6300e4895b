//! The HelseID claim: an id_token that brings a token of the provider's along. NAV's draft; DESIGN §3, HelseID in SMART.

use std::time::Duration;

use super::Engine;
use crate::domain::client::Client;
use crate::domain::grant::Grant;
use crate::protocol::claims::{HELSEID, HelseIdClaim};
use crate::protocol::dpop::{BEARER, DPOP};
use crate::protocol::scope::{Scope, ScopeSet};
use crate::time::UnixTime;

/// How long a token answer waits for the provider: the launch goes on without it.
const PATIENCE: Duration = Duration::from_secs(4);

impl Engine {
    /// The claim, where the scope was granted and a session of the person's gives a token. Silence otherwise, and a line in the log: a
    /// launch does not fail because of it.
    pub(super) async fn helseid_claim(&self, grant: &Grant, client: &Client, scopes: &ScopeSet, now: UnixTime) -> Option<HelseIdClaim> {
        if !scopes.contains(&Scope::OpenId) || !scopes.has_extension(HELSEID) {
            return None;
        }
        let row = self.rules.identity_row(client)?;
        let silent = |reason: &dyn std::fmt::Display| {
            tracing::warn!(client = %client.id, row = row.name, %reason, "an id_token goes without the HelseID claim");
            None
        };
        let got = match tokio::time::timeout(PATIENCE, self.at_upstream(row, grant, &row.scopes)).await {
            Err(_) => return silent(&"the identity provider does not answer in time"),
            Ok(Err(failed)) => return silent(&failed),
            Ok(Ok(got)) => got.tokens,
        };
        // A token that cannot be shortened and lives longer than the row allows is not given.
        if got.expires_at > now + row.longest {
            return silent(&"the provider's token lives longer than the row allows");
        }
        Some(HelseIdClaim {
            token_type: if got.token.jkt.is_some() { DPOP } else { BEARER }.to_owned(),
            issuer: self.upstream()?.rules().issuer.to_string(),
            expires_in: u64::try_from(got.expires_at.since(now)).unwrap_or(0),
            scope: got.granted.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
            access_token: got.access_token,
        })
    }
}
