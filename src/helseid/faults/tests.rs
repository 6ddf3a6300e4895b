use serde_json::json;

use super::*;

fn ask(endpoint: Endpoint) -> Ask<'static> {
    Ask { endpoint, grant_type: None, client_id: None }
}

fn add(faults: &Faults, rule: Value) -> Rule {
    faults.add_json(rule.to_string().as_bytes()).unwrap()
}

#[test]
fn the_rule_of_the_reference_meets_the_second_refresh_and_no_other() {
    let faults = Faults::default();
    let rule = json!({
        "match": {"endpoint": "token", "grant_type": "refresh_token", "client_id": "*", "nth": 2},
        "action": {"kind": "respond", "status": 503, "headers": {"Retry-After": "1"}, "body": ""},
        "times": 1
    });
    assert_eq!(add(&faults, rule).id, 1);
    let refresh = Ask { endpoint: Endpoint::Token, grant_type: Some("refresh_token"), client_id: Some("x") };
    let met: Vec<usize> = (0..3).map(|_| faults.take(&refresh).len()).collect();
    assert_eq!(met, [0, 1, 0]);
    assert!(faults.take(&Ask { grant_type: Some("authorization_code"), ..refresh }).is_empty());
    assert!(faults.take(&ask(Endpoint::Par)).is_empty());
    let [rule] = faults.list().try_into().unwrap();
    assert_eq!((rule.seen, rule.met), (3, 1));
    let respond = Respond { status: 503, headers: vec![("Retry-After".to_owned(), "1".to_owned())], body: String::new() };
    assert_eq!(rule.fault, Fault::Transport(Transport::Respond(respond)));
    faults.clear();
    assert!(faults.list().is_empty());
}

#[test]
fn always_goes_on_and_times_end() {
    let faults = Faults::default();
    add(&faults, json!({"match": {"client_id": "a"}, "action": {"kind": "client_disabled"}, "times": "always"}));
    add(&faults, json!({"match": {"endpoint": "*", "nth": 2}, "action": {"kind": "drop_after"}, "times": 2}));
    let a = Ask { endpoint: Endpoint::Token, grant_type: None, client_id: Some("a") };
    let met: Vec<usize> = (0..5).map(|_| faults.take(&a).len()).collect();
    assert_eq!(met, [1, 2, 2, 1, 1]);
    assert!(faults.take(&Ask { client_id: Some("b"), ..a }).is_empty());
}

/// An argument for every kind that needs one.
fn example(kind: &str, argument: Option<&str>) -> Value {
    let mut action = json!({ "kind": kind });
    for name in argument.into_iter().flat_map(|names| names.split(", ")) {
        action[name] = match name {
            "headers" => json!({}),
            "status" => json!(503),
            "ms" | "bytes" | "seconds" | "readings" => json!(7),
            "code" => json!(1001),
            "mode" => json!("once"),
            _ => json!("x"),
        };
    }
    action
}

#[test]
fn every_kind_of_the_list_is_understood_and_is_a_fault_of_its_own() {
    let mut all: Vec<Fault> = Vec::new();
    for (_, kind, argument) in KINDS {
        let fault = match parse_action(&example(kind, *argument)) {
            Err(ParseError::Tls) if *kind == "tls_bad_cert" => continue,
            fault => fault.unwrap_or_else(|why| panic!("{kind}: {why}")),
        };
        assert!(!all.contains(&fault), "{kind} is the same as another");
        all.push(fault);
    }
    assert_eq!(all.len(), KINDS.len() - 1);
}

#[test]
fn one_argument_may_stand_behind_a_colon() {
    let same = [
        ("delay_ms:15000", json!({"kind": "delay_ms", "ms": 15000})),
        ("hid:1003", json!({"kind": "hid", "code": 1003})),
        ("hid:HID-1003", json!({"kind": "hid", "code": 1003})),
        ("claim:helseid://claims/x=\"a=b\"", json!({"kind": "claim", "name": "helseid://claims/x", "value": "a=b"})),
        ("missing_claim:helseid://claims/identity/pid", json!({"kind": "missing_claim", "name": "helseid://claims/identity/pid"})),
        ("nonce_demand:loop", json!({"kind": "nonce_demand", "mode": "loop"})),
        ("server_clock:-30", json!({"kind": "server_clock", "seconds": -30})),
        ("respond:404", json!({"kind": "respond", "status": 404})),
    ];
    for (word, action) in same {
        assert_eq!(parse_kind(word).unwrap(), parse_action(&action).unwrap(), "{word}");
    }
    let of_id_token = parse_action(&json!({"kind": "expired", "token": "id_token"})).unwrap();
    let met = Met::new(vec![of_id_token, parse_kind("level_3").unwrap(), parse_kind("server_clock:5").unwrap(), parse_kind("server_clock:-8").unwrap()]);
    assert_eq!(met.defects(Which::IdToken).collect::<Vec<_>>(), [&TokenDefect::Expired]);
    assert_eq!(met.defects(Which::AccessToken).collect::<Vec<_>>(), [&TokenDefect::Level3]);
    assert_eq!(met.clock_offset_s(), -3);
    assert!(met.has(&Fault::Token(Which::IdToken, TokenDefect::Expired)) && !met.has(&Fault::Key(KeyFault::EmptyJwks)));
}

#[test]
fn what_makes_no_sense_is_not_set() {
    let faults = Faults::default();
    let refused = [
        (json!({"action": {"kind": "explode"}}), "no fault is called `explode`"),
        (json!({"action": {}}), "`kind`"),
        (json!({"action": "drop_after"}), "`kind`"),
        (json!({}), "missing field `action`"),
        (json!({"action": {"kind": "drop_after"}, "time": 1}), "unknown field `time`"),
        (json!({"match": {"path": "/"}, "action": {"kind": "drop_after"}}), "unknown field `path`"),
        (json!({"match": {"endpoint": "tokens"}, "action": {"kind": "drop_after"}}), "unknown variant `tokens`"),
        (json!({"action": {"kind": "drop_after", "ms": 1}}), "no member `ms`"),
        (json!({"action": {"kind": "no_cnf", "token": "id_token"}}), "no member `token`"),
        (json!({"action": {"kind": "expired", "token": "x"}}), "access_token or id_token"),
        (json!({"action": {"kind": "drop_after:1"}}), "no argument"),
        (json!({"action": {"kind": "delay_ms"}}), "`ms`"),
        (json!({"action": {"kind": "delay_ms", "ms": 60_001}}), "`ms`"),
        (json!({"action": {"kind": "respond", "status": 42}}), "`status`"),
        (json!({"action": {"kind": "respond", "status": 500, "headers": {"a b": "c"}}}), "`headers`"),
        (json!({"action": {"kind": "hid", "code": 1011}}), "1001 to 1010"),
        (json!({"action": {"kind": "tls_bad_cert"}}), "plain HTTP"),
        (json!({"match": {"nth": 0}, "action": {"kind": "drop_after"}}), "at least 1"),
        (json!({"action": {"kind": "drop_after"}, "times": 0}), "at least 1"),
        (json!({"action": {"kind": "drop_after"}, "times": "never"}), "times must be"),
    ];
    for (rule, why) in refused {
        let error = faults.add_json(rule.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{rule}: {error}");
    }
    assert!(faults.list().is_empty());
    for _ in 0..MOST {
        add(&faults, json!({"action": {"kind": "truncate"}}));
    }
    assert!(matches!(faults.add_json(br#"{"action": {"kind": "truncate"}}"#), Err(RuleError::Many)));
}
