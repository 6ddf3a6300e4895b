//! The public face: extract, call one engine method, render. RFC 6749, OIDC Core, SMART App Launch 2.2.

mod account;
mod around;
mod audit;
mod authorize;
pub mod cookies;
mod cors;
mod discovery;
mod endpoint;
mod gateway;
mod guess;
mod interaction;
mod introspect;
mod launches;
mod logout;
pub mod ops;
mod page;
pub mod pages;
mod par;
pub mod peer;
mod reply;
mod request;
mod revoke;
pub mod router;
mod start;
pub mod texts;
mod token;
mod upstream;
mod userinfo;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use cookies::CookieNames;

use crate::audit::Audit;
use crate::engine::Engine;
use crate::jose::JwkSet;

/// One issuer as it is served.
pub struct Site {
    pub engine: Engine,
    pub cookies: CookieNames,
    /// Path of the issuer, empty at the root: what our own links begin with.
    pub path: String,
    /// `frame-ancestors` of every page.
    frame_ancestors: String,
    pub limits: HttpLimits,
    /// Where decisions are recorded.
    pub audit: Audit,
    smart: discovery::Document,
    metadata: discovery::Document,
    launch_api: discovery::Document,
    /// The published keys as they were last written.
    jwks: ArcSwapOption<(JwkSet, discovery::Document)>,
}

/// How much is read of a request. Bytes.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    pub body: usize,
    pub authorize: usize,
}

impl Site {
    pub fn new(engine: Engine, limits: HttpLimits) -> Self {
        let rules = &engine.rules;
        let frame_ancestors = if rules.frame_ancestors.is_empty() { "'none'".to_owned() } else { rules.frame_ancestors.join(" ") };
        let smart = discovery::Document::new(&discovery::smart_configuration(rules));
        let metadata = discovery::Document::new(&discovery::server_metadata(rules));
        let launch_api = discovery::Document::new(&discovery::launch_api_document(rules));
        Self {
            cookies: CookieNames::of(&rules.issuer),
            path: rules.issuer.path(),
            frame_ancestors,
            limits,
            audit: Audit::off(),
            smart,
            metadata,
            launch_api,
            jwks: ArcSwapOption::empty(),
            engine,
        }
    }

    /// The same, with its decisions recorded.
    #[must_use]
    pub fn recorded(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }
}

/// What every handler gets.
pub type App = Arc<Site>;
