//! The catalogue of faults, kind by kind: what a client sees of each at its endpoint, and that all is well once it is used up. §7.3.
//!
//! The matches below have no arm for the rest: a kind that is added does not compile until it is told here what it does to a client.

use std::time::{Duration, Instant};

use helsebro::helseid::faults::{
    CallbackFault, ClientAuthFault, ClockFault, DiscoveryFault, DpopFault, ExchangeFault, Fault, GrantFault, IdTokenFault, KINDS, KeyFault, Nonces, ParseError,
    RefreshFault, TokenDefect, Transport, Which, parse_action,
};
use helsebro::helseid::quirks::NonceDemand;
use helsebro::helseid::seed::table;
use helsebro::jose::{Alg, AudienceForm, Expect, JwkSet, JwtError, UnverifiedJwt, verify};
use helsebro::time::Clock as _;
use serde_json::{Map, Value, json};

use super::world::{Answer, Browser, Client, Mock, machine, part};

const METADATA: &str = "/.well-known/openid-configuration";
const JWKS: &str = "/.well-known/openid-configuration/jwks";
const SMALL: &str = "/connect/availableidps";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ATTEST: &str = "nhn:tillitsrammeverk:parameters";
const PID: &str = "helseid://claims/identity/pid";
const LEVEL: &str = "helseid://claims/identity/security_level";
const HPR: &str = "helseid://claims/hpr/hpr_number";
const OLD: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("scope", "demo:old/read")];
const KJERNE: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("scope", "demo:kjerne/read")];

/// The actions that are tried of a kind: one, or one for each value of its argument where the values differ.
fn actions(kind: &str) -> Vec<Value> {
    let with = |name: &str, values: Vec<Value>| values.into_iter().map(|value| json!({"kind": kind, name: value})).collect();
    match kind {
        "respond" => vec![json!({"kind": kind, "status": 503, "headers": {"Retry-After": "1"}, "body": "later"})],
        "delay_ms" => with("ms", vec![json!(150)]),
        "drip" => with("ms", vec![json!(2)]),
        "huge_body" => with("bytes", vec![json!(300_000)]),
        "redirect_302" => with("location", vec![json!("https://elsewhere.example.no/")]),
        "missing_field" => with("name", vec![json!("token_endpoint")]),
        "missing_claim" => with("name", vec![json!("jti")]),
        "claim" => vec![json!({"kind": kind, "name": "sid", "value": {"any": "thing"}})],
        "rotate_midflight" => with("readings", vec![json!(1)]),
        "nonce_demand" => with("mode", vec![json!("always"), json!("once"), json!("loop")]),
        "proof_rejected" => with("text", vec![json!("no such luck")]),
        "life_cap_s" => with("seconds", vec![json!(5)]),
        "hid" => with("code", (1001..=1010).map(|code| json!(code)).collect()),
        // As far as an assertion made by the right time is still taken.
        "server_clock" => with("seconds", vec![json!(-4), json!(4)]),
        "date_skew" => with("seconds", vec![json!(-400), json!(400)]),
        _ => vec![json!({"kind": kind})],
    }
}

/// Which request is met, and how many in a row.
fn meets(fault: &Fault) -> (Value, u32) {
    let grant = |grant: &str| json!({"endpoint": "token", "grant_type": grant});
    match fault {
        Fault::Transport(_) => (json!({"endpoint": "available_idps"}), 1),
        Fault::Discovery(_) | Fault::Clock(ClockFault::Date(_)) => (json!({"endpoint": "discovery"}), 1),
        Fault::Key(KeyFault::EmptyJwks | KeyFault::Jwks503) => (json!({"endpoint": "jwks"}), 1),
        Fault::Key(_) | Fault::Token(..) | Fault::IdToken(_) | Fault::Clock(ClockFault::Server(_)) => (grant("authorization_code"), 1),
        Fault::Dpop(DpopFault::NonceDemand(Nonces::Always | Nonces::Loop)) => (grant("client_credentials"), 2),
        // The second time the same assertion, or the same refresh token, comes.
        Fault::ClientAuth(ClientAuthFault::JtiReplayStrict) => (json!({"endpoint": "token", "grant_type": "client_credentials", "nth": 2}), 1),
        Fault::Refresh(RefreshFault::ReuseKillsFamily) => (json!({"endpoint": "token", "grant_type": "refresh_token", "nth": 2}), 1),
        Fault::Dpop(_) | Fault::ClientAuth(_) => (grant("client_credentials"), 1),
        Fault::Refresh(_) | Fault::Grant(_) => (grant("refresh_token"), 1),
        Fault::Exchange(_) => (grant(EXCHANGE), 1),
        Fault::Callback(_) => (json!({"endpoint": "authorize"}), 1),
    }
}

#[tokio::test]
async fn every_kind_hurts_as_it_says_and_is_over_when_it_is_used_up() {
    let mock = Mock::start_with(|settings| {
        // One request a grant, so that a rule is used up by one; what the nonce is about asks for it.
        settings.quirks.dpop_nonce = NonceDemand::Never;
        settings.quirks.assertion_jti_single_use = false;
    })
    .await;
    let stage = Stage::set(&mock).await;
    for (group, kind, _) in KINDS {
        for action in actions(kind) {
            let fault = match parse_action(&action) {
                Err(ParseError::Tls) if *kind == "tls_bad_cert" => continue,
                fault => fault.unwrap_or_else(|why| panic!("{kind}: {why}")),
            };
            let (matches, times) = meets(&fault);
            mock.fault(json!({"match": matches, "action": action, "times": times}));
            assert!(stage.is_hurt_by(&fault).await, "{group}: {action} does nothing");
            let rule = mock.idp().faults.list().pop().unwrap();
            assert_eq!(rule.met, u64::from(times), "{action} is used up");
            assert!(!stage.is_hurt_by(&fault).await, "{group}: {action} goes on");
            mock.idp().faults.clear();
        }
    }
}

/// Either what the fault does was seen, or all was well; not neither, and not both.
#[track_caller]
fn either(hurt: bool, well: bool, seen: &dyn std::fmt::Debug) -> bool {
    assert!(hurt != well, "{}: {seen:?}", if hurt { "both" } else { "neither hurt nor well" });
    hurt
}

struct Stage<'m> {
    mock: &'m Mock,
    /// Logs people in.
    client: Client<'m>,
    actor: Client<'m>,
    batch: Client<'m>,
    legacy: Client<'m>,
    /// For exchanges: a person's token with an attest.
    subject: String,
    /// Without kept connections: those that end are not tried again.
    http: reqwest::Client,
}

impl<'m> Stage<'m> {
    async fn set(mock: &'m Mock) -> Self {
        let client = mock.smart_as();
        let refresh = client.log_in("solveig").await.text("refresh_token");
        let form = [("grant_type", "refresh_token"), ("refresh_token", &refresh), ("resource", "demo:kjerne")];
        let subject = client.token_with(&form, |claims| claims["assertion_details"] = attest()).await.ok().text("access_token");
        assert!(part(&subject, 1).get(ATTEST).is_some());
        Self {
            mock,
            client,
            actor: mock.client(table::DEMO_ACTOR),
            batch: mock.client(table::BATCH),
            legacy: mock.client(table::LEGACY),
            subject,
            http: reqwest::Client::builder().pool_max_idle_per_host(0).redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap(),
        }
    }

    async fn is_hurt_by(&self, fault: &Fault) -> bool {
        match fault {
            Fault::Transport(fault) => self.transport(fault).await,
            Fault::Discovery(fault) => self.discovery(fault).await,
            Fault::Key(fault) => self.key(*fault).await,
            Fault::Token(which, defect) => {
                assert_eq!(*which, Which::AccessToken, "the default");
                self.token(defect).await
            }
            Fault::IdToken(fault) => self.id_token(*fault).await,
            Fault::Dpop(fault) => self.dpop(fault).await,
            Fault::ClientAuth(fault) => self.client_auth(*fault).await,
            Fault::Refresh(fault) => self.refresh(*fault).await,
            Fault::Grant(fault) => self.grant(fault).await,
            Fault::Exchange(fault) => self.exchange(*fault).await,
            Fault::Clock(fault) => self.clock(*fault).await,
            Fault::Callback(fault) => self.callback(*fault).await,
        }
    }

    async fn transport(&self, fault: &Transport) -> bool {
        let begun = Instant::now();
        let answer = self.http.get(self.mock.url(SMALL)).send().await;
        let Ok(answer) = answer else { return either(matches!(fault, Transport::DropBefore | Transport::DropAfter), false, &answer) };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        let body = answer.bytes().await;
        let took = begun.elapsed();
        let length = body.as_ref().map_or(0, |body| body.len());
        let whole = status == 200
            && header("content-type") == Some("application/json")
            && body.as_ref().is_ok_and(|body| serde_json::from_slice::<Value>(body).is_ok_and(|list| list[0]["name"] == "testidpnew-oidc"));
        let well = whole && length < 10_000 && took < Duration::from_millis(150);
        let hurt = match fault {
            Transport::Respond(_) => status == 503 && header("retry-after") == Some("1") && body.as_ref().is_ok_and(|body| body == "later"),
            Transport::DelayMs(ms) => whole && took >= Duration::from_millis(*ms),
            Transport::Drip(ms) => whole && took >= Duration::from_millis(*ms) * u32::try_from(length).unwrap(),
            Transport::DropBefore | Transport::DropAfter => false,
            Transport::Truncate => status == 200 && body.is_err(),
            Transport::WrongContentType => header("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
            Transport::HtmlError => status == 502 && header("content-type").is_some_and(|kind| kind.starts_with("text/html")),
            Transport::HugeBody(bytes) => whole && length as u64 > *bytes,
            Transport::Redirect302(to) => status == 302 && header("location") == Some(to),
        };
        either(hurt, well, &(status, &headers, took, length))
    }

    async fn discovery(&self, fault: &DiscoveryFault) -> bool {
        let answer = self.http.get(self.mock.url(METADATA)).send().await.unwrap();
        let age = answer.headers().contains_key("age");
        let document: Value = answer.json().await.unwrap();
        let at = |name: &str| document[name].as_str().unwrap_or_default();
        let ours = |name: &str| at(name).starts_with(&format!("{}/connect/", self.mock.issuer));
        let well = at("issuer") == self.mock.issuer
            && ours("token_endpoint")
            && ours("pushed_authorization_request_endpoint")
            && document["request_parameter_supported"] == true
            && document["code_challenge_methods_supported"] == json!(["plain", "S256"])
            && !age;
        let hurt = match fault {
            DiscoveryFault::IssuerMismatch => at("issuer").starts_with("https://another"),
            DiscoveryFault::MissingField(name) => document.get(name).is_none(),
            DiscoveryFault::StringBooleans => document["request_parameter_supported"] == "true" && document["frontchannel_logout_supported"] == "true",
            DiscoveryFault::Downgraded => {
                document.get("pushed_authorization_request_endpoint").is_none() && document["code_challenge_methods_supported"] == json!(["plain"])
            }
            DiscoveryFault::HttpEndpoints => at("issuer") == self.mock.issuer && at("token_endpoint").starts_with("http://192.0.2.1"),
            DiscoveryFault::StaleCache => age,
        };
        either(hurt, well, &document)
    }

    async fn keys(&self, path: &str) -> Vec<Value> {
        self.mock.get(path).await["keys"].as_array().unwrap().clone()
    }

    /// What a party with the key set of now makes of a token; one audience only.
    async fn believed(&self, token: &str, typ: &str, audience: &str) -> Result<Map<String, Value>, JwtError> {
        let keys = JwkSet::parse(&json!({"keys": self.keys(JWKS).await})).unwrap();
        let expect = Expect {
            issuer: Some(&self.mock.issuer),
            audiences: &[audience],
            audience_form: AudienceForm::Single,
            typ: &[typ],
            algs: &[Alg::RS256],
            ..Expect::default()
        };
        verify::<Map<String, Value>>(&UnverifiedJwt::parse(token)?, &keys, &expect, self.mock.clock.now()).map(helsebro::jose::Verified::into_claims)
    }

    async fn access(&self, token: &str) -> Result<Map<String, Value>, JwtError> {
        self.believed(token, "at+jwt", "fjord:epj-api").await
    }

    async fn key(&self, fault: KeyFault) -> bool {
        if matches!(fault, KeyFault::EmptyJwks | KeyFault::Jwks503) {
            let answer = self.http.get(self.mock.url(JWKS)).send().await.unwrap();
            let (status, again) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
            let keys = answer.json::<Value>().await.ok().map(|set| set["keys"].as_array().unwrap().len());
            let hurt = if fault == KeyFault::EmptyJwks { (status, keys) == (200, Some(0)) } else { status == 503 && again && keys.is_none() };
            return either(hurt, status == 200 && keys >= Some(2), &(status, keys));
        }
        let token = self.client.log_in("solveig").await.text("access_token");
        let kid = part(&token, 0)["kid"].as_str().map(str::to_owned);
        let verdict = self.access(&token).await.map(drop);
        let listed = async |path: &str| self.keys(path).await.iter().any(|key| key["kid"].as_str() == kid.as_deref());
        let (published, expired) = (listed(JWKS).await, listed("/connect/expiredjwks").await);
        let hurt = match fault {
            // The first reading was without it, the second has it.
            KeyFault::RotateMidflight(_) => verdict == Err(JwtError::UnknownKey) && published && self.access(&token).await.is_ok(),
            KeyFault::RetiredKey => verdict == Err(JwtError::UnknownKey) && !published && expired,
            KeyFault::UnknownKid => verdict == Err(JwtError::UnknownKey) && !published && !expired,
            KeyFault::MissingKid => kid.is_none() && verdict.is_err(),
            KeyFault::SameKidOtherKey => verdict == Err(JwtError::Signature) && published,
            KeyFault::EmptyJwks | KeyFault::Jwks503 => unreachable!("answered above"),
        };
        either(hurt, verdict.is_ok() && published && !expired, &(verdict, kid))
    }

    async fn token(&self, defect: &TokenDefect) -> bool {
        let token = self.client.log_in("solveig").await.text("access_token");
        let (header, claims) = (part(&token, 0), part(&token, 1));
        let verdict = self.access(&token).await.map(drop);
        let well = verdict.is_ok()
            && claims["jti"].is_string()
            && claims["sid"].is_string()
            && claims["scope"].is_array()
            && (&claims[PID], &claims[LEVEL], &claims[HPR]) == (&json!("12837512040"), &json!("4"), &json!("990000101"));
        let refused = |why: JwtError| verdict == Err(why);
        let hurt = match defect {
            TokenDefect::Expired => refused(JwtError::Expired),
            TokenDefect::NotYetValid => refused(JwtError::NotYet),
            TokenDefect::WrongIss => refused(JwtError::Issuer) && claims["iss"] != format!("{}/", self.mock.issuer),
            TokenDefect::IssTrailingSlash => refused(JwtError::Issuer) && claims["iss"] == format!("{}/", self.mock.issuer),
            TokenDefect::WrongAud => refused(JwtError::Audience) && claims["aud"].is_string(),
            TokenDefect::MultiAud => refused(JwtError::Audience) && claims["aud"][0] == "fjord:epj-api",
            TokenDefect::MissingAud => refused(JwtError::Missing("aud")),
            TokenDefect::WrongTyp => refused(JwtError::Type),
            TokenDefect::AlgNone => verdict.is_err() && header["alg"] == "none" && token.ends_with('.'),
            TokenDefect::AlgHs256 => verdict.is_err() && header["alg"] == "HS256",
            TokenDefect::BadSignature | TokenDefect::SignedByOtherKey => refused(JwtError::Signature),
            TokenDefect::MissingClaim(name) => verdict.is_ok() && claims.get(name).is_none(),
            TokenDefect::Claim(name, value) => verdict.is_ok() && claims[name] == *value,
            TokenDefect::ScopeAsString => verdict.is_ok() && claims["scope"].as_str().is_some_and(|scopes| scopes.contains("openid ")),
            TokenDefect::PidAsNumber => verdict.is_ok() && claims[PID] == json!(12_837_512_040_u64),
            TokenDefect::Level3 => verdict.is_ok() && claims[LEVEL] == "3",
            TokenDefect::NoHpr => verdict.is_ok() && claims.get(HPR).is_none(),
            TokenDefect::OtherUser => verdict.is_ok() && claims[PID].is_string() && claims[PID] != "12837512040" && claims[HPR] != "990000101",
        };
        either(hurt, well, &(verdict, header, claims))
    }

    async fn id_token(&self, fault: IdTokenFault) -> bool {
        let answer = self.client.log_in("solveig").await;
        let id = part(&answer.text("id_token"), 1);
        let person = self.client.userinfo(&answer.text("access_token")).await.ok().body;
        let verdict = self.believed(&answer.text("id_token"), "JWT", &self.client.id).await.map(drop);
        let recent = id["auth_time"].as_i64() == Some(self.mock.clock_now());
        let well = verdict.is_ok() && id["nonce"] == "n-1" && id.get("azp").is_none() && recent && id["sub"] == person["sub"];
        let hurt = match fault {
            IdTokenFault::WrongNonce => id["nonce"].is_string() && id["nonce"] != "n-1",
            IdTokenFault::MissingNonce => id.get("nonce").is_none(),
            IdTokenFault::WrongAzp => id["azp"].is_string() && id["azp"] != self.client.id,
            IdTokenFault::ExtraAud => verdict == Err(JwtError::Audience) && id["aud"][0] == self.client.id,
            IdTokenFault::OldAuthTime => id["auth_time"].as_i64().is_some_and(|at| at < self.mock.clock_now() - 86_400),
            IdTokenFault::OtherSubThanUserinfo => id["sub"] != person["sub"],
        };
        either(hurt, well, &(verdict, id))
    }

    /// A machine's request with a proof of this nonce.
    async fn prove(&self, nonce: Option<&str>) -> Answer {
        self.actor.attempt(&KJERNE, self.actor.assertion(|_, _| {}), nonce).await
    }

    async fn dpop(&self, fault: &DpopFault) -> bool {
        let demands = |demand: NonceDemand| self.mock.idp().change_quirks(|quirks| quirks.dpop_nonce = demand);
        let asked = |answer: &Answer| answer.error() == "use_dpop_nonce" && answer.nonce.is_some();
        match fault {
            DpopFault::NonceDemand(when) => {
                let first = self.prove(None).await;
                let second = self.prove(first.nonce.as_deref()).await;
                let hurt = match when {
                    Nonces::Always | Nonces::Once => asked(&first) && second.is_ok(),
                    Nonces::Loop => asked(&first) && asked(&second),
                };
                either(hurt, first.is_ok() && second.is_ok(), &(first, second))
            }
            DpopFault::StaleNonce => {
                demands(NonceDemand::Always);
                let first = self.prove(None).await;
                let second = self.prove(first.nonce.as_deref()).await;
                let third = self.prove(second.nonce.as_deref()).await;
                demands(NonceDemand::Never);
                either(asked(&second) && third.is_ok(), second.is_ok(), &(first, second))
            }
            DpopFault::NonceOnSuccessChanges => {
                let answer = self.prove(None).await;
                either(answer.is_ok() && answer.nonce.is_some(), answer.is_ok() && answer.nonce.is_none(), &answer)
            }
            DpopFault::ProofRejected(text) => {
                let answer = self.prove(None).await;
                either(answer.said() == "400 invalid_dpop_proof" && answer.described() == text, answer.is_ok(), &answer)
            }
            DpopFault::WrongCnf | DpopFault::NoCnf | DpopFault::TokenTypeBearer => {
                let answer = self.prove(None).await;
                let (kind, cnf) = (answer.text("token_type"), answer.claims().get("cnf").cloned());
                let bound = cnf == Some(json!({"jkt": self.actor.jkt()}));
                let hurt = match fault {
                    DpopFault::WrongCnf => kind == "DPoP" && cnf.is_some() && !bound,
                    DpopFault::NoCnf => kind == "DPoP" && cnf.is_none(),
                    _ => kind == "Bearer" && bound,
                };
                either(hurt, kind == "DPoP" && bound, &answer)
            }
        }
    }

    async fn client_auth(&self, fault: ClientAuthFault) -> bool {
        let refused = |answer: &Answer| answer.said() == "400 invalid_client";
        match fault {
            ClientAuthFault::JtiReplayStrict => {
                let assertion = self.batch.assertion(|_, _| {});
                assert!(self.batch.ask(&assertion, None, &OLD).await.is_ok());
                let again = self.batch.ask(&assertion, None, &OLD).await;
                either(refused(&again) && again.described().contains("used before"), again.is_ok(), &again)
            }
            ClientAuthFault::LifeCapS(_) | ClientAuthFault::ClientDisabled | ClientAuthFault::KeyExpired => {
                let answer = self.batch.ask(&self.batch.assertion(|_, claims| claims["exp"] = json!(self.mock.clock_now() + 20)), None, &OLD).await;
                let why = match fault {
                    ClientAuthFault::LifeCapS(_) => "too long",
                    ClientAuthFault::ClientDisabled => "disabled",
                    _ => "key has expired",
                };
                either(refused(&answer) && answer.described().contains(why), answer.is_ok(), &answer)
            }
            ClientAuthFault::AssertionAudLegacyOff => {
                let endpoint = self.mock.url("/connect/token");
                let assertion = self.legacy.assertion(|header, claims| (header["typ"], claims["aud"]) = (json!("JWT"), json!(endpoint)));
                let answer = self.legacy.ask(&assertion, None, &machine("demo:old/read")).await;
                // It may not use this grant: that this is what it hears shows that it was let in.
                either(refused(&answer), answer.said() == "400 unauthorized_client", &answer)
            }
        }
    }

    async fn refresh(&self, fault: RefreshFault) -> bool {
        let old = self.client.log_in("solveig").await.text("refresh_token");
        if fault == RefreshFault::ReuseKillsFamily {
            let live = self.client.refresh(&old, &[]).await.ok().text("refresh_token");
            self.client.refresh(&old, &[]).await.refused("invalid_grant");
            let after = self.client.refresh(&live, &[]).await;
            return either(after.said() == "400 invalid_grant", after.is_ok(), &after);
        }
        let answer = self.client.refresh(&old, &[("resource", "demo:kjerne")]).await.ok();
        let (new, left) = (answer.body["refresh_token"].as_str(), answer.body["rt_expires_in"].as_i64());
        let sub = |name: &str| answer.body[name].as_str().map(|token| part(token, 1)["sub"].clone());
        let (id, access) = (sub("id_token"), sub("access_token"));
        let shrunk = !answer.text("scope").contains("demo:kjerne/read");
        let well = new.is_some_and(|new| new != old) && left > Some(0) && id == access && !shrunk;
        let hurt = match fault {
            RefreshFault::NoNewRt => new.is_none() && self.client.refresh(&old, &[]).await.is_ok(),
            RefreshFault::RtExpiresInZero => new.is_some() && left == Some(0),
            RefreshFault::NoIdToken => id.is_none(),
            RefreshFault::ScopeShrinks => shrunk && answer.body.get("rejected_scope").is_none(),
            RefreshFault::WrongSubAfterRefresh => id.is_some() && id != access,
            RefreshFault::ReuseKillsFamily => unreachable!("answered above"),
        };
        either(hurt, well, &answer)
    }

    async fn grant(&self, fault: &GrantFault) -> bool {
        let token = self.client.log_in("solveig").await.text("refresh_token");
        let answer = self.client.refresh(&token, &[("resource", "demo:kjerne")]).await;
        let well = answer.is_ok() && answer.body.get("rejected_scope").is_none();
        let hurt = match fault {
            GrantFault::RejectedScope => answer.is_ok() && answer.body["rejected_scope"] == "demo:kjerne/read" && !answer.text("scope").contains("demo:"),
            GrantFault::Hid(code) => {
                let error = if code.number() == 1008 { "400 invalid_client" } else { "400 invalid_request" };
                answer.said() == error && answer.described().contains(&code.to_string())
            }
            GrantFault::DoubleStructure => answer.said() == "400 access_denied" && answer.described().contains("HID-DOUBLE-STRUCTURE"),
            GrantFault::UnauthorizedClient => answer.said() == "400 unauthorized_client",
        };
        either(hurt, well, &answer)
    }

    async fn exchange(&self, fault: ExchangeFault) -> bool {
        let form = [("grant_type", EXCHANGE), ("subject_token", &self.subject), ("subject_token_type", ACCESS_TOKEN), ("scope", "demo:resept/write")];
        let answer = self.actor.token(&form).await;
        let refused = |why: &str| answer.said() == "400 invalid_request" && answer.described().contains(why);
        let claims = if answer.is_ok() { answer.claims() } else { Value::Null };
        let (act, client) = (claims["act"]["client_id"].as_str(), claims["client_id"].as_str());
        let ours = Some(table::DEMO_ACTOR);
        let well = answer.is_ok() && (act, client) == (ours, ours) && claims[ATTEST].is_object() && answer.body.get("refresh_token").is_none();
        let hurt = match fault {
            ExchangeFault::NotPermitted => refused("not permitted"),
            ExchangeFault::MaxExchanges => refused("as often as is allowed: 2"),
            ExchangeFault::AudNotOwned => refused("audience"),
            ExchangeFault::ActMissing => answer.is_ok() && claims.get("act").is_none(),
            ExchangeFault::ActWrong => act.is_some() && act != ours,
            ExchangeFault::ClientIdIsSubject => client == Some(table::SMART_AS),
            ExchangeFault::AttestNotCopied => answer.is_ok() && claims.get(ATTEST).is_none(),
            ExchangeFault::WithRefreshToken => answer.is_ok() && answer.body["refresh_token"].is_string(),
        };
        either(hurt, well, &answer)
    }

    async fn clock(&self, fault: ClockFault) -> bool {
        match fault {
            ClockFault::Server(by) => {
                let iat = part(&self.client.log_in("solveig").await.text("access_token"), 1)["iat"].as_i64();
                either(iat == Some(self.mock.clock_now() + by), iat == Some(self.mock.clock_now()), &iat)
            }
            ClockFault::Date(by) => {
                let answer = self.http.get(self.mock.url(METADATA)).send().await.unwrap();
                let date = answer.headers()["date"].to_str().unwrap().to_owned();
                // The mock stands at 11:06:40.
                let clock = date.rsplit(' ').nth(1).unwrap();
                either(clock == if by < 0 { "11:00:00" } else { "11:13:20" }, clock == "11:06:40", &date)
            }
        }
    }

    async fn callback(&self, fault: CallbackFault) -> bool {
        self.mock.idp().set_next_user(Some("solveig".to_owned()));
        let back = Browser::of(self.mock).go(&self.client.start(&Client::request()).await).await.callback();
        self.mock.idp().set_next_user(None);
        let has = |name: &str| back.get(name).map(String::as_str);
        let redeemed = self.client.redeem(&back["code"]).await;
        let expected = back.keys().all(|name| ["code", "state", "iss", "session_state"].contains(&name.as_str()));
        let well = expected && has("iss") == Some(&self.mock.issuer) && has("state") == Some("st&te 1") && redeemed.is_ok();
        let hurt = match fault {
            CallbackFault::IssMissing => has("iss").is_none(),
            CallbackFault::IssWrong => has("iss").is_some_and(|iss| iss != self.mock.issuer),
            CallbackFault::StateWrong => has("state").is_some_and(|state| state != "st&te 1"),
            CallbackFault::CodeReused => redeemed.said() == "400 invalid_grant",
            CallbackFault::ExtraParams => has("unexpected").is_some(),
            CallbackFault::ErrorWithCode => has("error").is_some(),
        };
        either(hurt, well, &(&back, &redeemed))
    }
}

/// §3.4, as it is sent.
fn attest() -> Value {
    let org = |number: &str| json!({"id": number, "system": "urn:oid:2.16.578.1.12.4.1.4.101"});
    json!({
        "type": ATTEST,
        "practitioner": {
            "authorization": {"code": "LE", "system": "urn:oid:2.16.578.1.12.4.1.1.9060"},
            "legal_entity": org("310441007"), "point_of_care": org("310441015")
        },
        "care_relationship": {
            "healthcare_service": {"code": "KX17", "system": "urn:oid:2.16.578.1.12.4.1.1.8663"},
            "purpose_of_use": {"code": "TREAT", "system": "urn:oid:2.16.840.1.113883.1.11.20448"},
            "decision_ref": {"id": "enc-7f21c0", "user_selected": true}
        },
        "patients": []
    })
}
