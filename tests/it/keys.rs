//! The life of signing keys as it looks from outside: what is published when, who signs, and what is believed. NAV-040; SAL §8.18.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;

use helsebro::engine::keys::Suspect;
use helsebro::jose::{Alg, Expect, JwkSet, SigningKey, UnverifiedJwt, verify};
use helsebro::time::UnixTime;
use serde_json::Value;

use crate::world::{Inside, Reply, Tokens, VERIFIER, basic, header};

const AT: &str = "http://127.0.0.1:4567/cb";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
const SCOPE: &str = "openid offline_access user/*.rs";

/// One app for each algorithm we sign with.
const APPS: [(&str, Alg); 5] = [("rs256", Alg::RS256), ("ps256", Alg::PS256), ("es256", Alg::ES256), ("es384", Alg::ES384), ("eddsa", Alg::EdDSA)];

fn text(issuer: &str, _: &Path) -> String {
    let head = format!(
        "[[issuer]]\nurl = \"{issuer}\"\nlogin = [\"local\"]\nkey_rotation = \"1d\"\n[[issuer.fhir]]\nbase = \"{issuer}/fhir\"\nresource_servers = [\"rs\"]\n\
         [[issuer.user]]\nname = \"Nøkkel Testlege\"\nfhir_user = \"Practitioner/key\"\n\
         [[client]]\nclient_id = \"rs\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n"
    );
    APPS.iter().fold(head, |text, (id, alg)| {
        format!(
            "{text}[[client]]\nclient_id = \"{id}\"\nauth = \"none\"\nredirect_uris = [\"{AT}\"]\nscopes = \"{SCOPE}\"\nconsent = \"pre-approved\"\n\
             access_token_alg = \"{alg}\"\nid_token_signed_response_alg = \"{alg}\"\n"
        )
    })
}

/// One node of an issuer, as others see it.
struct Node(Inside);

impl Node {
    async fn start() -> Self {
        Self(Inside::start(text).await)
    }

    async fn twin(&self) -> Self {
        Self(self.0.twin(text).await)
    }

    fn issuer(&self) -> &str {
        self.0.site.engine.rules.issuer.as_str()
    }

    fn now(&self) -> UnixTime {
        UnixTime(self.0.bare.now())
    }

    async fn tend(&self) {
        self.0.site.engine.tend().await.unwrap();
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let host = self.issuer().strip_prefix("http://").unwrap();
        Reply::of(request.header("host", host).send().await.unwrap()).await
    }

    async fn post(&self, path: &str, authorization: Option<String>, form: &[(&str, &str)]) -> Reply {
        let request = self.0.bare.http.post(format!("{}{path}", self.0.bare.origin)).form(form);
        self.send(authorization.into_iter().fold(request, |request, value| request.header("authorization", value))).await
    }

    /// The set, and for how many seconds it may be kept.
    async fn jwks(&self) -> (JwkSet, i64) {
        let reply = self.send(self.0.bare.http.get(format!("{}/jwks", self.0.bare.origin))).await.is(200);
        let kept = reply.header("cache-control").unwrap().strip_prefix("public, max-age=").unwrap().parse().unwrap();
        (JwkSet::parse_registered(&reply.json()).unwrap(), kept)
    }

    async fn kids(&self) -> BTreeSet<String> {
        self.jwks().await.0.keys.iter().map(|key| key.kid().unwrap().to_owned()).collect()
    }

    /// A first login, which only the node whose address is the issuer's can do: a browser asks nobody else.
    async fn tokens(&self, app: &str) -> Tokens {
        let code = self.0.bare.code(self.issuer(), app, AT, SCOPE).await;
        let form = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", AT), ("code_verifier", VERIFIER), ("client_id", app)];
        Tokens(self.post("/token", None, &form).await.is(200).json())
    }

    async fn refresh(&self, app: &str, tokens: &Tokens) -> Tokens {
        let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh()), ("client_id", app)];
        Tokens(self.post("/token", None, &form).await.is(200).json())
    }

    async fn is_active(&self, token: &str) -> bool {
        self.post("/introspect", Some(basic("rs", SECRET)), &[("token", token)]).await.is(200).json()["active"] == true
    }

    async fn userinfo(&self, token: &str) -> u16 {
        self.send(self.0.bare.http.get(format!("{}/userinfo", self.0.bare.origin)).bearer_auth(token)).await.status
    }
}

fn kid(token: &str) -> String {
    header(token)["kid"].as_str().unwrap().to_owned()
}

/// As a resource server would that verifies by itself.
fn verifies(keys: &JwkSet, token: &str, alg: Alg, now: UnixTime) -> bool {
    verify::<Value>(&UnverifiedJwt::parse(token).unwrap(), keys, &Expect { algs: &[alg], ..Expect::default() }, now).is_ok()
}

#[tokio::test]
async fn each_algorithm_has_keys_of_its_own_and_a_verifier_that_keeps_the_set_as_long_as_it_may_knows_every_token() {
    let node = Node::start().await;
    let mut tokens: BTreeMap<&str, Tokens> = BTreeMap::new();
    for (app, alg) in APPS {
        let first = node.tokens(app).await;
        assert_eq!((header(first.access())["alg"].as_str(), header(first.text("id_token"))["alg"].as_str()), (Some(alg.as_str()), Some(alg.as_str())));
        tokens.insert(app, first);
    }
    let mut copy = (node.jwks().await, node.now());
    let mut live: Vec<(String, Alg)> = Vec::new();
    let mut signed_with: BTreeMap<Alg, BTreeSet<String>> = BTreeMap::new();
    // Two days of keys that sign for one, in steps that meet the edges.
    for step in 0..52 {
        node.0.bare.advance(if step % 13 == 12 { 80_000 } else { 251 });
        node.tend().await;
        let now = node.now();
        let ((_, kept), fetched) = &copy;
        if now.since(*fetched) >= *kept {
            copy = (node.jwks().await, now);
        }
        for (app, alg) in APPS {
            let form = [("grant_type", "refresh_token"), ("refresh_token", tokens[app].refresh()), ("client_id", app)];
            let reply = node.post("/token", None, &form).await;
            // After half a day's pause the person logs in again.
            let fresh = if reply.status == 200 { Tokens(reply.json()) } else { node.tokens(app).await };
            for token in [fresh.access(), fresh.text("id_token")] {
                assert!(verifies(&copy.0.0, token, alg, now), "step {step}: {alg} token of a key that a set fetched {} s ago has not", now.since(copy.1));
                signed_with.entry(alg).or_default().insert(kid(token));
                live.push((token.to_owned(), alg));
            }
            tokens.insert(app, fresh);
        }
        // And what was issued before can be verified with a set of this moment, for as long as it lives.
        let (set, _) = node.jwks().await;
        assert!(!set.keys.is_empty());
        live.retain(|(token, _)| crate::world::claims(token)["exp"].as_i64().unwrap() > now.0);
        for (token, alg) in &live {
            assert!(verifies(&set, token, *alg, now), "step {step}: a live {alg} token of a key that is not published");
        }
    }
    for (alg, kids) in &signed_with {
        assert!(kids.len() >= 3, "{alg} was signed with {} keys", kids.len());
    }
    let all: Vec<&String> = signed_with.values().flatten().collect();
    assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len(), "no key signs with two algorithms");
}

#[tokio::test]
async fn a_key_in_the_wrong_hands_goes_at_once_with_all_it_signed() {
    let node = Node::start().await;
    let tokens = node.tokens("rs256").await;
    let other = node.tokens("es256").await;
    // Remembered as verified, which must not save it.
    assert!(node.is_active(tokens.access()).await && node.is_active(other.access()).await);
    let leaked = kid(tokens.access());

    let done = node.0.site.engine.keys.revoke(&Suspect::Algs(vec![Alg::RS256])).await.unwrap();
    assert_eq!((done.revoked.as_slice(), done.signing.len()), (&[leaked.clone()][..], 1));
    let published = node.kids().await;
    assert!(!published.contains(&leaked) && published.contains(&done.signing[0].1) && published.len() == 5);
    assert!(!node.is_active(tokens.access()).await);
    assert_eq!(node.userinfo(tokens.access()).await, 401);
    let logout = [("id_token_hint", tokens.text("id_token")), ("post_logout_redirect_uri", AT)];
    let hinted = node.post("/logout", None, &logout).await;
    assert!(hinted.header("location").is_none_or(|to| !to.starts_with(AT)), "a hint of that key says nothing");
    assert!(node.is_active(other.access()).await, "other keys' tokens live on");
    assert_eq!(node.userinfo(other.access()).await, 200);

    // Refresh tokens and sessions are not signed with it: the app goes on by itself.
    let fresh = node.refresh("rs256", &tokens).await;
    assert_eq!((kid(fresh.access()), kid(fresh.text("id_token"))), (done.signing[0].1.clone(), done.signing[0].1.clone()));
    assert!(node.is_active(fresh.access()).await);
    assert!(verifies(&node.jwks().await.0, fresh.access(), Alg::RS256, node.now()));
}

#[tokio::test]
async fn one_revoked_key_is_followed_by_the_one_that_waits() {
    let node = Node::start().await;
    let tokens = node.tokens("eddsa").await;
    node.0.site.engine.keys.rotate(&[Alg::EdDSA]).await.unwrap();
    let before = node.kids().await;
    assert_eq!(before.len(), 6);
    let suspect = Suspect::Kid(kid(tokens.access()));
    let done = node.0.site.engine.keys.revoke(&suspect).await.unwrap();
    let fresh = node.refresh("eddsa", &tokens).await;
    assert!(before.contains(&kid(fresh.access())), "published already: whoever verifies by himself knows it");
    assert_eq!(done.signing, [(Alg::EdDSA, kid(fresh.access()))]);
    assert!(!node.is_active(tokens.access()).await && node.is_active(fresh.access()).await);
    assert!(node.0.site.engine.keys.revoke(&suspect).await.is_err(), "it is gone already");
}

#[tokio::test]
async fn several_nodes_over_one_store_rotate_once_and_sign_with_what_all_publish() {
    let first = Node::start().await;
    let second = first.twin().await;
    assert_eq!(first.kids().await, second.kids().await);
    let tokens = first.tokens("es256").await;

    // A day later both find the keys old, at the same time.
    first.0.bare.advance(24 * 3600 - 600);
    tokio::join!(first.tend(), second.tend(), first.tend(), second.tend());
    let (before, _) = first.jwks().await;
    assert_eq!((before.keys.len(), first.kids().await), (10, second.kids().await), "one next key for each, whoever made it");
    let old = kid(first.tokens("es256").await.access());
    first.0.bare.advance(600);
    for node in [&first, &second] {
        node.tend().await;
        let signs = kid(first.tokens("es256").await.access());
        assert!(signs != old && before.keys.iter().any(|key| key.kid() == Some(&signs)));
        assert_eq!(node.kids().await.len(), 10, "the old ones stay for their tokens");
    }
    assert!(!second.is_active(tokens.access()).await, "a day old");
}

/// A node that has not heard of a key must not have its set kept beyond the moment that key may sign.
#[tokio::test]
async fn a_node_cut_off_from_the_store_lets_nobody_keep_its_set_too_long() {
    let first = Node::start().await;
    let second = first.twin().await;
    let (mut tokens, mut checked) = (first.tokens("es256").await, 0);
    // The second is cut off now; the first rotates a moment later.
    first.0.bare.advance(1);
    first.0.site.engine.keys.rotate(&[]).await.unwrap();
    let (mut copy, mut until) = (JwkSet::default(), first.now().0);
    for _ in 0..70 {
        first.0.bare.advance(10);
        let now = first.now();
        if now.0 >= until {
            let (set, kept) = second.jwks().await;
            (copy, until) = (set, now.0 + kept);
        }
        // Whoever still keeps its set after ten minutes would meet tokens of unknown keys.
        tokens = first.refresh("es256", &tokens).await;
        if now.0 < until {
            checked += 1;
            assert!(verifies(&copy, tokens.access(), Alg::ES256, now), "at {now}, with a set good until {until}");
        }
    }
    assert!(checked >= 50, "{checked}");
    assert_eq!(second.jwks().await.1, 0, "its set is not to be kept at all by now");
    second.tend().await;
    assert_eq!((second.kids().await, second.jwks().await.1), (first.kids().await, 300), "and all is well when the store is back");
}

#[tokio::test]
async fn a_revocation_reaches_other_nodes_and_their_new_key_is_believed_at_once() {
    let first = Node::start().await;
    let second = first.twin().await;
    let tokens = first.tokens("es384").await;
    assert!(second.is_active(tokens.access()).await);
    first.0.site.engine.keys.revoke(&Suspect::Algs(vec![Alg::ES384])).await.unwrap();
    let fresh = first.refresh("es384", &tokens).await;
    // The other node has not looked yet, but a token of ours with an unknown key makes it look.
    assert!(second.is_active(fresh.access()).await);
    assert!(!second.is_active(tokens.access()).await, "and so it has heard of the revocation too");
    assert_eq!(first.kids().await, second.kids().await);

    // Where it cannot look, it does not guess.
    first.0.bare.advance(5);
    first.0.site.engine.keys.revoke(&Suspect::Algs(vec![Alg::ES384])).await.unwrap();
    let unheard = first.refresh("es384", &fresh).await;
    first.0.store.down.store(true, Ordering::SeqCst);
    second.post("/introspect", Some(basic("rs", SECRET)), &[("token", unheard.access())]).await.refused(503, "temporarily_unavailable");
    first.0.store.down.store(false, Ordering::SeqCst);
    assert!(second.is_active(unheard.access()).await);
}

#[tokio::test]
async fn a_key_of_ones_own_waits_its_turn_or_signs_at_once() {
    let node = Node::start().await;
    let keys = &node.0.site.engine.keys;
    let tokens = node.tokens("es384").await;
    let own = SigningKey::generate(Alg::ES384).unwrap();
    keys.import(&own, false).await.unwrap();
    assert!(node.kids().await.contains(own.kid()));
    let waiting = node.refresh("es384", &tokens).await;
    assert_eq!(kid(waiting.access()), kid(tokens.access()));
    node.0.bare.advance(600);
    let signed = node.refresh("es384", &waiting).await;
    assert_eq!(kid(signed.access()), own.kid());
    assert!(node.is_active(waiting.access()).await && node.is_active(signed.access()).await);

    let at_once = SigningKey::generate(Alg::ES384).unwrap();
    keys.import(&at_once, true).await.unwrap();
    let last = node.refresh("es384", &signed).await;
    assert_eq!(kid(last.access()), at_once.kid());
    assert!(node.is_active(signed.access()).await, "the one before is retired, not revoked");
    assert!(keys.import(&own, true).await.is_err(), "the ring has had it");
    assert!(keys.import(&SigningKey::generate(Alg::RS384).unwrap(), true).await.is_err(), "nobody asks for RS384 here");
}
