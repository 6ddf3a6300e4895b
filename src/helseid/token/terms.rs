//! What every grant asks before it gives: faults that refuse, scopes the acting organisation has no terms for. §2.6, §2.12.

use crate::helseid::faults::{Fault, GrantFault, Met};
use crate::helseid::organisation::DetailsError;
use crate::helseid::refusal::{Code, Refusal};
use crate::helseid::seed::Seed;

/// Refuses where a fault of the group Grants says so. §7.3.
///
/// # Errors
/// The refusal that was asked for.
pub fn refused_on_demand(met: &Met) -> Result<(), Refusal> {
    let asked = met.all().iter().find_map(|fault| match fault {
        Fault::Grant(GrantFault::Hid(code)) if code.number() == 1008 => Some(Refusal::new(Code::InvalidClient, code.to_string())),
        Fault::Grant(GrantFault::Hid(code)) => Some(Refusal::new(Code::InvalidRequest, code.to_string())),
        Fault::Grant(GrantFault::DoubleStructure) => Some(DetailsError::DoubleStructure.into()),
        Fault::Grant(GrantFault::UnauthorizedClient) => Some(Refusal::new(Code::UnauthorizedClient, "the client may not use this grant")),
        Fault::Grant(GrantFault::RejectedScope)
        | Fault::Transport(_)
        | Fault::Discovery(_)
        | Fault::Key(_)
        | Fault::Token(_, _)
        | Fault::IdToken(_)
        | Fault::Dpop(_)
        | Fault::ClientAuth(_)
        | Fault::Refresh(_)
        | Fault::Exchange(_)
        | Fault::Clock(_)
        | Fault::Callback(_) => None,
    });
    asked.map_or(Ok(()), Err)
}

/// Scopes that are granted, and those that are not because the acting organisation has not signed the terms of their API: with the fault
/// `rejected_scope`, the last API scope of the request; else none. §2.6.
pub fn split(mut scopes: Vec<String>, seed: &Seed, met: &Met) -> (Vec<String>, Vec<String>) {
    let last = scopes.iter().rposition(|scope| seed.api_of_scope(scope).is_some());
    match last {
        Some(at) if met.has(&Fault::Grant(GrantFault::RejectedScope)) => {
            let rejected = scopes.remove(at);
            (scopes, vec![rejected])
        }
        Some(_) | None => (scopes, Vec::new()),
    }
}
