//! Every parser that reads from the network, given its corpus and what a machine makes of it. The same entry points as the fuzz targets in `fuzz/`,
//! which need a nightly compiler; this needs none, and is bounded. `HELSEBRO_FUZZ_SECONDS` gives each entry point more time than that.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use helsebro::entry::{ENTRY_POINTS, EntryPoint};
use helsebro::random::{Random as _, SeededRandom};

/// Inputs made for each entry point, and how long making them may take.
const INPUTS: usize = 1500;
const LONGEST: Duration = Duration::from_millis(700);

/// What turns one kind of input into another.
const WORDS: &[&str] = &[
    "",
    "\0",
    "%",
    "%00",
    "%c3%28",
    "&",
    "=",
    "?",
    "#",
    "/",
    "..",
    "\\",
    "|",
    "\"",
    "{",
    "}",
    "[",
    "]",
    "null",
    "true",
    "-1",
    "0",
    "1e309",
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775808",
    "0.1",
    "é",
    "\u{feff}",
    "\u{202e}",
    "\u{10ffff}",
    "ÿ",
    " ",
    "\r\n",
    "\t",
    ":",
    ";",
    ",",
    ".",
    "*",
    "$",
    "@",
    "http://",
    "https://[::1",
    "javascript:",
    "data:,x",
    "urn:",
    "{}",
    "[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":",
    "0000-00-00",
    "9999-12-31T23:59:60Z",
    "2024-02-30",
    "+14:00",
    "-99:99",
    "eyJhbGciOiJub25lIn0",
    "none",
    "HS256",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn entries(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn names(paths: &[PathBuf]) -> BTreeSet<String> {
    paths.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn corpus(entry: &EntryPoint) -> Vec<Vec<u8>> {
    entries(&format!("fuzz/corpus/{}", entry.name)).iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Chance that is the same in every run, unless a run asks for its own.
struct Chance(SeededRandom);

impl Chance {
    fn number(&self) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) >> 1).unwrap()
    }

    fn below(&self, end: usize) -> usize {
        self.number() % end.max(1)
    }

    fn one<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// One change of the kind that fuzzers make.
    fn change(&self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(8)).min(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = u8::try_from(self.below(256)).unwrap(),
            2 if at < end => drop(input.drain(at..end)),
            3 if at < end => {
                let piece = input[at..end].to_vec();
                for _ in 0..self.below(40) {
                    input.splice(at..at, piece.iter().copied());
                }
            }
            4 => input.truncate(at),
            5 => {
                let other = self.one(seeds);
                let from = self.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            6 => {
                let digits = input.iter().position(u8::is_ascii_digit);
                let from = digits.unwrap_or(at);
                let to = (from + input[from..].iter().take_while(|b| b.is_ascii_digit()).count()).min(input.len());
                input.splice(from..to, self.one(WORDS).bytes());
            }
            _ => drop(input.splice(at..at, self.one(WORDS).bytes())),
        }
        input.truncate(64 * 1024);
    }
}

/// What is to be said of an input that an entry point does not survive.
fn run(entry: &EntryPoint, input: &[u8]) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| (entry.run)(input)));
    outcome
        .map_err(|_| format!("{} fell over this input of {} bytes; put it into fuzz/corpus/{}:\n{}", entry.name, input.len(), entry.name, input.escape_ascii()))
}

/// The corpus, then what is made of it, until something falls over.
fn try_all(entry: &EntryPoint, seed: u64, asked: Option<Duration>) -> Result<(), String> {
    let seeds = corpus(entry);
    assert!(!seeds.is_empty(), "{} has no corpus", entry.name);
    run(entry, b"")?;
    seeds.iter().try_for_each(|input| run(entry, input))?;
    let chance = Chance(SeededRandom::new(seed));
    let began = Instant::now();
    let mut tried = 0;
    while asked.map_or(tried < INPUTS && began.elapsed() < LONGEST, |longest| began.elapsed() < longest) {
        let mut input = chance.one(&seeds).clone();
        for _ in 0..=chance.below(6) {
            chance.change(&mut input, &seeds);
        }
        run(entry, &input)?;
        tried += 1;
    }
    assert!(tried > 0);
    Ok(())
}

#[test]
fn nothing_from_the_network_makes_a_parser_panic() {
    #[expect(clippy::disallowed_methods, reason = "whoever looks for more says for how long; the tests themselves are the same everywhere")]
    let asked = std::env::var("HELSEBRO_FUZZ_SECONDS").ok().map(|text| Duration::from_secs(text.parse().unwrap()));
    let seed = asked.map_or(1, |_| std::process::id().into());
    let tried = ENTRY_POINTS.iter().zip(seed * 1000..).map(|(entry, seed)| try_all(entry, seed, asked));
    let fallen: Vec<String> = tried.filter_map(Result::err).collect();
    assert!(fallen.is_empty(), "{}", fallen.join("\n\n"));
}

/// The corpus is not only noise: of the seeds that are examples of a standard, the parsers take what they should.
#[test]
fn a_machine_that_changes_inputs_reaches_more_than_the_first_refusal() {
    let chance = Chance(SeededRandom::new(7));
    let seeds = vec![b"patient/Observation.rs".to_vec(), b"launch openid".to_vec()];
    let mut taken = 0;
    for _ in 0..500 {
        let mut input = chance.one(&seeds).clone();
        chance.change(&mut input, &seeds);
        let scopes = std::str::from_utf8(&input).ok().and_then(|text| helsebro::protocol::scope::ScopeSet::parse(text).ok());
        taken += usize::from(scopes.is_some());
    }
    assert!((25..475).contains(&taken), "{taken} of 500 changed inputs are taken: the changes are too large or too small");
}

#[test]
fn a_parser_that_falls_over_is_noticed() {
    let entry = EntryPoint { name: "form", reads: "nothing", run: |bytes| assert!(!bytes.starts_with(b"x")) };
    assert_eq!(run(&entry, b"y"), Ok(()));
    assert!(run(&entry, b"xy").unwrap_err().ends_with(":\nxy"));
}

#[test]
fn every_entry_point_has_a_target_and_a_corpus_and_there_are_no_others() {
    let listed: BTreeSet<String> = ENTRY_POINTS.iter().map(|entry| entry.name.to_owned()).collect();
    assert_eq!(listed.len(), ENTRY_POINTS.len(), "a name is listed twice");
    assert_eq!(names(&entries("fuzz/fuzz_targets")), listed, "fuzz/fuzz_targets");
    assert_eq!(names(&entries("fuzz/corpus")), listed, "fuzz/corpus");
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for name in &listed {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "fuzz/Cargo.toml does not build {name}");
        assert!(
            fs::read_to_string(root().join(format!("fuzz/fuzz_targets/{name}.rs"))).unwrap().contains(&format!("target!(\"{name}\")")),
            "the target {name} runs another"
        );
    }
}
