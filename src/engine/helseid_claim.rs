//! The HelseID claim: an id_token that brings a token of the provider's along. NAV's draft; DESIGN §3, HelseID in SMART.

use std::collections::BTreeMap;

use super::Engine;
use crate::domain::client::Client;
use crate::domain::grant::Grant;
use crate::protocol::claims::HelseIdClaim;
use crate::protocol::dpop::{BEARER, DPOP};
use crate::protocol::scope::{Scope, ScopeSet};

impl Engine {
    /// The claim under its name, where the scope was granted and a login of the person's, or the token the EPJ brought, gives a token.
    /// Nothing otherwise, and a line in the log that says why: a launch does not fail because of it.
    pub(super) async fn helseid_claim(&self, grant: &Grant, client: &Client, scopes: &ScopeSet) -> BTreeMap<String, HelseIdClaim> {
        let name = self.rules.helseid_name();
        if !scopes.contains(&Scope::OpenId) || !scopes.has_extension(name) {
            return BTreeMap::new();
        }
        match Box::pin(self.helseid_token(grant, client)).await {
            Ok(claim) => BTreeMap::from([(name.to_owned(), claim)]),
            Err(reason) => {
                tracing::warn!(client = %client.id, grant = %grant.id, reason, "an id_token goes without the HelseID claim");
                BTreeMap::new()
            }
        }
    }

    /// What the claim says, or why there is none.
    async fn helseid_token(&self, grant: &Grant, client: &Client) -> Result<HelseIdClaim, String> {
        let row = self.rules.identity_row(client).ok_or("no row gives this client a token of the identity provider's")?;
        let rules = self.rules.upstream.as_ref().ok_or("this issuer has no identity provider")?;
        let got = match tokio::time::timeout(rules.patience.claim, self.at_upstream(row, grant, &row.scopes)).await {
            Err(_) => return Err("the identity provider does not answer in time".to_owned()),
            Ok(Err(failed)) => return Err(failed.to_string()),
            Ok(Ok(got)) => got.tokens,
        };
        // As it is now that the token is there: the second may have changed meanwhile.
        let now = self.now();
        // A token that cannot be shortened and lives longer than the row allows is not given.
        if got.expires_at > now + row.longest {
            return Err("the identity provider's token lives longer than the row allows".to_owned());
        }
        Ok(HelseIdClaim {
            token_type: if got.token.jkt.is_some() { DPOP } else { BEARER }.to_owned(),
            issuer: rules.claim_issuer.clone(),
            expires_in: u64::try_from(got.expires_at.since(now)).unwrap_or(0),
            scope: got.granted.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
            access_token: got.access_token,
        })
    }
}
