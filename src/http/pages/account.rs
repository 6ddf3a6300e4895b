//! The person's own pages: what was allowed, and leaving.

use askama::Template;

use super::{AppLine, Form, Hidden, LangSwitch, Person};
use crate::protocol::lang::Lang;

/// `/account/apps`: what each app was allowed, and taking it back. SAL §7.7, `management_endpoint`.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/apps.html")]
pub struct AppsPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    pub user: Person,
    pub apps: Vec<AllowedApp>,
    /// What was just done: [`Lang::apps_withdrawn`].
    pub notice: Option<String>,
    /// Sends `decision=withdraw` with `app`.
    pub form: Form,
    /// Sends `decision=continue`.
    pub sign_out: Option<Form>,
}

#[derive(Clone, Debug)]
pub struct AllowedApp {
    /// What the form sends: the client's id.
    pub value: String,
    pub app: AppLine,
    /// [`Lang::date`]
    pub since: String,
    /// [`crate::http::texts::scopes::Ask::sentence`] of each scope.
    pub asks: Vec<String>,
    /// The app is opened without asking again.
    pub remembered: bool,
    /// One line per living grant: [`Lang::grant_patient`], [`Lang::grant_plain`], … Never a patient's name.
    pub grants: Vec<String>,
}

/// "Do you want to log out?"
#[derive(Clone, Debug, Template)]
#[template(path = "pages/logout.html")]
pub struct LogoutPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    pub user: Option<Person>,
    /// The app that asked for it.
    pub app: Option<String>,
    /// The app wants to be returned to at an address we do not return to.
    pub astray: bool,
    /// The forms send `decision=continue`, or `decision=deny` to stay.
    pub form: Form,
}

/// Logged out, with nowhere to be sent.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/logged_out.html")]
pub struct LoggedOutPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    /// The app wanted to be returned to at an address we do not return to.
    pub astray: bool,
    /// What logs out at the identity provider too: its address and fields.
    pub upstream: Option<(String, Vec<Hidden>)>,
}
