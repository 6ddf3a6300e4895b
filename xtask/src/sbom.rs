//! A bill of materials of the program in CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>): what is linked into it or builds it, with licences,
//! hashes and who needs whom. Texts in, text out: the same source gives the same document, with no time and no machine in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What `cargo tree` is asked to print, one package a line: depth, name, version, licence.
pub const TREE: &[&str] =
    &["tree", "--package", "helsebro", "--edges", "normal,build", "--prefix", "depth", "--format", "{p}\t{l}", "--locked", "--charset", "ascii"];

/// A package by name and version, which is what tells two of them apart here.
type Id = (String, String);

#[derive(Default)]
struct Package {
    licence: String,
    needs: BTreeSet<Id>,
}

/// The document, from what [`TREE`] printed and from `Cargo.lock`.
///
/// # Errors
/// A line that cannot be read, in one sentence: better no document than one with holes.
pub fn document(tree: &str, lock: &str) -> Result<String, String> {
    let (root, packages) = read_tree(tree)?;
    let hashes = read_lock(lock);
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for (id, package) in &packages {
        let needs: Vec<String> = package.needs.iter().map(|other| quoted(&purl(other))).collect();
        dependencies.push(format!("    {{ \"ref\": {}, \"dependsOn\": [{}] }}", quoted(&purl(id)), needs.join(", ")));
        if *id == root {
            continue;
        }
        let hash = hashes.get(id).ok_or_else(|| format!("Cargo.lock has no hash of {} {}", id.0, id.1))?;
        let hash = format!(", \"hashes\": [{{ \"alg\": \"SHA-256\", \"content\": {} }}]", quoted(hash));
        components.push(format!("    {}", component("library", id, &package.licence, &hash)?));
    }
    let licence = packages.get(&root).map(|package| package.licence.as_str()).unwrap_or_default();
    let main = component("application", &root, licence, "")?;
    let tools = "{ \"components\": [{ \"type\": \"application\", \"name\": \"cargo xtask sbom\" }] }";
    Ok(format!(
        "{{\n  \"$schema\": \"http://cyclonedx.org/schema/bom-1.5.schema.json\",\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n  \
         \"metadata\": {{ \"tools\": {tools}, \"component\": {main} }},\n  \"components\": [\n{}\n  ],\n  \"dependencies\": [\n{}\n  ]\n}}\n",
        components.join(",\n"),
        dependencies.join(",\n")
    ))
}

fn component(kind: &str, id: &Id, licence: &str, more: &str) -> Result<String, String> {
    if licence.is_empty() {
        return Err(format!("{} {} names no licence", id.0, id.1));
    }
    // Before SPDX expressions a slash meant "or".
    let licence = licence.replace(" / ", " OR ").replace('/', " OR ");
    let purl = quoted(&purl(id));
    Ok(format!(
        "{{ \"type\": \"{kind}\", \"bom-ref\": {purl}, \"name\": {}, \"version\": {}, \"purl\": {purl}, \"licenses\": [{{ \"expression\": {} }}]{more} }}",
        quoted(&id.0),
        quoted(&id.1),
        quoted(&licence)
    ))
}

/// <https://github.com/package-url/purl-spec>: a version's `+` is escaped.
fn purl((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// The first package, and everything below it. A package with `(*)` was told of before, with what it needs.
fn read_tree(tree: &str) -> Result<(Id, BTreeMap<Id, Package>), String> {
    let mut packages: BTreeMap<Id, Package> = BTreeMap::new();
    // The packages from the root to the line before.
    let mut way: Vec<Id> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let wrong = || format!("cargo tree printed a line that cannot be read: {line}");
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let (depth, rest) = line.split_at(digits);
        let depth: usize = depth.parse().map_err(|_| wrong())?;
        let (package, licence) = rest.split_once('\t').ok_or_else(wrong)?;
        let mut words = package.split(' ');
        let (name, version) = (words.next().ok_or_else(wrong)?, words.next().and_then(|version| version.strip_prefix('v')).ok_or_else(wrong)?);
        if depth > way.len() || (depth == 0) != way.is_empty() {
            return Err(wrong());
        }
        let id = (name.to_owned(), version.to_owned());
        packages.entry(id.clone()).or_default().licence = licence.trim_end_matches(" (*)").to_owned();
        way.truncate(depth);
        if let Some(needed_by) = way.last().and_then(|above| packages.get_mut(above)) {
            needed_by.needs.insert(id.clone());
        }
        way.push(id);
    }
    let root = way.into_iter().next().ok_or("cargo tree printed nothing")?;
    Ok((root, packages))
}

/// The SHA-256 of each package that came from a registry.
fn read_lock(lock: &str) -> BTreeMap<Id, String> {
    let value = |block: &str, name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"').map(str::to_owned));
    let read = |block: &str| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?));
    lock.split("[[package]]").filter_map(read).collect()
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing to a String cannot fail.
            c if c.is_control() => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"helsebro\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0+x\"\nchecksum = \"aa\"\n\n\
                        [[package]]\nname = \"b\"\nversion = \"2.0.0\"\nchecksum = \"bb\"\ndependencies = [\n \"a\",\n]\n";
    const TREE: &str = "0helsebro v0.1.0 (/somewhere)\tApache-2.0\n1b v2.0.0 (proc-macro)\tMIT/Apache-2.0\n2a v1.0.0+x\tMIT\n1a v1.0.0+x\tMIT (*)\n";

    #[test]
    fn a_bill_says_what_is_in_it_and_who_needs_what() {
        let bill = document(TREE, LOCK).unwrap();
        for part in [
            r#""specVersion": "1.5""#,
            r#""name": "b", "version": "2.0.0", "purl": "pkg:cargo/b@2.0.0", "licenses": [{ "expression": "MIT OR Apache-2.0" }], "hashes": [{ "alg": "SHA-256", "content": "bb" }]"#,
            r#"{ "ref": "pkg:cargo/helsebro@0.1.0", "dependsOn": ["pkg:cargo/a@1.0.0%2Bx", "pkg:cargo/b@2.0.0"] }"#,
            r#"{ "ref": "pkg:cargo/b@2.0.0", "dependsOn": ["pkg:cargo/a@1.0.0%2Bx"] }"#,
            r#"{ "ref": "pkg:cargo/a@1.0.0%2Bx", "dependsOn": [] }"#,
        ] {
            assert!(bill.contains(part), "{part} is not in\n{bill}");
        }
        assert!(!bill.contains("somewhere"), "the bill names a place on this machine");
    }

    #[test]
    fn a_bill_with_holes_is_none() {
        for (tree, lock, why) in [
            ("", LOCK, "printed nothing"),
            ("helsebro\tMIT\n", LOCK, "cannot be read"),
            ("0helsebro v0.1.0\tApache-2.0\n2a v1.0.0+x\tMIT\n", LOCK, "cannot be read"),
            ("0helsebro v0.1.0\tApache-2.0\n1a v1.0.0+x\t\n", LOCK, "no licence"),
            ("0helsebro v0.1.0\tApache-2.0\n1c v1.0.0\tMIT\n", LOCK, "no hash of c"),
        ] {
            let told = document(tree, lock).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
