//! The bridge with something broken: who was in before the fault, what an exchange and the gateway answer under it, and that all is well after it.

use serde_json::Value;

use crate::demo::faults::Ending;
use crate::demo::wire::{Answer, secret_at, text_at};
use crate::secret::Secret;

use super::hand::Endpoints;
use super::helseid::{CORE, PRESCRIPTIONS, There, code_of, exchange};
use super::portal::Portal;
use super::report::Look;
use super::{Cast, Stop, Walker};

/// What an app may be told, whatever HelseID does: RFC 6749 §5.2, RFC 8693 §2.2.2, docs/bridge.md.
const ERRORS: [&str; 5] = ["invalid_request", "invalid_target", "invalid_scope", "server_error", "temporarily_unavailable"];

/// Whoever came in before the fault.
pub(super) struct Bridged<'p> {
    portal: Portal<'p>,
    own: Secret<String>,
    /// For the gateway; what HelseID gave for it is kept while it is good.
    handle: Secret<String>,
}

impl<'a> Walker<'a> {
    /// The doctor logs in at HelseID, opens the portal, and the portal has a handle for the gateway.
    pub(super) async fn bridged(&mut self, cast: &Cast<'_>, at: &Endpoints, ehr_token: &Secret<String>, there: &There<'a>) -> Result<Bridged<'a>, Stop> {
        self.begin_anew();
        let mut look = Look::new("browser → authorization server → HelseID and back", "The doctor logs in at HelseID");
        let verifier = self.random.token();
        if let Some(launch) = self.handle(&mut look, cast.app, cast.first, ehr_token).await {
            let url = self.authorization_url(cast, &at.authorization, launch.expose(), "bridged", &verifier, &self.facts.fhir);
            let landing = self.log_in_there(&mut look, &url, cast.redirect_uri, there).await;
            let code = landing.and_then(|landing| code_of(&mut look, &landing));
            look.expect(code.is_some(), "the app gets no code");
        }
        if !self.report.add(look, "a session there, for whatever the portal does next: helseid.md §6.4") {
            return Err(Stop);
        }
        let portal = self.portal(there).await?;
        let own = self.portal_launch(cast, at, ehr_token, &portal).await?;
        let mut look = Look::new("portal → authorization server → national API", "The portal reaches a national API through the gateway");
        let answer = self.portal_token(&mut look, &portal, &at.token, &exchange(&own, CORE.audience, CORE.scope)).await;
        look.answer(&answer, &["access_token", "scope", "error", "error_description"]);
        look.status(&answer, &[200]);
        let handle = answer.json().and_then(|said| secret_at(&said, "/access_token"));
        if let Some(handle) = &handle {
            let answer = self.portal_get(&mut look, &portal, &format!("{}{}", at.issuer.trim_end_matches('/'), CORE.route), handle).await;
            look.answer(&answer, &["api", "error", "error_description"]);
            look.status(&answer, &[200]);
        }
        self.report.add(look, "the bridge stands: DESIGN §3, Token exchange");
        Ok(Bridged { portal, own, handle: handle.ok_or(Stop)? })
    }

    /// An exchange that HelseID must answer, and the gateway with what was had before.
    pub(super) async fn bridge_ends_well(&mut self, at: &Endpoints, bridged: &Bridged<'_>, ending: Ending) {
        let mut look = Look::new("portal → authorization server → HelseID", "An exchange with HelseID ends well");
        let form = exchange(&bridged.own, PRESCRIPTIONS.audience, PRESCRIPTIONS.scope);
        let answer = self.portal_token(&mut look, &bridged.portal, &at.token, &form).await;
        look.answer(&answer, &["access_token", "scope", "error", "error_description"]);
        ends_well(&mut look, &answer);
        look.expect(ending != Ending::GoesOn || answer.status == 200, "nobody was to notice");
        self.report.add(look, "a token, or one of our own errors with the status it deserves, and none of HelseID's words: helseid.md §6.4; docs/bridge.md");

        let mut look = Look::new("portal → authorization server → national API", "The gateway ends well");
        let url = format!("{}{}", at.issuer.trim_end_matches('/'), CORE.route);
        let answer = self.portal_get(&mut look, &bridged.portal, &url, &bridged.handle).await;
        look.answer(&answer, &["api", "error", "error_description"]);
        ends_well(&mut look, &answer);
        let said = if answer.status == 200 { "the national API, with the token that was kept" } else { "that it is to try again, or to launch anew" };
        look.sees("the portal", said);
        self.report.add(look, "what was had before the fault is good until it is over: helseid.md §6.4; DESIGN §3, Failure");
    }
}

fn ends_well(look: &mut Look, answer: &Answer) {
    look.status(answer, &[200, 400, 500, 503]);
    let said = answer.json().unwrap_or(Value::Null);
    let error = text_at(&said, "/error").unwrap_or_default();
    look.expect(answer.status == 200 || ERRORS.contains(&error), "the error is none of ours");
    look.expect((answer.status == 503) == (error == "temporarily_unavailable"), "503 and temporarily_unavailable do not go together");
    look.expect(answer.status != 503 || answer.header("retry-after").is_some(), "it does not say when to try again");
    let text = answer.text();
    look.expect(answer.status == 200 || !["eyJ", "HID-", "connect/token"].iter().any(|one| text.contains(one)), "HelseID's words are passed on");
}
