//! Sixty-four at once for one thing: one winner, or the same answer for all, on every back end. DESIGN §3; RFC 6749 §10.5.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::future::join_all;
use helsebro::jose::Alg;
use helsebro::random::{Random as _, SystemRandom};

use crate::on_redis::servers;
use crate::world::{ASSERTION_TYPE, Bare, Reply, Tokens, VERIFIER, assertion, basic, client_key, jwks_toml};

const AT: &str = "http://127.0.0.1:4567/cb";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
const MANY: usize = 64;

/// Where what is raced for is kept.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Memory,
    Process,
    PowerLoss,
    Redis,
}

/// Redis where whoever runs the tests has one.
fn everywhere() -> Vec<Kept> {
    let redis = servers::alone().map(|_| Kept::Redis);
    [Kept::Memory, Kept::Process, Kept::PowerLoss].into_iter().chain(redis).collect()
}

fn config(kept: Kept, origin: &str, data: &Path, keys: &str) -> String {
    let data = data.display();
    let store = match kept {
        Kept::Memory => "kind = \"memory\"".to_owned(),
        Kept::Process => format!("path = \"{data}/store.redb\"\ndurability = \"process\""),
        Kept::PowerLoss => format!("path = \"{data}/store.redb\""),
        Kept::Redis => {
            let port = servers::alone().unwrap().port;
            format!("kind = \"redis\"\nurl = \"redis://127.0.0.1:{port}\"\nresponse_timeout_ms = 5000\nkey_prefix = \"race{}\"", SystemRandom.id())
        }
    };
    let app = format!("redirect_uris = [\"{AT}\"]\nscopes = \"openid offline_access user/*.rs\"\nconsent = \"pre-approved\"");
    format!(
        "[store]\n{store}\n[keys]\ndir = \"{data}/keys\"\n[[issuer]]\nurl = \"{origin}\"\nlogin = [\"local\"]\n[[issuer.fhir]]\nbase = \"{origin}/fhir\"\nresource_servers = [\"rs\"]\n\
         [[issuer.user]]\nname = \"Live Testlege\"\nfhir_user = \"Practitioner/live\"\n\
         [[client]]\nclient_id = \"rs\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n\
         [[client]]\nclient_id = \"secret\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n{app}\n\
         [[client]]\nclient_id = \"public\"\nauth = \"none\"\n{app}\n\
         [[client]]\nclient_id = \"service\"\nauth = \"private_key_jwt\"\nscopes = \"system/*.rs\"\n{keys}\n"
    )
}

async fn world(kept: Kept, keys: &str) -> Bare {
    Bare::start(|origin, data| config(kept, origin, data, keys)).await
}

/// The same request so many times at once.
async fn at_once(world: &Bare, authorization: Option<&str>, form: &[(&str, &str)]) -> Vec<Reply> {
    join_all((0..MANY).map(|_| world.post("/token", authorization, form))).await
}

/// The answers that succeeded; every other one must be this refusal.
fn winners(replies: Vec<Reply>, status: u16, error: &str) -> Vec<Tokens> {
    let (won, lost): (Vec<Reply>, Vec<Reply>) = replies.into_iter().partition(|reply| reply.status == 200);
    for reply in lost {
        reply.refused(status, error);
    }
    won.iter().map(|reply| Tokens(reply.json())).collect()
}

async fn is_active(world: &Bare, token: &str) -> bool {
    world.post("/introspect", Some(&basic("rs", SECRET)), &[("token", token)]).await.is(200).json()["active"] == true
}

async fn a_code(kept: Kept) {
    let world = world(kept, &jwks_toml(&[&client_key(Alg::ES256)])).await;
    for client in ["secret", "public"] {
        let code = world.code(&world.origin, client, AT, "openid offline_access user/*.rs").await;
        let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER), ("client_id", client)];
        let authorization = (client == "secret").then(|| basic(client, SECRET));
        let won = winners(at_once(&world, authorization.as_deref(), &form).await, 400, "invalid_grant");
        assert_eq!(won.len(), 1, "{kept:?} {client}");
        assert!(is_active(&world, won[0].access()).await, "{kept:?} {client}: the racers ended the grant");
        let form = [("grant_type", "refresh_token"), ("refresh_token", won[0].refresh()), ("client_id", client)];
        world.post("/token", authorization.as_deref(), &form).await.is(200);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_code_has_one_winner_and_the_grant_lives() {
    join_all(everywhere().into_iter().map(a_code)).await;
}

/// Right and wrong verifiers at once: either the code was burnt first and nobody wins, or one wins and lives on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_code_under_attack_is_redeemed_or_burnt_and_never_both() {
    let world = world(Kept::Memory, &jwks_toml(&[&client_key(Alg::ES256)])).await;
    for _ in 0..8 {
        let code = world.code(&world.origin, "public", AT, "openid offline_access user/*.rs").await;
        let tries = (0..MANY).map(|n| {
            let verifier = if n % 2 == 0 { VERIFIER } else { "another-verifier-that-is-long-enough-0123456789" };
            let form =
                vec![("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", verifier), ("client_id", "public")];
            let world = &world;
            async move { world.post("/token", None, &form).await }
        });
        let won = winners(join_all(tries).await, 400, "invalid_grant");
        assert!(won.len() <= 1);
        for tokens in won {
            assert!(is_active(&world, tokens.access()).await);
        }
    }
    world.stop().await;
}

async fn a_refresh_token(kept: Kept) {
    let world = world(kept, &jwks_toml(&[&client_key(Alg::ES256)])).await;
    for (client, rotates) in [("secret", false), ("public", true)] {
        let authorization = (client == "secret").then(|| basic(client, SECRET));
        let code = world.code(&world.origin, client, AT, "openid offline_access user/*.rs").await;
        let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER), ("client_id", client)];
        let first = Tokens(world.post("/token", authorization.as_deref(), &form).await.is(200).json());
        let mut token = first.refresh().to_owned();
        // Again with the successor: nothing was lost or doubled on the way.
        for round in 0..3 {
            let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str()), ("client_id", client)];
            let won = winners(at_once(&world, authorization.as_deref(), &form).await, 400, "invalid_grant");
            assert_eq!(won.len(), MANY, "{kept:?} {client}: NAV-046");
            let successors: BTreeSet<&str> = won.iter().map(Tokens::refresh).collect();
            assert_eq!(successors.len(), 1, "{kept:?} {client} round {round}: one rotation");
            let successor = (*successors.first().unwrap()).to_owned();
            assert_eq!(successor != token, rotates, "{kept:?} {client}");
            let access: BTreeSet<&str> = won.iter().map(Tokens::access).collect();
            assert_eq!(access.len(), MANY, "an access token each");
            assert!(is_active(&world, won[MANY - 1].access()).await);
            token = successor;
        }
        assert!(is_active(&world, first.access()).await, "{kept:?} {client}: earlier access tokens stay good");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refresh_token_rotates_once_for_all_who_race() {
    join_all(everywhere().into_iter().map(a_refresh_token)).await;
}

async fn an_assertion(kept: Kept) {
    let key = client_key(Alg::ES384);
    let world = world(kept, &jwks_toml(&[&key])).await;
    for _ in 0..3 {
        let (header, claims) = assertion(&key, "service", &format!("{}/token", world.origin), world.now());
        let jwt = key.sign_with_header(&header, &claims).unwrap();
        let form = [("grant_type", "client_credentials"), ("scope", "system/*.rs"), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &jwt)];
        assert_eq!(winners(at_once(&world, None, &form).await, 401, "invalid_client").len(), 1, "{kept:?}: SAL-103");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_assertion_has_one_winner() {
    join_all(everywhere().into_iter().map(an_assertion)).await;
}

/// A grant that is revoked while it is refreshed is over for everybody afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revocation_among_refreshes_holds() {
    let world = world(Kept::Process, &jwks_toml(&[&client_key(Alg::ES256)])).await;
    let code = world.code(&world.origin, "public", AT, "openid offline_access user/*.rs").await;
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER), ("client_id", "public")];
    let first = Tokens(world.post("/token", None, &form).await.is(200).json());
    let form = [("grant_type", "refresh_token"), ("refresh_token", first.refresh()), ("client_id", "public")];
    let revoked = [("token", first.refresh()), ("client_id", "public")];
    let racing = join_all((0..MANY).map(|n| {
        let (path, form): (&str, &[(&str, &str)]) = if n == MANY / 2 { ("/revoke", &revoked) } else { ("/token", &form) };
        world.post(path, None, form)
    }))
    .await;
    let mut held = vec![first];
    for reply in racing.iter().filter(|reply| reply.status == 200 && !reply.body.is_empty()) {
        held.push(Tokens(reply.json()));
    }
    for tokens in held {
        assert!(!is_active(&world, tokens.access()).await);
        let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh()), ("client_id", "public")];
        world.post("/token", None, &form).await.refused(400, "invalid_grant");
    }
    world.stop().await;
}
