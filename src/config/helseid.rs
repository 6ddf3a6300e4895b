//! `helseid = "required"` of a client: only where there is a way to what it requires. DESIGN §3, HelseID in SMART.

use super::problem::{Findings, Place};
use super::types::IssuerConfig;
use crate::domain::client::HelseIdNeed;
use crate::domain::issuer::LoginWay;
use crate::protocol::ids::{ClientId, Issuer};

/// A client that says it cannot do without, and where it says so.
pub(super) struct Need {
    pub issuer: Issuer,
    pub client: ClientId,
    pub place: Place,
}

/// Once clients and rows are known.
pub(super) fn check_all(needs: &[Need], issuers: &[IssuerConfig], found: &mut Findings) {
    for need in needs {
        let Some(rules) = issuers.iter().find(|issuer| *issuer.url() == need.issuer).map(|issuer| &issuer.rules) else { continue };
        // A client of a later file may have taken its place; a public one was refused already.
        let client = rules.clients.get(&need.client).filter(|client| client.helseid == HelseIdNeed::Required && !client.is_public());
        let Some(client) = client else { continue };
        if !rules.login.contains(&LoginWay::HelseId) {
            found.refuse(&need.place, "\"required\" needs login = [\"ehr\", \"helseid\"] of its issuer: nobody could log in there");
        } else if rules.identity_row(client).is_none() {
            found.refuse(
                &need.place,
                "\"required\" needs an [[issuer.exchange]] row of this client with delivery = \"identity\": nothing would come of the login",
            );
        } else if !client.scopes.has_extension(rules.helseid_name()) {
            found.refuse(&need.place, format!("\"required\" needs \"{}\" in scopes: the app could never ask for it", rules.helseid_name()));
        }
    }
}
