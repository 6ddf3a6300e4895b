//! `start_url`: the EPJ opens it in the user's browser, which from then on shows the user's session for that launch. DESIGN §3.

use super::Engine;
use crate::audit::trail;
use crate::domain::audit::Action;
use crate::domain::consent::AppAccess;
use crate::domain::issuer::LoginWay;
use crate::domain::launch::{Launch, LaunchError, LaunchId};
use crate::domain::session::Session;
use crate::metrics::LaunchEvent;
use crate::secret::{Digest, Secret};
use crate::store::{Commit, Held, StoreError};

/// What a browser shows us: cookies, by what they are for.
#[derive(Debug, Default)]
pub struct Browser {
    /// Which browser this is; nothing is known about who uses it.
    pub id: Option<Secret<String>>,
    /// A session that began with a login here: `sess_<sid>_<secret>`.
    pub session: Option<Secret<String>>,
    /// Cookies of launches that were opened here, by the tag of their launch.
    pub launches: Vec<(String, Secret<String>)>,
}

impl Browser {
    /// What forms are bound to, for a browser that may only now be getting its name.
    #[must_use]
    pub fn named(&self, fresh: Option<&Secret<String>>) -> Self {
        Self { id: self.id.clone().or_else(|| fresh.cloned()), session: self.session.clone(), launches: Vec::new() }
    }

    pub fn digest(&self) -> Option<Digest> {
        self.id.as_ref().map(Secret::<String>::digest)
    }
}

impl Browser {
    /// Whether this browser opened the start link of a launch: it shows the cookie that was set then.
    pub fn opened(&self, launch_id: &str, launch: &Launch) -> bool {
        let tag = launch_tag(launch_id);
        let shown = self.launches.iter().find(|(known, _)| *known == tag).and_then(|(_, cookie)| cookie.expose().split_once('.'));
        shown.is_some_and(|(named, secret)| named == launch_id && launch.was_opened_by(&Digest::of(secret.as_bytes())))
    }
}

/// How many characters of a launch's id name its cookie: enough that two launches of one browser never share one.
const TAG: usize = 16;

/// The tag by which a launch's cookie is named.
pub fn launch_tag(launch: &str) -> String {
    launch.chars().take(TAG).collect()
}

/// The text of a start link, taken apart: the handle, which is kept nowhere else, and the secret that opens the link once.
pub struct StartLink {
    handle: Secret<String>,
    token: Digest,
}

impl StartLink {
    pub fn parse(text: &str) -> Option<Self> {
        let (handle, token) = text.split_once('.')?;
        Some(Self { handle: Secret::new(handle.to_owned()), token: Digest::of(token.as_bytes()) })
    }

    /// The id of the launch record.
    pub fn launch(&self) -> LaunchId {
        LaunchId::of(self.handle.expose())
    }

    pub fn print(handle: &Secret<String>, token: &Secret<String>) -> Secret<String> {
        Secret::new(format!("{}.{}", handle.expose(), token.expose()))
    }
}

/// What opening a start link leads to.
pub enum Started {
    /// Set this cookie and go there.
    Go { tag: String, cookie: Secret<String>, location: Secret<String> },
    /// Somebody else's session lives in this browser: ask first. Nothing is used up yet.
    AskFirst { signed_in: Box<Session>, launch: Box<Launch> },
}

impl Engine {
    /// Opens a start link. `confirmed` says that the person was asked and goes on.
    ///
    /// # Errors
    /// `Err(Ok(_))` when the link is unknown, used or too old; `Err(Err(_))` when the store cannot answer.
    pub async fn start(&self, link: &StartLink, browser: &Browser, confirmed: bool) -> Result<Started, Result<LaunchError, StoreError>> {
        let id = link.launch();
        let held: Held<Launch> = self.store.load(id.as_str()).await.map_err(Err)?.ok_or(Ok(LaunchError::Unknown))?;
        let launch = &held.value;
        trail::launch(id.as_str(), launch);
        let secret = self.new_secret();
        let opened = launch.open(&link.token, secret.digest(), self.now()).map_err(|why| {
            self.metrics.launch(why.event());
            Ok(why)
        })?;
        if !self.rules.login.contains(&LoginWay::Ehr) {
            return Err(Ok(LaunchError::Unknown));
        }
        if !confirmed && let Some(other) = self.somebody_else(browser, launch).await.map_err(Err)? {
            return Ok(Started::AskFirst { signed_in: Box::new(other), launch: Box::new(launch.clone()) });
        }
        if self.store.replace(&held, &opened).await.map_err(Err)? == Commit::Conflict {
            return Err(Ok(LaunchError::Spent));
        }
        trail::decided(Action::Start);
        self.metrics.launch(LaunchEvent::Opened);
        let location = Secret::new(launch.launch_url.with_query(&[("iss", launch.base.as_str()), ("launch", link.handle.expose())]));
        let cookie = Secret::new(format!("{}.{}", id.as_str(), secret.expose()));
        Ok(Started::Go { tag: launch_tag(id.as_str()), cookie, location })
    }

    /// What a form of ours must carry when no interaction keeps a value for it: bound to the browser and to what the form is about.
    pub fn form_token(&self, browser: &Browser, about: &str) -> Secret<String> {
        let id = browser.id.as_ref().map(|id| id.expose().as_bytes()).unwrap_or_default();
        let session = browser.session.as_ref().map(|session| session.expose().as_bytes()).unwrap_or_default();
        Secret::new(Digest::of(&self.keys.mac(&[b"form", id, session, about.as_bytes()])).text())
    }

    /// A name for a browser that has none.
    pub fn new_browser(&self) -> Secret<String> {
        self.new_secret()
    }

    /// A live session of another person than the one this launch is for, if this browser shows one.
    async fn somebody_else(&self, browser: &Browser, launch: &Launch) -> Result<Option<Session>, StoreError> {
        let mut shown: Vec<Session> = self.browser_session(browser).await?.into_iter().collect();
        for (tag, cookie) in &browser.launches {
            if let Some(session) = self.opened_session(tag, cookie).await? {
                shown.push(session);
            }
        }
        Ok(shown.into_iter().find(|session| session.subject != launch.subject))
    }

    /// The live EPJ session a launch cookie shows. The cookie names its launch only in part; the value has the rest.
    async fn opened_session(&self, tag: &str, cookie: &Secret<String>) -> Result<Option<Session>, StoreError> {
        let Some((launch, secret)) = cookie.expose().split_once('.') else { return Ok(None) };
        if launch_tag(launch) != tag {
            return Ok(None);
        }
        let Some(held) = self.store.load::<Launch>(launch).await? else { return Ok(None) };
        if !held.value.was_opened_by(&Digest::of(secret.as_bytes())) {
            return Ok(None);
        }
        self.live_session(&held.value.session).await
    }

    /// The session the browser shows for this launch, if it opened the start link.
    pub(super) async fn session_for(&self, launch_id: &str, launch: &Launch, browser: &Browser) -> Result<Option<Session>, StoreError> {
        if browser.opened(launch_id, launch) { self.live_session(&launch.session).await } else { Ok(None) }
    }

    pub(super) async fn live_session(&self, id: &crate::protocol::ids::SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.store.load::<Session>(id.as_str()).await?.map(|held| held.value).filter(|session| session.is_live(self.now())))
    }

    /// Whether this app is already known to the person; read where a page may have to ask.
    pub(super) async fn access(
        &self,
        subject: &crate::protocol::ids::Subject,
        client: &crate::protocol::ids::ClientId,
    ) -> Result<Option<Held<AppAccess>>, StoreError> {
        self.store.load::<AppAccess>(&AppAccess::key(subject, client)).await
    }
}
