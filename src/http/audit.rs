//! Where a request is answered, its record is made: what was learned on the way, and what became of it, in the words of the request log.
//!
//! No answer leaves before its record is queued, so that what cannot be recorded is not given.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::Method;
use axum::response::Response;

use super::reply::LogNote;
use crate::audit::trail::{Shared, Trail, follow, lock};
use crate::audit::{Audit, Unrecorded};
use crate::domain::audit::{Action, AuditEvent, Outcome};
use crate::protocol::ids::Issuer;

/// Answers whose refusal is recorded where it happens, and which are shown again whenever the page is.
pub(super) const SHOWN_AGAIN: &str = "login";

/// What a route decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decides {
    action: Action,
    /// Every success is a decision; else only one that says so.
    always: bool,
    /// A page in a browser.
    pub page: bool,
}

/// What the route of an issuer decides about; nothing for what tells everybody the same. `route` is the path as it stands in the table.
pub(super) fn public(route: &str) -> Option<Decides> {
    let (api, page) = (|action, always| Some(Decides { action, always, page: false }), |action| Some(Decides { action, always: false, page: true }));
    if route.contains("/gateway/{row}") {
        return api(Action::Gateway, true);
    }
    match route.rsplit_once('/').map(|(_, last)| last)? {
        "token" => api(Action::Token, true),
        "introspect" => api(Action::Introspect, false),
        "revoke" => api(Action::Revoke, true),
        "userinfo" => api(Action::UserInfo, true),
        "par" => api(Action::PushedRequest, true),
        "launches" => api(Action::Launch, true),
        "end-session" => api(Action::EndSession, true),
        "authorize" => page(Action::Authorize),
        "{id}" => page(Action::Authorize),
        "{link}" => page(Action::Start),
        "callback" => page(Action::Login),
        "apps" => page(Action::Withdraw),
        "logout" if route.ends_with("/upstream/logout") => api(Action::UpstreamLogout, true),
        "logout" => page(Action::Logout),
        _ => None,
    }
}

/// What a request to the operations listener decides about. Looking on is recorded where it is refused.
pub(super) fn operations(method: &Method, path: &str) -> Decides {
    let action = match (method, path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice()) {
        (&Method::POST, ["clients"]) => Action::ClientAdd,
        (&Method::DELETE, ["clients", _]) => Action::ClientRemove,
        (&Method::POST, ["clients", _, "disable"]) => Action::ClientDisable,
        (&Method::POST, ["clients", _, "enable"]) => Action::ClientEnable,
        (&Method::POST, ["clients", _, "rotate-secret"]) => Action::ClientSecret,
        (&Method::POST, ["keys", "rotate" | "import"]) => Action::KeyRotate,
        (&Method::POST, ["keys", _, "revoke"]) => Action::KeyRevoke,
        (&Method::GET, ["store", "export"]) => Action::StoreExport,
        (&Method::PUT, ["store", "read-only"]) => Action::StoreReadOnly,
        (&Method::POST, ["reload"]) => Action::Reload,
        (&Method::POST, ["grants", "revoke"] | ["grants", _, "revoke"]) => Action::GrantRevoke,
        (&Method::POST, ["sessions", "revoke"] | ["sessions", _, "revoke"]) => Action::SessionRevoke,
        _ => Action::Operate,
    };
    Decides { action, always: action != Action::Operate, page: false }
}

/// What is known of a request before anybody looked into it.
pub(super) struct From<'a> {
    pub issuer: Option<Issuer>,
    pub request: Option<&'a str>,
    pub source: Option<IpAddr>,
}

/// Serves a request and records what became of it.
///
/// # Errors
/// [`Unrecorded`]: nothing can be recorded, so nothing is given. The request was not served, or its answer is withheld.
pub(super) async fn recorded(audit: &Audit, decides: Decides, from: From<'_>, serve: impl Future<Output = Response>) -> Result<Response, Unrecorded> {
    if decides.action.grants()
        && let Some(refused) = audit.refuses()
    {
        return Err(refused);
    }
    let trail = Trail::shared(decides.action, from.issuer, decides.always);
    let mut record = Record { audit, trail: Arc::clone(&trail), request: from.request, source: from.source, events: None };
    let response = follow(trail, serve).await;
    audit.record(record.answered(&response)).await?;
    Ok(response)
}

/// A record in the making. Dropped before its time, as when the peer goes away, it records what was decided until then and is not recorded yet.
struct Record<'a> {
    audit: &'a Audit,
    trail: Shared,
    request: Option<&'a str>,
    source: Option<IpAddr>,
    /// Once there is an answer: what is still to be recorded.
    events: Option<VecDeque<AuditEvent>>,
}

impl Record<'_> {
    /// What is to be recorded, now that there is an answer.
    fn answered(&mut self, response: &Response) -> &mut VecDeque<AuditEvent> {
        let note = response.extensions().get::<LogNote>();
        let events = self.decided(refusal(response, note));
        self.events.insert(events)
    }

    /// Everything that was decided, in the order it was.
    fn decided(&self, refused: Option<Outcome>) -> VecDeque<AuditEvent> {
        let mut trail = lock(&self.trail);
        let more = std::mem::take(&mut trail.more);
        let last = refused.or(trail.decided.then_some(Outcome::Allowed)).map(|outcome| (trail.action, outcome, std::mem::take(&mut trail.facts)));
        more.into_iter()
            .chain(last)
            .map(|(action, outcome, facts)| AuditEvent {
                time: self.audit.now(),
                action,
                outcome,
                issuer: trail.issuer.clone(),
                request: self.request.map(Arc::from),
                source: self.source,
                facts,
            })
            .collect()
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let left = self.events.take().unwrap_or_else(|| {
            let reason = "the connection ended before the answer; what had been done until then is done".to_owned();
            self.decided(Some(Outcome::Refused { error: "cancelled", reason }))
        });
        for event in left {
            self.audit.record_now(event);
        }
    }
}

/// Why the answer is a refusal, if it is one.
fn refusal(response: &Response, note: Option<&LogNote>) -> Option<Outcome> {
    let status = response.status();
    let error = match note.and_then(|note| note.error) {
        Some(SHOWN_AGAIN) => return None,
        Some(error) => error,
        None if status.is_client_error() || status.is_server_error() => "http",
        None => return None,
    };
    let reason = note.and_then(|note| note.reason.clone()).unwrap_or_else(|| status.to_string());
    Some(Outcome::Refused { error, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::persons::Persons;
    use crate::audit::{Keeping, OnFailure, Options};
    use crate::domain::audit::Facts;
    use crate::random::SystemRandom;
    use crate::secret::Secret;
    use crate::time::{FixedClock, UnixTime};

    /// However far recording had come when the peer went away, each event is there once.
    #[tokio::test]
    async fn what_is_left_of_a_record_is_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let keeping = Keeping { dir: dir.path().to_owned(), max_file: 1 << 20, durable: false, node: None };
        let options = Options { keeping, on_failure: OnFailure::Refuse, wait: false };
        let audit = Audit::start(options, Persons::new(&Secret::new([1; 32])), Arc::new(FixedClock::at(UnixTime(1_795_000_000))), &SystemRandom).unwrap();
        let event = || AuditEvent {
            time: audit.now(),
            action: Action::Token,
            outcome: Outcome::Allowed,
            issuer: None,
            request: None,
            source: None,
            facts: Facts::default(),
        };
        let record = |events| Record {
            audit: &audit,
            trail: Trail::shared(Action::Token, None, true),
            request: None,
            source: None,
            events: Some(VecDeque::from(events)),
        };
        drop(record(vec![event(), event()]));
        let mut queued = record(vec![event()]);
        audit.record(queued.events.as_mut().unwrap()).await.unwrap();
        drop(queued);
        audit.flush().await;
        assert_eq!(audit.status().unwrap().head.seq, 4, "one says that the log begins");
    }

    #[test]
    fn a_route_says_what_it_decides_about() {
        let action = |route: &str| public(route).map(|decides| decides.action);
        for (route, expected) in [
            ("/token", Some(Action::Token)),
            ("/clinic/token", Some(Action::Token)),
            ("/launches", Some(Action::Launch)),
            ("/launches/end-session", Some(Action::EndSession)),
            ("/start/{link}", Some(Action::Start)),
            ("/interaction/{id}", Some(Action::Authorize)),
            ("/gateway/{row}", Some(Action::Gateway)),
            ("/clinic/gateway/{row}/{*rest}", Some(Action::Gateway)),
            ("/upstream/callback", Some(Action::Login)),
            ("/upstream/logout", Some(Action::UpstreamLogout)),
            ("/logout", Some(Action::Logout)),
            ("/jwks", None),
            ("/.well-known/smart-configuration", None),
            ("-", None),
        ] {
            assert_eq!(action(route), expected, "{route}");
        }
    }

    #[test]
    fn an_operator_s_request_says_what_it_changes() {
        for (method, path, expected) in [
            (Method::POST, "/clients", Action::ClientAdd),
            (Method::GET, "/clients", Action::Operate),
            (Method::DELETE, "/clients/a", Action::ClientRemove),
            (Method::POST, "/clients/a/rotate-secret", Action::ClientSecret),
            (Method::POST, "/keys/rotate", Action::KeyRotate),
            (Method::POST, "/grants/revoke", Action::GrantRevoke),
            (Method::POST, "/sessions/a/revoke", Action::SessionRevoke),
            (Method::GET, "/sessions", Action::Operate),
            (Method::GET, "/nothing", Action::Operate),
        ] {
            assert_eq!(operations(&method, path).action, expected, "{path}");
        }
    }
}
