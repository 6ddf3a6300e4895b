use proptest::prelude::*;

use super::*;

fn set(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

#[test]
fn the_grammar_is_strict_and_prints_back() {
    for good in [
        "patient/Observation.rs",
        "patient/*.cruds",
        "user/*.read",
        "system/Patient.*",
        "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory&status=final",
        "patient/Observation.rs?code=a%2Cb",
        "launch",
        "launch/patient",
        "launch/list?role=https://x.example/r",
        "openid",
        "__x",
        "https://helseid.nhn.no",
        "launch:create",
    ] {
        assert_eq!(Scope::parse(good).unwrap().to_string(), good);
    }
    for (bad, why) in [
        ("patient/Observation.sr", ScopeError::Interactions),
        ("patient/Observation.", ScopeError::Interactions),
        ("patient/Observation.rr", ScopeError::Interactions),
        ("patient/Observation", ScopeError::Interactions),
        ("patient/observation.r", ScopeError::ResourceType),
        ("patient/Nonsense.r", ScopeError::ResourceType),
        ("Patient/Observation.r", ScopeError::Level),
        ("patient/Observation.read?category=x", ScopeError::Constraint),
        ("patient/Observation.r?", ScopeError::Constraint),
        ("patient/Observation.r?category", ScopeError::Constraint),
        ("patient/Observation.r?category=%FF", ScopeError::Constraint),
        ("launch/Patient", ScopeError::Context),
        ("launch/", ScopeError::Context),
        ("launch/list?role=", ScopeError::Context),
        ("launch/list?role=a&role=b", ScopeError::Context),
        ("email", ScopeError::Unknown),
        ("__", ScopeError::Unknown),
        ("a b", ScopeError::Characters),
        ("patient/Observation.r?code=\"", ScopeError::Characters),
        ("", ScopeError::Characters),
    ] {
        assert_eq!(Scope::parse(bad), Err(why), "{bad}");
    }
}

#[test]
fn a_request_drops_what_it_does_not_understand() {
    assert_eq!(ScopeSet::parse_request("openid  patient/Patient.r patient/Observation.sr email æ patient/Patient.r").to_string(), "openid patient/Patient.r");
}

#[test]
fn a_set_has_an_end() {
    let many: Vec<String> = (0..5000).map(|n| format!("user/*.r?_id={n}")).collect();
    assert_eq!(ScopeSet::parse_request(&many.join(" ")).iter().count(), 100);
    assert_eq!(ScopeSet::parse(&many.join(" ")).unwrap_err().1, ScopeError::TooMany);
    let long = format!("openid patient/Observation.r?code={} fhirUser", "x".repeat(7000));
    assert_eq!(ScopeSet::parse_request(&long).to_string(), "openid fhirUser");
    let same = vec!["openid"; 5000].join(" ");
    assert_eq!(ScopeSet::parse(&same).unwrap().to_string(), "openid");
}

/// asked, ceiling, granted
const NARROWED: &[(&str, &str, &str)] = &[
    ("patient/*.cruds", "patient/Observation.rs", "patient/Observation.rs"),
    ("patient/Observation.read", "patient/*.rs", "patient/Observation.read"),
    ("patient/*.*", "patient/*.rs", "patient/*.read"),
    ("patient/*.*", "patient/*.r", "patient/*.r"),
    ("patient/Observation.cruds", "patient/Observation.rs patient/Observation.cud", "patient/Observation.cruds"),
    ("patient/Observation.rs?category=laboratory", "patient/Observation.rs", "patient/Observation.rs?category=laboratory"),
    ("patient/Observation.rs", "patient/Observation.rs?category=laboratory", "patient/Observation.rs?category=laboratory"),
    ("patient/Observation.rs?status=final", "patient/*.r?category=laboratory", "patient/Observation.r?category=laboratory&status=final"),
    ("user/Patient.rs", "patient/Patient.rs", ""),
    ("patient/*.rs", "patient/*.r patient/Patient.rs", "patient/*.r patient/Patient.rs"),
    ("openid launch/patient __x", "openid launch/patient", "openid launch/patient"),
    ("launch/list?role=a:b", "launch/list", "launch/list?role=a:b"),
    ("launch/list", "launch/list?role=a:b", ""),
];

#[test]
fn narrowing_keeps_what_both_allow() {
    for (asked, ceiling, granted) in NARROWED {
        assert_eq!(set(asked).narrow(&set(ceiling)).to_string(), *granted, "{asked} within {ceiling}");
    }
}

#[test]
fn a_refresh_may_not_ask_for_more() {
    let granted = set("openid patient/Observation.rs?category=laboratory patient/Patient.read");
    for within in ["openid", "patient/Patient.rs", "patient/Patient.r", "patient/Observation.r?category=laboratory&status=final", ""] {
        assert!(granted.covers(&set(within)), "{within}");
    }
    for beyond in ["patient/Observation.rs", "patient/Patient.u", "patient/*.r", "fhirUser", "user/Patient.r"] {
        assert!(!granted.covers(&set(beyond)), "{beyond}");
    }
}

fn any_resource() -> impl Strategy<Value = ResourceScope> {
    let level = prop::sample::select(vec!["patient", "user", "system"]);
    let target = prop::sample::select(vec!["*", "Patient", "Observation", "Condition"]);
    let letters = prop::sample::select((1u8..32).collect::<Vec<_>>());
    let only = prop::collection::btree_set(prop::sample::select(vec!["category=a", "category=b|c", "status=d,e", "code=%26"]), 0..3);
    let v1 = prop::sample::select(vec![None, None, Some("read"), Some("write"), Some("*")]);
    (level, target, letters, only, v1).prop_map(|(level, target, letters, only, v1)| {
        let word: String = "cruds".chars().enumerate().filter(|(place, _)| letters & (1 << place) != 0).map(|(_, c)| c).collect();
        let query = only.into_iter().collect::<Vec<_>>().join("&");
        let text = match v1 {
            Some(word) => format!("{level}/{target}.{word}"),
            None if query.is_empty() => format!("{level}/{target}.{word}"),
            None => format!("{level}/{target}.{word}?{query}"),
        };
        match Scope::parse(&text) {
            Ok(Scope::Resource(scope)) => scope,
            other => panic!("{text}: {other:?}"),
        }
    })
}

fn any_set() -> impl Strategy<Value = ScopeSet> {
    let other = prop::sample::select(vec!["openid", "fhirUser", "launch", "launch/patient", "offline_access", "__x"]);
    (prop::collection::vec(any_resource(), 0..4), prop::collection::vec(other, 0..3)).prop_map(|(resources, others)| {
        let others = others.into_iter().map(|text| Scope::parse(text).unwrap());
        resources.into_iter().map(Scope::Resource).chain(others).collect()
    })
}

/// The slow, obviously right reading: does a set let this one letter through on this type, where these constraints hold of the resource?
fn gives(set: &ScopeSet, level: Level, kind: &str, letter: Interactions, holds: &[&str]) -> bool {
    set.resources().any(|scope| {
        scope.level == level
            && scope.target.includes(kind)
            && scope.may.includes(letter)
            && scope.only.iter().all(|c| holds.contains(&format!("{}={}", c.name, c.value).as_str()))
    })
}

proptest! {
    #[test]
    fn parsing_never_panics_and_round_trips(text in "\\PC{0,60}") {
        if let Ok(scope) = Scope::parse(&text) {
            prop_assert_eq!(scope.to_string(), text);
        }
    }

    #[test]
    fn printing_round_trips(scopes in any_set(), ceiling in any_set()) {
        let narrowed = scopes.narrow(&ceiling);
        prop_assert_eq!(ScopeSet::parse(&narrowed.to_string()).unwrap(), narrowed);
    }

    #[test]
    fn narrowing_is_idempotent_and_never_grows(a in any_set(), b in any_set()) {
        let both = a.narrow(&b);
        prop_assert!(a.covers(&both));
        prop_assert!(b.covers(&both));
        prop_assert!(both.narrow(&b).covers(&both) && both.covers(&both.narrow(&b)));
    }

    #[test]
    fn narrowing_gives_exactly_what_both_give(a in any_set(), b in any_set(), bits in 0usize..16) {
        let all = ["category=a", "category=b|c", "status=d,e", "code=&"];
        let holds: Vec<&str> = all.iter().enumerate().filter(|(place, _)| bits & (1 << place) != 0).map(|(_, c)| *c).collect();
        let (ab, ba) = (a.narrow(&b), b.narrow(&a));
        for level in [Level::Patient, Level::User, Level::System] {
            for kind in ["Patient", "Observation", "Encounter"] {
                for letter in [Interactions::CREATE, Interactions::READ, Interactions::UPDATE, Interactions::DELETE, Interactions::SEARCH] {
                    let both = gives(&a, level, kind, letter, &holds) && gives(&b, level, kind, letter, &holds);
                    prop_assert_eq!(gives(&ab, level, kind, letter, &holds), both);
                    prop_assert_eq!(gives(&ba, level, kind, letter, &holds), both);
                }
            }
        }
    }
}
