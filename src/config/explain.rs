//! What `config explain-exchange` prints: which row of the policy permits an exchange, or why none does.

use std::fmt::Write as _;
use std::path::Path;

use super::load;
use super::read::print_duration;
use super::types::IssuerConfig;
use crate::domain::client::Client;
use crate::domain::exchange::{Ask, Binding, Direction, ExchangeRow, Semantics};
use crate::protocol::exchange::TokenType;
use crate::protocol::ids::ClientId;
use crate::protocol::scope::ScopeSet;

/// What is asked about.
#[derive(Debug, Clone)]
pub struct ExchangeQuestion<'a> {
    /// Which issuer of the file; the first where left out.
    pub at: Option<&'a str>,
    pub caller: &'a str,
    /// `audience` or `resource`, as it would be sent.
    pub target: &'a str,
    pub direction: Option<Direction>,
    /// The issuer of a foreign subject token.
    pub from: Option<&'a str>,
    pub scope: Option<&'a str>,
}

/// Reads a configuration and explains; true where a row permits.
pub fn explain_exchange(path: &Path, question: &ExchangeQuestion<'_>) -> (String, bool) {
    let config = match load(path, &[]) {
        Ok(checked) => checked.config,
        Err(found) => return (found.to_string(), false),
    };
    let issuer = match question.at {
        Some(at) => config.issuers.iter().find(|issuer| issuer.url().as_str() == at),
        None => config.issuers.first(),
    };
    match issuer {
        Some(issuer) => explained(issuer, question),
        None => (format!("{} is not an issuer of {}.\n", question.at.unwrap_or_default(), path.display()), false),
    }
}

fn explained(issuer: &IssuerConfig, question: &ExchangeQuestion<'_>) -> (String, bool) {
    let mut out = String::new();
    let client = ClientId::parse(question.caller).ok().and_then(|id| issuer.rules.clients.get(&id));
    let Some(client) = client else {
        return (format!("Refused: {} is not a client of {} (invalid_client).\n", question.caller, issuer.url()), false);
    };
    if client.is_public() {
        return (format!("Refused: {} is a public client, and only confidential ones may exchange (unauthorized_client).\n", client.id), false);
    }
    if !issuer.rules.exchange.iter().any(|row| row.caller == client.id) {
        return (format!("Refused: no row has {} as its caller (unauthorized_client).\n", client.id), false);
    }
    let mut permits = false;
    for row in &issuer.rules.exchange {
        let line = match why_not(row, client, question) {
            Some(why) => format!("row \"{}\": no, {why}", row.name),
            None => {
                permits = true;
                format!("row \"{}\": yes\n{}", row.name, terms(row, client, question.scope))
            }
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{line}");
    }
    if !permits {
        out.push_str("Refused: no row permits this (invalid_target).\n");
    }
    (out, permits)
}

fn why_not(row: &ExchangeRow, client: &Client, question: &ExchangeQuestion<'_>) -> Option<&'static str> {
    let ask = Ask {
        direction: question.direction.unwrap_or(row.direction),
        // Where nobody asks about an issuer, every row's own will do.
        issuer: question.from.or(row.issuer.as_ref().map(|issuer| issuer.as_str())).unwrap_or_default(),
        caller: client,
        target: question.target,
        scope: question.scope,
        subject_type: TokenType::AccessToken,
        requested: None,
        actor_token: false,
        proven: None,
    };
    row.misses(&ask)
        .or_else(|| (!row.lets(client)).then_some("the caller has a shared secret: this row only gives it the claim in its id_token (unauthorized_client)"))
}

/// What a row gives, in a few lines.
fn terms(row: &ExchangeRow, client: &Client, scope: Option<&str>) -> String {
    let mut out = String::new();
    let ceiling = row.scopes.narrow(&client.scopes);
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {name:<10} {text}");
    };
    line("direction", row.direction.to_string());
    line("ceiling", format!("{ceiling}; of a subject with less, less"));
    if let Some(scope) = scope {
        let given = ScopeSet::parse_request(scope).narrow(&ceiling);
        line("of these", if given.is_empty() { "nothing (invalid_scope)".to_owned() } else { given.to_string() });
    }
    line("lifetime", format!("at most {}, never beyond the subject's", print_duration(row.longest.min(client.access_ttl))));
    line("proof", if row.binding == Binding::Required { "DPoP, demanded".to_owned() } else { "bound where a DPoP proof is shown".to_owned() });
    line(
        "act",
        if row.semantics == Semantics::Delegation { format!("{}, at most {} deep", client.id, row.depth) } else { "unchanged: impersonation".to_owned() },
    );
    if row.direction == Direction::ToUpstream {
        line("delivery", row.delivery.as_str().to_owned());
    }
    let types = |types: &[TokenType]| types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    line("takes", types(&row.subject_types));
    line("gives", types(&row.result_types));
    out
}
