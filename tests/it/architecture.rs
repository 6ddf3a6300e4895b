//! What each folder of `src` may name: the layers, as a table that fails.
//!
//! One crate has no walls inside, so this file is the wall. It reads the sources as text, leaves out comments, literals and tests
//! (a test may look anywhere), and compares every path that begins at the crate's root, or in another crate, with the tables below.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder (or file) right under `src`, what it may name with `crate::`, and why. It may always name itself and the leaves.
/// A row names rows above it only: data flows down the drawing in `src/lib.rs` and never back up.
const MAY_NAME: &[(&str, &[&str], &str)] = &[
    ("protocol", &[], "words on the wire: what they mean is somebody else's business"),
    ("jose", &["protocol"], "signatures know claims and nothing of what they allow"),
    ("domain", &["protocol", "jose"], "rules over words; keys and algorithms are part of a registration"),
    ("config", &["protocol", "jose", "domain"], "turns a file into domain types; nobody below reads a file"),
    ("store", &["protocol", "domain"], "typed records are domain values; a back end knows none of them"),
    ("fetch", &["protocol", "jose"], "documents of clients: key sets above all"),
    ("fhir_client", &["protocol", "fetch"], "how we read the EHR's FHIR server; references are words, TLS settings come from fetch"),
    ("upstream", &["protocol", "jose", "domain", "fetch"], "the identity provider behind us, as its client; what its answers are worth is domain's word"),
    ("audit", &["protocol", "jose", "domain", "fetch"], "records of decisions: their form is domain's, and sending them on is a fetch the other way"),
    (
        "engine",
        &["protocol", "jose", "domain", "store", "fetch", "fhir_client", "upstream", "audit"],
        "the use cases: load, ask domain, commit, answer; what is learned on the way is noted for the record (audit)",
    ),
    (
        "http",
        &["protocol", "jose", "domain", "store", "fhir_client", "upstream", "audit", "engine"],
        "renders what engine answers: algorithm names in metadata (jose), outages and the operations view of the store (store), \
         the picker's search words (fhir_client), the state of the upstream (upstream), a record where it answers (audit)",
    ),
    ("fhir", &["protocol", "jose"], "a peer: learns what a token is worth by introspection, like anyone else, and checks the proof that comes with it"),
    ("helseid", &["protocol", "jose"], "a foreign identity provider: it shares our words and none of our rules"),
    ("demo", &["protocol", "jose"], "foreign parties: they speak HTTP, so that a bug cannot agree with itself"),
    (
        "entry",
        &["protocol", "jose", "domain", "config", "store", "fetch", "fhir_client", "upstream", "audit", "http", "fhir"],
        "lists every parser that reads from the network, for the fuzz targets and their bounded run; nobody calls it otherwise",
    ),
    ("app", &["*"], "the composition root, the one that knows everyone"),
    (
        "cli",
        &["config", "domain", "store", "audit", "app"],
        "starts what app composes, reads what config checks, tells a store in use from a broken one, and reads logs (audit, domain)",
    ),
    ("main", &["cli"], "one line"),
];

/// Open to all: values, time, chance, sockets, the trace a request belongs to, and what is counted.
const LEAVES: &[&str] = &["secret", "time", "random", "listen", "trace", "metrics"];

/// A foreign crate, where its types stop, and why.
const OWNERS: &[(&str, &[&str], &str)] = &[
    ("axum", &["http", "fhir", "helseid", "demo", "listen", "entry", "app"], "servers only; a rule that knows a request is in the wrong place"),
    ("hyper", &["listen"], "the accept loop is written once"),
    ("hyper_util", &["listen"], "the accept loop is written once"),
    ("askama", &["http", "helseid", "demo"], "whoever has pages"),
    ("jsonwebtoken", &["jose"], "its provider is ours and set once a process"),
    ("rsa", &["jose"], "it encodes keys; it must never come near a signature"),
    ("aws_lc_rs", &["jose", "secret", "random", "demo", "helseid"], "digests, chance and signatures; the demo app seals its own cookie"),
    (
        "reqwest",
        &["fetch", "audit", "fhir_client", "upstream", "fhir", "helseid", "demo", "cli", "app"],
        "whoever calls out, and the command line to a running server",
    ),
    ("prometheus_client", &["metrics"], "whoever counts says what happened, not how that is written down"),
    ("redb", &["store"], "one back end among several"),
    ("redis", &["store"], "another one"),
    ("oauth2", &["demo"], "an app's libraries, not ours: they check us"),
    ("openidconnect", &["demo"], "an app's libraries, not ours: they check us"),
    ("toml", &["config", "app"], "nothing past a configuration is a table of text; app reads the mock's own"),
    ("clap", &["cli"], "the command line"),
    ("clap_complete", &["cli"], "and what shells know of it"),
    ("opentelemetry", &["trace", "cli"], "spans are named where they happen, and all else about them is settled in two places"),
    ("opentelemetry_sdk", &["cli"], "where spans go is the process's choice, as it is for logs"),
    ("opentelemetry_otlp", &["cli"], "where spans go is the process's choice, as it is for logs"),
    ("opentelemetry_http", &["cli"], "they go by our own HTTP client"),
    ("tracing_opentelemetry", &["trace", "cli"], "spans are named where they happen, and all else about them is settled in two places"),
    ("tracing_subscriber", &["cli"], "where the log goes is the process's choice; everybody else only writes to it"),
];

/// Functions that may be called in one place, and the file.
const ONE_PLACE: &[(&[&str], &str)] = &[(&["SystemTime", "::", "now"], "time.rs")];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

#[test]
fn every_folder_names_only_what_lies_below_it() {
    let sources = sources();
    assert!(sources.len() > 50, "only {} files were read: the walk is broken", sources.len());
    let breaches: Vec<String> = sources.iter().flat_map(|(path, text)| breaches(path, text)).map(|breach| breach.to_string()).collect();
    assert!(breaches.is_empty(), "{} wrong names:\n  {}", breaches.len(), breaches.join("\n  "));
}

#[test]
fn every_folder_has_a_row_and_every_row_a_folder() {
    let folders: BTreeSet<String> = sources().iter().map(|(path, _)| folder(path)).filter(|folder| folder != "lib").collect();
    let rows: BTreeSet<String> = MAY_NAME.iter().map(|(name, ..)| *name).chain(LEAVES.iter().copied()).map(str::to_owned).collect();
    assert_eq!(folders, rows);
}

#[test]
fn a_row_names_rows_above_it_only() {
    for (at, (name, allowed, why)) in MAY_NAME.iter().enumerate() {
        assert!(!why.is_empty());
        for other in allowed.iter().filter(|other| **other != "*") {
            let above = MAY_NAME.iter().position(|(row, ..)| row == other).unwrap_or_else(|| panic!("{name} may name {other}, which is no row"));
            assert!(above < at, "{name} may name {other}, which stands below it");
        }
    }
}

#[test]
fn an_owned_crate_is_used_by_somebody() {
    let used: BTreeSet<String> = sources()
        .iter()
        .flat_map(|(_, text)| paths(&production(text), &OWNERS.iter().map(|(name, ..)| *name).collect::<Vec<_>>()))
        .map(|(root, ..)| root)
        .collect();
    for (name, ..) in OWNERS {
        assert!(used.contains(*name), "nobody uses {name}: its row says nothing");
    }
}

#[test]
fn a_wrong_name_is_noticed_however_it_is_written() {
    let told = |path: &str, text: &str| breaches(Path::new(path), text).into_iter().map(|breach| (breach.line, breach.what)).collect::<Vec<_>>();
    for (path, text, what) in [
        ("protocol/ids.rs", "use crate::engine::Engine;", "protocol names crate::engine"),
        ("protocol/ids.rs", "\nuse crate :: {secret::Secret,\n  domain::{client::Client, grant}};", "protocol names crate::domain"),
        ("domain/client.rs", "fn f() -> crate::store::Store { todo() }", "domain names crate::store"),
        ("fhir/access.rs", "pub(crate) use crate::domain as rules;", "fhir names crate::domain"),
        ("domain/grant.rs", "use super::super::store::Store;", "domain names crate::store"),
        ("domain/mod.rs", "use super::store;", "domain names crate::store"),
        ("http/mod.rs", "use crate::nothing::X;", "http names crate::nothing"),
        ("main.rs", "fn main() { helsebro::app::start() }", "main names crate::app"),
        ("domain/grant.rs", "use axum::Router;", "domain uses axum"),
        ("engine/live.rs", "fn f(_: ::redb::Database) {}", "engine uses redb"),
        ("http/token.rs", "use { jsonwebtoken::decode, std::fmt };", "http uses jsonwebtoken"),
        ("jose/verify.rs", "let now = std::time::SystemTime::now();", "SystemTime::now belongs in src/time.rs"),
        ("http/a.rs", "const T: &str = \"{\"; // }\n#[cfg(test)]\nmod tests { fn f() { let _ = \"}\"; } }\nuse crate::app::demo;", "http names crate::app"),
    ] {
        let found = told(path, text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0].1, what, "{text}");
    }
    assert_eq!(told("protocol/ids.rs", "// one\n/* two\n*/ use crate::http;"), [(3, "protocol names crate::http".to_owned())]);
}

#[test]
fn what_only_looks_like_a_name_is_left_alone() {
    for (path, text) in [
        ("protocol/ids.rs", "//! As `crate::engine::Engine` does.\nuse crate::secret::Secret; use crate::protocol::scope;"),
        ("protocol/ids.rs", "const T: &str = \"crate::engine\"; const R: &str = r#\"use \"crate::engine\";\"#; const C: char = '\"';"),
        ("domain/grant.rs", "use super::client::Client; use http::StatusCode; fn f<'axum>(_: &'axum str) {}"),
        ("domain/client.rs", "#[cfg(test)]\nmod tests {\n    use crate::engine::Engine;\n    fn f() -> axum::Router { loop {} }\n}"),
        ("http/texts/scopes.rs", "use super::super::pages;"),
        ("http/token.rs", "use crate::{engine::Engine, protocol::{self, error::OAuthError}};"),
        ("time.rs", "let now = SystemTime::now();"),
        ("app/server.rs", "use crate::{cli, http, demo};"),
    ] {
        assert_eq!(breaches(Path::new(path), text), [], "{text}");
    }
}

/// Every source that is part of the program, by its path under `src`.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    let tests: BTreeSet<PathBuf> = found.iter().flat_map(|(path, text)| test_files(path, text)).collect();
    found.retain(|(path, _)| !tests.contains(path));
    found.sort();
    found
}

/// The files a source declares as `#[cfg(test)] mod name;`, with or without a `#[path]`.
fn test_files(path: &Path, text: &str) -> Vec<PathBuf> {
    let beside = path.parent().unwrap_or(Path::new(""));
    let own = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") | None => beside.to_owned(),
        Some(stem) => beside.join(stem),
    };
    let mut files = Vec::new();
    for (at, _) in text.match_indices("#[cfg(test)]") {
        let mut rest = text[at + "#[cfg(test)]".len()..].trim_start();
        let mut named = None;
        if let Some(attribute) = rest.strip_prefix("#[path = \"") {
            let (file, after) = attribute.split_once("\"]").unwrap();
            named = Some(file);
            rest = after.trim_start();
        }
        let declared = ["mod ", "pub mod ", "pub(super) mod ", "pub(crate) mod "].iter().find_map(|start| rest.strip_prefix(start));
        let Some((name, _)) = declared.and_then(|rest| rest.split_once(';')).filter(|(name, _)| !name.contains('{')) else { continue };
        match named {
            Some(file) => files.push(beside.join(file)),
            None => files.extend([own.join(format!("{name}.rs")), own.join(name).join("mod.rs")]),
        }
    }
    files
}

/// The folder or file right under `src` that a path belongs to.
fn folder(path: &Path) -> String {
    let first = path.components().next().unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned()
}

/// How many `super::` lead from the file's module to the crate's root.
fn depth(path: &Path) -> usize {
    let parts = path.components().count();
    if path.file_stem().is_some_and(|stem| stem == "mod") { parts - 1 } else { parts }
}

fn breaches(path: &Path, text: &str) -> Vec<Breach> {
    let own = folder(path);
    if own == "lib" {
        return Vec::new();
    }
    let tokens = production(text);
    let allowed: &[&str] = MAY_NAME.iter().find(|(name, ..)| *name == own).map_or(&[], |(_, allowed, _)| allowed);
    let breach = |line: usize, what: String| Breach { file: path.to_owned(), line, what };
    let mut found = BTreeSet::new();
    for (line, name) in names_from_root(&tokens, depth(path)) {
        let open = name == own || allowed.contains(&"*") || allowed.contains(&name.as_str()) || LEAVES.contains(&name.as_str());
        if !open {
            found.insert(breach(line, format!("{own} names crate::{name}")));
        }
    }
    let owned: Vec<&str> = OWNERS.iter().map(|(name, ..)| *name).collect();
    for (name, line) in paths(&tokens, &owned) {
        if OWNERS.iter().any(|(owner_of, owners, _)| *owner_of == name && !owners.contains(&own.as_str())) {
            found.insert(breach(line, format!("{own} uses {name}")));
        }
    }
    for (call, home) in ONE_PLACE {
        for window in tokens.windows(call.len()) {
            if path != Path::new(home) && window.iter().map(|(text, _)| text.as_str()).eq(call.iter().copied()) {
                found.insert(breach(window[0].1, format!("{} belongs in src/{home}", call.concat())));
            }
        }
    }
    found.into_iter().collect()
}

type Token = (String, usize);

fn text_at(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |(text, _)| text.as_str())
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// What is named right under the crate's root, with its line: by `crate::`, by `helsebro::`, or by as many `super::` as lead there.
fn names_from_root(tokens: &[Token], depth: usize) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = at == 0 || text_at(tokens, at - 1) != "::";
        let mut next = at;
        match text_at(tokens, at) {
            "crate" | "helsebro" if begins && text_at(tokens, at + 1) == "::" => next = at + 2,
            "super" if begins => {
                let mut climbed = 0;
                while text_at(tokens, next) == "super" && text_at(tokens, next + 1) == "::" {
                    climbed += 1;
                    next += 2;
                }
                // A module inside the file is one deeper; its `super`s then end in the folder, which its row allows.
                if climbed < depth {
                    at = next.max(at + 1);
                    continue;
                }
            }
            _ => {}
        }
        if next == at {
            at += 1;
            continue;
        }
        if text_at(tokens, next) == "{" {
            let mut open = 0usize;
            let mut first = true;
            for (text, line) in &tokens[next..] {
                match text.as_str() {
                    "{" => open += 1,
                    "}" => open -= 1,
                    "," if open == 1 => first = true,
                    word if open == 1 && first => {
                        first = false;
                        names.push((*line, word.to_owned()));
                    }
                    _ => {}
                }
                if open == 0 {
                    break;
                }
            }
        } else if is_word(text_at(tokens, next)) {
            names.push((tokens[next].1, tokens[next].0.clone()));
        }
        at = next;
    }
    names
}

/// Where a path begins with one of these crates, with its line.
fn paths(tokens: &[Token], roots: &[&str]) -> Vec<(String, usize)> {
    let begins = |at: usize| at == 0 || text_at(tokens, at - 1) != "::" || at == 1 || !is_word(text_at(tokens, at - 2));
    let is_path = |at: usize| text_at(tokens, at + 1) == "::" || at > 0 && text_at(tokens, at - 1) == "use";
    (0..tokens.len()).filter(|at| roots.contains(&text_at(tokens, *at)) && begins(*at) && is_path(*at)).map(|at| tokens[at].clone()).collect()
}

/// The tokens of a source without its comments, literals and `#[cfg(test)] mod … { … }`.
fn production(text: &str) -> Vec<Token> {
    let tokens = tokens(text);
    let mut kept: Vec<Token> = Vec::new();
    let test = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut at = 0;
    while at < tokens.len() {
        let marked = tokens[at..].iter().map(|(text, _)| text.as_str()).take(test.len()).eq(test);
        let end = if marked { end_of_item(&tokens, at + test.len()) } else { None };
        match end {
            Some(end) => at = end,
            None => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// Behind the item that begins here: after its closing brace, or its semicolon where it has no braces.
fn end_of_item(tokens: &[Token], from: usize) -> Option<usize> {
    let mut open = 0usize;
    for (at, (text, _)) in tokens.iter().enumerate().skip(from) {
        match text.as_str() {
            "{" => open += 1,
            "}" if open <= 1 => return Some(at + 1),
            "}" => open -= 1,
            ";" if open == 0 => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Words, `::` and single characters, each with its line; comments and literals are left out.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (mut found, mut line, mut at) = (Vec::new(), 1, 0);
    while at < chars.len() {
        let from = at;
        let c = chars[at];
        match (c, get(at + 1)) {
            ('/', '/') => at += chars[at..].iter().take_while(|c| **c != '\n').count(),
            ('/', '*') => {
                let mut open = 1;
                at += 2;
                while at < chars.len() && open > 0 {
                    match (chars[at], get(at + 1)) {
                        ('/', '*') => (open, at) = (open + 1, at + 2),
                        ('*', '/') => (open, at) = (open - 1, at + 2),
                        _ => at += 1,
                    }
                }
            }
            ('"', _) => {
                at += 1;
                while at < chars.len() && chars[at] != '"' {
                    at += if chars[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
            }
            // A lifetime has no closing quote behind its first character; a literal has.
            ('\'', '\\') => at += 3 + chars[(at + 3).min(chars.len())..].iter().take_while(|c| **c != '\'').count() + 1,
            ('\'', _) if get(at + 2) == '\'' => at += 3,
            (':', ':') => {
                found.push(("::".to_owned(), line));
                at += 2;
            }
            _ if is_part(c) => {
                while is_part(get(at)) {
                    at += 1;
                }
                let word: String = chars[from..at].iter().collect();
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                if matches!(word.as_str(), "r" | "br" | "cr") && get(at + hashes) == '"' {
                    let end: String = format!("\"{}", "#".repeat(hashes));
                    at += hashes + 1;
                    while at < chars.len() && !chars[at..].iter().take(end.len()).copied().eq(end.chars()) {
                        at += 1;
                    }
                    at += end.len();
                } else {
                    found.push((word, line));
                }
            }
            _ => {
                if !c.is_whitespace() {
                    found.push((c.to_string(), line));
                }
                at += 1;
            }
        }
        line += chars[from..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}
