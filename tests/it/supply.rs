//! What the program is made of: `Cargo.lock` and what is built, held to `deny.toml` without a tool that would have to be installed for it; and the
//! bill of materials.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[path = "../../xtask/src/sbom.rs"]
mod sbom;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn rules() -> toml::Table {
    toml::from_str(&read("deny.toml")).unwrap()
}

fn texts(value: &toml::Value) -> BTreeSet<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The packages of a lock file.
fn locked(path: &str) -> Vec<toml::Table> {
    let lock: toml::Table = toml::from_str(&read(path)).unwrap();
    lock["package"].as_array().unwrap().iter().map(|package| package.as_table().unwrap().clone()).collect()
}

fn name(package: &toml::Table) -> &str {
    package["name"].as_str().unwrap()
}

/// What is built for this machine, one package a line, as `cargo xtask sbom` sees it.
fn tree() -> String {
    let output = Command::new(env!("CARGO")).current_dir(env!("CARGO_MANIFEST_DIR")).args(sbom::TREE).arg("--offline").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What is wrong with a lock file by the rules of `[bans]`.
fn banned(packages: &[toml::Table], rules: &toml::Table) -> Vec<String> {
    let mut wrong = Vec::new();
    for ban in rules["bans"]["deny"].as_array().unwrap() {
        let banned = ban["name"].as_str().unwrap();
        let found = packages.iter().filter(|package| name(package) == banned).count();
        let once = ban.get("deny-multiple-versions").is_some_and(|once| once.as_bool().unwrap());
        // Whether ring is built is what is built's to say: the lock file holds what could be.
        let most = usize::from(once || banned == "ring");
        if found > most {
            wrong.push(format!("{found} of {banned}"));
        }
        assert!(!ban["reason"].as_str().unwrap().is_empty());
    }
    wrong
}

#[test]
fn nothing_banned_is_locked_and_nothing_twice_that_must_be_one() {
    let packages = locked("Cargo.lock");
    assert!(packages.len() > 200, "only {} packages: the lock file was not read", packages.len());
    assert_eq!(banned(&packages, &rules()), [""; 0]);
    for of in packages.iter().filter(|package| package.get("dependencies").is_some_and(|needs| texts(needs).contains("ring"))) {
        assert_eq!(name(of), "rustls-webpki", "something else asks for ring");
    }
    let mut worse = packages;
    worse.push(toml::from_str("name = \"native-tls\"").unwrap());
    worse.push(toml::from_str("name = \"reqwest\"").unwrap());
    assert_eq!(banned(&worse, &rules()), ["1 of native-tls", "2 of reqwest"]);
}

#[test]
fn everything_comes_from_the_registry_with_a_hash() {
    let rules = rules();
    let registries = texts(&rules["sources"]["allow-registry"]);
    for package in locked("Cargo.lock") {
        let Some(source) = package.get("source") else {
            assert!(["helsebro", "helsebro-bench", "helsebro-chaos", "xtask"].contains(&name(&package)), "{} is ours, and nobody knows it", name(&package));
            continue;
        };
        let registry = source.as_str().unwrap().strip_prefix("registry+");
        assert!(registry.is_some_and(|url| registries.contains(url)), "{} comes from {source}", name(&package));
        assert!(package.contains_key("checksum"), "{} has no hash", name(&package));
    }
}

/// Whether an SPDX expression can be met with these licences. Good for the expressions there are: `AND` binds tighter than `OR`, in brackets or not.
fn permits(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let text = expression.replace(" / ", " OR ").replace('/', " OR ");
    let cut = |operator: &str| {
        let (mut depth, mut pieces, mut start) = (0, Vec::new(), 0);
        for (at, c) in text.char_indices() {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ if depth == 0 && text[at..].starts_with(operator) => {
                    pieces.push(&text[start..at]);
                    start = at + operator.len();
                }
                _ => {}
            }
        }
        pieces.push(&text[start..]);
        pieces
    };
    if let several @ [_, _, ..] = cut(" OR ").as_slice() {
        return several.iter().any(|piece| permits(piece, allowed));
    }
    if let several @ [_, _, ..] = cut(" AND ").as_slice() {
        return several.iter().all(|piece| permits(piece, allowed));
    }
    match text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => permits(inner, allowed),
        None => allowed.contains(text.as_str()),
    }
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = BTreeSet::from(["MIT", "ISC"]);
    for (expression, permitted) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("ISC AND (GPL-3.0 OR X)", false),
        ("", false),
    ] {
        assert_eq!(permits(expression, &allowed), permitted, "{expression}");
    }
}

#[test]
fn what_is_built_has_licences_that_may_be_and_one_crypto_provider() {
    let rules = rules();
    let allowed = texts(&rules["licenses"]["allow"]);
    let tree = tree();
    let mut used = BTreeMap::new();
    for line in tree.lines() {
        let (package, licence) = line.split_once('\t').unwrap();
        let package = package.trim_start_matches(|c: char| c.is_ascii_digit());
        let licence = licence.trim_end_matches(" (*)");
        assert!(permits(licence, &allowed), "{package} is {licence}");
        used.insert(package.split(' ').next().unwrap().to_owned(), licence.to_owned());
    }
    assert!(used.len() > 150 && used.contains_key("aws-lc-rs"), "{} packages are built: the tree was not read", used.len());
    for banned in ["ring", "openssl-sys", "native-tls"] {
        assert!(!used.contains_key(banned), "{banned} is built");
    }
}

#[test]
fn an_advisory_is_passed_over_only_with_a_reason_that_holds() {
    let rules = rules();
    let ignored = rules["advisories"]["ignore"].as_array().unwrap();
    let ids: Vec<&str> = ignored.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["RUSTSEC-2023-0071"]);
    // Marvin takes the timing of private-key operations. None of ours is `rsa`'s: what of it is named encodes, or makes keys.
    let mut seen = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/jose")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let production = text.split("#[cfg(test)]").next().unwrap();
        for line in production.lines().filter(|line| line.contains("rsa::")) {
            seen += 1;
            let operation = ["Pkcs1v15Sign", "SigningKey", "pkcs1v15", "pss", "Oaep", "decrypt", "sign"].iter().find(|word| line.contains(**word));
            assert!(operation.is_none(), "{}: {line}", path.display());
        }
    }
    assert!(seen > 0, "nobody names rsa in src/jose: the search is broken");
}

#[test]
fn the_bill_of_materials_is_cyclonedx_and_says_what_is_built() {
    let tree = tree();
    let bill: Value = serde_json::from_str(&sbom::document(&tree, &read("Cargo.lock")).unwrap()).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"], &bill["version"]), (&"CycloneDX".into(), &"1.5".into(), &1.into()));
    let main = &bill["metadata"]["component"];
    assert_eq!((&main["type"], &main["name"], &main["version"]), (&"application".into(), &"helsebro".into(), &env!("CARGO_PKG_VERSION").into()));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut known = BTreeSet::from([text(&main["bom-ref"])]);
    for component in bill["components"].as_array().unwrap() {
        assert_eq!(component["type"], "library");
        let purl = text(&component["purl"]);
        assert_eq!(purl, format!("pkg:cargo/{}@{}", text(&component["name"]), text(&component["version"]).replace('+', "%2B")));
        assert!(known.insert(text(&component["bom-ref"])), "{purl} stands there twice");
        assert!(!text(&component["licenses"][0]["expression"]).is_empty());
        let hash = &component["hashes"][0];
        assert_eq!(hash["alg"], "SHA-256");
        let content = text(&hash["content"]);
        assert!(content.len() == 64 && content.bytes().all(|b| b.is_ascii_hexdigit()), "{purl}: {content}");
    }
    let mut told = BTreeSet::new();
    for dependency in bill["dependencies"].as_array().unwrap() {
        assert!(told.insert(text(&dependency["ref"])));
        let needs: Vec<String> = dependency["dependsOn"].as_array().unwrap().iter().map(text).collect();
        assert!(needs.iter().all(|need| known.contains(need)), "{dependency}");
        assert_eq!(needs.len(), needs.iter().collect::<BTreeSet<_>>().len(), "{dependency}");
    }
    assert_eq!(told, known, "each component says what it needs");
    // Every direct dependency of the manifest is there; those of tests are not.
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let has = |name: &str| known.iter().any(|purl| purl.starts_with(&format!("pkg:cargo/{name}@")));
    let by_default: BTreeSet<&str> = texts(&manifest["features"]["default"]).into_iter().flat_map(|feature| texts(&manifest["features"][feature])).collect();
    for (direct, how) in manifest["dependencies"].as_table().unwrap() {
        // What a feature brings that is not on by default is in no default build, and so not in its bill.
        let optional = how.get("optional").is_some_and(|optional| optional.as_bool().unwrap());
        assert_eq!(has(direct), !optional || by_default.contains(format!("dep:{direct}").as_str()), "{direct}");
    }
    assert!(!has("insta") && !has("proptest"), "what only tests need is in the bill");
    assert!(!bill.to_string().contains(env!("CARGO_MANIFEST_DIR")), "the bill names a place on this machine");
}
