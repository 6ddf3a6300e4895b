use super::super::machine::tests::asking;
use super::*;
use crate::helseid::Idp;
use crate::helseid::access_token::tests::{NOW, idp, met, read, user_token};
use crate::helseid::faults::Met;
use crate::helseid::organisation::{Asked, Details};
use crate::helseid::seed::table::{BATCH, DEMO_ACTOR, PORTAL, SMART_AS};
use crate::secret::Secret;

const PARENT: &str = ORGNR_PARENT;

/// A token of smart-as for solveig, with what is to be wrong with it.
fn subject_token(idp: &Idp, scope: &str, defects: &[&str]) -> String {
    user_token(idp, &[scope], &Details::default(), &met(defects)).unwrap().token.expose().clone()
}

fn form<'f>(token: &'f str, scope: &'f str) -> Vec<(&'f str, &'f str)> {
    vec![("subject_token", token), ("subject_token_type", ACCESS_TOKEN), ("scope", scope)]
}

fn exchange(idp: &Idp, actor: &str, form: &[(&str, &str)], faults: &[&str]) -> Result<Answer, Refusal> {
    asking(idp, actor, form, Some("actors-key"), Details::default(), &met(faults), answer)
}

/// §5.2, the decoded example.
#[test]
fn an_api_becomes_the_actor_of_the_next_call() {
    let idp = idp();
    let first = subject_token(&idp, "demo:kjerne/read", &[]);
    let got = exchange(&idp, DEMO_ACTOR, &form(&first, "demo:resept/write"), &[]).unwrap();
    assert_eq!((got.token_type, got.expires_in, got.issued_token_type), ("DPoP", 60, Some(ACCESS_TOKEN)), "no longer than the subject");
    assert!(got.refresh_token.is_none() && got.id_token.is_none());
    let (before, claims) = (read(&Secret::new(first)), read(&got.access_token));
    for copied in ["sub", "idp", "amr", "auth_time", "iss", PID, PARENT, "helseid://claims/identity/security_level", "helseid://claims/hpr/hpr_number"] {
        assert_eq!(claims[copied], before[copied], "{copied}");
    }
    assert_eq!(claims.get("sid"), None);
    assert_eq!((&claims["aud"], &claims["client_id"], &claims[ORIGINAL_CLIENT]), (&json!("demo:resept"), &json!(DEMO_ACTOR), &json!(SMART_AS)));
    assert_eq!((&claims["scope"], &claims["cnf"]), (&json!(["demo:resept/write"]), &json!({"jkt": "actors-key"})));
    assert_ne!(claims["jti"], before["jti"]);
    assert_eq!(claims["act"], json!({"iss": "https://helseid-mock.example.no", "client_id": DEMO_ACTOR, PARENT: "310441309"}));
    assert_eq!(claims["exp"], before["exp"]);
}

#[test]
fn a_machines_token_is_exchanged_too() {
    let idp = idp();
    let first = asking(&idp, BATCH, &[("scope", "demo:kjerne/read")], Some("k"), Details::default(), &Met::default(), super::super::machine::answer).unwrap();
    let got = exchange(&idp, DEMO_ACTOR, &form(first.access_token.expose(), "demo:resept/write"), &[]).unwrap();
    let claims = read(&got.access_token);
    assert_eq!((claims.get("sub"), &claims[PARENT], &claims[ORIGINAL_CLIENT]), (None, &json!("310441201"), &json!(BATCH)));
}

/// The newest actor is outermost, the first client stays the original, and there is an end. §5.2.
#[test]
fn a_chain_nests_and_ends() {
    let idp = idp();
    idp.change_seed(|seed| {
        for api in &mut seed.apis {
            api.owner = "310441309".to_owned();
        }
        if let Some(actor) = seed.clients.get_mut(DEMO_ACTOR) {
            actor.may_be_exchanged_by.insert(DEMO_ACTOR.to_owned());
        }
    });
    let mut token = subject_token(&idp, "demo:kjerne/read", &[]);
    for scope in ["demo:resept/write", "demo:kjerne/read"] {
        token = exchange(&idp, DEMO_ACTOR, &form(&token, scope), &[]).unwrap().access_token.expose().clone();
    }
    let claims = read(&Secret::new(token.clone()));
    assert_eq!(claims.pointer("/act/act/client_id"), Some(&json!(DEMO_ACTOR)));
    assert_eq!((claims.pointer("/act/act/act"), &claims[ORIGINAL_CLIENT]), (None, &json!(SMART_AS)));
    let refusal = exchange(&idp, DEMO_ACTOR, &form(&token, "demo:resept/write"), &[]).unwrap_err();
    assert_eq!((refusal.code.as_str(), refusal.description.ends_with(": 2")), ("invalid_request", true), "the limit is named");
    idp.change_quirks(|quirks| quirks.te_self_exchange = false);
    let once = exchange(&idp, DEMO_ACTOR, &form(&subject_token(&idp, "demo:kjerne/read", &[]), "demo:resept/write"), &[]).unwrap();
    let again = exchange(&idp, DEMO_ACTOR, &form(once.access_token.expose(), "demo:kjerne/read"), &[]).unwrap_err();
    assert!(again.description.contains("not permitted"));
}

#[test]
fn each_refusal_has_its_code() {
    let idp = idp();
    let good = subject_token(&idp, "demo:kjerne/read", &[]);
    let to = |token: &str| form(token, "demo:resept/write").into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>();
    let set = |name: &str, value: &str| {
        let mut form = to(&good);
        form.retain(|(known, _)| known != name);
        if !value.is_empty() {
            form.push((name.to_owned(), value.to_owned()));
        }
        form
    };
    let id_token = idp.keys.current().sign("JWT", &read(&Secret::new(good.clone()))).unwrap();
    let bad = |defect: &str| to(&subject_token(&idp, "demo:kjerne/read", &[defect]));
    let rows = [
        ("no subject", set("subject_token", ""), "invalid_request"),
        ("no type", set("subject_token_type", ""), "invalid_request"),
        ("jwt type", set("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"), "invalid_request"),
        ("id_token asked for", set("requested_token_type", "urn:ietf:params:oauth:token-type:id_token"), "invalid_request"),
        ("an actor token", set("actor_token", "x"), "invalid_request"),
        ("garbage", to("x.y.z"), "invalid_request"),
        ("an id_token", to(&id_token), "invalid_request"),
        ("expired", bad("expired"), "invalid_request"),
        ("not yet valid", bad("not_yet_valid"), "invalid_request"),
        ("another issuer", bad("wrong_iss"), "invalid_request"),
        ("a slash", bad("iss_trailing_slash"), "invalid_request"),
        ("no signature", bad("alg_none"), "invalid_request"),
        ("HMAC", bad("alg_hs256"), "invalid_request"),
        ("a broken signature", bad("bad_signature"), "invalid_request"),
        ("another key", bad("signed_by_other_key"), "invalid_request"),
        ("another typ", bad("wrong_typ"), "invalid_request"),
        ("no audience", bad("missing_aud"), "invalid_request"),
        ("an audience nobody owns", bad("wrong_aud"), "invalid_request"),
        ("an unknown client", bad(r#"claim:client_id="nobody""#), "invalid_request"),
        ("an audience of others", to(&subject_token(&idp, "fjord:epj-api/read", &[])), "invalid_request"),
        ("a client that allows nobody", bad(&format!("claim:client_id={}", json!(PORTAL))), "invalid_request"),
        ("two APIs", set("scope", "demo:resept/write demo:old/read"), "invalid_target"),
        ("another resource", set("resource", "demo:old"), "invalid_target"),
        ("another audience", set("audience", "demo:old"), "invalid_target"),
        ("no scope", set("scope", ""), "invalid_scope"),
        ("an identity scope", set("scope", "openid"), "invalid_scope"),
        ("an unknown scope", set("scope", "demo:resept/everything"), "invalid_scope"),
    ];
    for (what, form, code) in rows {
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(exchange(&idp, DEMO_ACTOR, &form, &[]).unwrap_err().code.as_str(), code, "{what}");
    }
    let unauthorized = exchange(&idp, PORTAL, &form(&good, "demo:kjerne/read"), &[]).unwrap_err();
    assert_eq!(unauthorized.code.as_str(), "unauthorized_client");
    let unproven = asking(&idp, DEMO_ACTOR, &form(&good, "demo:resept/write"), None, Details::default(), &Met::default(), answer).unwrap_err();
    assert_eq!(unproven.code.as_str(), "invalid_dpop_proof");
    assert!(exchange(&idp, DEMO_ACTOR, &[form(&good, "demo:resept/write"), vec![("resource", "demo:resept")]].concat(), &[]).is_ok());
    idp.change_seed(|seed| seed.user_mut("solveig").unwrap().blocked = true);
    assert!(exchange(&idp, DEMO_ACTOR, &form(&good, "demo:resept/write"), &[]).unwrap_err().description.contains("not known any more"));
}

#[test]
fn switches_change_what_is_unsure() {
    let idp = idp();
    let attest = json!({"toa": 1});
    let defect = format!("claim:{}={attest}", attest::TYPE);
    let token = subject_token(&idp, "demo:kjerne/read", &[&defect]);
    let form = form(&token, "demo:resept/write");
    let claims = |faults: &[&str]| read(&exchange(&idp, DEMO_ACTOR, &form, faults).unwrap().access_token);
    assert_eq!((&claims(&[])[attest::TYPE], claims(&["attest_not_copied"]).get(attest::TYPE)), (&attest, None));
    idp.change_quirks(|quirks| {
        quirks.te_client_id_is_actor = false;
        quirks.te_cap_to_subject_exp = false;
        quirks.te_copy_attest = false;
        quirks.te_accept_resource = false;
    });
    let changed = claims(&[]);
    assert_eq!((&changed["client_id"], &changed["exp"], changed.get(attest::TYPE)), (&json!(SMART_AS), &json!(NOW.0 + 300), None));
    assert!(exchange(&idp, DEMO_ACTOR, &[form, vec![("resource", "demo:old")]].concat(), &[]).is_ok(), "not looked at");
}

#[test]
fn the_actor_may_say_whom_it_acts_for() {
    let idp = idp();
    idp.change_seed(|seed| {
        let actor = seed.clients.get_mut(DEMO_ACTOR).unwrap();
        actor.tenancy = crate::helseid::seed::Tenancy::Single { parent: "310441309".to_owned(), units: ["310441228".to_owned()].into() };
    });
    let token = subject_token(&idp, "demo:kjerne/read", &[]);
    let details = || Details { organisation: Some(Asked::Child("310441228".to_owned())), ..Details::default() };
    let ask = || asking(&idp, DEMO_ACTOR, &form(&token, "demo:resept/write"), Some("k"), details(), &Met::default(), answer);
    let claims = read(&ask().unwrap().access_token);
    assert_eq!((&claims[PARENT], &claims[ORGNR_CHILD], &claims["act"][ORGNR_CHILD]), (&json!("310441309"), &json!("310441228"), &json!("310441228")));
    idp.change_quirks(|quirks| quirks.te_accept_assertion_details = false);
    assert!(ask().unwrap_err().description.starts_with("HID-1010"));
}

#[test]
fn faults_of_the_group_te() {
    let idp = idp();
    let token = subject_token(&idp, "demo:kjerne/read", &[]);
    let form = form(&token, "demo:resept/write");
    for (fault, word) in [("not_permitted", "not permitted"), ("max_exchanges", "as often as"), ("aud_not_owned", "does not belong")] {
        let refusal = exchange(&idp, DEMO_ACTOR, &form, &[fault]).unwrap_err();
        assert!(refusal.code.as_str() == "invalid_request" && refusal.description.contains(word), "{fault}: {}", refusal.description);
    }
    let claims = |fault: &str| read(&exchange(&idp, DEMO_ACTOR, &form, &[fault]).unwrap().access_token);
    assert_eq!(claims("act_missing").get("act"), None);
    assert_ne!(claims("act_wrong")["act"]["client_id"], json!(DEMO_ACTOR));
    assert_eq!(claims("client_id_is_subject")["client_id"], json!(SMART_AS));
    assert!(exchange(&idp, DEMO_ACTOR, &form, &["with_refresh_token"]).unwrap().refresh_token.is_some());
}
