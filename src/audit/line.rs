//! A record as it stands in the file: one line of JSON, whose last member is the hash of everything before it. `docs/audit.md` has every member.

use std::io::Write as _;

use super::persons::Persons;
use crate::domain::audit::{AuditEvent, Outcome, Person};
use crate::secret::{Digest, numbers_in};
use crate::time::UnixTime;

/// What a line ends with, before and after the hash.
const HASH: &str = ",\"hash\":\"";
const END: &str = "\"}";

/// Characters of a hash in base64url.
const HASH_LENGTH: usize = 43;

/// The form of the file. Another number is another form.
pub const VERSION: u64 = 1;

/// As many characters of what callers sent are kept.
const LONGEST_TEXT: usize = 1024;

/// What the first line of each file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub chain: &'a str,
    pub node: &'a str,
    /// Which key people are hashed under.
    pub persons: &'a str,
    /// Counts the files of a chain, from 1.
    pub file: u64,
    /// `seq` of the first record after this line.
    pub first: u64,
    pub time: UnixTime,
}

/// Writes lines, each bound to the one before.
pub struct Lines {
    pub seq: u64,
    /// Hash of the last line; empty before the first.
    pub prev: String,
    node: String,
    /// The time as text, made once a second.
    time: (UnixTime, String),
}

impl Lines {
    /// To go on after the record `seq`, whose hash is `prev`.
    pub fn after(seq: u64, prev: String, node: String) -> Self {
        Self { seq, prev, node, time: (UnixTime(i64::MIN), String::new()) }
    }

    pub fn header(&mut self, out: &mut Vec<u8>, header: &Header<'_>) {
        let start = out.len();
        let time = timestamp(header.time);
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{{\"audit\":\"helsebro\",\"version\":{VERSION},\"chain\":");
        string(out, header.chain);
        member(out, "node", header.node);
        member(out, "persons", header.persons);
        let _ = write!(out, ",\"file\":{},\"first\":{},\"time\":\"{time}\"", header.file, header.first);
        self.close(out, start);
    }

    pub fn event(&mut self, out: &mut Vec<u8>, event: &AuditEvent, persons: &Persons) {
        let start = out.len();
        self.seq += 1;
        if self.time.0 != event.time {
            self.time = (event.time, timestamp(event.time));
        }
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{{\"seq\":{},\"time\":\"{}\"", self.seq, self.time.1);
        member(out, "node", &self.node);
        member(out, "action", event.action.as_str());
        match &event.outcome {
            Outcome::Allowed => member(out, "outcome", "allowed"),
            Outcome::Refused { error, reason } => {
                member(out, "outcome", "refused");
                member(out, "error", error);
                member(out, "reason", &told(reason));
            }
        }
        let issuer = event.issuer.as_ref().map(|issuer| issuer.as_str());
        optional(out, "issuer", issuer);
        optional(out, "request", event.request.as_deref());
        if let Some(source) = event.source {
            let _ = write!(out, ",\"source\":\"{source}\"");
        }
        let facts = &event.facts;
        optional(out, "client", facts.client.as_ref().map(|id| id.as_str()));
        optional(out, "about", facts.about.as_ref().map(|id| id.as_str()));
        optional(out, "way", facts.way);
        for (name, person) in [("user", &facts.user), ("patient", &facts.patient), ("encounter", &facts.encounter)] {
            optional(out, name, person.as_ref().map(|person| hashed(persons, issuer, person)).as_deref());
        }
        optional(out, "launch", facts.launch.as_deref());
        optional(out, "session", facts.session.as_ref().map(|id| id.as_str()));
        optional(out, "grant", facts.grant.as_ref().map(|id| id.as_str()));
        optional(out, "token", facts.token.as_ref().map(|id| id.as_str()));
        optional(out, "audience", facts.audience.as_deref().map(told).as_deref());
        optional(out, "asked", facts.asked.as_deref().map(told).as_deref());
        optional(out, "given", facts.given.as_deref().map(told).as_deref());
        optional(out, "jkt", facts.jkt.as_ref().map(|jkt| jkt.as_str()));
        optional(out, "row", facts.row.as_deref());
        list(out, "actors", &facts.actors);
        list(out, "keys", &facts.keys);
        if let Some(count) = facts.count {
            let _ = write!(out, ",\"count\":{count}");
        }
        self.close(out, start);
    }

    fn close(&mut self, out: &mut Vec<u8>, start: usize) {
        member(out, "prev", &self.prev);
        let hash = Digest::of(out.get(start..).unwrap_or_default()).text();
        out.extend_from_slice(HASH.as_bytes());
        out.extend_from_slice(hash.as_bytes());
        out.extend_from_slice(END.as_bytes());
        out.push(b'\n');
        self.prev = hash;
    }
}

fn hashed(persons: &Persons, issuer: Option<&str>, person: &Person) -> String {
    persons.hash(issuer.unwrap_or_default(), &person.reference())
}

/// A text that callers had a part in: not longer than need be, and without what could be the number of a person. What SMART scopes may carry
/// as search parameters can be one.
fn told(text: &str) -> String {
    let text = text.char_indices().nth(LONGEST_TEXT).map_or(text, |(end, _)| text.get(..end).unwrap_or_default());
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for number in numbers_in(text) {
        out.push_str(text.get(from..number.start).unwrap_or_default());
        out.push('#');
        from = number.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

fn optional(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        member(out, name, value);
    }
}

fn member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    string(out, value);
}

fn list(out: &mut Vec<u8>, name: &str, values: &[String]) {
    for (at, value) in values.iter().enumerate() {
        if at == 0 {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":[");
        } else {
            out.push(b',');
        }
        string(out, value);
    }
    if !values.is_empty() {
        out.push(b']');
    }
}

fn string(out: &mut Vec<u8>, value: &str) {
    // Almost everything needs no escape.
    if value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(&mut *out, value).expect("a text is JSON, and a Vec takes it");
    }
}

/// `2026-01-31T12:00:00Z`
fn timestamp(time: UnixTime) -> String {
    jiff::Timestamp::from_second(time.0).map_or_else(|_| "-".to_owned(), |at| at.to_string())
}

/// Takes a line (without its end) apart: what is hashed, and the hash it carries.
pub fn split(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_suffix(END)?;
    let at = rest.len().checked_sub(HASH_LENGTH)?;
    let (body, hash) = (rest.get(..at)?, rest.get(at..)?);
    Some((body.strip_suffix(HASH)?, hash))
}

/// Whether a line (without its end) carries the hash of what it says; then that hash.
pub fn sound(line: &str) -> Option<&str> {
    split(line).filter(|(body, hash)| Digest::of(body.as_bytes()).text() == *hash).map(|(_, hash)| hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::{Action, Facts};
    use crate::protocol::ids::{ClientId, FhirId, Issuer};
    use crate::secret::Secret;

    fn event() -> AuditEvent {
        AuditEvent {
            time: UnixTime(1_795_000_000),
            action: Action::Token,
            outcome: Outcome::Refused { error: "invalid_grant", reason: "the \"code\"\nwas used before by 01017012345 and 123456".to_owned() },
            issuer: Some(Issuer::parse("https://auth.example").unwrap()),
            request: Some("request-1".into()),
            source: Some("192.0.2.1".parse().unwrap()),
            facts: Facts {
                client: Some(ClientId::parse("app").unwrap()),
                patient: Some(Person::Patient(FhirId::parse("pasient-01").unwrap())),
                actors: vec!["a".into(), "b".into()],
                keys: vec!["k".into()],
                count: Some(2),
                ..Facts::default()
            },
        }
    }

    #[test]
    fn a_line_is_json_bound_to_the_one_before() {
        let persons = Persons::new(&Secret::new([1; 32]));
        let mut lines = Lines::after(41, "before".to_owned(), "node-1".to_owned());
        let mut out = Vec::new();
        lines.event(&mut out, &event(), &persons);
        lines.event(&mut out, &AuditEvent { outcome: Outcome::Allowed, facts: Facts::default(), ..event() }, &persons);
        let text = String::from_utf8(out).unwrap();
        let [first, second] = text.lines().collect::<Vec<_>>().try_into().unwrap();
        let json: serde_json::Value = serde_json::from_str(first).unwrap();
        let patient = persons.hash("https://auth.example", "Patient/pasient-01");
        let expected = serde_json::json!({
            "seq": 42, "time": "2026-11-18T11:06:40Z", "node": "node-1", "action": "token", "outcome": "refused", "error": "invalid_grant",
            "reason": "the \"code\"\nwas used before by # and 123456", "issuer": "https://auth.example", "request": "request-1", "source": "192.0.2.1",
            "client": "app", "patient": patient, "actors": ["a", "b"], "keys": ["k"], "count": 2, "prev": "before", "hash": sound(first).unwrap(),
        });
        assert_eq!(json, expected);
        let json: serde_json::Value = serde_json::from_str(second).unwrap();
        assert_eq!((json["seq"].as_u64(), json["prev"].as_str()), (Some(43), sound(first)));
        assert_eq!(lines.prev, sound(second).unwrap());
    }

    #[test]
    fn a_change_anywhere_in_a_line_is_noticed() {
        let mut out = Vec::new();
        let mut lines = Lines::after(0, String::new(), "n".to_owned());
        lines.event(&mut out, &event(), &Persons::new(&Secret::new([1; 32])));
        let line = String::from_utf8(out).unwrap().trim_end().to_owned();
        assert!(sound(&line).is_some());
        for at in 0..line.len() {
            let mut changed = line.clone().into_bytes();
            changed[at] ^= 1;
            assert_eq!(sound(&String::from_utf8(changed).unwrap()), None, "byte {at}");
            assert_eq!(sound(&line[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_header_says_whose_chain_it_is() {
        let mut out = Vec::new();
        let mut lines = Lines::after(7, "p".to_owned(), "n".to_owned());
        lines.header(&mut out, &Header { chain: "c", node: "n", persons: "k", file: 2, first: 8, time: UnixTime(0) });
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with(
            r#"{"audit":"helsebro","version":1,"chain":"c","node":"n","persons":"k","file":2,"first":8,"time":"1970-01-01T00:00:00Z","prev":"p","hash":""#
        ));
        assert_eq!((lines.seq, lines.prev.as_str()), (7, sound(text.trim_end()).unwrap()));
    }

    #[test]
    fn numbers_of_people_are_left_out_of_what_callers_write() {
        for (text, expected) in [
            ("patient/*.rs", "patient/*.rs"),
            ("identifier=x|01017012345", "identifier=x|#"),
            ("hpr 9144889", "hpr #"),
            ("31.12.2026 1234", "31.12.2026 1234"),
            ("patient/Patient.rs?identifier=010190-12345", "patient/Patient.rs?identifier=#"),
            ("asked for 010190 12345", "asked for #"),
            ("", ""),
        ] {
            assert_eq!(told(text), expected);
        }
        assert_eq!(told(&"æ".repeat(3000)).chars().count(), LONGEST_TEXT);
    }
}
