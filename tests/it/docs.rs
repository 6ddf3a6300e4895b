//! The documents against the sources: what they name exists, and what must be listed is listed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use helsebro::protocol::launch_request::Member;
use helsebro::store::Kind;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file under a folder with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|ext| ext == extension) {
            found.push(path);
        }
    }
    found
}

fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = files(&root().join("docs"), "md");
    paths.extend(["README.md", "CHANGELOG.md", "SECURITY.md", "keys/README.md", "packaging/README.md"].map(|name| root().join(name)));
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// The `code` spans of a text, without those in fenced blocks.
fn spans(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// Whether a span names a file or folder of this repository.
fn is_path(span: &str) -> bool {
    let first = span.split('/').next().unwrap_or_default();
    let ours = matches!(first, "src" | "tests" | "docs" | "config" | "templates" | "xtask" | "data" | "keys" | "fuzz" | "packaging" | ".ci" | ".cargo");
    ours && span.contains('/') && !span.contains([' ', '{', '*', '…', '<'])
}

#[test]
fn every_file_a_document_names_is_there() {
    let mut seen = 0;
    for (path, text) in documents() {
        for span in spans(&text).into_iter().filter(|span| is_path(span)) {
            seen += 1;
            assert!(root().join(span).exists(), "{} names {span}, which is not there", path.display());
        }
    }
    assert!(seen > 50, "only {seen} paths were found: the search is broken");
}

#[test]
fn every_link_leads_somewhere() {
    let mut seen = 0;
    for (path, text) in documents() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            seen += 1;
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let there = fs::read_to_string(&target).unwrap_or_else(|_| panic!("{} links to {link}, which is not there", path.display()));
            let anchor =
                |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-").replace([',', '.', '`', '/', ':', '\'', '(', ')'], "");
            let found = heading.is_none_or(|heading| there.lines().any(|line| line.starts_with('#') && anchor(line) == heading));
            assert!(found, "{} links to {link}, which has no such heading", path.display());
        }
    }
    assert!(seen > 10, "only {seen} links were found: the search is broken");
}

/// The names of every test function, here and beside the sources.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files(&root().join("src"), "rs").into_iter().chain(files(&root().join("tests"), "rs")) {
        let text = fs::read_to_string(path).unwrap();
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if let Some((before, name)) = line.split_once("fn ").filter(|_| marked) {
                if matches!(before.trim(), "" | "async" | "pub" | "pub async") {
                    names.insert(name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
                }
                marked = false;
            }
        }
    }
    names
}

/// The cells of the tables of the map, without headings and rulers.
fn rows(map: &str) -> Vec<Vec<&str>> {
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let map: &'static str = map.to_owned().leak();
    map.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---"))
        .map(cells)
        .filter(|cells| cells[0] != "Requirement" && cells[0] != "Standard")
        .collect()
}

#[test]
fn every_proof_in_the_map_is_one() {
    let seen = proofs("docs/rfc-map.md");
    assert!(seen > 50, "only {seen} proofs were found: the search is broken");
}

#[test]
fn every_measure_against_a_threat_has_a_test_that_is_there_or_says_that_it_has_none() {
    let seen = proofs("docs/security.md");
    assert!(seen > 150, "only {seen} proofs were found: the search is broken");
    let text = read("docs/security.md");
    let measures: Vec<Vec<&str>> = rows(&text).into_iter().filter(|cells| cells.len() == 4).collect();
    assert!(measures.len() > 60, "only {} measures were found: the search is broken", measures.len());
    for cells in measures.iter().filter(|cells| cells[3] != "Proved by") {
        let proved = cells[3].contains('`') || ["none: ", "reading", "operator"].iter().any(|word| cells[3].starts_with(word));
        assert!(proved, "{}: nothing says what proves it", cells[0]);
        assert_eq!(cells[2] == "–", cells[3].starts_with("none: "), "{}: files, or none", cells[0]);
    }
    // RFC 9700 has nothing between 2.1 and 2.6, nor between 4.1 and 4.17, that is passed over.
    let part = text.split("\n## RFC 9700").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut sections: Vec<String> = rows(part)
        .into_iter()
        .filter_map(|cells| cells[0].strip_prefix('§').map(|number| number.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")))
        .collect();
    sections.dedup();
    let expected: Vec<String> = (1..=6).map(|n| format!("2.{n}")).chain((1..=17).map(|n| format!("4.{n}"))).collect();
    assert_eq!(sections, expected);
}

/// How many proofs a document names; all of them must be there.
fn proofs(document: &str) -> usize {
    let map = read(document);
    let tests = tests();
    assert!(tests.len() > 100, "only {} tests were found: the search is broken", tests.len());
    let walk: String = files(&root().join("src/demo/walk"), "rs").into_iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut seen = 0;
    for span in spans(&map) {
        let is_test = span.contains('_') && span.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if let Some(step) = span.strip_prefix("walk: ").filter(|step| *step != "…") {
            assert!(walk.contains(&format!("\"{step}\"")), "no step of the walk-through is called {step:?}");
            seen += 1;
        } else if is_test && !WIRE_WORDS.contains(&span) {
            assert!(tests.contains(span), "{span} is no test");
            seen += 1;
        }
    }
    seen
}

/// Words of the standards that look like the name of a test.
const WIRE_WORDS: &[&str] = &[
    "dpop_jkt",
    "request_uri",
    "redirect_uri",
    "expires_in",
    "id_token_hint",
    "auth_time",
    "fhir_user",
    "client_id",
    "client_secret_basic",
    "max_age",
    "login_hint",
    "ui_locales",
    "authorization_details",
    "response_mode",
    "form_post",
    "end_session_endpoint",
    "online_access",
    "offline_access",
    "private_key_jwt",
    "at_hash",
    "refresh_ttl",
    "start_url",
    "may_act",
    "wait_replicas",
    "ops_token",
    "ops_read_token",
    "invalid_grant",
];

#[test]
fn a_row_of_the_map_has_files_and_a_proof_or_says_that_it_has_none() {
    for cells in rows(&read("docs/rfc-map.md")).into_iter().filter(|cells| cells.len() == 4) {
        let proved = cells[3].contains('`') || ["reading", "not yet", "left out on purpose", "the EPJ's"].iter().any(|word| cells[3].contains(word));
        assert!(proved, "{}: nothing says what proves it", cells[0]);
        assert_eq!(cells[2] == "–", !cells[2].contains('`'), "{}: files or a dash", cells[0]);
        if cells[2] == "–" {
            assert!(!cells[3].starts_with('`') && !cells[3].contains("reading"), "{}: proved without a file", cells[0]);
        }
    }
}

#[test]
fn the_map_leaves_no_requirement_out_and_names_none_twice() {
    let map = read("docs/rfc-map.md");
    for (prefix, there) in [("SAL-", vec![1..=13, 20..=49, 60..=92, 100..=117, 120..=126, 140..=152]), ("NAV-", vec![1..=51, 60..=72, 80..=93])] {
        let expected: Vec<u32> = there.into_iter().flatten().collect();
        let mut listed = Vec::new();
        for cells in rows(&map) {
            let Some(range) = cells[0].strip_prefix(prefix) else { continue };
            let (from, to) = range.split_once('…').unwrap_or((range, range));
            listed.extend(from.parse::<u32>().unwrap()..=to.parse::<u32>().unwrap());
        }
        assert_eq!(listed, expected, "{prefix}");
    }
}

#[test]
fn every_member_of_a_launch_is_explained() {
    let text = read("docs/launch-api.md");
    for member in Member::ALL {
        assert!(text.contains(&format!("| `{member}` |")), "docs/launch-api.md says nothing about {member}");
    }
}

#[test]
fn every_kind_of_record_is_explained() {
    let text = read("docs/architecture.md");
    let table: String = text.split("## What is remembered").nth(1).unwrap().split("\n## ").next().unwrap().to_owned();
    for kind in Kind::ALL {
        assert!(table.contains(&format!("`{kind}`")), "docs/architecture.md says nothing about {kind}");
    }
}

#[test]
fn every_folder_of_the_sources_is_explained() {
    let text = read("docs/architecture.md");
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let stem = name.trim_end_matches(".rs");
        let explained = text.contains(&format!("`src/{stem}/`")) || text.contains(&format!("`src/{stem}.rs`")) || matches!(stem, "main" | "lib");
        assert!(explained, "docs/architecture.md says nothing about src/{name}");
    }
}

#[test]
fn decisions_are_numbered_without_gaps_listed_and_say_what_would_change_them() {
    let list = read("docs/architecture.md");
    let mut names: Vec<String> = files(&root().join("docs/adr"), "md").iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    for (number, name) in (1..).zip(&names) {
        assert!(name.starts_with(&format!("{number:04}-")), "{name} is not number {number}");
        assert!(list.contains(&format!("(adr/{name})")), "docs/architecture.md does not list {name}");
        let text = read(&format!("docs/adr/{name}"));
        let last = text.lines().rfind(|line| line.starts_with("## ")).unwrap();
        assert_eq!(last, "## What would change our mind", "{name}");
        assert!(text.lines().count() <= 70, "{name} is longer than a page");
    }
}
