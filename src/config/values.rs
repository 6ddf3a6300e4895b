//! Small checks that several tables share.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use url::Url;

use super::problem::{Findings, Place, nearest};
use super::read::{Field, Placed, print_duration};
use crate::domain::client::Profile;
use crate::domain::keys::DEFAULT_ALGS;
use crate::jose::Alg;
use crate::protocol::ids::is_loopback;

/// What clients may sign with.
pub(super) const ALGS: &[(&str, Alg)] = &named::<{ Alg::ALL.len() }>(Alg::ALL);

/// What we sign with: every issuer has a key for each of these.
pub(super) const SIGNING_ALGS: &[(&str, Alg)] = &named::<{ DEFAULT_ALGS.len() }>(&DEFAULT_ALGS);

#[expect(clippy::indexing_slicing, reason = "runs while this is compiled")]
const fn named<const N: usize>(algs: &[Alg]) -> [(&'static str, Alg); N] {
    let mut words = [("", Alg::ES256); N];
    let mut at = 0;
    while at < N {
        words[at] = (algs[at].as_str(), algs[at]);
        at += 1;
    }
    words
}

/// What rules a client lives under.
pub(super) const PROFILES: &[(&str, Profile)] = &[("smart", Profile::Smart), ("oidc", Profile::Oidc), ("fapi2", Profile::Fapi2)];

/// Those a profile has.
pub(super) fn allowed_by(profile: Profile, algs: &[(&'static str, Alg)]) -> Vec<(&'static str, Alg)> {
    algs.iter().copied().filter(|(_, alg)| profile.allows(*alg)).collect()
}

/// The meaning of one word out of a few.
pub(super) fn word<T: Copy>(text: &str, place: &Place, words: &[(&'static str, T)], found: &mut Findings) -> Option<T> {
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*meaning);
    }
    let known: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
    let guess = nearest(text, &known).map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default();
    let all = known.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    found.refuse_value(place, text, format!("must be one of {all}{guess}"));
    None
}

/// The same for a field, with what holds where it is absent (and, once noted, where it is wrong).
pub(super) fn word_or<T: Copy>(field: &Field<String>, default: T, words: &[(&'static str, T)], found: &mut Findings) -> T {
    match field {
        Field::Given(text, place) => word(text, place, words, found).unwrap_or(default),
        Field::Absent(_) | Field::Wrong(_) => default,
    }
}

/// A duration within bounds.
pub(super) fn duration(field: &Field<Duration>, default: Duration, range: RangeInclusive<Duration>, why: &str, found: &mut Findings) -> Duration {
    let Field::Given(value, place) = field else { return default };
    if !range.contains(value) {
        let (from, to) = (print_duration(*range.start()), print_duration(*range.end()));
        found.refuse_value(place, print_duration(*value), format!("must be \"{from}\" to \"{to}\"{}", in_brackets(why)));
    }
    *value
}

/// A number within bounds.
pub(super) fn number(field: &Field<i64>, default: usize, range: RangeInclusive<usize>, unit: &str, found: &mut Findings) -> usize {
    let Field::Given(value, place) = field else { return default };
    match usize::try_from(*value) {
        Ok(size) if range.contains(&size) => size,
        _ => {
            found.refuse_value(place, value.to_string(), format!("must be {} to {} {unit}", range.start(), range.end()));
            default
        }
    }
}

fn in_brackets(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

/// A text a key cannot do without.
pub(super) fn required<'a>(field: &'a Field<String>, what: &str, found: &mut Findings) -> Option<(&'a str, &'a Place)> {
    match field {
        Field::Given(text, place) => Some((text, place)),
        Field::Wrong(_) => None,
        Field::Absent(place) => {
            found.refuse(place, format!("is missing; {what}"));
            None
        }
    }
}

/// A text parsed by a type that says itself what it expects.
pub(super) fn parsed<T, E: Display>(text: &str, place: &Place, parse: impl Fn(&str) -> Result<T, E>, found: &mut Findings) -> Option<T> {
    parse(text).map_err(|wrong| found.refuse_value(place, text, wrong.to_string())).ok()
}

/// The items of a list, each once.
pub(super) fn each_once<'a>(field: &'a Field<Vec<Placed<String>>>, found: &mut Findings) -> Vec<&'a Placed<String>> {
    let mut kept: Vec<&Placed<String>> = Vec::new();
    for item in field.get().into_iter().flatten() {
        if kept.iter().any(|other| other.value == item.value) {
            found.refuse_value(&item.place, &item.value, "is listed twice; remove one");
        } else {
            kept.push(item);
        }
    }
    kept
}

/// `https://host[:port]`; http only on loopback, and only where the issuer is there too. RFC 6454 §6.2.
pub(super) fn origin(item: &Placed<String>, loopback: bool, found: &mut Findings) -> Option<String> {
    let url = Url::parse(&item.value).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    let Some(url) = url else {
        found.refuse_value(&item.place, &item.value, "must be an origin, scheme and host alone (RFC 6454 §6.2); write \"https://epj.example\"");
        return None;
    };
    let plain = url.origin().ascii_serialization();
    if url.scheme() == "http" && !(loopback && is_loopback(&url)) {
        found.refuse_instead(&item.place, &item.value, "must be https outside loopback", plain.replacen("http:", "https:", 1));
        return None;
    }
    if plain != item.value {
        found.refuse_instead(&item.place, &item.value, "must be an origin, scheme and host alone (RFC 6454 §6.2)", plain);
        return None;
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keys::DEFAULT_ALGS;

    #[test]
    fn only_what_there_are_keys_for_can_be_asked_for() {
        assert_eq!(SIGNING_ALGS.iter().map(|(_, alg)| *alg).collect::<Vec<_>>(), DEFAULT_ALGS);
        assert_eq!(ALGS.iter().map(|(_, alg)| *alg).collect::<Vec<_>>(), Alg::ALL);
        assert!(ALGS.iter().chain(SIGNING_ALGS).all(|(name, alg)| alg.as_str() == *name));
    }
}
