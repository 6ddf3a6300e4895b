//! client_credentials: a token for a machine, with no user in it. §2.6, §3.2.

use super::{Answer, Call, terms};
use crate::helseid::access_token::{Content, apis_of, mint};
use crate::helseid::attest::AttestError;
use crate::helseid::organisation::{DetailsError, act_for};
use crate::helseid::refusal::{Code, Refusal};
use crate::helseid::seed::Grant;

/// Why a machine gets no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    #[error("the client may not use client_credentials")]
    Unauthorized,
    #[error("scope is missing")]
    NoScope,
    #[error("identity scopes are for users")]
    IdentityScope,
    #[error("a scope is unknown or not allowed for this client")]
    Scope,
    #[error("one resource at a time, and one of the APIs of the scopes")]
    Resource,
}

impl From<MachineError> for Refusal {
    fn from(reason: MachineError) -> Self {
        let code = match reason {
            MachineError::Unauthorized => Code::UnauthorizedClient,
            MachineError::NoScope | MachineError::IdentityScope | MachineError::Scope => Code::InvalidScope,
            MachineError::Resource => Code::InvalidTarget,
        };
        Self::new(code, reason.to_string())
    }
}

/// Answers a request whose sender is known.
///
/// # Errors
/// [`MachineError`], those of organisations, and those of the token.
pub fn answer(call: &Call<'_>) -> Result<Answer, Refusal> {
    if !call.client.may(Grant::ClientCredentials) {
        return Err(MachineError::Unauthorized.into());
    }
    terms::refused_on_demand(call.met)?;
    let seed = call.idp.seed();
    let scopes = wanted(call)?;
    let mut apis = apis_of(&seed, &scopes);
    let mut resources = call.params.all("resource");
    let resource = resources.next();
    if let Some(resource) = resource {
        apis.retain(|api| api.audience == resource);
    }
    if apis.is_empty() || resources.next().is_some() {
        return Err(MachineError::Resource.into());
    }
    let scopes: Vec<String> = scopes.into_iter().filter(|scope| apis.iter().any(|api| api.scopes.contains(scope))).collect();
    let (scopes, rejected_scopes) = terms::split(scopes, &seed, call.met);
    if scopes.is_empty() {
        return Err(MachineError::Scope.into());
    }
    let apis = apis_of(&seed, &scopes);
    if call.details.attest.is_some() {
        return Err(DetailsError::Attest(AttestError::NoUser).into());
    }
    let acting = act_for(&call.client.tenancy, call.details.organisation.as_ref(), &seed)?;
    let content =
        Content { client: &call.client, apis: &apis, scopes: &scopes, acting: &acting, login: None, details: &call.details, jkt: call.jkt.as_deref() };
    let minted = mint(call.idp, &content, call.met, call.now)?;
    Ok(Answer {
        access_token: minted.token,
        token_type: minted.token_type,
        expires_in: minted.expires_in,
        scopes,
        rejected_scopes,
        id_token: None,
        refresh_token: None,
        rt_expires_in: None,
        issued_token_type: None,
    })
}

/// The scopes of the request, each once: API scopes the client is registered for. Shared with token exchange, which asks for its own
/// registered scopes too.
pub(super) fn wanted(call: &Call<'_>) -> Result<Vec<String>, MachineError> {
    let seed = call.idp.seed();
    let mut scopes: Vec<String> = Vec::new();
    for scope in call.params.get("scope").ok_or(MachineError::NoScope)?.split_ascii_whitespace() {
        if crate::helseid::discovery::IDENTITY_SCOPES.contains(&scope) {
            return Err(MachineError::IdentityScope);
        }
        if !call.client.scopes.contains(scope) || seed.api_of_scope(scope).is_none() {
            return Err(MachineError::Scope);
        }
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    if scopes.is_empty() { Err(MachineError::NoScope) } else { Ok(scopes) }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::helseid::Idp;
    use crate::helseid::access_token::tests::{NOW, idp, met, read};
    use crate::helseid::attest::tests::sent;
    use crate::helseid::faults::Met;
    use crate::helseid::organisation::{Asked, Details};
    use crate::helseid::seed::table::{BATCH, DEMO_ACTOR, PORTAL};
    use crate::protocol::params::Params;

    /// A request by this client, with a proof unless `jkt` is `None`.
    pub fn asking<R>(idp: &Idp, client: &str, form: &[(&str, &str)], jkt: Option<&str>, details: Details, met: &Met, answer: impl FnOnce(&Call<'_>) -> R) -> R {
        let params = Params::from_pairs(form.iter().copied());
        let client = Arc::new(idp.seed().client(client).unwrap().clone());
        answer(&Call { idp, client, params: &params, details, jkt: jkt.map(str::to_owned), met, now: NOW })
    }

    fn ask(idp: &Idp, client: &str, form: &[(&str, &str)], jkt: Option<&str>) -> Result<Answer, Refusal> {
        asking(idp, client, form, jkt, Details::default(), &Met::default(), answer)
    }

    /// §3.2: nothing in it names a person.
    #[test]
    fn a_machines_token_has_no_person_in_it() {
        let idp = idp();
        let answer = ask(&idp, BATCH, &[("scope", "demo:kjerne/read")], Some("thumb")).unwrap();
        assert_eq!((answer.token_type, answer.expires_in, answer.scopes.join(" ")), ("DPoP", 60, "demo:kjerne/read".to_owned()));
        assert!(answer.id_token.is_none() && answer.refresh_token.is_none() && answer.rejected_scopes.is_empty());
        let claims = read(&answer.access_token);
        for name in ["sub", "sid", "idp", "amr", "auth_time", "helseid://claims/identity/pid", "helseid://claims/identity/security_level"] {
            assert_eq!(claims.get(name), None, "{name}");
        }
        assert_eq!(claims["helseid://claims/client/claims/orgnr_parent"], json!("310441201"));
        assert_eq!(claims["helseid://claims/client/client_tenancy"], json!("none"));
        let bearer = ask(&idp, BATCH, &[("scope", "demo:old/read")], None).unwrap();
        assert_eq!((bearer.token_type, read(&bearer.access_token).get("cnf")), ("Bearer", None));
    }

    #[test]
    fn what_a_machine_may_not_ask() {
        let idp = idp();
        type Row<'r> = (&'r str, &'r str, &'r [(&'r str, &'r str)], Option<&'r str>, &'r str);
        let rows: &[Row<'_>] = &[
            ("no grant", PORTAL, &[("scope", "demo:kjerne/read")], Some("k"), "unauthorized_client"),
            ("no scope", BATCH, &[], Some("k"), "invalid_scope"),
            ("blank scope", BATCH, &[("scope", "  ")], Some("k"), "invalid_scope"),
            ("identity scope", BATCH, &[("scope", "openid demo:kjerne/read")], Some("k"), "invalid_scope"),
            ("refresh token", BATCH, &[("scope", "offline_access demo:kjerne/read")], Some("k"), "invalid_scope"),
            ("unknown scope", BATCH, &[("scope", "demo:nothing/read")], Some("k"), "invalid_scope"),
            ("scope of others", BATCH, &[("scope", "demo:resept/write")], Some("k"), "invalid_scope"),
            ("unknown resource", BATCH, &[("scope", "demo:kjerne/read"), ("resource", "demo:nothing")], Some("k"), "invalid_target"),
            ("resource beside the scope", BATCH, &[("scope", "demo:kjerne/read"), ("resource", "demo:old")], Some("k"), "invalid_target"),
            (
                "two resources",
                BATCH,
                &[("scope", "demo:kjerne/read demo:old/read"), ("resource", "demo:kjerne"), ("resource", "demo:old")],
                Some("k"),
                "invalid_target",
            ),
            ("no proof for a bound API", BATCH, &[("scope", "demo:kjerne/read")], None, "invalid_dpop_proof"),
        ];
        for (what, client, form, jkt, code) in rows {
            assert_eq!(ask(&idp, client, form, *jkt).unwrap_err().code.as_str(), *code, "{what}");
        }
    }

    #[test]
    fn a_resource_narrows_to_its_api() {
        let idp = idp();
        let form = [("scope", "demo:kjerne/read demo:resept/write"), ("resource", "demo:resept")];
        let answer = ask(&idp, DEMO_ACTOR, &form, Some("k")).unwrap();
        assert_eq!((answer.scopes.join(" "), read(&answer.access_token)["aud"].clone()), ("demo:resept/write".to_owned(), json!("demo:resept")));
        let both = ask(&idp, DEMO_ACTOR, &form[..1], Some("k")).unwrap();
        assert_eq!(read(&both.access_token)["aud"], json!(["demo:kjerne", "demo:resept"]));
    }

    #[test]
    fn structures_and_faults_refuse() {
        let idp = idp();
        let with =
            |details: Details, faults: &[&str]| asking(&idp, BATCH, &[("scope", "demo:kjerne/read demo:old/read")], Some("k"), details, &met(faults), answer);
        let own = Details { organisation: Some(Asked::Parent("310441201".to_owned())), ..Details::default() };
        let said = |answer: Result<Answer, Refusal>| {
            answer.map(|_| ()).map_err(|refusal| (refusal.code.as_str(), refusal.description.chars().take(8).collect::<String>()))
        };
        assert_eq!(said(with(own, &[])), Err(("invalid_request", "HID-1010".to_owned())));
        let attest = Details { attest: Some(sent()), ..Details::default() };
        assert_eq!(said(with(attest, &[])).unwrap_err().0, "invalid_request");
        assert_eq!(said(with(Details::default(), &["hid:1003"])), Err(("invalid_request", "HID-1003".to_owned())));
        assert_eq!(said(with(Details::default(), &["hid:1008"])), Err(("invalid_client", "HID-1008".to_owned())));
        assert_eq!(said(with(Details::default(), &["double_structure"])), Err(("access_denied", "HID-DOUB".to_owned())));
        assert_eq!(said(with(Details::default(), &["unauthorized_client"])).unwrap_err().0, "unauthorized_client");
        let fewer = with(Details::default(), &["rejected_scope"]).unwrap();
        assert_eq!((fewer.scopes.join(" "), fewer.rejected_scopes.join(" ")), ("demo:kjerne/read".to_owned(), "demo:old/read".to_owned()));
        assert_eq!(read(&fewer.access_token)["scope"], json!(["demo:kjerne/read"]));
    }
}
