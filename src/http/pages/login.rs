//! Who is at the keyboard.

use askama::Template;

use super::{AppLine, Choice, Form, LangSwitch, PatientLine, Person};
use crate::protocol::lang::Lang;

/// Who logs in, and how: at the identity provider, or by the list of names of the `local` way.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/login.html")]
pub struct LoginPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    /// The app one logs in for; `None` for the account pages.
    pub app: Option<AppLine>,
    pub patient: Option<PatientLine>,
    /// A button leads to the identity provider; it comes before the list of names, or after.
    pub upstream: Option<UpstreamPlace>,
    /// There is a list of names, perhaps an empty one.
    pub by_name: bool,
    /// The first is preselected: put the one the login hint names first.
    pub users: Vec<Choice>,
    pub error: Option<String>,
    /// The forms send `decision=continue` with `user` or `way`, or `decision=deny`. With nobody to tell (`app` is `None`) there is no denying.
    pub form: Form,
}

/// Where the button of the identity provider stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamPlace {
    First,
    Last,
}

impl LoginPage {
    fn upstream_first(&self) -> bool {
        self.upstream == Some(UpstreamPlace::First)
    }

    fn upstream_last(&self) -> bool {
        self.upstream == Some(UpstreamPlace::Last)
    }

    fn title(&self) -> &'static str {
        if self.by_name { self.lang.login_title() } else { self.lang.login_upstream_title() }
    }

    fn lead(&self) -> String {
        match (self.by_name, &self.app) {
            (true, Some(app)) => self.lang.login_lead(&app.name),
            (true, None) => self.lang.login_lead_plain().to_owned(),
            (false, Some(app)) => self.lang.login_upstream_lead(&app.name),
            (false, None) => self.lang.login_upstream_lead_plain().to_owned(),
        }
    }
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
