//! Logging in at the identity provider behind us: the browser is sent there, comes back, and is somebody or nobody.
//! `reference/helseid.md` §2.4, §2.9, §2.10, §6.6; DESIGN §3, Who is the user.

mod person;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::authorize::{Next, Pending, Stop};
use super::login::{LoginFacts, SignedIn};
use super::start::Browser;
use super::upstream_session::{AccessError, Bridge, SESSION_ALG, UpstreamSecrets};
use crate::audit::trail;
use crate::domain::audit::Action;
use crate::domain::interaction::{Interaction, LoginTrouble};
use crate::domain::issuer::LoginWay;
use crate::domain::session::SessionWay;
use crate::domain::upstream_attempt::{AttemptMode, AttemptPurpose, UpstreamAttempt};
use crate::domain::upstream_session::{UpstreamLogin, UpstreamState};
use crate::jose::SigningKey;
use crate::protocol::ids::FhirBase;
use crate::protocol::params::Params;
use crate::protocol::pkce::CodeVerifier;
use crate::secret::{Digest, Secret};
use crate::store::{Commit, Held, StoreError};
use crate::upstream::{CallbackError, CallbackRefusal, Details, LoggedIn, LoginAsk, Prompt, RedeemAsk, TokenFault, UpstreamError};

/// What is sealed in an attempt.
#[derive(Serialize, Deserialize)]
struct AttemptSecrets {
    nonce: String,
    verifier: String,
    /// PKCS#8, base64url.
    key: String,
}

/// A login about to be begun.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub purpose: AttemptPurpose,
    pub mode: AttemptMode,
    pub max_age: Option<Duration>,
}

/// Why a browser cannot be sent to the identity provider.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error("this issuer has no login at an identity provider")]
    NotHere,
    #[error("the browser shows no cookie of ours")]
    NoBrowser,
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no key could be made")]
    Key,
}

/// What became of a browser that came back.
pub enum CameBack {
    /// On with the interaction, with a cookie where somebody logged in.
    Interaction {
        next: Next,
        signed_in: Option<SignedIn>,
    },
    /// It came before: the interaction's page says where things stand.
    Again {
        interaction: String,
    },
    Account(Result<SignedIn, LoginTrouble>),
}

/// Why a browser that came back cannot go on.
#[derive(Debug)]
pub enum CallbackStop {
    /// The answer is not the configured provider's. T4.
    Issuer,
    /// No login of this browser has this state, or it is over.
    Unknown,
    Stop(Stop),
}

impl From<StoreError> for CallbackStop {
    fn from(down: StoreError) -> Self {
        Self::Stop(Stop::Down(down))
    }
}

impl From<Stop> for CallbackStop {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl Engine {
    /// Begins a login for an interaction; where to send the browser. In passing it is done once.
    ///
    /// # Errors
    /// [`BeginError`]; `Err(Err(_))` where the interaction itself cannot go on.
    pub async fn begin_upstream(&self, pending: Pending, mode: AttemptMode) -> Result<Result<String, (BeginError, Next)>, Stop> {
        let interaction = &pending.held.value;
        let max_age = interaction.request.max_age.filter(|_| mode != AttemptMode::Force).map(|seconds| Duration::from_secs(seconds.into()));
        let attempt = Attempt { purpose: AttemptPurpose::Interaction(interaction.id.clone()), mode, max_age };
        match self.send_upstream(&attempt, &interaction.browser).await {
            Ok(location) => {
                // Written before the browser goes: who comes back by another way finds a page and no second round.
                if mode == AttemptMode::Silent {
                    let next = Interaction { asked_in_passing: true, ..interaction.clone() };
                    // Where another tab was quicker, it says so there.
                    let _ = self.store.replace(&pending.held, &next).await?;
                }
                Ok(Ok(location))
            }
            Err(BeginError::Store(down)) => Err(down.into()),
            Err(error) => {
                let next = self.advance(pending, |interaction| failed(interaction, LoginTrouble::Down)).await?;
                Ok(Err((error, next)))
            }
        }
    }

    /// Begins a login for the account pages; where to send the browser.
    ///
    /// # Errors
    /// [`BeginError`]
    pub async fn begin_upstream_account(&self, base: &FhirBase, browser: &Browser) -> Result<String, BeginError> {
        let attempt = Attempt { purpose: AttemptPurpose::Account(base.clone()), mode: AttemptMode::Ask, max_age: None };
        self.send_upstream(&attempt, &browser.digest().ok_or(BeginError::NoBrowser)?).await
    }

    async fn send_upstream(&self, attempt: &Attempt, browser: &Digest) -> Result<String, BeginError> {
        let bridge = self.bridge().filter(|_| self.rules.login.contains(&LoginWay::HelseId)).ok_or(BeginError::NotHere)?;
        let key = SigningKey::generate(SESSION_ALG).map_err(|_| BeginError::Key)?;
        let (state, nonce, verifier) = (self.new_secret(), self.new_secret().expose().clone(), self.new_secret());
        let der = key.to_pkcs8_der().map_err(|_| BeginError::Key)?;
        let verifier = CodeVerifier::parse(verifier.expose()).ok_or(BeginError::Key)?;
        let ask = LoginAsk {
            prompt: match attempt.mode {
                AttemptMode::Silent => Prompt::Silent,
                AttemptMode::Ask => Prompt::AsNeeded,
                AttemptMode::Force => Prompt::Force,
            },
            max_age: attempt.max_age,
            state: &state,
            nonce: &nonce,
            code_challenge: &verifier.challenge(),
            dpop_jkt: Some(&key.public_jwk().thumbprint()),
            details: &Details::none(),
        };
        let begun_at = self.now();
        let location = bridge.client.begin_login(&ask).await?;
        let id = state.digest().text();
        let secrets = AttemptSecrets { nonce, verifier: verifier.secret().expose().clone(), key: base64url(der.expose()) };
        let plain = Secret::new(serde_json::to_vec(&secrets).map_err(|_| BeginError::Key)?);
        let record = UpstreamAttempt {
            browser: *browser,
            purpose: attempt.purpose.clone(),
            mode: attempt.mode,
            max_age_s: attempt.max_age.map(|age| age.as_secs()),
            secrets: bridge.seal("attempt", &id, plain.expose()),
            begun_at,
            until: begun_at + self.rules.lifetimes.interaction,
            used: false,
        };
        match self.store.create(&id, &record).await? {
            Commit::Applied => Ok(location),
            Commit::Conflict => Err(StoreError::Corrupt("a state of 256 random bits was there already".to_owned()).into()),
        }
    }

    /// Takes a browser that came back. `iss` is looked at first, before anything is looked up or used (T4); then whether this browser was
    /// sent with this state, once.
    ///
    /// # Errors
    /// [`CallbackStop`]
    pub async fn upstream_callback(&self, params: &Params, browser: &Browser) -> Result<CameBack, CallbackStop> {
        let bridge = self.bridge().ok_or(CallbackStop::Unknown)?;
        let state = Secret::new(params.get("state").unwrap_or_default().to_owned());
        let checked = bridge.client.check_callback(params, &state);
        if matches!(checked, Err(CallbackError::Issuer | CallbackError::Repeated)) {
            return Err(CallbackStop::Issuer);
        }
        // The digest is the comparison: no other state has it.
        let held = self.store.load::<UpstreamAttempt>(&state.digest().text()).await?.ok_or(CallbackStop::Unknown)?;
        if browser.digest() != Some(held.value.browser) {
            return Err(CallbackStop::Unknown);
        }
        let used = UpstreamAttempt { used: true, ..held.value.clone() };
        if held.value.used || self.store.replace(&held, &used).await? == Commit::Conflict {
            return match held.value.purpose {
                AttemptPurpose::Interaction(interaction) => Ok(CameBack::Again { interaction }),
                AttemptPurpose::Account(_) => Err(CallbackStop::Unknown),
            };
        }
        match &held.value.purpose {
            AttemptPurpose::Account(base) => {
                let came = noted(&held.value, self.arrive(bridge, &held, checked, base, None).await?);
                Ok(CameBack::Account(came))
            }
            AttemptPurpose::Interaction(id) => {
                // What is asked there in passing is still open: it is no refusal yet that nobody may be shown a page.
                let pending = self.pending_as(id, browser, |interaction| interaction.asked_in_passing = false).await?;
                let (base, launch) = (pending.held.value.request.base.clone(), pending.launch.as_ref().map(|held| held.value.fhir_user.clone()));
                let came = noted(&held.value, self.arrive(bridge, &held, checked, &base, launch.as_ref()).await?);
                let silent = held.value.mode == AttemptMode::Silent;
                match came {
                    Ok(signed_in) => {
                        let known = self.known_user(&signed_in.session, pending.launch.as_ref().map(|held| &held.value));
                        let next = self
                            .advance(pending, |interaction| {
                                interaction.change_user(Some(known));
                                interaction.fresh_login = !silent;
                                interaction.asked_in_passing = true;
                                interaction.trouble = None;
                            })
                            .await?;
                        Ok(CameBack::Interaction { next, signed_in: Some(signed_in) })
                    }
                    Err(trouble) => {
                        let next = self.advance(pending, |interaction| failed(interaction, trouble)).await?;
                        Ok(CameBack::Interaction { next, signed_in: None })
                    }
                }
            }
        }
    }

    /// From the callback to a session of ours; or why not.
    async fn arrive(
        &self,
        bridge: &Bridge,
        held: &Held<UpstreamAttempt>,
        checked: Result<crate::upstream::UpstreamCode, CallbackError>,
        base: &FhirBase,
        wanted: Option<&crate::protocol::ids::Reference>,
    ) -> Result<Result<SignedIn, LoginTrouble>, StoreError> {
        let attempt = &held.value;
        let code = match checked {
            Ok(code) => code,
            Err(refused) => {
                let trouble = refusal(refused, attempt.mode);
                tracing::info!(%refused, "a login at the identity provider gave no code");
                return Ok(Err(trouble));
            }
        };
        let Some((secrets, key)) = self.secrets(bridge, held) else {
            tracing::error!("what is sealed of a login cannot be opened");
            return Ok(Err(LoginTrouble::Failed));
        };
        let Some(verifier) = CodeVerifier::parse(&secrets.verifier) else { return Ok(Err(LoginTrouble::Failed)) };
        let ask = RedeemAsk {
            code: &code,
            verifier: &verifier,
            key: &key,
            nonce: &secrets.nonce,
            max_age: attempt.max_age_s.map(Duration::from_secs),
            logged_in_since: (attempt.mode == AttemptMode::Force).then_some(attempt.begun_at),
        };
        let logged_in = match bridge.client.redeem(&ask).await {
            Ok(logged_in) => logged_in,
            Err(error) => {
                tracing::warn!(%error, "a code of the identity provider's could not be redeemed");
                return Ok(Err(unredeemed(&error)));
            }
        };
        let found = match self.recognise(bridge, &logged_in, &key, base, wanted).await {
            Ok(found) => found,
            Err(trouble) => {
                // Nobody will use what was just given out.
                if let Some(token) = &logged_in.tokens.refresh {
                    bridge.revoke(&token.secret).await;
                }
                return Ok(Err(trouble));
            }
        };
        self.sign_in_upstream(bridge, base, found, &logged_in, &key).await.map(Ok).or_else(|error| match error {
            AccessError::Store(down) => Err(down),
            other => {
                tracing::error!(error = %other, "a login at the identity provider cannot be kept");
                Ok(Err(LoginTrouble::Failed))
            }
        })
    }

    fn secrets(&self, bridge: &Bridge, held: &Held<UpstreamAttempt>) -> Option<(AttemptSecrets, SigningKey)> {
        let plain = bridge.open("attempt", held.id(), &held.value.secrets).ok()?;
        let secrets: AttemptSecrets = serde_json::from_slice(plain.expose()).ok()?;
        let der = Secret::new(from_base64url(&secrets.key)?);
        let key = SigningKey::from_pkcs8_der(der.expose(), SESSION_ALG).ok()?;
        Some((secrets, key))
    }

    /// Keeps what the login brought, then makes the session that stands on it.
    async fn sign_in_upstream(
        &self,
        bridge: &Bridge,
        base: &FhirBase,
        found: person::Recognised,
        logged_in: &LoggedIn,
        key: &SigningKey,
    ) -> Result<SignedIn, AccessError> {
        let LoggedIn { identity, id_token, tokens } = logged_in;
        let facts = LoginFacts {
            fhir_user: found.fhir_user.clone(),
            name: found.name.clone(),
            way: SessionWay::HelseId,
            amr: identity.amr.clone(),
            auth_time: identity.auth_time,
        };
        let signed_in = self.new_session(base, facts);
        let session = &signed_in.session;
        let live = bridge.live(&session.id, &UpstreamSecrets { tokens, key, id_token })?;
        let rules = bridge.client.rules();
        let mac = self.keys.mac(&[b"upstream person"]);
        let login = UpstreamLogin {
            session: session.id.clone(),
            base: base.clone(),
            subject: session.subject.clone(),
            fhir_user: session.fhir_user.clone(),
            issuer: rules.issuer.clone(),
            upstream_subject: identity.subject.clone(),
            upstream_session: identity.session.clone(),
            person: identity.person.keyed(&mac),
            hpr: found.hpr.as_ref().map(|hpr| hpr.keyed(&mac)),
            level: identity.level,
            auth_time: identity.auth_time,
            amr: identity.amr.clone(),
            idp: identity.idp.clone(),
            professions: found.professions,
            org_parent: tokens.token.org_parent.as_ref().map(ToString::to_string),
            org_child: tokens.token.org_child.as_ref().map(ToString::to_string),
            resources: rules.resources.iter().cloned().collect(),
            scopes: tokens.granted.iter().cloned().collect(),
            state: UpstreamState::Live(live),
            expires_at: session.expires_at,
        };
        bridge.save(&login).await?;
        self.keep_session(session).await?;
        bridge.keep_first(&login, key, tokens);
        trail::logged_in(session);
        tracing::info!(session = %session.id, level = %identity.level, idp = identity.idp.as_deref(), "somebody logged in at the identity provider");
        Ok(signed_in)
    }
}

/// A login that came to nothing is recorded where it did, and not again with each page that tells of it. That nobody was logged in there is
/// no refusal: it was only asked in passing.
fn noted(attempt: &UpstreamAttempt, came: Result<SignedIn, LoginTrouble>) -> Result<SignedIn, LoginTrouble> {
    if let Err(trouble) = &came
        && !(attempt.mode == AttemptMode::Silent && matches!(trouble, LoginTrouble::NoSession | LoginTrouble::MustAsk))
    {
        trail::also_refused(Action::Login, "login", format!("{trouble:?}"), |facts| facts.way = Some(SessionWay::HelseId.as_str()));
    }
    came
}

fn failed(interaction: &mut Interaction, trouble: LoginTrouble) {
    interaction.asked_in_passing = true;
    interaction.trouble = Some(trouble);
}

/// What the person, or an app that wanted no page, hears of a refusal.
fn refusal(refused: CallbackError, mode: AttemptMode) -> LoginTrouble {
    use CallbackRefusal as R;
    match refused {
        CallbackError::Refused(R::LoginRequired) => LoginTrouble::NoSession,
        CallbackError::Refused(R::InteractionRequired) => LoginTrouble::MustAsk,
        // Nobody was asked, so nobody gave up.
        CallbackError::Refused(R::AccessDenied) if mode == AttemptMode::Silent => LoginTrouble::NoSession,
        CallbackError::Refused(R::AccessDenied) => LoginTrouble::Cancelled,
        CallbackError::Refused(R::Unavailable) => LoginTrouble::Down,
        CallbackError::Refused(R::Other) | CallbackError::Repeated | CallbackError::Issuer | CallbackError::State | CallbackError::Empty => {
            LoginTrouble::Failed
        }
    }
}

fn unredeemed(error: &UpstreamError) -> LoginTrouble {
    match error {
        UpstreamError::Down(_) | UpstreamError::OutcomeUnknown(_) | UpstreamError::Keys(_) | UpstreamError::NonceLoop => LoginTrouble::Down,
        UpstreamError::Token(TokenFault::Level) => LoginTrouble::LevelTooLow,
        UpstreamError::Token(TokenFault::LoginTooOld) => LoginTrouble::TooOld,
        UpstreamError::Token(_)
        | UpstreamError::Refused(_)
        | UpstreamError::NonceWanted(_)
        | UpstreamError::Metadata(_)
        | UpstreamError::Answer(_)
        | UpstreamError::Signing => LoginTrouble::Failed,
    }
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn from_base64url(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}
