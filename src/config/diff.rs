//! What differs between two configurations, in words: one line for each key, by its path. Secrets are told as changed, never what they are.
//!
//! ```text
//! issuer[https://auth.example].client[epj].scopes: + patient/Observation.rs
//! issuer[https://auth.example].client[old]: removed
//! guess.window: "1m" → "2m"
//! server.ops_token: changed
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::node::Node;
use super::problem::{Findings, Place, may_be_shown};
use super::secrets::{Environment, SecretFile, SystemEnvironment};
use super::{Checked, Text, check};
use crate::secret::{Digest, Secret};

/// Keys whose value is a secret however it is written. What is a reference (`{ file = … }`) is one under any name.
const SECRETS: &[&str] = &[
    "ops_token",
    "ops_read_token",
    "password",
    "sentinel_password",
    "seal_key",
    "client_secret",
    "client_secrets",
    "client_key",
    "token",
    "headers",
    "ca_file",
];

/// By what an item of a list of tables is known.
const NAMED_BY: &[(&str, &str)] =
    &[("issuer", "url"), ("client", "client_id"), ("fhir", "base"), ("user", "fhir_user"), ("exchange", "name"), ("trusted", "issuer")];

/// What one key says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fact {
    Value(String),
    /// In their order.
    Listed(Vec<String>),
    Secret(Digest),
}

/// A configuration as it was written, for comparing it with another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written(BTreeMap<String, Fact>);

/// A configuration as it was read from disk.
#[derive(Debug)]
pub struct Loaded {
    pub checked: Checked,
    pub written: Written,
    /// Every file that was read for it, with the digest of what stood there.
    pub files: Vec<(PathBuf, Digest)>,
}

/// Each file as it was when it was first asked for: what is checked is what is compared.
struct OneReading {
    inner: SystemEnvironment,
    read: RefCell<BTreeMap<PathBuf, (Secret<String>, bool)>>,
}

impl OneReading {
    fn of(file: &Path) -> Self {
        Self { inner: SystemEnvironment::of_file(file), read: RefCell::default() }
    }
}

impl Environment for OneReading {
    fn variable(&self, name: &str) -> Option<Secret<String>> {
        self.inner.variable(name)
    }

    fn secret_file(&self, path: &Path) -> io::Result<SecretFile> {
        if let Some((text, exposed)) = self.read.borrow().get(path) {
            return Ok(SecretFile { text: text.clone(), exposed: *exposed });
        }
        let file = self.inner.secret_file(path)?;
        self.read.borrow_mut().insert(path.to_owned(), (file.text.clone(), file.exposed));
        Ok(file)
    }

    fn resolve(&self, path: &str) -> PathBuf {
        self.inner.resolve(path)
    }
}

/// Reads and checks a file and the client files beside it, as [`super::load`] does, and notes what is written there.
///
/// # Errors
/// Everything that is wrong in any of them, or that a file cannot be read.
pub fn load_written(path: &Path, clients: &[&Path]) -> Result<Loaded, Findings> {
    let mut found = Findings::default();
    let mut files = Vec::new();
    let mut texts = Vec::new();
    for path in std::iter::once(&path).chain(clients) {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => {
                files.push(((*path).to_owned(), Digest::of(text.as_bytes())));
                texts.push((name, text, OneReading::of(path)));
            }
            Err(error) => found.refuse(&Place::root(&name), format!("cannot be read: {error}")),
        }
    }
    let all: Vec<Text<'_>> = texts.iter().map(|(file, text, environment)| Text { file, text, environment }).collect();
    let [main, beside @ ..] = all.as_slice() else { return Err(found) };
    if !found.problems.is_empty() {
        return Err(found);
    }
    let checked = check(*main, beside)?;
    let written = written(&all);
    for (_, _, environment) in &texts {
        files.extend(environment.read.borrow().iter().map(|(path, (text, _))| (path.clone(), Digest::of(text.expose().as_bytes()))));
    }
    Ok(Loaded { checked, written, files })
}

/// What texts say that were checked: the first is the configuration, the others are of clients.
fn written(texts: &[Text<'_>]) -> Written {
    let mut facts = BTreeMap::new();
    let mut only_issuer = None;
    for (at, text) in texts.iter().enumerate() {
        let Some(tree) = Node::from_toml(text.file, text.text, &mut Findings::default()) else { continue };
        let Value::Object(mut tree) = tree.to_json() else { continue };
        let clients = tree.remove("client");
        if at == 0 {
            let issuers = tree.get("issuer").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            only_issuer = if let [only] = issuers { only.get("url").and_then(Value::as_str).map(str::to_owned) } else { None };
            let mut here = Noting { facts: &mut facts, environment: text.environment };
            here.table("", &tree);
        }
        let mut here = Noting { facts: &mut facts, environment: text.environment };
        for client in clients.as_ref().and_then(Value::as_array).into_iter().flatten() {
            here.client(client, only_issuer.as_deref());
        }
    }
    Written(facts)
}

/// The facts of one file.
struct Noting<'a> {
    facts: &'a mut BTreeMap<String, Fact>,
    environment: &'a dyn Environment,
}

impl Noting<'_> {
    fn table(&mut self, path: &str, table: &serde_json::Map<String, Value>) {
        for (key, value) in table {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.key(&path, key, value);
        }
    }

    fn key(&mut self, path: &str, key: &str, value: &Value) {
        match value {
            value if is_secret(key, value) => {
                let parts = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
                let digests: Vec<Digest> = parts.into_iter().map(|part| self.secret(key, part)).collect();
                let parts: Vec<&[u8]> = digests.iter().map(|digest| digest.bytes().as_slice()).collect();
                self.facts.insert(path.to_owned(), Fact::Secret(Digest::of_parts(&parts)));
            }
            Value::Object(table) if key == "jwks" => {
                let shown = Digest::of(Value::Object(table.clone()).to_string().as_bytes()).text();
                self.facts.insert(path.to_owned(), Fact::Value(format!("keys of digest {}", shown.get(..12).unwrap_or_default())));
            }
            Value::Object(table) => self.table(path, table),
            Value::Array(list) if list.iter().any(Value::is_object) => {
                let named_by = NAMED_BY.iter().find(|(list, _)| *list == key).map(|(_, name)| *name);
                let mut names = Vec::new();
                for (index, item) in list.iter().enumerate() {
                    let name = named_by.and_then(|name| item.get(name)).and_then(Value::as_str).map_or_else(|| index.to_string(), str::to_owned);
                    if let Value::Object(item) = item {
                        self.table(&format!("{path}[{name}]"), item);
                    }
                    names.push(name);
                }
                self.facts.insert(path.to_owned(), Fact::Listed(names));
            }
            Value::Array(list) => {
                self.facts.insert(path.to_owned(), Fact::Listed(list.iter().map(plain).collect()));
            }
            Value::String(text) if key == "scopes" => {
                self.facts.insert(path.to_owned(), Fact::Listed(text.split_whitespace().map(str::to_owned).collect()));
            }
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {
                self.facts.insert(path.to_owned(), Fact::Value(value.to_string()));
            }
        }
    }

    /// A client, under its issuer. One of a later file takes the place of one before.
    fn client(&mut self, client: &Value, only_issuer: Option<&str>) {
        let Value::Object(client) = client else { return };
        let text = |name: &str| client.get(name).and_then(Value::as_str);
        let (issuer, id) = (text("issuer").or(only_issuer).unwrap_or_default(), text("client_id").unwrap_or_default());
        let list = format!("issuer[{issuer}].client");
        let path = format!("{list}[{id}]");
        let below = format!("{path}.");
        self.facts.retain(|known, _| !known.starts_with(&below));
        let mut client = client.clone();
        client.remove("issuer");
        self.table(&path, &client);
        if let Fact::Listed(ids) = self.facts.entry(list).or_insert_with(|| Fact::Listed(Vec::new()))
            && !ids.iter().any(|known| known == id)
        {
            // By name: the order of clients means nothing.
            ids.push(id.to_owned());
            ids.sort_unstable();
        }
    }

    fn secret(&self, key: &str, value: &Value) -> Digest {
        let of = |name: &str| value.get(name).and_then(Value::as_str);
        let path = of("file").or(if key == "ca_file" { value.as_str() } else { None });
        if let Some(path) = path {
            // Read when it was checked, so it is there.
            let text = self.environment.secret_file(&self.environment.resolve(path)).map(|file| file.text);
            return text.map_or_else(|_| Digest::of(path.as_bytes()), |text| trimmed(&text));
        }
        match of("env") {
            Some(name) => self.environment.variable(name).map_or_else(|| Digest::of(name.as_bytes()), |text| trimmed(&text)),
            None => Digest::of(plain(value).as_bytes()),
        }
    }
}

fn trimmed(text: &Secret<String>) -> Digest {
    Digest::of(text.expose().trim_end_matches(['\n', '\r']).as_bytes())
}

fn is_secret(key: &str, value: &Value) -> bool {
    let reference = |value: &Value| value.as_object().is_some_and(|table| table.len() == 1 && (table.contains_key("file") || table.contains_key("env")));
    SECRETS.contains(&key) || reference(value)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value as a reader may see it.
fn shown(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(120).collect();
    if may_be_shown(&text) { text } else { "(not shown)".to_owned() }
}

/// The differences from one to another, by path. Nothing where they say the same.
pub fn differences(old: &Written, new: &Written) -> Vec<String> {
    let lists = |written: &Written, path: &str, name: &str| match written.0.get(path) {
        Some(Fact::Listed(names)) => names.iter().any(|known| known == name),
        _ => false,
    };
    // What came or went whole is told once, by its name.
    let whole = |path: &str| {
        let mut from = 0;
        while let Some(open) = path.get(from..).and_then(|rest| rest.find('[')).map(|open| open + from) {
            let Some(close) = close_of(path, open) else { return false };
            let (list, name) = (path.get(..open).unwrap_or_default(), path.get(open + 1..close).unwrap_or_default());
            if lists(old, list, name) != lists(new, list, name) {
                return true;
            }
            from = close;
        }
        false
    };
    let mut paths: Vec<&String> = old.0.keys().chain(new.0.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut told = Vec::new();
    for path in paths {
        let (before, after) = (old.0.get(path), new.0.get(path));
        if before != after && !whole(path) {
            tell(path, before, after, &mut told);
        }
    }
    told
}

/// Where the bracket that opens there is closed: the last one before a dot or the end, since names may hold brackets of their own.
fn close_of(path: &str, open: usize) -> Option<usize> {
    let rest = path.get(open..)?;
    rest.find("].").or_else(|| rest.ends_with(']').then(|| rest.len() - 1)).map(|at| at + open)
}

fn tell(path: &str, before: Option<&Fact>, after: Option<&Fact>, told: &mut Vec<String>) {
    let empty: &[String] = &[];
    let listed = |fact: Option<&Fact>| match fact {
        Some(Fact::Listed(list)) => Some(list.clone()),
        None => Some(empty.to_vec()),
        Some(Fact::Value(_) | Fact::Secret(_)) => None,
    };
    let is_list = matches!(before.or(after), Some(Fact::Listed(_)));
    if let (true, Some(old), Some(new)) = (is_list, listed(before), listed(after)) {
        let of_tables = path.rsplit('.').next().is_some_and(|key| NAMED_BY.iter().any(|(list, _)| *list == key));
        let gone = old.iter().filter(|item| !new.contains(item));
        let come = new.iter().filter(|item| !old.contains(item));
        if of_tables {
            told.extend(gone.map(|item| format!("{path}[{item}]: removed")));
            told.extend(come.map(|item| format!("{path}[{item}]: added")));
        } else {
            let changes: Vec<String> = gone.map(|item| format!("- {}", shown(item))).chain(come.map(|item| format!("+ {}", shown(item)))).collect();
            if !changes.is_empty() {
                told.push(format!("{path}: {}", changes.join(", ")));
            }
        }
        let stay = |list: &[String], other: &[String]| list.iter().filter(|item| other.contains(item)).cloned().collect::<Vec<_>>();
        if stay(&old, &new) != stay(&new, &old) {
            told.push(format!("{path}: in another order"));
        }
        return;
    }
    let value = |fact: Option<&Fact>| match fact {
        None => "(left out)".to_owned(),
        Some(Fact::Value(text)) => shown(text),
        Some(Fact::Listed(list)) => shown(&list.join(", ")),
        Some(Fact::Secret(_)) => "(secret)".to_owned(),
    };
    told.push(match (before, after) {
        (Some(Fact::Secret(_)), Some(Fact::Secret(_))) => format!("{path}: changed"),
        (None, Some(Fact::Secret(_))) => format!("{path}: set"),
        (Some(Fact::Secret(_)), None) => format!("{path}: left out"),
        _ => format!("{path}: {} → {}", value(before), value(after)),
    });
}

/// What `config diff OLD NEW` prints, and whether both files hold.
pub fn diff_report(old: &Path, new: &Path, clients: &[&Path]) -> (String, bool) {
    match (load_written(old, clients), load_written(new, clients)) {
        (Ok(old), Ok(new)) => {
            let told = differences(&old.written, &new.written);
            let restart = super::restart::needed(&old.checked.config, &new.checked.config);
            let mut out = if told.is_empty() { "They say the same.\n".to_owned() } else { told.iter().map(|line| format!("{line}\n")).collect() };
            if !restart.is_empty() {
                out.push_str(&format!("needs a restart: {}\n", restart.join(", ")));
            }
            (out, true)
        }
        (old, new) => (old.err().into_iter().chain(new.err()).map(|found| found.to_string()).collect(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_read_as_a_secret_is_told_as_one() {
        let raw = include_str!("raw.rs");
        let named =
            raw.split(": ").zip(raw.split(": ").skip(1)).filter(|(_, after)| after.starts_with("RawSecret") || after.starts_with("Vec<Placed<RawSecret"));
        let names: Vec<&str> = named.filter_map(|(before, _)| before.rsplit([' ', '\n']).next()).collect();
        assert!(names.len() >= 10, "{names:?}");
        for name in names {
            assert!(SECRETS.contains(&name), "{name} is shown where it changes");
        }
    }
}
