//! Who is at the keyboard.

use askama::Template;

use super::{AppLine, Choice, Form, LangSwitch, PatientLine, Person};
use crate::protocol::lang::Lang;

/// The list of names of the `local` way to log in.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/login.html")]
pub struct LoginPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    /// The app one logs in for; `None` for the account pages.
    pub app: Option<AppLine>,
    pub patient: Option<PatientLine>,
    /// The first is preselected: put the one the login hint names first.
    pub users: Vec<Choice>,
    pub error: Option<String>,
    /// The forms send `decision=continue` with `user`, or `decision=deny`.
    pub form: Form,
}

/// Another person's session lives in this browser than the one the EPJ vouches for.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/confirm_user.html")]
pub struct ConfirmUserPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    pub app: AppLine,
    /// Whose session it is.
    pub signed_in: Person,
    /// For whom the EPJ opens the app.
    pub opens_as: Person,
    /// The forms send `decision=continue` (as `opens_as`) or `decision=deny`.
    pub form: Form,
}
