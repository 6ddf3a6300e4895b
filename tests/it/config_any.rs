//! Whatever stands in a file: the check says so and never panics, and what it lets through obeys the rules.

use proptest::prelude::*;

use super::*;

/// TOML of the right outline with anything in it.
fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<bool>().prop_map(|b| b.to_string()),
        "[ -~]{0,30}".prop_map(|text| format!("{text:?}")),
        "\\PC{0,12}".prop_map(|text| format!("'''{}'''", text.replace('\'', ""))),
        Just("1979-05-27".to_owned()),
        Just("-1e9".to_owned()),
        Just("\"http://127.0.0.1:1/\"".to_owned()),
        Just("\"https://a.example\"".to_owned()),
        Just("\"999999999999999999999d\"".to_owned()),
        Just("\"client_secret_basic\"".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            ("(file|env|keys|x)", inner).prop_map(|(key, value)| format!("{{ {key} = {value} }}")),
        ]
    })
}

fn any_table() -> impl Strategy<Value = String> {
    prop::sample::select(TABLES).prop_flat_map(|(table, keys)| {
        let header = if table.starts_with("issuer") || table == "client" { format!("[[{table}]]\n") } else { format!("[{table}]\n") };
        prop::collection::btree_map(prop::sample::select(keys), any_value(), 0..6)
            .prop_map(move |pairs| pairs.iter().fold(header.clone(), |text, (key, value)| format!("{text}{key} = {value}\n")))
    })
}

proptest! {
    #[test]
    fn nothing_makes_the_check_panic(tables in prop::collection::vec(any_table(), 0..6)) {
        let _ = checked(&tables.concat());
        let _ = checked(&format!("{SHORTEST}{}", tables.concat()));
    }

    #[test]
    fn no_text_makes_the_check_panic(text in "\\PC{0,200}") {
        let _ = checked(&text);
        let _ = client_from_json(&json!({ "client_id": text, "auth": text, "scopes": text }), Home { issuer: &Issuer::parse("https://a.example").unwrap(), profile: Profile::Smart }, &SeededRandom::new(1));
    }

    #[test]
    fn no_cut_makes_the_check_panic(from in 0usize..6000, len in 0usize..60, put in "[\"\\[\\]{}=#a-z0-9 \n.]{0,8}") {
        let mut text: Vec<char> = config::reference().lines().filter(|line| !line.starts_with("# ")).map(|line| format!("{}\n", line.trim_start_matches('#'))).collect::<String>().chars().collect();
        let from = from % text.len();
        let to = (from + len).min(text.len());
        text.splice(from..to, put.chars());
        let _ = checked(&text.into_iter().collect::<String>());
    }

    /// What a check lets through is never weaker than the rules, however it was put together.
    #[test]
    fn what_passes_obeys_the_rules(scopes in "(openid |system/\\*\\.rs |launch:create |patient/\\*\\.rs ){1,3}", auth in "(none|client_secret_basic|client_secret_post|private_key_jwt)", http in any::<bool>()) {
        let redirect = if http { "http://app.example/" } else { "https://app.example/" };
        let key = match auth.as_str() { "none" => "", "private_key_jwt" => "jwks_uri = \"https://app.example/jwks\"", _ => "client_secret = { env = \"STRONG\" }" };
        let text = format!("{SHORTEST}[[client]]\nclient_id = \"a\"\nauth = \"{auth}\"\nscopes = \"{scopes}\"\nredirect_uris = [\"{redirect}\"]\n{key}\n");
        if let Ok(Checked { config, .. }) = checked(&text) {
            prop_assert!(!http);
            if scopes.contains("system/") || scopes.contains("launch:create") {
                prop_assert_eq!(auth, "private_key_jwt");
            }
            prop_assert_eq!(client(&config, "a").is_public(), key.is_empty());
        } else {
            prop_assert!(http || ((scopes.contains("system/") || scopes.contains("launch:create")) && auth != "private_key_jwt"));
        }
    }
}
