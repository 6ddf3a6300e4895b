//! T1 to T25 of `reference/helseid.md` §6.8, each id with the tests that prove it. A name that is no test any more, and an id that its file does not mention,
//! fail here.

use std::fs;
use std::path::Path;

/// Threat, id, and the tests: file and function.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const SUBJECTS: &str = "tests/it/exchange/bridge/subjects.rs";
const INBOUND: &str = "tests/it/exchange/bridge/inbound.rs";
const GATEWAY: &str = "tests/it/exchange/bridge/gateway.rs";
const ISOLATION: &str = "tests/it/exchange/bridge/isolation.rs";
const OWN: &str = "tests/it/exchange/own.rs";
const PEER: &str = "tests/it/exchange/peer.rs";
const FOREIGN: &str = "tests/it/exchange/foreign.rs";
const LIMITS: &str = "tests/it/exchange/limits.rs";
const NODES: &str = "tests/it/helseid_login/nodes.rs";
const ACCESS: &str = "tests/it/helseid_login/access.rs";
const LOGIN: &str = "tests/it/helseid_login.rs";
const UPSTREAM: &str = "tests/it/upstream/faults.rs";
const CALLS: &str = "src/upstream/tests/calls.rs";
const KEYS: &str = "src/upstream/tests/keys.rs";
const DETAILS: &str = "src/upstream/tests/grants.rs";
const CLIENT_AUTH: &str = "tests/it/client_auth.rs";
const DPOP: &str = "tests/it/dpop.rs";

const ROWS: &[Row] = &[
    (
        "T1",
        "te_subject_of_other_client_refused",
        &[
            (OWN, "another_client_acts_only_where_it_is_let"),
            (SUBJECTS, "one_thing_wrong_is_enough"),
            (PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words"),
        ],
    ),
    ("T1", "te_same_user_mismatch_refused", &[(SUBJECTS, "one_thing_wrong_is_enough")]),
    ("T2", "te_no_policy_row_no_upstream_call", &[(GATEWAY, "te_no_policy_row_no_upstream_call")]),
    ("T2", "gateway_route_outside_row_403", &[(GATEWAY, "gateway_route_outside_row_403")]),
    (
        "T3",
        "te_wrong_aud",
        &[
            (ISOLATION, "a_token_of_ours_for_another_audience_does_not_become_the_upstreams"),
            (SUBJECTS, "one_thing_wrong_is_enough"),
            (PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words"),
        ],
    ),
    (
        "T3",
        "te_multi_aud",
        &[
            (ISOLATION, "a_token_of_ours_for_another_audience_does_not_become_the_upstreams"),
            (SUBJECTS, "one_thing_wrong_is_enough"),
            (PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words"),
        ],
    ),
    (
        "T3",
        "te_aud_trailing_slash",
        &[
            (ISOLATION, "a_token_of_ours_for_another_audience_does_not_become_the_upstreams"),
            (SUBJECTS, "one_thing_wrong_is_enough"),
            (OWN, "what_is_asked_wrongly_is_refused"),
        ],
    ),
    (
        "T3",
        "te_aud_case",
        &[
            (ISOLATION, "a_token_of_ours_for_another_audience_does_not_become_the_upstreams"),
            (SUBJECTS, "one_thing_wrong_is_enough"),
            (OWN, "what_is_asked_wrongly_is_refused"),
        ],
    ),
    ("T4", "callback_iss_mismatch", &[(LOGIN, "an_answer_of_another_provider_is_no_answer"), (UPSTREAM, "callbacks_that_are_wrong")]),
    ("T4", "same_kid_two_issuers", &[(PEER, "the_same_kid_at_both_issuers_is_two_keys"), (KEYS, "same_kid_two_issuers")]),
    ("T5", "granted_is_subset", &[("src/domain/exchange/tests.rs", "granted_is_subset")]),
    ("T5", "te_scope_wildcard", &[(OWN, "what_is_asked_wrongly_is_refused")]),
    ("T5", "te_scope_v1_v2_equivalence", &[(OWN, "what_is_asked_wrongly_is_refused")]),
    (
        "T6",
        "te_proof_replay",
        &[
            (SUBJECTS, "without_a_fresh_proof_there_is_nothing"),
            (OWN, "a_bound_token_is_exchanged_by_its_holder_alone"),
            (NODES, "assertion_reuse_across_instances"),
        ],
    ),
    ("T6", "te_second_exchange_policy", &[(INBOUND, "a_row_may_take_a_token_once_and_no_more")]),
    ("T7", "assertion_jti_reuse", &[(CLIENT_AUTH, "every_algorithm_and_every_way_an_assertion_can_be_wrong")]),
    ("T7", "assertion_exp_too_far", &[(CLIENT_AUTH, "every_algorithm_and_every_way_an_assertion_can_be_wrong")]),
    ("T7", "assertion_reuse_across_instances", &[(NODES, "assertion_reuse_across_instances")]),
    (
        "T8",
        "te_bound_subject_other_key",
        &[
            (OWN, "a_bound_token_is_exchanged_by_its_holder_alone"),
            (SUBJECTS, "one_thing_wrong_is_enough"),
            (PEER, "a_bound_token_is_refused_and_not_made_a_bearer"),
        ],
    ),
    ("T8", "te_no_proof", &[(SUBJECTS, "without_a_fresh_proof_there_is_nothing"), (PEER, "a_bound_token_is_refused_and_not_made_a_bearer")]),
    ("T8", "bound_token_as_bearer", &[(GATEWAY, "gateway_route_outside_row_403"), (OWN, "a_bound_token_is_exchanged_by_its_holder_alone")]),
    ("T9", "upstream_bearer_downgrade", &[(GATEWAY, "a_token_that_lost_its_binding_is_not_used"), (UPSTREAM, "tokens_that_are_wrong")]),
    ("T9", "metadata_downgrade_ignored", &[(UPSTREAM, "metadata_downgrade_ignored"), (CALLS, "metadata_downgrade_ignored")]),
    (
        "T10",
        "te_patient_param_refused",
        &[
            (OWN, "what_is_asked_wrongly_is_refused"),
            (INBOUND, "without_a_launch_there_is_no_patient"),
            (FOREIGN, "what_ended_there_or_was_changed_is_nothing_here"),
        ],
    ),
    ("T10", "launch_reuse", &[(INBOUND, "a_handle_is_for_one_client_person_and_organisation_and_for_once")]),
    ("T10", "launch_other_user", &[(INBOUND, "a_handle_is_for_one_client_person_and_organisation_and_for_once")]),
    ("T10", "launch_other_org", &[(INBOUND, "a_handle_is_for_one_client_person_and_organisation_and_for_once")]),
    (
        "T11",
        "te_after_logout",
        &[(GATEWAY, "te_after_logout"), (LIMITS, "te_after_logout_in_a_race"), (NODES, "what_ended_at_one_node_has_ended_at_the_other")],
    ),
    ("T11", "te_after_user_block", &[(GATEWAY, "te_after_user_block")]),
    ("T11", "te_after_backchannel_logout", &[(INBOUND, "te_after_backchannel_logout"), (ACCESS, "what_ends_gives_no_more_tokens_and_is_refused_from_others")]),
    (
        "T12",
        "te_depth_limit",
        &[
            (OWN, "an_exchanged_token_is_exchanged_again_only_as_deep_as_the_row_says"),
            (PEER, "may_act_and_chains_name_whoever_they_name_there"),
            (SUBJECTS, "one_thing_wrong_is_enough"),
        ],
    ),
    ("T12", "te_round_trip_refused", &[(INBOUND, "te_round_trip_refused"), (PEER, "may_act_and_chains_name_whoever_they_name_there")]),
    ("T12", "act_nesting_order", &[(FOREIGN, "who_acted_there_stays_visible_here")]),
    ("T13", "te_id_token_as_subject", &[(SUBJECTS, "one_thing_wrong_is_enough"), (PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words")]),
    ("T13", "te_assertion_as_subject", &[(SUBJECTS, "only_an_access_token_is_a_subject")]),
    (
        "T13",
        "te_proof_as_subject",
        &[(SUBJECTS, "only_an_access_token_is_a_subject"), (PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words")],
    ),
    (
        "T14",
        "alg_none",
        &[
            (SUBJECTS, "one_thing_wrong_is_enough"),
            (PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words"),
            (UPSTREAM, "tokens_that_are_wrong"),
        ],
    ),
    ("T14", "alg_hs_confusion", &[(SUBJECTS, "one_thing_wrong_is_enough"), (PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words")]),
    ("T14", "jku_ignored", &[(PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words")]),
    ("T14", "proof_private_jwk", &[(DPOP, "a_proof_that_proves_nothing_gives_no_token_and_costs_no_code")]),
    ("T15", "metadata_issuer_mismatch", &[(CALLS, "metadata_issuer_mismatch"), (PEER, "an_issuer_that_does_not_answer_is_no_answer")]),
    ("T15", "metadata_redirect_refused", &[(CALLS, "metadata_redirect_refused"), (PEER, "an_issuer_that_does_not_answer_is_no_answer")]),
    ("T16", "org_not_held", &[(SUBJECTS, "one_thing_wrong_is_enough")]),
    ("T16", "org_claim_differs_from_requested", &[(DETAILS, "what_a_refresh_leaves_behind")]),
    ("T17", "te_machine_token_refused", &[(SUBJECTS, "one_thing_wrong_is_enough")]),
    (
        "T18",
        "cache_isolation",
        &[
            (ISOLATION, "cache_isolation"),
            (DETAILS, "what_makes_two_tokens_of_a_session_the_same"),
            (ACCESS, "a_token_is_kept_while_it_is_good_and_apart_from_others"),
        ],
    ),
    ("T18", "cache_attest_change", &[(ISOLATION, "cache_isolation")]),
    (
        "T19",
        "refresh_race_single_winner",
        &[
            (ACCESS, "of_many_at_once_one_refreshes_and_all_have_it"),
            (DETAILS, "concurrent_refreshes_of_one_session_make_one_call"),
            (NODES, "two_nodes_refresh_one_session_one_after_the_other"),
        ],
    ),
    (
        "T19",
        "refresh_response_lost",
        &[
            (ACCESS, "a_lost_refresh_ends_the_session_there_and_a_refused_one_too"),
            (UPSTREAM, "a_lost_refresh_ends_the_session_without_a_second_call"),
            (NODES, "a_refresh_that_one_node_lost_is_not_repeated_by_another"),
        ],
    ),
    ("T20", "jwks_rotate_midflight", &[(KEYS, "jwks_rotate_midflight")]),
    ("T20", "jwks_retired_key_refused", &[(KEYS, "jwks_retired_key_refused")]),
    ("T20", "jwks_flood_rate_limited", &[(KEYS, "jwks_flood_rate_limited")]),
    (
        "T21",
        "skew_plus_4_ok",
        &[(PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words"), (UPSTREAM, "skew_plus_4_ok_and_skew_plus_30_refused")],
    ),
    (
        "T21",
        "skew_plus_30_refused",
        &[(PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words"), (UPSTREAM, "skew_plus_4_ok_and_skew_plus_30_refused")],
    ),
    ("T22", "no_secret_in_logs", &[(LIMITS, "no_secret_in_logs_of_a_foreign_exchange"), ("tests/it/exchange/bridge/faults.rs", "answers_that_do_not_come")]),
    ("T23", "big_jwt", &[(PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words"), (LIMITS, "te_errors_indistinguishable")]),
    ("T23", "deep_act", &[(PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words")]),
    ("T23", "upstream_slow", &[(UPSTREAM, "a_slow_answer_is_given_up_and_other_sessions_go_on"), (CALLS, "a_slow_provider_is_given_up_in_time")]),
    (
        "T24",
        "audience_is_not_fetched",
        &[(PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words"), (GATEWAY, "te_no_policy_row_no_upstream_call")],
    ),
    (
        "T25",
        "te_errors_indistinguishable",
        &[
            (LIMITS, "te_errors_indistinguishable"),
            (SUBJECTS, "one_thing_wrong_is_enough"),
            (PEER, "a_token_that_is_not_as_it_should_be_is_refused_in_the_same_words"),
        ],
    ),
];

#[test]
fn every_id_has_a_test_that_is_there() {
    let mut wrong = Vec::new();
    for threat in 1..=25 {
        let threat = format!("T{threat}");
        if !ROWS.iter().any(|(of, _, tests)| *of == threat && !tests.is_empty()) {
            wrong.push(format!("{threat} has no test"));
        }
    }
    for (threat, id, tests) in ROWS {
        for (file, function) in *tests {
            let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let Some(at) = text.find(&format!("fn {function}(")) else {
                wrong.push(format!("{threat} {id}: {file} has no function {function}"));
                continue;
            };
            // A function that nobody calls proves nothing.
            let head = text[..at].lines().rev().take(6).collect::<String>();
            if !["#[tokio::test", "#[test]", "proptest!"].iter().any(|mark| head.contains(mark)) && *id != "granted_is_subset" {
                wrong.push(format!("{threat} {id}: {function} in {file} is no test"));
            }
            if !text.contains(id) {
                wrong.push(format!("{threat} {id}: {file} does not mention it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
