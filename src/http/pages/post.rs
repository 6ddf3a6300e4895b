//! Forms that a browser carries on: without JavaScript the person presses the button.

use askama::Template;

use super::{AppLine, Hidden, LangSwitch};
use crate::protocol::lang::Lang;

/// The authorization response as a form to the app. OAuth 2.0 Form Post Response Mode §2. Needs the target in `form-action`.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/form_post.html")]
pub struct FormPostPage {
    pub lang: Lang,
    pub switch: LangSwitch,
    pub app: AppLine,
    /// The verified redirect URI.
    pub action: String,
    pub fields: Vec<Hidden>,
}

/// A request that came by POST from another site, and so without our cookies, sent again from our own page.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/continue.html")]
pub struct ContinuePage {
    pub lang: Lang,
    pub switch: LangSwitch,
    pub app: Option<String>,
    /// Our own endpoint.
    pub action: String,
    pub fields: Vec<Hidden>,
}
