//! What an app asks to do. SAL §7.7.

use std::time::Duration;

use askama::Template;

use super::{AppLine, Form, LangSwitch, PatientLine, Person};
use crate::http::texts::scopes::{self, Ask};
use crate::protocol::lang::Lang;
use crate::protocol::scope::{Level, Scope, ScopeSet};

/// "May this app …?"
#[derive(Clone, Debug, Template)]
#[template(path = "pages/consent.html")]
pub struct ConsentPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    pub app: AppLine,
    pub user: Person,
    pub patient: Option<PatientLine>,
    /// Ready to show: "Konsultasjon, 23. november 2026 kl. 10.15".
    pub encounter: Option<String>,
    /// What else the record system opened, from [`explain_context`](scopes::explain_context).
    pub opened_with: Vec<String>,
    /// From [`ask_groups`].
    pub groups: Vec<AskGroup>,
    /// Whether the answer is kept, so that the app need not ask again.
    pub remembered: bool,
    /// The forms send `decision=allow` with one `scope` per ticked box, or `decision=deny`.
    pub form: Form,
}

/// Asks about the same thing: this patient, all patients, the user, the time it lasts.
#[derive(Clone, Debug)]
pub struct AskGroup {
    pub heading: String,
    pub asks: Vec<ConsentAsk>,
}

#[derive(Clone, Debug)]
pub struct ConsentAsk {
    /// What the checkbox sends: the scope as it was asked for.
    pub value: String,
    pub sentence: String,
    /// The raw scope, for those who read it.
    pub detail: String,
    pub warning: Option<String>,
    /// Without it the app cannot be opened: shown as text, not as a choice.
    pub required: bool,
}

/// The asks of a request, sorted into groups. Launch and context scopes ask the person nothing and are left out.
///
/// `helseid` is the name of the HelseID scope; `offline_for` is how long `offline_access` lasts; `required` says which scopes cannot be unticked.
pub fn ask_groups(
    lang: Lang,
    scopes: &ScopeSet,
    patient_known: bool,
    helseid: &str,
    offline_for: Option<Duration>,
    required: impl Fn(&Scope) -> bool,
) -> Vec<AskGroup> {
    let mut groups: [(&str, Vec<ConsentAsk>); 6] = [
        (if patient_known { lang.group_this_patient() } else { lang.group_chosen_patient() }, Vec::new()),
        (lang.group_all_patients(), Vec::new()),
        (lang.group_system(), Vec::new()),
        (lang.group_you(), Vec::new()),
        (lang.group_services(), Vec::new()),
        (lang.group_time(), Vec::new()),
    ];
    for scope in scopes.iter() {
        let Some(Ask { mut sentence, detail, warning }) = scopes::explain(scope, lang, patient_known, helseid) else { continue };
        let place = match scope {
            Scope::Resource(resource) => match resource.level {
                Level::Patient => 0,
                Level::User => 1,
                Level::System => 2,
            },
            Scope::OpenId | Scope::FhirUser | Scope::Profile => 3,
            Scope::Extension(_) => 4,
            Scope::OfflineAccess | Scope::OnlineAccess => 5,
            Scope::Launch | Scope::Context(_) => continue,
        };
        if let (Scope::OfflineAccess, Some(offline_for)) = (scope, offline_for) {
            sentence = lang.scope_offline_for(lang.duration(offline_for));
        }
        if let Some((_, asks)) = groups.get_mut(place) {
            asks.push(ConsentAsk { value: scope.to_string(), sentence, detail, warning, required: required(scope) });
        }
    }
    groups.into_iter().filter(|(_, asks)| !asks.is_empty()).map(|(heading, asks)| AskGroup { heading: heading.to_owned(), asks }).collect()
}

impl ConsentPage {
    /// Whether there is anything to untick.
    fn has_choice(&self) -> bool {
        self.groups.iter().flat_map(|group| &group.asks).any(|ask| !ask.required)
    }
}
