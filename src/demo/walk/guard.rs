//! What must be refused, and what a refresh must leave alone. RFC 6749 §4.1.2, §5.2, §6; `nav.md` §8.

use serde_json::Value;

use crate::demo::wire::{secret_at, text_at};
use crate::secret::Secret;

use super::hand::Grant;
use super::report::Look;
use super::{Cast, Stop, Walker};

impl Walker<'_> {
    pub(super) async fn refusals(&mut self, cast: &Cast<'_>, grant: &Grant) -> Result<(), Stop> {
        self.used_handle(cast, grant).await;
        self.used_code(cast, grant).await;
        self.wrong_redirect(cast, grant).await;
        self.no_secret(cast, grant).await;
        self.wider_refresh(cast, grant).await;
        self.refresh(cast, grant).await;
        Ok(())
    }

    async fn used_handle(&mut self, cast: &Cast<'_>, grant: &Grant) {
        let mut look = Look::new("browser → authorization server → app", "The handle is spent");
        let landed = self.authorize_again(cast, grant, &mut look).await;
        let get = |name: &str| landed.as_ref()?.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        look.expect(get("error").as_deref() == Some("invalid_request"), "the error redirect does not say invalid_request");
        look.expect(get("code").is_none(), "there is a code");
        self.report.add(look, "one launch, one authorization: SAL-013, NAV-024");
    }

    async fn used_code(&mut self, cast: &Cast<'_>, grant: &Grant) {
        let mut look = Look::new("somebody → authorization server", "The code is spent");
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", &cast.app.client_id),
            ("code", grant.code.expose()),
            ("redirect_uri", cast.redirect_uri),
            ("code_verifier", grant.verifier.expose()),
        ];
        let answer = self.token_request(&mut look, &grant.at.token, cast.app, &form).await;
        look.answer(&answer, &["error", "error_description"]);
        look.error(&answer, &[400], "invalid_grant");
        let again = self.introspect(&mut look, &grant.at.introspection, cast.fhir_server, &grant.access).await;
        look.answer(&again, &["active"]);
        let active = again.json().is_some_and(|said| said.get("active") == Some(&Value::Bool(true)));
        look.expect(active, "reloading the callback page ended the doctor's grant, which this client is configured against");
        self.report.add(
            look,
            "a code works once; for NAV's app, whose callback may be reloaded, a replay is refused without ending the grant: RFC 6749 §4.1.2, NAV-051",
        );
    }

    async fn wrong_redirect(&mut self, cast: &Cast<'_>, grant: &Grant) {
        let mut look = Look::new("browser → authorization server", "Nobody is sent to an address that is not registered");
        let wrong = format!("{}x", cast.redirect_uri);
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("response_type", "code"), ("client_id", &cast.app.client_id), ("redirect_uri", &wrong), ("state", "s")])
            .finish();
        let url = format!("{}?{query}", grant.at.authorization);
        look.request(format!("GET {}?response_type=code&client_id={}&redirect_uri={wrong}&…", grant.at.authorization, cast.app.client_id));
        let answer = self.send(&mut look, self.wire.get(&url)).await;
        look.answer(&answer, &[]);
        look.status(&answer, &[400]);
        look.expect(answer.header("location").is_none(), "it redirects");
        look.expect(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "it is not a page");
        self.report.add(look, "redirect URIs are compared as they are, and the refusal is a page: SAL-022, NAV-032, RFC 6749 §4.1.2.1");
    }

    async fn no_secret(&mut self, cast: &Cast<'_>, grant: &Grant) {
        let mut look = Look::new("somebody → authorization server", "A refresh token alone is worth nothing");
        let wrong = crate::demo::wire::basic(&cast.app.client_id, &self.random.token());
        look.request(format!("POST {}  Authorization: Basic {}:(wrong)  grant_type=refresh_token&refresh_token=…", grant.at.token, cast.app.client_id));
        let form = [("grant_type", "refresh_token"), ("refresh_token", grant.refresh.expose())];
        let answer = self.send(&mut look, self.wire.post(&grant.at.token).header("authorization", wrong).form(&form)).await;
        look.answer(&answer, &["error"]);
        look.error(&answer, &[401], "invalid_client");
        look.expect(answer.header("www-authenticate").is_some(), "there is no challenge");
        self.report.add(look, "a confidential client proves itself each time: SAL-064, NAV-050, RFC 6749 §5.2");
    }

    async fn wider_refresh(&mut self, cast: &Cast<'_>, grant: &Grant) {
        let mut look = Look::new("app server → authorization server", "A refresh cannot widen");
        let scope = format!("{} user/*.cruds", grant.scope);
        let form = [("grant_type", "refresh_token"), ("client_id", &cast.app.client_id), ("refresh_token", grant.refresh.expose()), ("scope", &scope)];
        let answer = self.token_request(&mut look, &grant.at.token, cast.app, &form).await;
        look.answer(&answer, &["error"]);
        look.error(&answer, &[400], "invalid_scope");
        self.report.add(look, "SAL-086, RFC 6749 §6");
    }

    async fn refresh(&mut self, cast: &Cast<'_>, grant: &Grant) {
        let mut look = Look::new("app server → authorization server, FHIR server", "A refresh changes the token and nothing else");
        let form = [("grant_type", "refresh_token"), ("client_id", &cast.app.client_id), ("refresh_token", grant.refresh.expose())];
        let answer = self.token_request(&mut look, &grant.at.token, cast.app, &form).await;
        look.answer(&answer, &["access_token", "token_type", "expires_in", "refresh_token", "patient", "encounter", "scope", "error"]);
        look.status(&answer, &[200]);
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(["patient", "encounter", "practitioner"].iter().all(|member| said.get(*member).is_none()), "there is context in the answer");
        look.expect(text_at(&said, "/scope") == Some(&grant.scope), "the scope differs");
        look.expect(said.get("expires_in").is_some_and(Value::is_u64), "expires_in is not a number");
        let fresh = secret_at(&said, "/access_token").unwrap_or_else(|| Secret::new(String::new()));
        look.expect(fresh.expose() != grant.access.expose(), "it is the same token");
        let own = format!("Patient/{}", cast.first.patient);
        for (which, token) in [("old", &grant.access), ("new", &fresh)] {
            let read = self.fhir(&mut look, &own, Some(token)).await;
            look.response(format!("{} with the {which} token", read.status));
            look.expect(read.status == 200, format!("the {which} token does not read the patient"));
        }
        let asked = self.introspect(&mut look, &grant.at.introspection, cast.fhir_server, &fresh).await;
        look.answer(&asked, &["active", "patient", "encounter"]);
        let asked = asked.json().unwrap_or(Value::Null);
        look.expect(text_at(&asked, "/patient") == Some(&cast.first.patient), "the new token is for another patient");
        look.expect(text_at(&asked, "/encounter") == Some(&cast.first.encounter), "the new token is for another encounter");
        self.report.add(look, "context stays with the grant, and earlier tokens live on: SAL-085 to 088, NAV-044 to 046");
    }

    /// The EPJ's logout, and what is left after it.
    pub(super) async fn the_end(&mut self, cast: &Cast<'_>, grant: &Grant) -> Result<(), Stop> {
        let mut look = Look::new("EPJ → authorization server", "The doctor logs out of the EPJ");
        let body = serde_json::json!({ "session": self.session });
        let answer = self.launch_api(&mut look, "/launches/end-session", &grant.ehr_token, &body).await;
        look.answer(&answer, &["error"]);
        look.expect((200..300).contains(&answer.status), format!("the status is {}", answer.status));
        let asked = self.introspect(&mut look, &grant.at.introspection, cast.fhir_server, &grant.access).await;
        look.answer(&asked, &["active"]);
        look.status(&asked, &[200]);
        let said = asked.json().unwrap_or(Value::Null);
        look.expect(said == serde_json::json!({ "active": false }), "introspection does not say active: false and nothing more");
        self.report.add(look, "the grant ends with the EPJ session, though its token has not expired: SAL-126, RFC 7662 §2.2, nav.md §3.7");

        let mut look = Look::new("app server → authorization server, FHIR server", "Neither token works any more");
        let form = [("grant_type", "refresh_token"), ("client_id", &cast.app.client_id), ("refresh_token", grant.refresh.expose())];
        let answer = self.token_request(&mut look, &grant.at.token, cast.app, &form).await;
        look.answer(&answer, &["error"]);
        look.error(&answer, &[400], "invalid_grant");
        let read = self.fhir(&mut look, &format!("Patient/{}", cast.first.patient), Some(&grant.access)).await;
        look.answer(&read, &["resourceType"]);
        look.status(&read, &[401]);
        look.expect(read.header("www-authenticate").is_some_and(|value| value.contains("invalid_token")), "the challenge does not say invalid_token");
        self.report.add(look, "RFC 6749 §5.2, RFC 6750 §3.1");

        self.app_after_the_end(cast).await;
        Ok(())
    }
}
