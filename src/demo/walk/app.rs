//! The same launch through the demo's foreign app, seen from the browser alone: two patients side by side, and the end.

use serde_json::Value;

use crate::demo::facts::PatientFacts;
use crate::demo::wire::text_at;
use crate::secret::Secret;

use super::hand::Grant;
use super::report::Look;
use super::{Cast, Stop, Walker};

/// Whether a page of the app is this patient's: the heading's mark, and the name.
fn shows(page: &str, patient: &str, name: &str) -> bool {
    page.contains(&format!("data-patient=\"{patient}\"")) && page.contains(name)
}

impl Walker<'_> {
    pub(super) async fn through_the_app(&mut self, cast: &Cast<'_>, grant: &Grant) -> Result<(), Stop> {
        let mut look = Look::new("EPJ → browser → app and back", "A foreign app opens the right patient");
        let page = self.open_in_app(&mut look, cast, &grant.ehr_token, cast.first).await;
        look.expect(shows(&page, &cast.first.patient, &grant.patient_name), "the page does not show the patient that FHIR named");
        if page.contains(&grant.patient_name) {
            look.response(format!("the page shows {}", grant.patient_name));
        }
        self.report.add(look, "an app written against SMART, with libraries of others, finds its way from one link: SMART 2.2 EHR launch");

        let mut look = Look::new("EPJ → browser → app and back", "Another patient opens beside the first");
        let page = self.open_in_app(&mut look, cast, &grant.ehr_token, cast.second).await;
        look.expect(shows(&page, &cast.second.patient, ""), "the page does not show the second patient");
        look.expect(!page.contains(&format!("data-patient=\"{}\"", cast.first.patient)), "the page is the first patient's");
        let url = self.app_page(cast.first);
        let first = self.app_text(&mut look, &url).await;
        look.expect(shows(&first, &cast.first.patient, &grant.patient_name), "the first patient's page is gone or shows somebody else");
        self.report.add(look, "context belongs to the grant, not to the browser's session: two patients in two tabs are two grants: nav.md §3.7, §8 row 7");
        self.write_from_the_app(cast).await;
        Ok(())
    }

    pub(super) async fn app_after_the_end(&mut self, cast: &Cast<'_>) {
        let mut look = Look::new("browser → app", "The app's page has nothing left to show");
        let url = self.app_page(cast.first);
        let page = self.app_text(&mut look, &url).await;
        look.expect(!page.contains(&format!("data-patient=\"{}\"", cast.first.patient)), "the page still shows the patient");
        look.expect(page.contains("data-error=\"no-session\""), "the page does not say that there is no session");
        self.report.add(look, "a logout in the EPJ reaches an app that was never told: nav.md §3.7, §3.9");
    }

    pub(super) fn app_page(&self, of: &PatientFacts) -> String {
        format!("{}/fhir/{}", self.facts.app, of.patient)
    }

    /// A page of a party, as text; empty when it did not come.
    pub(super) async fn app_text(&mut self, look: &mut Look, url: &str) -> String {
        let landing = self.browse(look, url, None).await;
        landing.and_then(|landing| landing.answer).map(|answer| answer.text()).unwrap_or_default()
    }

    /// Hands a context over and lets the browser follow it all the way to a page of the app.
    pub(super) async fn open_in_app(&mut self, look: &mut Look, cast: &Cast<'_>, ehr_token: &Secret<String>, of: &PatientFacts) -> String {
        let body = self.handover(cast.app, of);
        let answer = self.launch_api(look, "/launches", ehr_token, &body).await;
        look.answer(&answer, &["start_url", "error", "member"]);
        look.status(&answer, &[201]);
        let said = answer.json().unwrap_or(Value::Null);
        let Some(start_url) = text_at(&said, "/start_url") else { return String::new() };
        let Some(landing) = self.browse(look, start_url, None).await else { return String::new() };
        look.expect(landing.url.as_str() == self.app_page(of), "the browser does not end at the app's page of this patient");
        let Some(answer) = landing.answer else { return String::new() };
        look.expect(answer.status == 200, format!("the page's status is {}", answer.status));
        answer.text()
    }
}
