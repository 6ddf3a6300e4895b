//! No exchange gives what its subject token, its row and the caller's registration did not all allow. `reference/helseid.md` §6.8 T5.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::domain::client::{ClientAuthMethod, ClientKeys, CodeReplay, ConsentPolicy, FhirUserForm, HelseIdNeed, LaunchTrust, Profile};
use crate::domain::dpop::DpopPolicy;
use crate::jose::Alg;
use crate::secret::Digest;

const NOW: UnixTime = UnixTime(1_795_000_000);
const TYPES: [&str; 3] = ["Patient", "Observation", "Condition"];
const TRAITS: [&str; 3] = ["category=a", "category=b", "status=c"];

/// One thing that may be done: level, type, letter, and which of [`TRAITS`] the resource has, a bit for each.
type May = (&'static str, &'static str, char, u8);

/// The slow reading of a scope set, from its text and nothing of how we hold it: everything it lets through, one by one.
fn everything(text: &str) -> BTreeSet<May> {
    let mut all = BTreeSet::new();
    for item in text.split(' ') {
        let Some((level, rest)) = item.split_once('/') else { continue };
        let Some(level) = ["patient", "user", "system"].into_iter().find(|known| *known == level) else { continue };
        let (kind, rest) = rest.split_once('.').unwrap();
        let (letters, only) = rest.split_once('?').map_or((rest, Vec::new()), |(letters, only)| (letters, only.split('&').collect()));
        let letters = match letters {
            "read" => "rs",
            "write" => "cud",
            "*" => "cruds",
            letters => letters,
        };
        for kind in TYPES.into_iter().filter(|known| kind == "*" || *known == kind) {
            for letter in letters.chars() {
                for traits in 0..8u8 {
                    let has = |wanted: &&str| TRAITS.iter().position(|known| known == wanted).is_some_and(|place| traits & (1 << place) != 0);
                    if only.iter().all(has) {
                        all.insert((level, kind, letter, traits));
                    }
                }
            }
        }
    }
    all
}

/// The items that are no resource scopes.
fn words(text: &str) -> BTreeSet<String> {
    text.split(' ')
        .filter(|item| !item.is_empty() && !["patient/", "user/", "system/"].iter().any(|level| item.starts_with(level)))
        .map(str::to_owned)
        .collect()
}

fn id(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

fn thumbprint(name: &str) -> Thumbprint {
    Thumbprint::parse(&Digest::of(name.as_bytes()).text()).unwrap()
}

fn caller(name: &str, scopes: ScopeSet, access_ttl: u64, has_a_key: bool) -> Client {
    let keys = ClientKeys::Uri("https://portal.example/jwks".to_owned());
    Client {
        id: id(name),
        name: name.to_owned(),
        auth: if has_a_key { ClientAuthMethod::PrivateKeyJwt { keys, algs: Vec::new() } } else { ClientAuthMethod::SecretBasic { secrets: Vec::new() } },
        redirect_uris: Vec::new(),
        launch_urls: Vec::new(),
        post_logout_redirect_uris: Vec::new(),
        backchannel_logout_uri: None,
        scopes,
        consent: ConsentPolicy::PreApproved,
        profile: Profile::Smart,
        fhir_user: FhirUserForm::Relative,
        requires: BTreeSet::new(),
        cors_origins: BTreeSet::new(),
        access_ttl: Duration::from_secs(access_ttl),
        refresh_ttl: Duration::from_secs(access_ttl),
        access_token_alg: None,
        id_token_alg: Alg::RS256,
        code_replay: CodeReplay::Revoke,
        end_with_session: false,
        launch_trust: LaunchTrust::Session,
        dpop: DpopPolicy::default(),
        par: crate::domain::client::ParPolicy::default(),
        refresh_context: false,
        may_act: Vec::new(),
        helseid: HelseIdNeed::default(),
        disabled: false,
    }
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(list: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(list.to_vec())
}

/// Mostly what fits, so that enough is permitted to be looked at.
fn mostly<T: Clone + std::fmt::Debug + 'static>(usual: T, others: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop_oneof![9 => Just(usual), 1 => one_of(others)]
}

fn scope_text() -> impl Strategy<Value = String> {
    let level = mostly("patient", &["user", "system"]);
    let kind = one_of(&["*", "*", "Patient", "Observation", "Condition"]);
    let letters = one_of(&["cruds", "rs", "r", "s", "cud", "crs", "read", "write", "*"]);
    let only = mostly("", &["?category=a", "?status=c", "?category=a&status=c", "?category=b"]);
    let resource = (level, kind, letters, only).prop_map(|(level, kind, letters, only)| {
        let only = if ["read", "write", "*"].contains(&letters) { "" } else { only };
        format!("{level}/{kind}.{letters}{only}")
    });
    let word = one_of(&["openid", "profile", "fhirUser", "launch", "launch/patient", "offline_access", "online_access", "https://other.example/scope"]);
    (prop::collection::vec(resource, 1..5), prop::collection::vec(word.prop_map(str::to_owned), 0..4))
        .prop_map(|(resources, words)| resources.into_iter().chain(words).collect::<Vec<_>>().join(" "))
}

prop_compose! {
    fn row()(
        direction in mostly(Direction::Own, &[Direction::ToUpstream, Direction::FromUpstream, Direction::Foreign]),
        issuer in mostly(None, &[Some("https://a.example"), Some("https://b.example")]),
        caller in mostly("portal", &["service"]),
        audience in mostly("https://fhir.example", &["https://fhir.example/", "service"]),
        scopes in scope_text(),
        required in mostly(false, &[true]),
        delegation in any::<bool>(),
        actor_token in any::<bool>(),
        again in mostly(true, &[false]),
        subject_types in mostly(vec![TokenType::AccessToken, TokenType::IdToken], &[vec![TokenType::AccessToken], vec![TokenType::IdToken]]),
        result_types in mostly(vec![TokenType::AccessToken, TokenType::Jwt], &[vec![TokenType::IdToken], vec![TokenType::AccessToken, TokenType::IdToken]]),
        depth in mostly(3usize, &[0, 1, 2]),
        longest in 1u64..600,
        max_age in mostly(None, &[Some(60u64)]),
    ) -> ExchangeRow {
        ExchangeRow {
            name: "row".to_owned(),
            direction,
            caller: id(caller),
            audience: audience.to_owned(),
            issuer: issuer.map(|issuer| Issuer::parse(issuer).unwrap()),
            scopes: ScopeSet::parse(&scopes).unwrap(),
            delivery: Delivery::Gateway,
            gateway: None,
            patient_header: None,
            upstream_exchange: false,
            attest_service: None,
            presenter: Presenter::Holder,
            subject_audience: None,
            subject_client: None,
            organisations: Vec::new(),
            once: false,
            binding: if required { Binding::Required } else { Binding::WhereShown },
            semantics: if delegation { Semantics::Delegation } else { Semantics::Impersonation },
            actor_token,
            subject_types,
            result_types,
            depth,
            again,
            longest: Duration::from_secs(longest),
            max_age: max_age.map(Duration::from_secs),
        }
    }
}

prop_compose! {
    fn subject()(
        person in mostly(true, &[false]),
        client in mostly(Some("portal"), &[None, Some("another")]),
        may_act in one_of(&[vec![], vec!["portal"], vec!["service"]]),
        may_act_claim in one_of(&[None, None, Some("portal"), Some("service")]),
        scopes in prop_oneof![9 => scope_text().prop_map(Some), 1 => Just(None)],
        left in mostly(300i64, &[-5, 0, 1, 5, 4000]),
        logged_in in one_of(&[None, Some(10i64), Some(59), Some(60), Some(61), Some(4000)]),
        actors in mostly(0usize, &[1, 2, 3]),
        exchanged in any::<bool>(),
        came_from in one_of(&[vec![], vec!["https://a.example"], vec!["https://b.example"]]),
        bound_to in mostly(None, &[Some("key"), Some("other")]),
        may_write in mostly(true, &[false]),
    ) -> Subject {
        let actor = |sub: &str, act: Option<Actor>| Actor { sub: sub.to_owned(), iss: None, client_id: None, act: act.map(Box::new) };
        Subject {
            person,
            client: client.map(id),
            may_act: may_act.into_iter().map(id).collect(),
            may_act_claim: may_act_claim.map(|sub| actor(sub, None)),
            scopes: scopes.map(|text| ScopeSet::parse(&text).unwrap()),
            expires_at: UnixTime(NOW.0 + left),
            auth_time: logged_in.map(|ago| UnixTime(NOW.0 - ago)),
            act: (0..actors).fold(None, |inner, _| Some(actor("a", inner))),
            exchanged,
            came_from: came_from.into_iter().map(str::to_owned).collect(),
            bound_to: bound_to.map(thumbprint),
            may_write,
        }
    }
}

#[derive(Debug, Clone)]
struct Asked {
    direction: Direction,
    issuer: &'static str,
    target: &'static str,
    scope: Option<String>,
    subject_type: TokenType,
    requested: Option<TokenType>,
    actor_token: bool,
    proven: Option<Thumbprint>,
}

prop_compose! {
    fn asked()(
        direction in mostly(Direction::Own, &[Direction::ToUpstream, Direction::FromUpstream, Direction::Foreign]),
        issuer in one_of(&["https://a.example", "https://b.example"]),
        target in mostly("https://fhir.example", &["https://fhir.example/", "service", "https://FHIR.example"]),
        scope in prop::option::of(scope_text()),
        subject_type in mostly(TokenType::AccessToken, &[TokenType::Jwt, TokenType::IdToken, TokenType::RefreshToken]),
        requested in one_of(&[None, None, None, Some(TokenType::AccessToken), Some(TokenType::Jwt), Some(TokenType::IdToken)]),
        actor_token in mostly(false, &[true]),
        proven in mostly(Some("key"), &[None, Some("other")]),
    ) -> Asked {
        Asked { direction, issuer, target, scope, subject_type, requested, actor_token, proven: proven.map(thumbprint) }
    }
}

/// What may be given at most: requested ∩ registration ∩ row ∩ subject, less what no exchange gives. P2, P3.
fn at_most(row: &ExchangeRow, caller: &Client, asked: &Asked, subject: &Subject) -> Option<(BTreeSet<May>, BTreeSet<String>)> {
    let held = subject.scopes.as_ref().map(ToString::to_string);
    let wanted = match (&asked.scope, &held) {
        (Some(text), _) => text.clone(),
        (None, Some(held)) if matches!(asked.direction, Direction::Own | Direction::Foreign) => held.clone(),
        (None, _) => return None,
    };
    let ceilings: Vec<String> = [row.scopes.to_string(), caller.scopes.to_string()].into_iter().chain(held).collect();
    let (mut may, mut said) = (everything(&wanted), words(&wanted));
    for ceiling in &ceilings {
        let (all, others) = (everything(ceiling), words(ceiling));
        may.retain(|one| all.contains(one));
        said.retain(|word| others.contains(word));
    }
    may.retain(|(level, ..)| (*level == "system") != subject.person);
    said.retain(|word| ["fhirUser", "https://other.example/scope"].contains(&word.as_str()));
    if !subject.may_write {
        may.retain(|(_, _, letter, _)| "rs".contains(*letter));
        said.retain(|word| word == "fhirUser");
    }
    Some((may, said))
}

/// The whole policy once more, as sentences that must all hold.
fn may_happen(rows: &[ExchangeRow], caller: &Client, asked: &Asked, subject: &Subject) -> bool {
    let fits = |row: &&ExchangeRow| {
        row.caller == caller.id
            // §6.3: nobody crosses the bridge with a shared secret.
            && (!matches!(caller.auth, ClientAuthMethod::SecretBasic { .. }) || matches!(row.direction, Direction::Own | Direction::Foreign))
            && row.direction == asked.direction
            && row.audience == asked.target
            && row.issuer.as_ref().is_none_or(|issuer| issuer.as_str() == asked.issuer)
    };
    let Some(row) = rows.iter().find(fits) else { return false };
    let own = subject.client.as_ref() == Some(&caller.id);
    let kind = if asked.subject_type == TokenType::Jwt { TokenType::AccessToken } else { asked.subject_type };
    let deepest = subject.act.as_ref().map_or(0, Actor::depth) + usize::from(row.semantics == Semantics::Delegation);
    let gives_something =
        asked.requested == Some(TokenType::IdToken) || at_most(row, caller, asked, subject).is_some_and(|(may, said)| !may.is_empty() || !said.is_empty());
    [
        own || subject.may_act.contains(&caller.id),
        own || subject.may_act_claim.as_ref().is_none_or(|actor| actor.sub == caller.id.as_str()),
        subject.bound_to.is_none() || subject.bound_to == asked.proven,
        row.subject_types.contains(&kind),
        asked.requested.is_none_or(|requested| row.result_types.contains(&requested)),
        !asked.actor_token || row.actor_token,
        row.binding == Binding::WhereShown || asked.proven.is_some(),
        deepest <= row.depth,
        !subject.exchanged || row.again,
        asked.direction != Direction::ToUpstream || subject.came_from.iter().all(|issuer| issuer == asked.issuer),
        row.max_age.is_none_or(|age| subject.auth_time.is_some_and(|at| at + age >= NOW)),
        subject.expires_at > NOW,
        gives_something,
    ]
    .iter()
    .all(|holds| *holds)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// T5 granted_is_subset. The exchange result never has a scope, lifetime, audience or context that its subject token, the policy row and
    /// the caller's registration did not all allow; and what they do all allow is given.
    #[test]
    fn granted_is_subset(
        rows in prop::collection::vec(row(), 0..4),
        name in mostly("portal", &["service", "nobody"]),
        registered in scope_text(),
        life in 1u64..900,
        has_a_key in mostly(true, &[false]),
        asked in asked(),
        subject in subject(),
    ) {
        let caller = caller(name, ScopeSet::parse(&registered).unwrap(), life, has_a_key);
        let ask = Ask {
            direction: asked.direction,
            issuer: asked.issuer,
            caller: &caller,
            target: asked.target,
            scope: asked.scope.as_deref(),
            subject_type: asked.subject_type,
            requested: asked.requested,
            actor_token: asked.actor_token,
            proven: asked.proven.as_ref(),
        };
        let given = permit(&rows, &ask, &subject, NOW);
        prop_assert_eq!(given.is_ok(), may_happen(&rows, &caller, &asked, &subject), "{:?}", given.as_ref().err());
        let Ok(permit) = given else { return Ok(()) };
        let row = permit.row;
        prop_assert!(row.audience == asked.target && row.caller == caller.id && row.direction == asked.direction);
        // Lifetime: the least of all.
        prop_assert!(permit.expires_at > NOW && permit.expires_at <= subject.expires_at);
        let lives = permit.expires_at.since(NOW);
        prop_assert!(lives <= i64::try_from(row.longest.as_secs()).unwrap() && lives <= i64::try_from(life).unwrap(), "{lives}");
        // T8: what was bound stays bound, and to the same key.
        prop_assert_eq!(&permit.bound_to, &asked.proven);
        prop_assert!(subject.bound_to.is_none() || permit.bound_to == subject.bound_to);
        // Scopes.
        let text = permit.scopes.to_string();
        if permit.result == TokenType::IdToken {
            prop_assert_eq!(text, "");
            return Ok(());
        }
        let (may, said) = at_most(row, &caller, &asked, &subject).unwrap();
        prop_assert_eq!(everything(&text), may, "{}", text);
        prop_assert_eq!(words(&text), said, "{}", text);
        // P3, said once more and plainly.
        for never in ["openid", "profile", "offline_access", "online_access", "launch", "launch/patient"] {
            prop_assert!(!text.split(' ').any(|item| item == never), "{text}");
        }
    }
}

/// The property says nothing if hardly anything is permitted.
#[test]
fn what_is_tried_is_permitted_often_enough() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (prop::collection::vec(row(), 0..4), scope_text(), asked(), subject());
    let permitted = (0..2000).filter(|_| {
        let (rows, registered, asked, subject) = strategy.new_tree(&mut runner).unwrap().current();
        may_happen(&rows, &caller("portal", ScopeSet::parse(&registered).unwrap(), 600, true), &asked, &subject)
    });
    let permitted = permitted.count();
    assert!((200..1500).contains(&permitted), "{permitted} of 2000");
}
