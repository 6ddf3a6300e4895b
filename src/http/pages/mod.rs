//! What a person sees: one struct per template, holding values that are ready to show.
//!
//! Every page works without JavaScript and with `default-src 'none'; style-src 'self'`. The first button of the first form moves forward with
//! what is prefilled; denying, searching and changing language come after it. A form says what it means in its hidden `decision`, so it
//! means the same however it is submitted.

mod account;
mod consent;
mod login;
mod notice;
mod pick;
mod post;
mod samples;
mod style;

pub use account::{AllowedApp, AppsPage, LoggedOutPage, LogoutPage};
pub use consent::{AskGroup, ConsentAsk, ConsentPage, ask_groups};
pub use login::{ConfirmUserPage, LoginPage, UpstreamPlace};
pub use notice::{DonePage, ErrorPage, NoWayInPage, SignInNeededPage};
pub use pick::{EncounterChoice, EncounterPickerPage, PatientChoice, PatientPickerPage, PatientSearch};
pub use post::{ContinuePage, FormPostPage};
pub use style::{STYLESHEET, STYLESHEET_PATH};

use std::fmt;

use crate::protocol::lang::Lang;

/// A page somebody can be shown.
pub trait Page: Sized {
    /// The name of its template, for tests and for file names: `consent`.
    const NAME: &'static str;

    /// The whole HTML document, UTF-8. Cannot fail: everything shown is text already.
    fn render(&self) -> String;

    /// Realistic variants, each with a name: what the snapshots and the accessibility check look at.
    fn samples(lang: Lang) -> Vec<(&'static str, Self)>;
}

macro_rules! page {
    ($($page:ident = $name:literal;)+) => {$(
        impl Page for $page {
            const NAME: &'static str = $name;

            fn render(&self) -> String {
                askama::Template::render(self).expect("texts written to a String")
            }

            fn samples(lang: Lang) -> Vec<(&'static str, Self)> {
                samples::Samples::samples(lang)
            }
        }
    )+

        /// Every page's name with every sample, rendered: `("consent", "many-scopes", html)`.
        pub fn all_samples(lang: Lang) -> Vec<(&'static str, &'static str, String)> {
            let mut all = Vec::new();
            $(all.extend($page::samples(lang).into_iter().map(|(sample, page)| ($name, sample, page.render())));)+
            all
        }
    };
}

page! {
    AppsPage = "apps";
    ConfirmUserPage = "confirm_user";
    ConsentPage = "consent";
    ContinuePage = "continue";
    DonePage = "done";
    EncounterPickerPage = "encounter";
    ErrorPage = "error";
    FormPostPage = "form_post";
    LoggedOutPage = "logged_out";
    LoginPage = "login";
    LogoutPage = "logout";
    NoWayInPage = "no_way_in";
    PatientPickerPage = "patient";
    SignInNeededPage = "sign_in_needed";
}

/// The names of the form fields, as the forms send them.
pub mod field {
    /// In every form but those that leave our origin.
    pub const CSRF: &str = "csrf";
    /// What the form means: one of [`super::decision`].
    pub const DECISION: &str = "decision";
    /// [`super::LoginPage`]: the chosen user's value.
    pub const USER: &str = "user";
    /// [`super::LoginPage`]: the way to log in that was chosen, by its name in the configuration.
    pub const WAY: &str = "way";
    /// [`super::PatientPickerPage`]: the chosen patient's value.
    pub const PATIENT: &str = "patient";
    /// [`super::EncounterPickerPage`]: the chosen encounter's value; empty for none.
    pub const ENCOUNTER: &str = "encounter";
    /// [`super::ConsentPage`]: once per ticked scope. Locked ones are not sent.
    pub const SCOPE: &str = "scope";
    /// [`super::AppsPage`]: the app to withdraw from.
    pub const APP: &str = "app";
    /// Patient search.
    pub const NAME: &str = "name";
    /// Patient search: `YYYY-MM-DD`.
    pub const BIRTH_DATE: &str = "birth_date";
    /// Patient search: 11 digits, perhaps with spaces. Never shown again.
    pub const IDENTITY_NUMBER: &str = "identity_number";
}

/// The values of [`field::DECISION`].
pub mod decision {
    /// Forward: log in, choose, go on as the other user, log out.
    pub const CONTINUE: &str = "continue";
    pub const ALLOW: &str = "allow";
    /// The app gets `access_denied`.
    pub const DENY: &str = "deny";
    /// Patient search: show the picker again with the hits.
    pub const SEARCH: &str = "search";
    /// [`super::AppsPage`]: end everything the app was given.
    pub const WITHDRAW: &str = "withdraw";
}

/// The same page in the other language, where it can be asked for again by GET.
#[derive(Clone, Debug, Default)]
pub struct LangSwitch {
    pub href: Option<String>,
}

impl LangSwitch {
    pub fn none() -> Self {
        Self::default()
    }

    pub fn to(href: impl Into<String>) -> Self {
        Self { href: Some(href.into()) }
    }
}

/// A hidden field. `Debug` shows the name alone: the value may be an authorization code.
#[derive(Clone)]
pub struct Hidden {
    pub name: String,
    pub value: String,
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hidden").field(&self.name).finish()
    }
}

impl Hidden {
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Where a page's forms go and what they carry besides what a person chooses. `Debug` leaves the token out.
#[derive(Clone)]
pub struct Form {
    /// A ready URL or path; the method is always POST.
    pub action: String,
    pub csrf: String,
    pub hidden: Vec<Hidden>,
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form").field("action", &self.action).field("hidden", &self.hidden).finish_non_exhaustive()
    }
}

impl Form {
    pub fn new(action: impl Into<String>, csrf: impl Into<String>) -> Self {
        Self { action: action.into(), csrf: csrf.into(), hidden: Vec::new() }
    }
}

/// The app that asks: its registered name, and the host of its redirect URI, which nobody can choose freely.
#[derive(Clone, Debug)]
pub struct AppLine {
    pub name: String,
    pub host: String,
}

impl AppLine {
    /// The letter on its tile.
    fn initial(&self) -> String {
        self.name.chars().find(|c| c.is_alphanumeric()).map_or_else(|| "·".to_owned(), |c| c.to_uppercase().collect())
    }
}

/// A clinician: name, and what tells two of the same name apart (title, workplace). Never an identity or HPR number.
#[derive(Clone, Debug)]
pub struct Person {
    pub name: String,
    pub detail: String,
}

/// The patient a launch is about.
#[derive(Clone, Debug)]
pub struct PatientLine {
    pub name: String,
    /// Ready to show, [`Lang::date`].
    pub birth_date: String,
}

/// One radio button.
#[derive(Clone, Debug)]
pub struct Choice {
    pub value: String,
    pub name: String,
    pub detail: String,
}
