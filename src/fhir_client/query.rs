//! What a person types into the patient picker.

use jiff::civil::Date;

use crate::secret::Secret;

/// How to find a patient. What is given must all fit; where nothing is given nobody is found.
#[derive(Clone, Debug, Default)]
pub struct PatientQuery {
    /// Words of the name, in any order; each begins a part of it.
    pub name: Option<String>,
    pub birth_date: Option<Date>,
    /// A birth number, D-number or common help number. Travels in a request body alone.
    pub identifier: Option<Secret<String>>,
}

impl PatientQuery {
    /// Reads one search field: an identity number (11 digits, perhaps with a space after the sixth), a date of birth (`1992-03-14`
    /// or `14.03.1992`), or words of a name. A date may stand beside a name.
    pub fn parse(text: &str) -> Self {
        let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if digits.len() == 11 && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Self { identifier: Some(Secret::new(digits)), ..Self::default() };
        }
        let mut birth_date = None;
        let mut words = Vec::new();
        for word in text.split_whitespace() {
            match date(word) {
                Some(found) if birth_date.is_none() => birth_date = Some(found),
                _ => words.push(word),
            }
        }
        Self { name: (!words.is_empty()).then(|| words.join(" ")), birth_date, identifier: None }
    }

    pub fn is_empty(&self) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        name.trim().is_empty() && self.birth_date.is_none() && self.identifier.is_none()
    }

    /// The parameters of the search. FHIR R4, search: a repeated parameter means that both must fit; `,` `$` `|` and `\` in a value
    /// are escaped. The number is sought by its value alone: which system it is kept under is the EHR's affair.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let words = self.name.iter().flat_map(|name| name.split_whitespace()).map(|word| ("name", escaped(word)));
        let born = self.birth_date.iter().map(|date| ("birthdate", date.to_string()));
        let number = self.identifier.iter().map(|number| ("identifier", escaped(number.expose())));
        words.chain(born).chain(number).collect()
    }
}

/// FHIR R4, search §2.1.1.3.8: what separates values is escaped in one.
pub(super) fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, ',' | '$' | '|' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn date(word: &str) -> Option<Date> {
    let iso = word.len() == 10 && word.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    if iso {
        return word.parse().ok();
    }
    let mut parts = word.split('.');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let plain = parts.next().is_none() && year.len() == 4 && [day, month, year].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    if plain { Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(&'static str, String)> {
        PatientQuery::parse(text).parameters()
    }

    #[test]
    fn one_field_is_a_number_a_date_or_a_name() {
        let own = |pairs: &[(&'static str, &str)]| pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect::<Vec<_>>();
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("14839219696", &[("identifier", "14839219696")]),
            (" 148392 19696 ", &[("identifier", "14839219696")]),
            ("1992-03-14", &[("birthdate", "1992-03-14")]),
            ("14.3.1992", &[("birthdate", "1992-03-14")]),
            ("31.02.1992", &[("name", "31.02.1992")]),
            ("1992-13-14", &[("name", "1992-13-14")]),
            ("Tapper  Fjellrev", &[("name", "Tapper"), ("name", "Fjellrev")]),
            ("fjellrev 14.03.1992", &[("name", "fjellrev"), ("birthdate", "1992-03-14")]),
            (r"a,b|c$d\", &[("name", r"a\,b\|c\$d\\")]),
            ("1483921969", &[("name", "1483921969")]),
            ("  ", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text), own(expected), "{text}");
        }
        assert!(PatientQuery::parse(" ").is_empty() && !PatientQuery::parse("a").is_empty());
    }

    #[test]
    fn a_number_is_not_printed() {
        assert!(!format!("{:?}", PatientQuery::parse("14839219696")).contains("14839219696"));
    }
}
