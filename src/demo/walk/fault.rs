//! The walk with something broken: what needs it ends with a clear word, everything else goes on, and nothing is left behind.

use std::time::Duration;

use serde_json::Value;

use crate::demo::faults::{Ending, Fault, Party};
use crate::demo::page::Lang;
use crate::demo::sealed::Brief;
use crate::demo::wire::{Answer, text_at};
use crate::secret::Secret;

use super::browser::Landing;
use super::form::{form_with, unescape};
use super::hand::Endpoints;
use super::helseid::{There, code_of};
use super::report::Look;
use super::{Cast, Stop, Walker};

/// A HelseID that kept failing is left alone for so long (`circuit_open` of the demo's configuration), and a little more.
const LEFT_ALONE: Duration = Duration::from_millis(1500);

impl<'a> Walker<'a> {
    pub(super) async fn through_a_fault(&mut self, fault: &Fault) -> Result<(), Stop> {
        let cast = self.cast()?;
        let there = self.there(&cast).ok_or_else(|| {
            let mut look = Look::new("the demo", "The parties are known");
            look.expect(false, "faults need HelseID in the demo");
            self.report.add(look, "the walk can begin");
            Stop
        })?;
        self.report.heading("Before");
        let at = self.discover().await?;
        let ehr_token = self.ehr_token(&cast, &at).await?;
        let levers = self.levers(there.helseid);
        let bridged = match fault.party {
            Party::HelseId => Some(self.bridged(&cast, &at, &ehr_token, &there).await?),
            Party::Fhir => None,
        };
        self.begin_anew();

        self.report.heading(&format!("With the fault {}: {}", fault.name, fault.says(Lang::En)));
        let mut look = Look::new("the tester → the mock", "The fault is put on");
        look.request(format!("{}: {}", fault.party.name(), fault.rule()));
        if let Err(why) = levers.put_on(fault).await {
            look.expect(false, why.to_string());
        }
        if !self.report.add(look, "docs/helseid-mock.md, Faults; docs/operations.md, The FHIR mock's levers") {
            return Err(Stop);
        }
        match fault.party {
            Party::HelseId => {
                self.vouched_for_goes_on(&cast, &ehr_token).await;
                self.login_ends_well(&cast, &at, &ehr_token, &there, fault.ending).await;
                if let Some(bridged) = &bridged {
                    self.bridge_ends_well(&at, bridged, fault.ending).await;
                }
            }
            Party::Fhir => self.launch_ends_well(&cast, &ehr_token, fault.ending).await,
        }

        self.report.heading("Without it");
        let mut look = Look::new("the tester → the mock", "The fault is taken off");
        if let Err(why) = levers.take_off().await {
            look.expect(false, why.to_string());
        }
        self.report.add(look, "nothing of it is left");
        if fault.party == Party::HelseId {
            tokio::time::sleep(LEFT_ALONE).await;
        }
        self.begin_anew();
        self.vouched_for_goes_on(&cast, &ehr_token).await;
        self.begin_anew();
        self.login_ends_well(&cast, &at, &ehr_token, &there, Ending::GoesOn).await;
        if fault.party == Party::HelseId {
            self.bridged(&cast, &at, &ehr_token, &there).await?;
        }
        Ok(())
    }

    /// What needs nothing that is broken.
    async fn vouched_for_goes_on(&mut self, cast: &Cast<'_>, ehr_token: &Secret<String>) {
        let mut look = Look::new("EPJ → browser → app and back", "The launch that the EPJ vouches for goes on");
        let page = self.open_in_app(&mut look, cast, ehr_token, cast.first).await;
        look.expect(page.contains(&format!("data-patient=\"{}\"", cast.first.patient)), "the app does not show the patient");
        self.report.add(look, "an upstream that is down fails what needs it and nothing else: DESIGN §3, Failure");
    }

    async fn login_ends_well(&mut self, cast: &Cast<'_>, at: &Endpoints, ehr_token: &Secret<String>, there: &There<'_>, ending: Ending) {
        let mut look = Look::new("browser → authorization server → HelseID and back", "A login at HelseID ends well");
        let verifier = self.random.token();
        let Some(launch) = self.handle(&mut look, cast.app, cast.first, ehr_token).await else {
            self.report.add(look, "the launch can be handed over");
            return;
        };
        let url = self.authorization_url(cast, &at.authorization, launch.expose(), "fault", &verifier, &self.facts.fhir);
        let Some(landing) = self.log_in_there(&mut look, &url, cast.redirect_uri, there).await else {
            self.report.add(look, "the browser gets an answer");
            return;
        };
        let Some(page) = landing.answer.as_ref() else {
            look.expect(!matches!(ending, Ending::Page(_)), "the app gets a code though something is wrong");
            if let Some(code) = code_of(&mut look, &landing) {
                self.redeems_to_the_patient(&mut look, cast, at, &code, &verifier).await;
            }
            self.report.add(look, "nobody notices");
            return;
        };
        look.expect(ending != Ending::GoesOn, "the login ends at a page");
        let allowed: &[u16] = if let Ending::Page(allowed) = ending { allowed } else { &[200, 400, 403, 502, 503] };
        let said = clear_page(&mut look, page, allowed);
        look.sees("the doctor", said);
        self.report
            .add(look, "a page that says why, with the status it deserves, and no upstream text in it: helseid.md §6.4, §6.8; DESIGN §3, Pages, Failure");
        self.another_way(cast, at, &url, &landing, &verifier).await;
    }

    /// From the page that says why: the list of names, where the launch's doctor still stands; or the launch once more.
    async fn another_way(&mut self, cast: &Cast<'_>, at: &Endpoints, url: &str, landing: &Landing, verifier: &Secret<String>) {
        const PROVES: &str = "ways to log in stand beside each other; the launch is not lost: DESIGN §3, Who is the user";
        let mut look = Look::new("browser → authorization server → app", "… and the doctor gets in another way");
        let shown = landing.answer.as_ref().and_then(|page| form_with(&page.text(), "user"));
        let (at_page, form) = match shown {
            Some(form) => (landing.url.to_string(), Some(form)),
            // The page had no way on: the app's link opens the same launch again, in this browser.
            None => {
                let landed = self.browser.open(url, Some(cast.redirect_uri), &[]).await;
                let again = Self::landed(&mut look, landed);
                // HelseID knows her by now, and this time its answer was good.
                if let Some(there) = again.as_ref().filter(|landing| landing.answer.is_none()) {
                    if let Some(code) = code_of(&mut look, there) {
                        self.redeems_to_the_patient(&mut look, cast, at, &code, verifier).await;
                    }
                    self.report.add(look, PROVES);
                    return;
                }
                let form = again.as_ref().and_then(|page| form_with(&page.answer.as_ref()?.text(), "user"));
                (again.map(|page| page.url.to_string()).unwrap_or_default(), form)
            }
        };
        match form {
            None => look.expect(false, "there is no other way in"),
            Some(form) => {
                let landed = self.browser.press(&at_page, form, Some(cast.redirect_uri), &[]).await;
                if let Some(code) = Self::landed(&mut look, landed).and_then(|landing| code_of(&mut look, &landing)) {
                    self.redeems_to_the_patient(&mut look, cast, at, &code, verifier).await;
                }
            }
        }
        self.report.add(look, PROVES);
    }

    async fn redeems_to_the_patient(&self, look: &mut Look, cast: &Cast<'_>, at: &Endpoints, code: &str, verifier: &Secret<String>) {
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", cast.app.client_id.as_str()),
            ("code", code),
            ("redirect_uri", cast.redirect_uri),
            ("code_verifier", verifier.expose()),
        ];
        let answer = self.token_request(look, &at.token, cast.app, &form).await;
        look.answer(&answer, &["access_token", "id_token", "patient", "encounter", "error"]);
        look.status(&answer, &[200]);
        let patient = answer.json().and_then(|said| said.get("patient").and_then(Value::as_str).map(str::to_owned));
        look.expect(patient.as_deref() == Some(&cast.first.patient), "patient is not the one handed over");
        let id_token = answer.json().and_then(|said| Brief::of(text_at(&said, "/id_token")?));
        look.expect(id_token.is_some(), "there is no id_token");
        let claim = id_token.is_some_and(|brief| brief.payload.get("https://helseid.nhn.no").is_some());
        look.sees("the app", format!("the patient; a HelseID token for itself: {}", if claim { "yes" } else { "no, the claim is absent" }));
    }

    async fn launch_ends_well(&mut self, cast: &Cast<'_>, ehr_token: &Secret<String>, ending: Ending) {
        if ending == Ending::GoesOn {
            return self.vouched_for_goes_on(cast, ehr_token).await;
        }
        let mut look = Look::new("EPJ → authorization server", "The EPJ is told to wait, and no app is opened");
        let answer = self.launch_api(&mut look, "/launches", ehr_token, &self.handover(cast.app, cast.first)).await;
        look.answer(&answer, &["error", "error_description", "launch"]);
        look.status(&answer, &[503]);
        look.expect(answer.header("retry-after").is_some(), "it does not say when to try again");
        look.expect(answer.json().is_some_and(|said| said.get("launch").is_none()), "there is a handle");
        let url = format!("{}/patient/{}", self.facts.epj.trim_end_matches('/'), cast.first.patient);
        let page = self.app_text(&mut look, &url).await;
        look.expect(page.contains(&cast.first.encounter), "the EPJ's own page does not stand");
        self.report.add(look, "nothing is guessed: what cannot be looked up is not handed over: DESIGN §3, How we reach FHIR, Failure");
    }
}

/// A page is a page, has one of these statuses, and says something; gives what it says.
fn clear_page(look: &mut Look, page: &Answer, allowed: &[u16]) -> String {
    look.status(page, allowed);
    look.expect(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "it is not a page");
    look.expect(page.status != 503 || page.header("retry-after").is_some(), "it does not say when to try again");
    let text = page.text();
    let said = ["id=\"login-error\"", "role=\"alert\"", "<h1"].iter().find_map(|mark| text_after(&text, mark)).unwrap_or_default();
    look.expect(!said.is_empty(), "the page does not say why");
    let internals = ["eyJ", "HID-", "panicked", "reqwest"].iter().any(|one| text.contains(one));
    look.expect(!internals, "the page shows what is not for people");
    format!("{} {said}", page.status)
}

/// The first words behind a mark in a tag.
fn text_after(page: &str, mark: &str) -> Option<String> {
    let (_, rest) = page.split_once(mark)?;
    let (_, mut rest) = rest.split_once('>')?;
    loop {
        let (text, after) = rest.split_once('<')?;
        if !text.trim().is_empty() {
            return Some(unescape(text.trim()));
        }
        rest = after.split_once('>')?.1;
    }
}
