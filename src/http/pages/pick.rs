//! Which patient, and which of their encounters.

use askama::Template;

use super::{AppLine, Form, LangSwitch, PatientLine};
use crate::protocol::lang::Lang;

/// `launch/patient` without a launch: the clinician chooses. SAL-038.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/patient.html")]
pub struct PatientPickerPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    pub app: AppLine,
    /// The first is preselected.
    pub patients: Vec<PatientChoice>,
    pub search: PatientSearch,
    /// The forms send `decision=continue` with `patient`, `decision=search` with the search fields, or `decision=deny`.
    pub form: Form,
}

/// One row. An identity number has no place here: `detail` may hold [`Lang::identity_number_hint`].
#[derive(Clone, Debug)]
pub struct PatientChoice {
    pub value: String,
    pub name: String,
    /// [`Lang::date`]
    pub birth_date: String,
    /// [`Lang::sex`]
    pub sex: String,
    /// What tells two of the same name and birth date apart; may be empty.
    pub detail: String,
}

/// The search form as it was sent, less the identity number, which is never echoed.
#[derive(Clone, Debug, Default)]
pub struct PatientSearch {
    /// Whether the list shows hits rather than the usual patients.
    pub done: bool,
    pub name: String,
    /// `YYYY-MM-DD` or empty.
    pub birth_date: String,
    /// "No hits", "too many": [`Lang::search_no_hits`], [`Lang::search_too_many`].
    pub message: Option<String>,
}

/// `launch/encounter` without a launch.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/encounter.html")]
pub struct EncounterPickerPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    pub app: AppLine,
    pub patient: PatientLine,
    /// The first is preselected.
    pub encounters: Vec<EncounterChoice>,
    /// Whether going on without one is a choice: the last, with an empty value.
    pub may_skip: bool,
    /// The forms send `decision=continue` with `encounter`, or `decision=deny`.
    pub form: Form,
}

#[derive(Clone, Debug)]
pub struct EncounterChoice {
    pub value: String,
    /// [`Lang::date_time`]
    pub when: String,
    /// Its type as the EPJ shows it: "Konsultasjon".
    pub kind: String,
    /// May be empty.
    pub place: String,
}
