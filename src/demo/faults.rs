//! Faults by name: what breaks at HelseID or the FHIR server, and how it must end all the same. The walk-through runs with one of them,
//! and the EPJ's page puts them on and off. The mock's whole catalogue (`docs/helseid-mock.md`) may be named too.

use serde_json::{Value, json};

use super::page::Lang;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    HelseId,
    Fhir,
}

impl Party {
    pub fn name(self) -> &'static str {
        match self {
            Self::HelseId => "HelseID mock",
            Self::Fhir => "FHIR server",
        }
    }
}

/// How it must end for the doctor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nobody notices.
    GoesOn,
    /// The login at HelseID ends at a page that says why, with one of these statuses; everything that does not need HelseID goes on.
    Page(&'static [u16]),
    /// Either of the two: which one depends on where the fault meets.
    Well,
    /// The EPJ is told 503 and when to try again; no app is opened.
    NotOpened,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub name: String,
    pub party: Party,
    /// The rule as the party's lever takes it: JSON text.
    rule: String,
    pub ending: Ending,
    nb: &'static str,
    en: &'static str,
}

/// A row of the catalogue.
struct Row(&'static str, Party, &'static str, Ending, &'static str, &'static str);

const DOWN: &str = r#"{"match": {}, "action": {"kind": "respond", "status": 503, "headers": {"Retry-After": "1"}, "body": ""}, "times": "always"}"#;

/// Those with a sentence of their own, in the order of the page.
const CATALOGUE: &[Row] = &[
    Row("helseid-down", Party::HelseId, DOWN, Ending::Page(&[503]), "HelseID svarer ikke (503)", "HelseID does not answer (503)"),
    Row(
        "helseid-slow",
        Party::HelseId,
        r#"{"match": {"endpoint": "token"}, "action": {"kind": "delay_ms", "ms": 8000}, "times": "always"}"#,
        Ending::Page(&[503]),
        "HelseID svarer først etter åtte sekunder",
        "HelseID answers after eight seconds only",
    ),
    Row(
        "helseid-garbage",
        Party::HelseId,
        r#"{"match": {"endpoint": "token"}, "action": {"kind": "html_error"}, "times": "always"}"#,
        Ending::Page(&[502, 503]),
        "HelseIDs tokenendepunkt svarer med en feilside",
        "HelseID's token endpoint answers with an error page",
    ),
    Row(
        "wrong-signature",
        Party::HelseId,
        r#"{"match": {"endpoint": "token"}, "action": {"kind": "bad_signature", "token": "id_token"}, "times": "always"}"#,
        Ending::Page(&[502]),
        "id_token fra HelseID er signert feil",
        "HelseID's id_token has a wrong signature",
    ),
    Row(
        "wrong-nonce",
        Party::HelseId,
        r#"{"match": {"endpoint": "token"}, "action": {"kind": "wrong_nonce"}, "times": "always"}"#,
        Ending::Page(&[502]),
        "id_token fra HelseID har feil nonce",
        "HelseID's id_token has a wrong nonce",
    ),
    Row(
        "wrong-issuer",
        Party::HelseId,
        r#"{"match": {"endpoint": "other"}, "action": {"kind": "iss_wrong"}, "times": "always"}"#,
        Ending::Page(&[400]),
        "Svaret sier at det kommer fra en annen enn HelseID",
        "The answer says that it comes from somebody other than HelseID",
    ),
    Row(
        "another-person",
        Party::HelseId,
        r#"{"match": {"endpoint": "token"}, "action": {"kind": "other_user", "token": "id_token"}, "times": "always"}"#,
        Ending::Page(&[403, 502]),
        "HelseID sier at det er en annen person",
        "HelseID says that it is another person",
    ),
    Row(
        "low-level",
        Party::HelseId,
        r#"{"match": {"endpoint": "token"}, "action": {"kind": "level_3", "token": "id_token"}, "times": "always"}"#,
        Ending::Page(&[403, 502]),
        "Innloggingen når bare nivå 3",
        "The login reaches level 3 only",
    ),
    Row(
        "key-change",
        Party::HelseId,
        r#"{"match": {}, "action": {"kind": "rotate_midflight"}, "times": "always"}"#,
        Ending::Well,
        "HelseID bytter nøkkel midt i innloggingen",
        "HelseID changes its key in the middle of the login",
    ),
    Row(
        "nonce-each-time",
        Party::HelseId,
        r#"{"match": {"endpoint": "token"}, "action": {"kind": "nonce_demand", "mode": "always"}, "times": "always"}"#,
        Ending::GoesOn,
        "HelseID krever ny DPoP-nonce hver gang",
        "HelseID demands a new DPoP nonce every time",
    ),
    Row("fhir-down", Party::Fhir, r#"{"status": 503, "count": 100000}"#, Ending::NotOpened, "FHIR-serveren svarer 503", "The FHIR server answers 503"),
    Row(
        "fhir-breaks-off",
        Party::Fhir,
        r#"{"malformed": true, "count": 100000}"#,
        Ending::NotOpened,
        "Svarene fra FHIR-serveren brytes av på midten",
        "The FHIR server's answers break off in the middle",
    ),
    Row("fhir-drops", Party::Fhir, r#"{"drop": true, "count": 100000}"#, Ending::NotOpened, "FHIR-serveren legger på", "The FHIR server hangs up"),
    Row(
        "fhir-slow",
        Party::Fhir,
        r#"{"delay_ms": 300, "count": 100000}"#,
        Ending::GoesOn,
        "FHIR-serveren bruker et tredels sekund mer på alt",
        "The FHIR server takes a third of a second longer for everything",
    ),
];

impl Fault {
    /// A fault by its name: of the catalogue, else a kind of the mock of HelseID, with its argument behind a colon where it needs one. Whether
    /// the mock knows the kind is found out when it is put on.
    pub fn named(name: &str) -> Self {
        Self::catalogue().find(|fault| fault.name == name).unwrap_or_else(|| {
            let rule = json!({"match": {}, "action": {"kind": name}, "times": "always"}).to_string();
            Self { name: name.to_owned(), party: Party::HelseId, rule, ending: Ending::Well, nb: "", en: "" }
        })
    }

    /// Those with a sentence of their own.
    pub fn catalogue() -> impl Iterator<Item = Self> {
        CATALOGUE.iter().map(|Row(name, party, rule, ending, nb, en)| Self {
            name: (*name).to_owned(),
            party: *party,
            rule: (*rule).to_owned(),
            ending: *ending,
            nb,
            en,
        })
    }

    /// As the party's lever takes it.
    pub fn rule(&self) -> Value {
        serde_json::from_str(&self.rule).expect("a row of the catalogue is JSON")
    }

    /// What breaks, as a sentence without a full stop; its name where it has no sentence.
    pub fn says(&self, lang: Lang) -> &str {
        let said = match lang {
            Lang::Nb => self.nb,
            Lang::En => self.en,
        };
        if said.is_empty() { &self.name } else { said }
    }

    /// The fault that a party tells it has on, by what it does and where; else under the kind it calls it.
    pub fn told(party: Party, told: &Value) -> Self {
        let endpoint = |rule: &Value| rule.pointer("/match/endpoint").and_then(Value::as_str).map(str::to_owned);
        let same = |one: &Self| {
            let rule = one.rule();
            one.party == party
                && match party {
                    Party::HelseId => told.get("action") == rule.get("action") && endpoint(told) == endpoint(&rule),
                    Party::Fhir => rule.as_object().is_some_and(|rule| rule.iter().all(|(name, value)| told.get(name) == Some(value))),
                }
        };
        Self::catalogue().find(same).unwrap_or_else(|| {
            let kind = told.pointer("/action/kind").and_then(Value::as_str).unwrap_or("?").to_owned();
            Self { name: kind, party, rule: told.to_string(), ending: Ending::Well, nb: "", en: "" }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_rule_with_a_name_of_its_own_and_two_sentences() {
        let all: Vec<Fault> = Fault::catalogue().collect();
        for (at, fault) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other.name != fault.name), "{}", fault.name);
            assert_ne!(fault.says(Lang::Nb), fault.says(Lang::En));
            assert_eq!(&Fault::told(fault.party, &fault.rule()), fault, "{} is not known again", fault.name);
            assert_eq!(&Fault::named(&fault.name), fault);
        }
    }

    #[test]
    fn what_is_not_in_the_catalogue_is_a_kind_of_the_mocks() {
        let fault = Fault::named("delay_ms:1500");
        assert_eq!(fault.rule(), json!({"match": {}, "action": {"kind": "delay_ms:1500"}, "times": "always"}));
        assert_eq!((fault.says(Lang::Nb), fault.ending), ("delay_ms:1500", Ending::Well));
        assert_eq!(Fault::told(Party::HelseId, &fault.rule()).name, "delay_ms:1500");
    }
}
