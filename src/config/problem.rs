//! What is wrong with a configuration, said so that it can be put right: where, what, why, and what to write instead.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::secret::{longest_word, numbers_in};

/// Where something stands (or should stand): `client[1].redirect_uris[0]`, and the line where the source has lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<str>,
    pub path: String,
    pub line: Option<usize>,
}

impl Place {
    /// The root of a file or request.
    pub fn root(file: &str) -> Self {
        Self { file: file.into(), ..Self::default() }
    }

    /// A key below this place; one that is no plain word is quoted, so that it cannot play tricks on a terminal.
    pub fn key(&self, key: &str) -> Self {
        let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let key = if plain { Cow::Borrowed(key) } else { Cow::Owned(format!("{key:?}")) };
        let path = if self.path.is_empty() { key.into_owned() } else { format!("{}.{key}", self.path) };
        Self { file: self.file.clone(), path, line: self.line }
    }

    /// The path as a table header writes it, without the counts.
    pub(super) fn table(&self) -> String {
        self.path.split('.').map(|part| part.split('[').next().unwrap_or_default()).collect::<Vec<_>>().join(".")
    }

    /// An item of the list at this place, counted from 0.
    pub fn item(&self, index: usize) -> Self {
        Self { file: self.file.clone(), path: format!("{}[{index}]", self.path), line: self.line }
    }
}

/// One thing wrong, or worth a warning. Never holds a secret: `value` is left out where it might be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// What stands there now.
    pub value: Option<String>,
    /// Why it cannot stay, by which section, and what to write instead.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.place.line {
            write!(f, "line {line}  ")?;
        }
        if !self.place.path.is_empty() {
            write!(f, "{}  ", self.place.path)?;
        }
        if let Some(value) = &self.value {
            write!(f, "{value:?}  ")?;
        }
        f.write_str(&self.text)
    }
}

/// Everything found so far. Problems stop the start; warnings do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl Findings {
    pub fn refuse(&mut self, place: &Place, text: impl Into<String>) {
        self.problems.push(Problem { place: place.clone(), value: None, text: text.into() });
    }

    /// The value is shown, unless it may be a secret or somebody's number in the wrong place.
    pub fn refuse_value(&mut self, place: &Place, value: impl Into<String>, text: impl Into<String>) {
        self.problems.push(Problem { place: place.clone(), value: Some(value.into()).filter(|value| may_be_shown(value)), text: text.into() });
    }

    /// The same, with what to write instead of it: that repeats most of the value, and is left out where the value is.
    pub(super) fn refuse_instead(&mut self, place: &Place, value: impl Into<String>, text: impl Into<String>, instead: impl fmt::Display) {
        self.refuse_value(place, value, text);
        if let Some(Problem { value: Some(_), text, .. }) = self.problems.last_mut() {
            text.push_str(&format!("; write \"{instead}\""));
        }
    }

    pub fn warn(&mut self, place: &Place, text: impl Into<String>) {
        self.warnings.push(Problem { place: place.clone(), value: None, text: text.into() });
    }

    /// In the order of the lines, file by file.
    pub(super) fn sorted(mut self) -> Self {
        for list in [&mut self.problems, &mut self.warnings] {
            let mut files: Vec<Arc<str>> = Vec::new();
            for problem in list.iter() {
                if !files.contains(&problem.place.file) {
                    files.push(problem.place.file.clone());
                }
            }
            list.sort_by_key(|problem| (files.iter().position(|file| *file == problem.place.file), problem.place.line));
        }
        self
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, &self.problems, "problem")?;
        print(f, &self.warnings, "warning")
    }
}

impl std::error::Error for Findings {}

fn print(f: &mut fmt::Formatter<'_>, mut list: &[Problem], what: &str) -> fmt::Result {
    while let Some(first) = list.first() {
        let file = &first.place.file;
        let (here, rest) = list.split_at(list.iter().position(|problem| problem.place.file != *file).unwrap_or(list.len()));
        let name = if file.is_empty() { "the request" } else { file };
        writeln!(f, "{name} has {} {what}{}:", here.len(), if here.len() == 1 { "" } else { "s" })?;
        for problem in here {
            writeln!(f, "  {problem}")?;
        }
        list = rest;
    }
    Ok(())
}

/// The word of `known` that `text` was probably meant to be: at most two slips away, and nearer than half of it.
pub(super) fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|word| (slips(text, word), *word)).min()?;
    (near.0 <= 2 && near.0 * 2 < near.1.len()).then_some(near.1)
}

/// Levenshtein distance, row by row; 9 for anything long, which is near to nothing.
fn slips(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return 9;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for (y, pair) in b.chars().zip(row.windows(2)) {
            let (Some(diagonal), Some(above), Some(left)) = (pair.first(), pair.last(), next.last()) else { return 9 };
            next.push((diagonal + usize::from(x != y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(9)
}

/// Whether a value has neither a word as long as tokens and secrets are, nor a number as long as those of people.
fn may_be_shown(value: &str) -> bool {
    longest_word(value) < 36 && numbers_in(value).is_empty()
}
