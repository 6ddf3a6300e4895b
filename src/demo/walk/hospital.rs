//! The hospital case: the patient goes on to another system, which knows them by another id and takes no token of the first. DESIGN §3, Token exchange (d).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::demo::facts::{ClientFacts, HospitalFacts, PatientFacts};
use crate::demo::wire::{Answer, bearer, secret_at, text_at};
use crate::secret::Secret;

use super::hand::{Endpoints, Request};
use super::helseid::{code_of, exchange};
use super::report::Look;
use super::{Cast, Walker};

const SCOPES: &str = "launch openid fhirUser patient/Patient.rs patient/Condition.rs";
const FHIR_SCOPES: &str = "fhirUser patient/Patient.rs patient/Condition.rs";

/// The hospital, and the portal by its two names.
struct Next<'a> {
    at: &'a HospitalFacts,
    /// At the EPJ.
    portal: &'a ClientFacts,
    /// At the hospital.
    caller: &'a ClientFacts,
    fhir_server: &'a ClientFacts,
    token: String,
    introspection: String,
}

impl Walker<'_> {
    /// All of it, in a browser and an EPJ session of its own; nothing where no hospital runs.
    pub(super) async fn goes_on(&mut self, cast: &Cast<'_>, at: &Endpoints, ehr_token: &Secret<String>) {
        let facts = self.facts;
        let Some(hospital) = facts.hospital.as_ref() else { return };
        let fhir_server = hospital.clients.get("fhir-server");
        let caller = hospital.clients.values().find(|client| client.client_id != "fhir-server");
        let (Some(fhir_server), Some(caller)) = (fhir_server, caller) else { return };
        self.report.heading("The patient goes on to a hospital");
        self.begin_anew();
        let (token, introspection) = (format!("{}/token", hospital.issuer), format!("{}/introspect", hospital.issuer));
        let next = Next { at: hospital, portal: &hospital.portal, caller, fhir_server, token, introspection };
        let Some(first) = self.nothing_there(cast, at, ehr_token, &next).await else { return };
        if let Some((subject, result, patient)) = self.becomes_theirs(cast, at, &next, &first).await {
            self.same_patient(cast, &next, &first, &result, &patient).await;
            self.unknown_there(cast, at, ehr_token, &next).await;
            self.ended_at_the_epj(&next, &[("as it came from the launch", &first), ("made narrower", &subject)], ehr_token).await;
        }
    }

    /// Opens the portal from the EPJ, and gives its token.
    async fn portal_opens(
        &mut self,
        look: &mut Look,
        at: &Endpoints,
        ehr_token: &Secret<String>,
        next: &Next<'_>,
        of: &PatientFacts,
    ) -> Option<Secret<String>> {
        let answer = self.launch_api(look, "/launches", ehr_token, &self.handover(next.portal, of)).await;
        look.answer(&answer, &["launch", "start_url", "error", "member"]);
        look.status(&answer, &[201]);
        let said = answer.json()?;
        let app = self.facts.app.clone();
        self.browse(look, text_at(&said, "/start_url")?, Some(&app)).await;
        let redirect_uri = next.portal.redirect_uris.first()?;
        let verifier = self.random.token();
        let (client_id, launch) = (next.portal.client_id.as_str(), text_at(&said, "/launch")?);
        let request = Request { client_id, scope: SCOPES, redirect_uri, aud: &self.facts.fhir, launch, state: "hospital" };
        let landing = self.browse(look, &request.url(&at.authorization, &verifier), Some(redirect_uri)).await?;
        let code = code_of(look, &landing)?;
        let form =
            [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", redirect_uri.as_str()), ("code_verifier", verifier.expose())];
        let answer = self.token_request(look, &at.token, next.portal, &form).await;
        look.answer(&answer, &["access_token", "token_type", "patient", "scope", "error"]);
        look.status(&answer, &[200]);
        let said = answer.json()?;
        look.expect(text_at(&said, "/patient") == Some(&of.patient), "patient is not the one handed over");
        secret_at(&said, "/access_token")
    }

    async fn read_at(&self, look: &mut Look, url: &str, token: &Secret<String>) -> Answer {
        look.request(format!("GET {url}  Authorization: Bearer …"));
        self.send(look, self.wire.get(url).header("accept", "application/fhir+json").header("authorization", bearer(token))).await
    }

    /// An exchange at the hospital.
    async fn exchange_there(&self, look: &mut Look, next: &Next<'_>, subject: &Secret<String>) -> Answer {
        let form = exchange(subject, &next.at.fhir, FHIR_SCOPES);
        let answer = self.token_request(look, &next.token, next.caller, &form).await;
        look.answer(&answer, &["access_token", "issued_token_type", "token_type", "expires_in", "patient", "scope", "error", "error_description"]);
        answer
    }

    async fn nothing_there(&mut self, cast: &Cast<'_>, at: &Endpoints, ehr_token: &Secret<String>, next: &Next<'_>) -> Option<Secret<String>> {
        let mut look = Look::new("EPJ → browser → portal → the hospital", "A token of the EPJ's is nothing at the hospital");
        let first = self.portal_opens(&mut look, at, ehr_token, next, cast.first).await;
        look.expect(first.is_some(), "the portal gets no token at the EPJ");
        if let Some(first) = &first {
            let read = self.read_at(&mut look, &format!("{}/Patient/{}", next.at.fhir, cast.first.patient), first).await;
            look.answer(&read, &["resourceType"]);
            look.status(&read, &[401]);
            let said = self.introspect(&mut look, &next.introspection, next.fhir_server, first).await;
            look.answer(&said, &["active"]);
            look.expect(said.json() == Some(json!({ "active": false })), "the hospital's authorization server takes it for its own");
        }
        self.report
            .add(look, "each system trusts its own issuer alone; an unknown token is inactive, and nothing more is said: RFC 7662 §2.2, DESIGN §3, Issuers");
        first
    }

    /// (d) Gives the subject, the result, and the patient as the hospital calls them.
    async fn becomes_theirs(
        &mut self,
        cast: &Cast<'_>,
        at: &Endpoints,
        next: &Next<'_>,
        first: &Secret<String>,
    ) -> Option<(Secret<String>, Secret<String>, String)> {
        let mut look = Look::new(
            "portal → authorization server → the hospital's authorization server",
            "The EPJ's becomes the hospital's: the same patient and doctor, by number",
        );
        // Narrower first, so that there is a chain to see.
        let narrower = self.token_request(&mut look, &at.token, next.portal, &exchange(first, &self.facts.fhir, FHIR_SCOPES)).await;
        look.answer(&narrower, &["access_token", "scope", "error"]);
        look.status(&narrower, &[200]);
        let subject = narrower.json().and_then(|said| secret_at(&said, "/access_token"));
        let mut given = None;
        if let Some(subject) = subject {
            let answer = self.exchange_there(&mut look, next, &subject).await;
            look.status(&answer, &[200]);
            let said = answer.json().unwrap_or(Value::Null);
            let patient = text_at(&said, "/patient").unwrap_or_default().to_owned();
            look.expect(!patient.is_empty() && patient != cast.first.patient, "patient is not the hospital's own id");
            look.expect(["encounter", "refresh_token", "id_token"].iter().all(|member| said.get(*member).is_none()), "what is the EPJ's goes along");
            look.sees("the portal", format!("{} of the EPJ is {patient} of the hospital", cast.first.patient));
            if let Some(result) = secret_at(&said, "/access_token") {
                self.whose_chain(&mut look, at, next, &result).await;
                given = Some((subject, result, patient));
            }
        }
        self.report.add(
            look,
            "the hospital asks the issuer whether the token lives, reads patient and doctor there with it, and finds both here by number; nothing of an id or of \
             the session goes along: DESIGN §3, Token exchange; helseid.md §6.7; RFC 8693 §4.1",
        );
        given
    }

    /// Who acts, in words, each with whose name it is.
    async fn whose_chain(&self, look: &mut Look, at: &Endpoints, next: &Next<'_>, token: &Secret<String>) {
        let answer = self.introspect(look, &next.introspection, next.fhir_server, token).await;
        let said = answer.json().unwrap_or(Value::Null);
        look.expect(said.get("active") == Some(&Value::Bool(true)), "the token is not active");
        let mut chain = Vec::new();
        let mut act = said.get("act");
        while let Some(actor) = act {
            chain.push((text_at(actor, "/sub").unwrap_or("?"), text_at(actor, "/iss").unwrap_or("?")));
            act = actor.get("act");
        }
        let expected = [(next.caller.client_id.as_str(), next.at.issuer.as_str()), (next.portal.client_id.as_str(), at.issuer.as_str())];
        look.expect(chain == expected, "act does not tell who acts now and who acted before");
        let of = |issuer: &str| {
            if issuer == next.at.issuer {
                "the hospital"
            } else if issuer == at.issuer {
                "the EPJ"
            } else {
                "somebody else"
            }
        };
        let words: Vec<String> = chain.iter().map(|(who, issuer)| format!("{who}, a client of {}'s", of(issuer))).collect();
        let person = text_at(&said, "/fhirUser").unwrap_or("absent");
        look.sees("the hospital's FHIR server", format!("for {person}; who acts: {}", words.join("; before that: ")));
    }

    async fn same_patient(&mut self, cast: &Cast<'_>, next: &Next<'_>, first: &Secret<String>, result: &Secret<String>, patient: &str) {
        let mut look = Look::new("portal → both FHIR servers", "It is the same patient, under the hospital's id");
        let here = self.fhir(&mut look, &format!("Patient/{}", cast.first.patient), Some(first)).await;
        look.answer(&here, &["resourceType", "id"]);
        look.status(&here, &[200]);
        let there = self.read_at(&mut look, &format!("{}/Patient/{patient}", next.at.fhir), result).await;
        look.answer(&there, &["resourceType", "id"]);
        look.status(&there, &[200]);
        let numbers = |answer: &Answer| -> BTreeSet<String> {
            let said = answer.json().unwrap_or(Value::Null);
            said.get("identifier").and_then(Value::as_array).into_iter().flatten().map(Value::to_string).collect()
        };
        look.expect(!numbers(&there).is_empty() && numbers(&there) == numbers(&here), "the two have not the same numbers");
        look.sees("whoever compares", "two ids and one identity number, which is in no token");
        let found = self.read_at(&mut look, &format!("{}/Condition?patient={patient}", next.at.fhir), result).await;
        let bundle = found.json().unwrap_or(Value::Null);
        look.response(format!("{} {} Condition", found.status, super::resources(&bundle).len()));
        look.expect(found.status == 200 && !super::resources(&bundle).is_empty(), "the hospital's own diagnosis is not there");
        let other = self.read_at(&mut look, &format!("{}/Patient/{}", next.at.fhir, cast.first.patient), result).await;
        look.answer(&other, &["resourceType"]);
        look.status(&other, &[403, 404]);
        let back = self.fhir(&mut look, &format!("Patient/{}", cast.first.patient), Some(result)).await;
        look.answer(&back, &["resourceType"]);
        look.status(&back, &[401]);
        self.report.add(
            look,
            "context is mapped and never carried over: the EPJ's id opens nothing here, and the hospital's token nothing there: helseid.md §6.5, §6.6",
        );
    }

    async fn unknown_there(&mut self, cast: &Cast<'_>, at: &Endpoints, ehr_token: &Secret<String>, next: &Next<'_>) {
        let mut look = Look::new("EPJ → browser → portal → the hospital", "A patient whom the hospital does not know opens nothing");
        match self.portal_opens(&mut look, at, ehr_token, next, cast.second).await {
            None => look.expect(false, "the portal gets no token at the EPJ"),
            Some(token) => {
                let answer = self.exchange_there(&mut look, next, &token).await;
                look.error(&answer, &[400], "invalid_request");
                let text = answer.text();
                look.expect(!text.contains(&cast.second.patient) && !text.contains("found"), "the answer tells who is known");
            }
        }
        self.report.add(look, "one person found by number, or nobody; the answer is the one for every token that will not do: helseid.md §6.7 P7, §6.8 T25");
    }

    async fn ended_at_the_epj(&mut self, next: &Next<'_>, subjects: &[(&str, &Secret<String>)], ehr_token: &Secret<String>) {
        let mut look = Look::new("EPJ → authorization server; portal → the hospital", "What ended at the EPJ is exchanged no more");
        let ended = self.launch_api(&mut look, "/launches/end-session", ehr_token, &json!({ "session": self.session })).await;
        look.answer(&ended, &["error"]);
        look.status(&ended, &[204]);
        for (which, subject) in subjects {
            let answer = self.exchange_there(&mut look, next, subject).await;
            look.error(&answer, &[400], "invalid_request");
            look.sees("the portal", format!("the token {which}: refused"));
        }
        self.report.add(look, "the hospital asks at each exchange; what it gave before lives its few minutes and no longer: helseid.md §6.7 P4, P10");
    }
}
