//! Pages that only say something: what went wrong, what is done, what to do next.

use askama::Template;

use super::LangSwitch;
use crate::protocol::lang::Lang;

/// Something cannot go on, and no app can be told. RFC 6749 §4.1.2.1.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/error.html")]
pub struct ErrorPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    pub heading: String,
    pub message: String,
    /// What the person can do now.
    pub next_step: String,
    /// The request id: what support asks for.
    pub reference: String,
}

/// This request was answered before: the back button, a second click.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/done.html")]
pub struct DonePage {
    pub lang: Lang,
    pub switch: LangSwitch,
    /// The app's name, where it is known.
    pub app: Option<String>,
}

/// None of the ways to log in works for this person or this browser.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/no_way_in.html")]
pub struct NoWayInPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    pub app: Option<String>,
    pub reference: String,
}

/// A page of the account was opened without a session.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/sign_in_needed.html")]
pub struct SignInNeededPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    /// Where one can log in, where there is such a place; else the EPJ is the way in.
    pub sign_in: Option<String>,
}
