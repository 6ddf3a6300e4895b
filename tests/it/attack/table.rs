//! Each attack that must be tried, with the tests that try it. A name that is no test any more fails here.

use std::fs;
use std::path::Path;

/// Attack, and the tests: file and function.
type Row = (&'static str, &'static [(&'static str, &'static str)]);

const CODES: &str = "tests/it/attack/codes.rs";
const BROWSER: &str = "tests/it/attack/browser.rs";
const REDIRECTS: &str = "tests/it/attack/redirects.rs";
const TOKENS: &str = "tests/it/attack/tokens.rs";
const FORGED: &str = "tests/it/attack/forged.rs";
const OUTBOUND: &str = "tests/it/attack/outbound.rs";
const WIRE: &str = "tests/it/attack/wire.rs";
const LEAKS: &str = "tests/it/attack/leaks.rs";
const AUTHORIZE: &str = "tests/it/authorize.rs";
const ADDRESS: &str = "src/fetch/address.rs";
const DPOP: &str = "tests/it/dpop.rs";
const ROUTES: &str = "tests/it/routes.rs";
const LISTEN: &str = "src/listen/tests.rs";
const LAUNCH: &str = "tests/it/launch.rs";
const JWKS: &str = "src/fetch/jwks_tests.rs";
const CLIENT_AUTH: &str = "tests/it/client_auth.rs";

const ROWS: &[Row] = &[
    ("code injection", &[(CODES, "code_injection"), ("tests/it/token.rs", "a_code_is_good_once_for_its_client_with_its_verifier_for_a_minute")]),
    ("mix-up", &[(CODES, "mix_up"), ("tests/it/upstream/faults.rs", "callbacks_that_are_wrong")]),
    ("PKCE downgrade", &[(CODES, "pkce_downgrade"), ("tests/it/profiles.rs", "an_oidc_client_needs_neither_pkce_nor_state_and_keeps_to_what_it_sends")]),
    ("redirect manipulation", &[(REDIRECTS, "redirect_manipulation"), (AUTHORIZE, "an_answer_goes_to_a_registered_uri_or_nowhere")]),
    ("CSRF on login", &[(BROWSER, "csrf_on_login_consent_and_picker"), ("tests/it/login.rs", "the_form_takes_only_its_own_answers")]),
    ("CSRF on consent", &[(BROWSER, "csrf_on_login_consent_and_picker"), ("tests/it/consent.rs", "only_allow_allows")]),
    ("CSRF on the picker", &[(BROWSER, "csrf_on_login_consent_and_picker"), ("tests/it/picker.rs", "only_a_patient_there_is_can_be_chosen")]),
    ("CSRF on account and logout", &[("tests/it/account.rs", "the_forms_of_the_account_page_prove_their_browser")]),
    (
        "session fixation through start_url",
        &[
            (BROWSER, "session_fixation_through_start_url"),
            (BROWSER, "session_fixation_through_a_planted_cookie"),
            (LAUNCH, "where_somebody_else_is_logged_in_a_page_asks_first"),
            (LAUNCH, "a_start_cookie_speaks_for_its_launch_alone"),
        ],
    ),
    (
        "clickjacking",
        &[
            (BROWSER, "clickjacking"),
            ("tests/it/people.rs", "pages_are_html_and_carry_their_headers"),
            (ROUTES, "every_route_has_an_answer_for_somebody_without_credentials"),
        ],
    ),
    (
        "token substitution across issuers and audiences",
        &[(TOKENS, "token_substitution_across_issuers_and_audiences"), ("tests/it/exchange/bridge/subjects.rs", "one_thing_wrong_is_enough")],
    ),
    ("DPoP proof replay", &[(TOKENS, "dpop_proof_replay_and_key_swap"), (DPOP, "of_one_proof_sent_many_times_at_once_one_is_taken")]),
    ("DPoP key swap", &[(TOKENS, "dpop_proof_replay_and_key_swap"), (DPOP, "a_bound_token_is_nothing_without_its_key")]),
    (
        "algorithm confusion",
        &[
            (FORGED, "algorithm_confusion_and_jwk_injection"),
            (FORGED, "algorithm_confusion_and_jwk_injection_by_clients"),
            ("src/jose/tests.rs", "algorithm_confusion_is_refused"),
        ],
    ),
    (
        "JWK injection (jwk, jku, x5u)",
        &[
            (FORGED, "algorithm_confusion_and_jwk_injection"),
            (FORGED, "algorithm_confusion_and_jwk_injection_by_clients"),
            ("src/jose/tests.rs", "keys_in_the_header_are_never_trusted"),
        ],
    ),
    (
        "SSRF through jwks_uri",
        &[
            (OUTBOUND, "ssrf_through_jwks_uri"),
            (OUTBOUND, "ssrf_through_what_a_jwks_uri_answers"),
            (OUTBOUND, "ssrf_through_what_is_registered"),
            (ADDRESS, "every_special_range_is_told_apart"),
            (CLIENT_AUTH, "keys_at_an_address_are_fetched_kept_and_looked_for_again"),
        ],
    ),
    (
        "SSRF through logout URIs",
        &[
            (OUTBOUND, "ssrf_through_what_is_registered"),
            (OUTBOUND, "ssrf_through_jwks_uri"),
            ("tests/it/backchannel.rs", "a_wrong_address_is_refused_where_it_is_registered"),
        ],
    ),
    ("DNS rebinding", &[(ADDRESS, "a_name_that_leads_elsewhere_a_moment_later_gains_nothing"), (JWKS, "names_are_judged_by_where_they_lead")]),
    ("parameter pollution", &[(REDIRECTS, "parameter_pollution"), (AUTHORIZE, "what_is_wrong_is_refused_by_get_and_by_post_alike")]),
    ("header smuggling", &[(WIRE, "header_smuggling"), (ROUTES, "slow_and_broken_requests_hang_nobody"), (LISTEN, "nothing_follows_a_body_of_unsaid_length")]),
    ("response splitting", &[(REDIRECTS, "response_splitting"), (ROUTES, "a_request_id_is_kept_where_it_is_a_plain_word")]),
    ("open redirect", &[(REDIRECTS, "open_redirect"), ("tests/it/account.rs", "nobody_is_sent_to_an_address_that_is_not_registered")]),
    (
        "oversized bodies",
        &[(WIRE, "oversized_and_compressed_bodies"), (ROUTES, "more_than_is_listened_to_is_said_so"), (JWKS, "answers_that_are_no_key_set_are_refused")],
    ),
    ("compressed bodies", &[(WIRE, "oversized_and_compressed_bodies"), (OUTBOUND, "ssrf_through_what_a_jwks_uri_answers")]),
    (
        "slow clients",
        &[(ROUTES, "slow_and_broken_requests_hang_nobody"), (LISTEN, "slow_headers_are_cut_off"), (LISTEN, "who_takes_nothing_of_an_answer_is_given_up")],
    ),
    ("refresh-token theft", &[(CODES, "refresh_token_theft"), ("tests/it/refresh.rs", "a_public_client_gets_a_new_one_each_time")]),
    (
        "leaks",
        &[
            (LEAKS, "no_secret_and_no_number_in_any_log_or_error"),
            (LEAKS, "a_leak_would_be_found"),
            ("tests/it/logs.rs", "the_log_tells_what_happened_and_no_secret"),
        ],
    ),
];

#[test]
fn every_attack_has_a_test_that_is_there() {
    let mut wrong = Vec::new();
    for (attack, tests) in ROWS {
        assert!(!tests.is_empty(), "{attack} has no test");
        for (file, function) in *tests {
            let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let Some(at) = text.find(&format!("fn {function}(")) else {
                wrong.push(format!("{attack}: {file} has no function {function}"));
                continue;
            };
            // A function that nobody calls proves nothing.
            let head = text[..at].lines().rev().take(6).collect::<String>();
            if !["#[tokio::test", "#[test]"].iter().any(|mark| head.contains(mark)) {
                wrong.push(format!("{attack}: {function} in {file} is no test"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
