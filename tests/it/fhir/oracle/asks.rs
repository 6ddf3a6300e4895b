//! Random searches, and what they should find among what may be seen, worked out one resource at a time.

use std::collections::BTreeSet;

use serde_json::Value;

use super::records::{CATEGORIES, CODES, Dice, FAMILIES, Records, STATUSES, marker_of, name_of};
use super::sight::{Sight, at, has_code};

/// A reference parameter: type, name, where it stands, what it may point at.
type Reference = (&'static str, &'static str, &'static str, &'static [&'static str]);

const PATIENT: &[&str] = &["Patient"];
const ANY: &[&str] = &[];
const REFERENCES: &[Reference] = &[
    ("Condition", "patient", "subject", PATIENT),
    ("Condition", "subject", "subject", &["Patient", "Group"]),
    ("Condition", "encounter", "encounter", &["Encounter"]),
    ("Condition", "asserter", "asserter", &["Practitioner", "Patient"]),
    ("Observation", "patient", "subject", PATIENT),
    ("Observation", "encounter", "encounter", &["Encounter"]),
    ("Observation", "performer", "performer", &["Practitioner", "Patient"]),
    ("Observation", "has-member", "hasMember", &["Observation"]),
    ("DocumentReference", "patient", "subject", PATIENT),
    ("DocumentReference", "author", "author", &["Practitioner", "Patient"]),
    ("DocumentReference", "encounter", "context.encounter", &["Encounter"]),
    ("DocumentReference", "related", "context.related", ANY),
    ("Encounter", "patient", "subject", PATIENT),
    ("Encounter", "participant", "participant.individual", &["Practitioner", "RelatedPerson"]),
    ("Encounter", "service-provider", "serviceProvider", &["Organization"]),
    ("Task", "patient", "for", PATIENT),
    ("Task", "focus", "focus", ANY),
    ("Task", "owner", "owner", &["Practitioner"]),
    ("Patient", "link", "link.other", PATIENT),
    ("Patient", "organization", "managingOrganization", &["Organization"]),
    ("Patient", "general-practitioner", "generalPractitioner", &["Practitioner"]),
    ("Provenance", "target", "target", ANY),
    ("Provenance", "patient", "target", PATIENT),
    ("Appointment", "actor", "participant.actor", &["Practitioner", "Patient"]),
    ("MedicationRequest", "medication", "medicationReference", &["Medication"]),
    ("MedicationRequest", "requester", "requester", &["Practitioner", "Patient"]),
    ("QuestionnaireResponse", "author", "author", &["Practitioner", "Patient"]),
    ("Communication", "sender", "sender", &["Practitioner", "Patient"]),
    ("Group", "member", "member.entity", PATIENT),
    ("RelatedPerson", "patient", "patient", PATIENT),
    ("PractitionerRole", "practitioner", "practitioner", &["Practitioner"]),
    ("PractitionerRole", "organization", "organization", &["Organization"]),
    ("Organization", "partof", "partOf", &["Organization"]),
];

/// The coded parameters: type, name, element.
const CODED: &[(&str, &str, &str)] = &[
    ("Condition", "category", "category"),
    ("Observation", "category", "category"),
    ("DocumentReference", "category", "category"),
    ("Condition", "code", "code"),
    ("Observation", "code", "code"),
    ("Encounter", "type", "type"),
    ("DocumentReference", "type", "type"),
    ("Condition", "clinical-status", "clinicalStatus"),
    ("Encounter", "status", "status"),
    ("Observation", "status", "status"),
    ("DocumentReference", "status", "status"),
    ("Task", "status", "status"),
    ("Appointment", "status", "status"),
];

/// The R4 compartment, wider than what decides access. §13.
const WIDE: &[(&str, &[&str])] = &[
    ("Patient", &["link.other"]),
    ("Encounter", &["subject"]),
    ("Condition", &["subject", "asserter"]),
    ("Observation", &["subject", "performer"]),
    ("MedicationRequest", &["subject"]),
    ("DocumentReference", &["subject", "author"]),
    ("Task", &["for", "focus"]),
    ("QuestionnaireResponse", &["subject", "author"]),
    ("Communication", &["subject", "sender", "recipient"]),
    ("Appointment", &["participant.actor"]),
    ("Provenance", &["target"]),
    ("RelatedPerson", &["patient"]),
    ("Group", &["member.entity"]),
    ("DiagnosticReport", &["subject"]),
];

const DATED: &[(&str, &str, &str)] =
    &[("Condition", "recorded-date", "recordedDate"), ("Observation", "date", "effectiveDateTime"), ("DocumentReference", "date", "date")];

enum Filter {
    Ids(Vec<String>),
    Refers { of: Reference, to: String, spelling: usize },
    Coded { name: &'static str, element: &'static str, wanted: Vec<String>, not: bool },
    Missing { name: &'static str, element: &'static str, missing: bool },
    Dated { name: &'static str, element: &'static str, prefix: &'static str, day: String },
    Family(String),
    Marker(String),
    Worth { prefix: &'static str, number: u64 },
}

impl Filter {
    fn random(dice: &mut Dice, records: &Records, kind: &str) -> Option<Self> {
        let of_kind = |table: &[(&'static str, &'static str, &'static str)]| table.iter().filter(|row| row.0 == kind).copied().collect::<Vec<_>>();
        let some = |dice: &mut Dice| dice.pick(&records.all);
        match dice.below(9) {
            0 => {
                let ids = records.ids(kind);
                let pick = |dice: &mut Dice| if ids.is_empty() { "none".to_owned() } else { dice.pick(&ids) };
                Some(Self::Ids(vec![pick(dice), pick(dice), "gone".to_owned()]))
            }
            1..=3 => {
                let all: Vec<Reference> = REFERENCES.iter().filter(|of| of.0 == kind).copied().collect();
                let of = if all.is_empty() { return None } else { dice.pick(&all) };
                let fits: Vec<&Value> = records.all.iter().filter(|r| of.3.is_empty() || of.3.contains(&name_of(r).0)).collect();
                let (kind, id) = if fits.is_empty() { return None } else { name_of(dice.pick(&fits)) };
                Some(Self::Refers { of, to: format!("{kind}/{id}"), spelling: dice.below(4) })
            }
            4 | 5 => {
                let all = of_kind(CODED);
                let (_, name, element) = if all.is_empty() { return None } else { dice.pick(&all) };
                let whole = |of: (&str, &str)| format!("{}|{}", of.0, of.1);
                let wanted = match element {
                    "status" => vec![dice.pick(STATUSES).to_owned(), dice.pick(STATUSES).to_owned()],
                    "category" => vec![whole(dice.pick(CATEGORIES)), dice.pick(CATEGORIES).1.to_owned()],
                    "clinicalStatus" => vec!["active".to_owned()],
                    _ => vec![whole(dice.pick(CODES))],
                };
                if dice.one_in(4) {
                    return Some(Self::Missing { name, element, missing: dice.one_in(2) });
                }
                Some(Self::Coded { name, element, wanted, not: dice.one_in(3) })
            }
            6 => {
                let all = of_kind(DATED);
                let (_, name, element) = if all.is_empty() { return None } else { dice.pick(&all) };
                let month = format!("2026-{:02}", 1 + dice.below(3));
                let day = if dice.one_in(2) { month } else { format!("{month}-{:02}", 1 + dice.below(28)) };
                Some(Self::Dated { name, element, prefix: dice.pick(&["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"]), day })
            }
            7 if kind == "Patient" => Some(Self::Family(dice.pick(FAMILIES).chars().take(1 + dice.below(3)).collect())),
            7 if kind == "Observation" => {
                Some(Self::Worth { prefix: dice.pick(&["", "ne", "gt", "le", "ge", "lt"]), number: u64::try_from(dice.below(6)).unwrap() })
            }
            _ => {
                let named = !matches!(kind, "Provenance" | "AuditEvent");
                named.then(|| Self::Marker(marker_of(&some(dice)).to_owned()))
            }
        }
    }

    fn pair(&self, base: &str) -> (String, String) {
        match self {
            Self::Ids(ids) => ("_id".to_owned(), ids.join(",")),
            Self::Refers { of, to, spelling } => {
                let (kind, id) = to.split_once('/').unwrap();
                match spelling {
                    0 => (of.1.to_owned(), id.to_owned()),
                    1 => (of.1.to_owned(), format!("{base}/{to}")),
                    2 => (format!("{}:{kind}", of.1), id.to_owned()),
                    _ => (of.1.to_owned(), to.clone()),
                }
            }
            Self::Coded { name, wanted, not, .. } => (format!("{name}{}", if *not { ":not" } else { "" }), wanted.join(",")),
            Self::Missing { name, missing, .. } => (format!("{name}:missing"), missing.to_string()),
            Self::Dated { name, prefix, day, .. } => ((*name).to_owned(), format!("{prefix}{day}")),
            Self::Family(start) => ("family".to_owned(), start.clone()),
            Self::Marker(marker) => ("identifier".to_owned(), format!("urn:ids|{marker}")),
            Self::Worth { prefix, number } => ("value-quantity".to_owned(), format!("{prefix}{number}||mg")),
        }
    }

    fn holds(&self, records: &Records, resource: &Value) -> bool {
        match self {
            Self::Ids(ids) => ids.iter().any(|id| id == name_of(resource).1),
            Self::Refers { of, to, .. } => records.refers(resource, of.2).contains(to),
            Self::Coded { element, wanted, not, .. } => wanted.iter().any(|code| has_code(&resource[element], code)) != *not,
            Self::Missing { element, missing, .. } => resource.get(element).is_none() == *missing,
            Self::Dated { element, prefix, day, .. } => {
                let Some(found) = resource[element].as_str() else { return false };
                let (same, later) = (found.starts_with(day.as_str()), found > day.as_str() && !found.starts_with(day.as_str()));
                match *prefix {
                    "" | "eq" => same,
                    "ne" => !same,
                    "gt" | "sa" => later,
                    "ge" => later || same,
                    "le" => !later,
                    _ => !later && !same,
                }
            }
            Self::Family(start) => {
                let plain = |text: &str| text.to_lowercase().replace('á', "a");
                plain(resource["name"][0]["family"].as_str().unwrap()).starts_with(&plain(start))
            }
            Self::Marker(marker) => resource.get("identifier").is_some() && marker_of(resource) == marker,
            Self::Worth { prefix, number } => {
                let found = resource["valueQuantity"]["value"].as_u64().unwrap();
                match *prefix {
                    "" => found == *number,
                    "ne" => found != *number,
                    "gt" => found > *number,
                    "ge" => found >= *number,
                    "lt" => found < *number,
                    _ => found <= *number,
                }
            }
        }
    }
}

pub struct Search {
    pub kind: &'static str,
    filters: Vec<Filter>,
    forward: Vec<Reference>,
    reverse: Vec<Reference>,
    /// Element and whether it goes down; `id` among them.
    sort: Option<(&'static str, &'static str, bool)>,
    pub count: Option<usize>,
    pub total: bool,
    pub only_total: bool,
    summary: Option<&'static str>,
    /// Within the compartment of this patient.
    pub within: Option<String>,
}

impl Search {
    pub fn random(dice: &mut Dice, records: &Records, kind: &'static str) -> Self {
        let filters = (0..dice.pick(&[0, 0, 1, 1, 2])).filter_map(|_| Filter::random(dice, records, kind)).collect();
        let some = |dice: &mut Dice, all: Vec<Reference>| (0..dice.below(3)).filter(|_| !all.is_empty()).map(|_| dice.pick(&all)).collect::<Vec<_>>();
        let with = dice.one_in(2);
        let sorts = [("_id", "id"), ("status", "status"), ("recorded-date", "recordedDate")];
        let offered = |name: &str| name == "_id" || CODED.iter().chain(DATED).any(|row| row.0 == kind && row.1 == name);
        let (name, element) = dice.pick(&sorts);
        let patients = records.ids("Patient");
        let compartment = WIDE.iter().any(|(wide, _)| *wide == kind);
        Self {
            kind,
            filters,
            forward: if with { some(dice, REFERENCES.iter().filter(|of| of.0 == kind).copied().collect()) } else { Vec::new() },
            reverse: if with { some(dice, REFERENCES.iter().filter(|of| of.3.is_empty() || of.3.contains(&kind)).copied().collect()) } else { Vec::new() },
            sort: (dice.one_in(2) && offered(name)).then(|| (name, element, dice.one_in(2))),
            count: dice.one_in(2).then(|| 1 + dice.below(3)),
            total: !dice.one_in(6),
            only_total: dice.one_in(8),
            summary: dice.one_in(4).then(|| dice.pick(&["true", "data", "false"])),
            within: (compartment && dice.one_in(4)).then(|| if dice.one_in(10) { "gone".to_owned() } else { dice.pick(&patients) }),
        }
    }

    pub fn pairs(&self, base: &str) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = self.filters.iter().map(|filter| filter.pair(base)).collect();
        let mut add = |name: &str, value: String| pairs.push((name.to_owned(), value));
        self.forward.iter().for_each(|of| add("_include", format!("{}:{}", of.0, of.1)));
        self.reverse.iter().for_each(|of| add("_revinclude", format!("{}:{}", of.0, of.1)));
        self.sort.iter().for_each(|(name, _, down)| add("_sort", format!("{}{name}", if *down { "-" } else { "" })));
        self.count.iter().for_each(|count| add("_count", count.to_string()));
        if !self.total {
            add("_total", "none".to_owned());
        }
        match self.summary {
            _ if self.only_total => add("_summary", "count".to_owned()),
            Some(summary) => add("_summary", summary.to_owned()),
            None => {}
        }
        pairs
    }

    /// The ids it should find, in order.
    pub fn expected(&self, sight: &Sight<'_>) -> Vec<String> {
        let of_kind = sight.records.all.iter().filter(|r| name_of(r).0 == self.kind);
        let inside = |r: &Value| {
            self.within.as_ref().is_none_or(|id| {
                let paths = WIDE.iter().find(|(kind, _)| *kind == self.kind).unwrap().1;
                let name = format!("Patient/{id}");
                (self.kind == "Patient" && name_of(r).1 == id) || paths.iter().any(|path| sight.records.refers(r, path).contains(&name))
            })
        };
        let mut found: Vec<&Value> = of_kind.filter(|r| sight.sees('s', r) && inside(r) && self.filters.iter().all(|f| f.holds(sight.records, r))).collect();
        found.sort_by_key(|r| name_of(r).1.to_owned());
        if let Some((_, element, down)) = self.sort {
            let key = |r: &Value| r[element].as_str().map(str::to_owned);
            found.sort_by(|a, b| match (key(a), key(b)) {
                (Some(a), Some(b)) if down => b.cmp(&a),
                (Some(a), Some(b)) => a.cmp(&b),
                (a, b) => a.is_none().cmp(&b.is_none()),
            });
        }
        found.into_iter().map(|r| name_of(r).1.to_owned()).collect()
    }

    /// What should come with these matches.
    pub fn expected_with(&self, sight: &Sight<'_>, matches: &[String]) -> BTreeSet<String> {
        let is_match = |name: &String| name.strip_prefix(&format!("{}/", self.kind)).is_some_and(|id| matches.iter().any(|found| found == id));
        let fits = |of: &Reference, name: &str| of.3.is_empty() || of.3.contains(&name.split('/').next().unwrap());
        let mut names = BTreeSet::new();
        for resource in &sight.records.all {
            let (kind, id) = name_of(resource);
            let name = format!("{kind}/{id}");
            for of in self.forward.iter().filter(|of| fits(of, &name)) {
                let from = sight.records.all.iter().filter(|r| is_match(&format!("{}/{}", name_of(r).0, name_of(r).1)));
                if from.into_iter().any(|from| sight.records.refers(from, of.2).contains(&name)) {
                    names.insert(name.clone());
                }
            }
            for of in self.reverse.iter().filter(|of| of.0 == kind) {
                if sight.records.refers(resource, of.2).iter().any(|to| is_match(to) && fits(of, to)) {
                    names.insert(name.clone());
                }
            }
        }
        names.retain(|name| {
            let (kind, id) = name.split_once('/').unwrap();
            !is_match(name) && sight.records.get(kind, id).is_some_and(|r| sight.sees('r', r))
        });
        names
    }

    /// Whether the text of resources is cut away.
    pub fn cuts_text(&self) -> bool {
        matches!(self.summary, Some("true" | "data"))
    }
}

/// Whether an element of a found resource is text, which a cut resource has not.
pub fn has_text(resource: &Value) -> bool {
    !at(resource, "text.div").is_empty()
}
