//! Every kind of fault of the mock's catalogue where it meets this server: what the doctor, the app and the log see of it. `reference/helseid.md` §7.3.
//!
//! The matches have no arm for the rest: a kind that is added does not compile until it is told here how it must end.

use helsebro::helseid::faults::{
    CallbackFault, ClientAuthFault, ClockFault, DiscoveryFault, DpopFault, ExchangeFault, Fault, GrantFault, IdTokenFault, KINDS, KeyFault, Nonces, ParseError,
    RefreshFault, TokenDefect, Transport, parse_action,
};
use helsebro::jose::JwtError;
use helsebro::random::{Random as _, SystemRandom};
use helsebro::upstream::{AnswerFault, TokenFault, UpstreamError};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Caller, DOCTOR, PORTAL, fault as put_on, text, through_helseid};
use crate::world::{App, Browser, Log, Tokens, World, claims, leaks};

const DOWN: &str = "Vi får ikke kontakt med HelseID";
const FAILED: &str = "Innloggingen med HelseID kunne ikke fullføres";
const FOREIGN: &str = "Svaret kom ikke fra HelseID";
const LOST: &str = "Innloggingen gjelder ikke lenger";
const LEVEL: &str = "ikke sikker nok";
const OLD: &str = "Det er for lenge siden du logget inn";
const CLAIM: &str = "https://helseid.nhn.no";
const SCOPE: &str = "openid fhirUser launch offline_access patient/Patient.read https://helseid.nhn.no";

/// Where the fault meets.
#[derive(Clone, Copy, Debug)]
enum Flow {
    /// The doctor logs in at HelseID in the middle of a launch.
    Login,
    /// The EPJ vouches, and HelseID is asked in passing.
    Passing,
    /// A code is redeemed, and the id_token is to bring the claim.
    Claim,
    /// The same at a refresh.
    Refresh,
    /// (a), where HelseID is asked for a refresh.
    Exchange,
    /// (a), where HelseID exchanges.
    Prescriptions,
    Gateway,
    /// The EPJ's session ends.
    Logout,
}

/// How it must end.
#[derive(Clone, Debug, PartialEq)]
enum Sees {
    /// Nobody notices.
    Nothing,
    /// The doctor a page, with this status and these words.
    Page(u16, String),
    /// The app an error.
    Error(u16, String),
    /// The app its tokens without the claim: the launch goes on.
    NoClaim,
}

struct Case {
    flow: Flow,
    /// Which requests at HelseID are met.
    meets: Value,
    sees: Sees,
    /// What the log says besides.
    log: String,
}

fn case(flow: Flow, meets: Value, sees: Sees, log: impl ToString) -> Case {
    Case { flow, meets, sees, log: log.to_string() }
}

fn page(status: u16, words: &str) -> Sees {
    Sees::Page(status, words.to_owned())
}

fn error(status: u16, code: &str) -> Sees {
    Sees::Error(status, code.to_owned())
}

fn at(endpoint: &str) -> Value {
    json!({ "endpoint": endpoint })
}

fn grant(grant_type: &str) -> Value {
    json!({ "endpoint": "token", "grant_type": grant_type })
}

fn login(sees: Sees, log: impl ToString) -> Vec<Case> {
    vec![case(Flow::Login, at("token"), sees, log)]
}

fn refreshed(sees: Sees, log: impl ToString) -> Vec<Case> {
    vec![case(Flow::Exchange, grant("refresh_token"), sees, log)]
}

fn exchanged(sees: Sees, log: impl ToString) -> Vec<Case> {
    vec![case(Flow::Prescriptions, grant("urn:ietf:params:oauth:grant-type:token-exchange"), sees, log)]
}

/// What is wrong with a token of HelseID's is ours to mend: the app hears nothing but that.
fn bad_token(fault: impl Into<TokenFault>) -> Vec<Case> {
    refreshed(error(500, "server_error"), UpstreamError::Token(fault.into()))
}

fn bad_login(fault: impl Into<TokenFault>) -> Vec<Case> {
    login(page(502, FAILED), UpstreamError::Token(fault.into()))
}

const UNKNOWN: &str = "whether the identity provider did it is unknown";
const IS_DOWN: &str = "the identity provider is down";

fn unavailable() -> Sees {
    error(503, "temporarily_unavailable")
}

/// A kind and its arguments, as they are tried here.
fn action(kind: &str) -> Value {
    let more = match kind {
        "respond" => json!({ "status": 503, "headers": { "Retry-After": "0" }, "body": "their own words" }),
        "delay_ms" => json!({ "ms": 8000 }),
        "drip" => json!({ "ms": 1 }),
        "huge_body" => json!({ "bytes": 3_000_000 }),
        "redirect_302" => json!({ "location": "https://elsewhere.example.no/" }),
        "missing_field" => json!({ "name": "token_endpoint" }),
        "missing_claim" => json!({ "name": "client_id" }),
        "claim" => json!({ "name": "sub", "value": "somebody-else" }),
        "pid_as_number" | "level_3" | "no_hpr" | "other_user" => json!({ "token": "id_token" }),
        "nonce_demand" => json!({ "mode": "loop" }),
        "proof_rejected" => json!({ "text": "their own words" }),
        "life_cap_s" => json!({ "seconds": 5 }),
        "hid" => json!({ "code": 1001 }),
        "server_clock" => json!({ "seconds": 30 }),
        "date_skew" => json!({ "seconds": 400 }),
        _ => json!({}),
    };
    let mut action = json!({ "kind": kind });
    super::merge(&mut action, &more);
    action
}

/// Every flow that the kind concerns, and how each must end.
fn cases(fault: &Fault) -> Vec<Case> {
    match fault {
        Fault::Transport(fault) => transport(fault),
        Fault::Discovery(fault) => {
            let seen = |sees: Sees, log: &str| vec![case(Flow::Login, at("discovery"), sees, log)];
            match fault {
                DiscoveryFault::IssuerMismatch | DiscoveryFault::MissingField(_) | DiscoveryFault::Downgraded | DiscoveryFault::HttpEndpoints => {
                    seen(page(503, DOWN), "the identity provider's metadata")
                }
                DiscoveryFault::StringBooleans | DiscoveryFault::StaleCache => seen(Sees::Nothing, ""),
            }
        }
        Fault::Key(fault) => match fault {
            KeyFault::RotateMidflight(_) => login(Sees::Nothing, ""),
            KeyFault::RetiredKey | KeyFault::UnknownKid => bad_login(JwtError::UnknownKey),
            KeyFault::MissingKid => bad_login(TokenFault::NoKeyId),
            KeyFault::SameKidOtherKey => bad_login(JwtError::Signature),
            KeyFault::EmptyJwks | KeyFault::Jwks503 => vec![case(Flow::Login, at("jwks"), page(503, DOWN), "the identity provider's keys")],
        },
        Fault::Token(_, defect) => match defect {
            TokenDefect::Expired => bad_token(JwtError::Expired),
            TokenDefect::NotYetValid => bad_token(JwtError::NotYet),
            TokenDefect::WrongIss | TokenDefect::IssTrailingSlash => bad_token(JwtError::Issuer),
            TokenDefect::WrongAud | TokenDefect::MultiAud => bad_token(JwtError::Audience),
            TokenDefect::MissingAud => bad_token(JwtError::Missing("aud")),
            TokenDefect::WrongTyp => bad_token(JwtError::Type),
            TokenDefect::AlgNone | TokenDefect::AlgHs256 => bad_token(JwtError::Algorithm),
            TokenDefect::BadSignature | TokenDefect::SignedByOtherKey => {
                let mut all = bad_token(JwtError::Signature);
                all.push(case(Flow::Gateway, grant("refresh_token"), error(500, "server_error"), UpstreamError::Token(JwtError::Signature.into())));
                all.push(case(Flow::Claim, grant("refresh_token"), Sees::NoClaim, "an id_token goes without the HelseID claim"));
                all
            }
            TokenDefect::MissingClaim(_) => bad_token(TokenFault::NotAnAccessToken),
            TokenDefect::Claim(..) => bad_token(TokenFault::Subject),
            TokenDefect::ScopeAsString => refreshed(Sees::Nothing, ""),
            TokenDefect::PidAsNumber => bad_login(JwtError::Claims),
            TokenDefect::Level3 => login(page(403, LEVEL), UpstreamError::Token(TokenFault::Level)),
            // Userinfo says it too, and from the register.
            TokenDefect::NoHpr => login(Sees::Nothing, ""),
            TokenDefect::OtherUser => login(page(502, FAILED), UpstreamError::Answer(AnswerFault::Subject)),
        },
        Fault::IdToken(fault) => match fault {
            IdTokenFault::WrongNonce | IdTokenFault::MissingNonce => bad_login(TokenFault::Nonce),
            IdTokenFault::WrongAzp => bad_login(TokenFault::AuthorizedParty),
            IdTokenFault::ExtraAud => bad_login(JwtError::Audience),
            IdTokenFault::OldAuthTime => login(page(200, OLD), UpstreamError::Token(TokenFault::LoginTooOld)),
            IdTokenFault::OtherSubThanUserinfo => vec![case(Flow::Login, json!({}), page(502, FAILED), UpstreamError::Answer(AnswerFault::Subject))],
        },
        Fault::Dpop(fault) => match fault {
            DpopFault::NonceDemand(Nonces::Always | Nonces::Once) | DpopFault::NonceOnSuccessChanges => refreshed(Sees::Nothing, ""),
            DpopFault::NonceDemand(Nonces::Loop) => {
                let mut all = refreshed(unavailable(), UpstreamError::NonceLoop);
                all.extend(login(page(503, DOWN), UpstreamError::NonceLoop));
                all
            }
            DpopFault::StaleNonce => login(page(503, DOWN), UpstreamError::NonceLoop),
            DpopFault::WrongCnf | DpopFault::NoCnf => bad_token(TokenFault::Binding),
            DpopFault::TokenTypeBearer => refreshed(error(500, "server_error"), UpstreamError::Answer(AnswerFault::Bearer)),
            DpopFault::ProofRejected(_) => refreshed(error(500, "server_error"), "the identity provider refused"),
        },
        Fault::ClientAuth(fault) => match fault {
            ClientAuthFault::JtiReplayStrict | ClientAuthFault::AssertionAudLegacyOff => refreshed(Sees::Nothing, ""),
            ClientAuthFault::LifeCapS(_) | ClientAuthFault::ClientDisabled | ClientAuthFault::KeyExpired => {
                let mut all = refreshed(error(500, "server_error"), "the identity provider refused");
                all.push(case(Flow::Login, at("par"), page(503, DOWN), "the identity provider refused"));
                all
            }
        },
        Fault::Refresh(fault) => match fault {
            RefreshFault::ReuseKillsFamily | RefreshFault::NoNewRt | RefreshFault::RtExpiresInZero | RefreshFault::NoIdToken => refreshed(Sees::Nothing, ""),
            RefreshFault::ScopeShrinks => refreshed(error(400, "invalid_scope"), "the identity provider refused: invalid_scope"),
            RefreshFault::WrongSubAfterRefresh => bad_token(TokenFault::Subject),
        },
        Fault::Grant(fault) => match fault {
            GrantFault::RejectedScope => {
                let mut all = refreshed(error(400, "invalid_scope"), "the identity provider refused: invalid_scope");
                all.push(case(Flow::Claim, grant("refresh_token"), Sees::NoClaim, "an id_token goes without the HelseID claim"));
                all
            }
            GrantFault::Hid(_) | GrantFault::DoubleStructure => refreshed(error(400, "invalid_target"), "the identity provider refused"),
            GrantFault::UnauthorizedClient => refreshed(error(500, "server_error"), "the identity provider refused"),
        },
        Fault::Exchange(fault) => match fault {
            ExchangeFault::NotPermitted | ExchangeFault::MaxExchanges | ExchangeFault::AudNotOwned => {
                exchanged(error(400, "invalid_request"), "the identity provider refused")
            }
            ExchangeFault::ActMissing | ExchangeFault::ActWrong => exchanged(error(500, "server_error"), UpstreamError::Token(TokenFault::Actor)),
            ExchangeFault::ClientIdIsSubject | ExchangeFault::AttestNotCopied | ExchangeFault::WithRefreshToken => exchanged(Sees::Nothing, ""),
        },
        Fault::Clock(fault) => match fault {
            // Our assertions of ten seconds are over for it before they are made.
            ClockFault::Server(_) => login(page(502, FAILED), "the identity provider refused: invalid_client"),
            ClockFault::Date(_) => login(Sees::Nothing, "the identity provider's clock differs from ours"),
        },
        Fault::Callback(fault) => {
            let seen = |sees: Sees, log: &str| vec![case(Flow::Login, at("authorize"), sees, log)];
            match fault {
                CallbackFault::IssMissing | CallbackFault::IssWrong => seen(page(400, FOREIGN), "iss is missing or another provider's"),
                CallbackFault::StateWrong => seen(page(400, LOST), "no login of this browser has this state"),
                CallbackFault::CodeReused => seen(page(502, FAILED), "the identity provider refused"),
                CallbackFault::ExtraParams => seen(Sees::Nothing, ""),
                // Asked in silence, it says `error` twice, and no value of it is believed.
                CallbackFault::ErrorWithCode => seen(page(400, FOREIGN), "or a parameter came twice"),
            }
        }
    }
}

/// What keeps HelseID from answering, where it is felt: everywhere for the one that is the likeliest, and where an answer may be lost for the rest.
fn transport(fault: &Transport) -> Vec<Case> {
    let lost = |log: &str| refreshed(unavailable(), log);
    match fault {
        Transport::Respond(_) => {
            let token = |flow: Flow, sees: Sees| case(flow, at("token"), sees, IS_DOWN);
            vec![
                token(Flow::Login, page(503, DOWN)),
                case(Flow::Login, at("par"), page(503, DOWN), IS_DOWN),
                case(Flow::Login, at("userinfo"), page(503, DOWN), "does not say what a person may do"),
                case(Flow::Passing, at("par"), Sees::NoClaim, IS_DOWN),
                token(Flow::Claim, Sees::NoClaim),
                token(Flow::Refresh, Sees::NoClaim),
                token(Flow::Exchange, unavailable()),
                token(Flow::Prescriptions, unavailable()),
                token(Flow::Gateway, unavailable()),
                case(Flow::Logout, at("revocation"), Sees::Nothing, "could not be revoked"),
            ]
        }
        Transport::DelayMs(_) => {
            let mut all = lost(UNKNOWN);
            all.push(case(Flow::Claim, at("token"), Sees::NoClaim, "does not answer in time"));
            all
        }
        Transport::Drip(_) => vec![case(Flow::Login, at("par"), Sees::Nothing, "")],
        Transport::WrongContentType => vec![case(Flow::Login, at("par"), page(503, DOWN), "error=\"upstream\"")],
        Transport::DropBefore | Transport::DropAfter | Transport::Truncate => {
            let mut all = lost(UNKNOWN);
            all.push(case(Flow::Login, at("token"), page(503, DOWN), UNKNOWN));
            all
        }
        Transport::HtmlError => {
            let mut all = lost("");
            all.push(case(Flow::Login, at("token"), page(503, DOWN), ""));
            all
        }
        Transport::HugeBody(_) => lost(UNKNOWN),
        Transport::Redirect302(_) => {
            let mut all = lost("");
            all.push(case(Flow::Logout, at("revocation"), Sees::Nothing, "could not be revoked"));
            all
        }
    }
}

/// From an authorization request to the code, or to the page that says why not; the way to HelseID is taken once.
async fn to_the_app(world: &World, app: &App<'_>, browser: &mut Browser) -> Result<String, Sees> {
    world.lever(Method::PUT, "next-user", Some(json!({ "user": DOCTOR }))).await;
    let (mut page, mut pressed) = (app.authorize(browser).await, false);
    for _ in 0..20 {
        page = match page.location() {
            Some(next) if next.as_str().starts_with(&app.redirect_uri) => {
                return page.param("code").ok_or_else(|| error(303, &page.param("error").unwrap_or_default()));
            }
            Some(next) => browser.get(next.as_str()).await,
            None if page.reply.status == 200 && !pressed => {
                pressed = true;
                browser.submit(&page, &[]).await
            }
            None => return Err(Sees::Page(page.reply.status, page.text())),
        };
    }
    panic!("no way to the app, last {}", page.url)
}

fn claimed(tokens: &Value) -> Sees {
    let there = claims(tokens["id_token"].as_str().unwrap()).get(CLAIM).is_some();
    if there { Sees::Nothing } else { Sees::NoClaim }
}

/// Walks a flow with the fault on from where it meets, and says how it ended.
async fn walk(world: &World, flow: Flow, put: impl AsyncFnOnce()) -> Sees {
    let portal = Caller::portal(world);
    // An EPJ session that has ended never begins again.
    let shift = SystemRandom.id();
    let asked = |audience: &'static str, scope: &'static str| [("audience", audience), ("scope", scope)];
    let (kjerne, resept) = (asked("demo:kjerne", "demo:kjerne/read"), asked("demo:resept", "demo:resept/write"));
    let nav = async |scope: &str, session: &str| {
        let launch = world.ehr().client("syk-inn").with("session", json!(format!("{session}-{shift}"))).launch().await;
        (App::new(world, "syk-inn").set("scope", scope).launched(&launch), launch)
    };
    let plain = |reply: crate::world::Reply| match reply.status {
        200 => Sees::Nothing,
        status => {
            assert!(status != 503 || reply.header("retry-after").is_some(), "{}", reply.body);
            assert!(!reply.body.contains("their own words"), "{}", reply.body);
            Sees::Error(status, reply.json()["error"].as_str().unwrap_or_default().to_owned())
        }
    };
    match flow {
        Flow::Login => {
            let (app, _) = nav("openid fhirUser launch patient/Patient.read", "epj-l").await;
            put().await;
            match to_the_app(world, &app, &mut Browser::new(world.http.clone())).await {
                Ok(code) => {
                    app.redeem(&code).await;
                    Sees::Nothing
                }
                Err(seen) => seen,
            }
        }
        Flow::Passing => {
            // Logged in there already.
            let mut browser = Browser::new(world.http.clone());
            let (app, _) = nav("openid fhirUser launch patient/Patient.read", "epj-p").await;
            to_the_app(world, &app, &mut browser).await.unwrap();
            browser.cookies.retain(|name, _| !(name.starts_with("helsebro-") && name.ends_with("-session")));
            let (app, launch) = nav(SCOPE, "epj-q").await;
            browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
            put().await;
            match to_the_app(world, &app, &mut browser).await {
                Ok(code) => claimed(&app.redeem(&code).await.0),
                Err(seen) => seen,
            }
        }
        Flow::Claim | Flow::Refresh => {
            let (app, _) = nav(SCOPE, "epj-c").await;
            let code = through_helseid(world, &app).await;
            if matches!(flow, Flow::Claim) {
                put().await;
                return claimed(&app.redeem(&code).await.0);
            }
            let Tokens(first) = app.redeem(&code).await;
            world.advance(295);
            put().await;
            claimed(&app.refresh(first["refresh_token"].as_str().unwrap()).await.is(200).json())
        }
        Flow::Exchange => {
            let subject = portal.subject().await;
            put().await;
            plain(portal.exchange(&subject, &kjerne).await)
        }
        Flow::Prescriptions => {
            let subject = portal.subject().await;
            put().await;
            plain(portal.exchange(&subject, &resept).await)
        }
        Flow::Gateway => {
            let subject = portal.subject().await;
            let handle = text(&portal.exchange(&subject, &kjerne).await.is(200).json(), "access_token");
            world.advance(55);
            put().await;
            plain(portal.call("GET", &format!("{}/gateway/portal-gateway/kjerne", world.issuer()), &handle, &[]).await)
        }
        Flow::Logout => {
            let launch = world.ehr().client(PORTAL).with("session", json!(format!("epj-o-{shift}"))).launch().await;
            let token = text(&portal.logged_in(&launch, "launch openid fhirUser patient/Patient.rs").await, "access_token");
            put().await;
            world.ehr().end_session(&format!("epj-o-{shift}")).await.is(204);
            assert!(!world.is_active(&token).await);
            Sees::Nothing
        }
    }
}

/// The page's whole text is compared with the words that must be in it.
fn fits(seen: &Sees, expected: &Sees) -> bool {
    match (seen, expected) {
        (Sees::Page(status, text), Sees::Page(wanted, words)) => status == wanted && text.contains(words.as_str()),
        (seen, expected) => seen == expected,
    }
}

/// T22 `no_secret_in_logs`. Nothing of this may be in a page or in the log: numbers of the doctor and of the patients, and the beginning of any token.
const SECRETS: [&str; 6] = ["12847839269", "990001007", "14839219696", "42878712921", "their own words", "\"alg\""];

async fn groups_end_as_they_must(groups: &[&str]) {
    let log = Log::begin();
    let mut wrong = Vec::new();
    let mut world = World::start().await;
    for (group, kind, _) in KINDS.iter().filter(|(group, ..)| groups.contains(group)) {
        let action = action(kind);
        let fault = match parse_action(&action) {
            Err(ParseError::Tls) if *kind == "tls_bad_cert" => continue,
            fault => fault.unwrap_or_else(|why| panic!("{kind}: {why}")),
        };
        for Case { flow, meets, sees, log: says } in cases(&fault) {
            // What is read once and kept is met by who has not read it.
            if meets["endpoint"] == "discovery" || meets["endpoint"] == "jwks" {
                world = World::start().await;
            }
            log.clear();
            let put = async || {
                log.clear();
                put_on(&world, meets.clone(), action.clone()).await;
            };
            let seen = walk(&world, flow, put).await;
            world.lever(Method::DELETE, "faults", None).await;
            let said = log.text();
            let line =
                said.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains(" INFO ")).collect::<Vec<_>>().join("\n");
            if !fits(&seen, &sees) {
                wrong.push(format!("{group}: {action} at {flow:?} {meets}: {seen:?} and not {sees:?}\n{line}"));
            } else if !line.contains(&says) {
                wrong.push(format!("{group}: {action} at {flow:?} {meets}: the log does not say {says:?} but\n{line}"));
            }
            let shown = format!("{seen:?}");
            for secret in SECRETS {
                assert!(!shown.contains(secret), "{action} at {flow:?}: {secret} is shown");
                assert!(secret == "their own words" || !line.contains(secret), "{action} at {flow:?}: {secret} is in the log\n{line}");
            }
            assert_eq!(leaks::jwt_in(&line), None, "{action} at {flow:?}: a token is in the log");
            // The circuit closes, and keys may be asked for again.
            world.advance(61);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

const TESTED: [&[&str]; 5] =
    [&["Transport"], &["Discovery", "Keys", "Callback"], &["Tokens"], &["ID token", "DPoP", "Client auth"], &["Refresh", "Grants", "TE", "Clock"]];

#[test]
fn every_group_of_the_catalogue_is_tried() {
    for (group, kind, _) in KINDS {
        assert_eq!(TESTED.iter().filter(|groups| groups.contains(group)).count(), 1, "{group}: {kind}");
    }
}

#[tokio::test]
async fn answers_that_do_not_come() {
    groups_end_as_they_must(TESTED[0]).await;
}

#[tokio::test]
async fn documents_keys_and_ways_back_that_are_wrong() {
    groups_end_as_they_must(TESTED[1]).await;
}

#[tokio::test]
async fn tokens_that_are_wrong() {
    groups_end_as_they_must(TESTED[2]).await;
}

#[tokio::test]
async fn logins_proofs_and_credentials_that_are_wrong() {
    groups_end_as_they_must(TESTED[3]).await;
}

#[tokio::test]
async fn grants_exchanges_and_clocks_that_are_wrong() {
    groups_end_as_they_must(TESTED[4]).await;
}
