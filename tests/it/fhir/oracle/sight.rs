//! Who may see what, worked out slowly from fhir-server.md §13 and §14 alone: every question looks at every resource.

use std::collections::BTreeSet;

use serde_json::Value;

use super::records::{CATEGORIES, CODES, Dice, Records, STATUSES, name_of};

/// What a token was given.
pub struct Pass {
    pub patient: Option<String>,
    pub user: Option<String>,
    pub knows_user: bool,
    pub gifts: Vec<Gift>,
}

pub struct Gift {
    level: &'static str,
    kind: &'static str,
    letters: String,
    /// All must hold; the values of one are alternatives.
    only: Vec<(&'static str, Vec<String>)>,
    /// Nothing this server can evaluate.
    void: bool,
}

pub const COMPARTMENT: &[&str] = &[
    "Patient",
    "Encounter",
    "Condition",
    "Observation",
    "DocumentReference",
    "Task",
    "QuestionnaireResponse",
    "Communication",
    "Appointment",
    "MedicationRequest",
    "RelatedPerson",
    "Provenance",
    "AuditEvent",
    "Group",
    // Of this there are no records, but a scope for it opens the type Binary.
    "DiagnosticReport",
];
pub const SHARED: &[&str] = &["Organization", "Practitioner", "PractitionerRole", "Questionnaire", "Medication"];

/// Where a coded value that a scope may name stands, by type.
fn coded(kind: &str, param: &str) -> Option<&'static str> {
    match (kind, param) {
        ("Condition" | "Observation" | "DocumentReference" | "Communication" | "MedicationRequest" | "DiagnosticReport", "category") => Some("category"),
        (
            "Encounter"
            | "Observation"
            | "DocumentReference"
            | "Task"
            | "QuestionnaireResponse"
            | "Communication"
            | "Appointment"
            | "MedicationRequest"
            | "Questionnaire"
            | "Medication"
            | "DiagnosticReport",
            "status",
        ) => Some("status"),
        ("Condition" | "Observation" | "Task" | "Group" | "Medication" | "DiagnosticReport", "code") => Some("code"),
        ("MedicationRequest" | "Questionnaire", "code") => Some("absent"),
        ("Condition", "clinical-status") => Some("clinicalStatus"),
        ("Encounter" | "DocumentReference" | "Organization" | "AuditEvent" | "Group", "type") => Some("type"),
        _ => None,
    }
}

pub fn has_code(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Array(all) => all.iter().any(|one| has_code(one, wanted)),
        Value::String(code) => code == wanted,
        Value::Object(fields) => match fields.get("coding") {
            Some(codings) => has_code(codings, wanted),
            None => {
                let (system, code) = (value["system"].as_str().unwrap_or_default(), value["code"].as_str().unwrap_or_default());
                wanted == code || wanted == format!("{system}|{code}")
            }
        },
        _ => false,
    }
}

impl Gift {
    pub fn random(dice: &mut Dice) -> Self {
        let level = dice.pick(&["patient", "patient", "patient", "patient", "user", "system"]);
        let kinds: Vec<&'static str> = COMPARTMENT.iter().chain(SHARED).copied().chain(["*"; 24]).chain(["Binary"]).collect();
        let letters: String = loop {
            let letters: String = "cruds".chars().filter(|letter| if "rs".contains(*letter) { !dice.one_in(4) } else { dice.one_in(4) }).collect();
            if !letters.is_empty() {
                break letters;
            }
        };
        let mut gift = Self { level, kind: dice.pick(&kinds), letters, only: Vec::new(), void: false };
        if dice.one_in(4) {
            let pair = |of: (&str, &str), whole: bool| if whole { format!("{}|{}", of.0, of.1) } else { of.1.to_owned() };
            let constraint = match dice.below(6) {
                0 => ("status", vec![dice.pick(STATUSES).to_owned(), dice.pick(STATUSES).to_owned()]),
                1 => ("code", vec![pair(dice.pick(CODES), true)]),
                2 => ("type", vec![pair(dice.pick(CODES), true)]),
                3 => ("clinical-status", vec!["urn:clinical|active".to_owned()]),
                _ => ("category", vec![pair(dice.pick(CATEGORIES), true), pair(dice.pick(CATEGORIES), false)]),
            };
            gift.only.push(constraint);
            if dice.one_in(6) {
                gift.only.push(("colour", vec!["red".to_owned()]));
            }
            // A parameter the type does not have cannot be evaluated.
            gift.void = gift.kinds_reached().is_empty();
        }
        gift
    }

    fn kinds_reached(&self) -> Vec<&'static str> {
        let named: Vec<&'static str> = match self.kind {
            "*" => COMPARTMENT.iter().chain(SHARED).copied().chain(["Binary"]).filter(|kind| *kind != "AuditEvent").collect(),
            kind => vec![kind],
        };
        named.into_iter().filter(|kind| self.only.iter().all(|(param, _)| coded(kind, param).is_some())).collect()
    }

    /// As a scope is written; what v1 can say, now and then in v1.
    pub fn text(&self, dice: &mut Dice) -> String {
        let letters = match self.letters.as_str() {
            "rs" if self.only.is_empty() && dice.one_in(2) => "read",
            "cruds" if self.only.is_empty() && dice.one_in(2) => "*",
            letters => letters,
        };
        let only: Vec<String> = self.only.iter().map(|(name, values)| format!("{name}={}", values.join(","))).collect();
        let question = if only.is_empty() { "" } else { "?" };
        format!("{}/{}.{letters}{question}{}", self.level, self.kind, only.join("&"))
    }

    fn reaches(&self, kind: &str) -> bool {
        !self.void && self.kinds_reached().contains(&kind)
    }

    fn admits(&self, resource: &Value) -> bool {
        let (kind, _) = name_of(resource);
        self.only.iter().all(|(param, values)| coded(kind, param).is_some_and(|element| values.iter().any(|wanted| has_code(&resource[element], wanted))))
    }
}

impl Pass {
    pub fn random(dice: &mut Dice, records: &Records) -> Self {
        let patients = records.ids("Patient");
        let some = |dice: &mut Dice, kind: &str| records.ids(kind).first().map(|_| format!("{kind}/{}", dice.pick(&records.ids(kind))));
        let user = match dice.below(7) {
            0..=2 => some(dice, "Practitioner"),
            3 => some(dice, "Patient"),
            4 => some(dice, "RelatedPerson"),
            5 => Some("Practitioner/nobody".to_owned()),
            _ => None,
        };
        let gifts = (0..1 + dice.below(4)).map(|_| Gift::random(dice)).collect();
        Self { patient: (!dice.one_in(8)).then(|| dice.pick(&patients)), user, knows_user: dice.one_in(3), gifts }
    }

    /// For one patient alone, with a good deal to do.
    pub fn of_patient(dice: &mut Dice, records: &Records, patient: &str) -> Self {
        let mut gifts: Vec<Gift> = (0..1 + dice.below(3)).map(|_| Gift::random(dice)).collect();
        for gift in &mut gifts {
            gift.level = "patient";
            if dice.one_in(2) {
                gift.letters = dice.pick(&["cruds", "crus", "cud", "ruds"]).to_owned();
            }
        }
        let staff = records.ids("Practitioner");
        let user = dice.one_in(2).then(|| format!("Practitioner/{}", dice.pick(&staff)));
        Self { patient: Some(patient.to_owned()), user, knows_user: dice.one_in(3), gifts }
    }

    pub fn scope(&self, dice: &mut Dice) -> String {
        let mut all: Vec<String> = self.gifts.iter().map(|gift| gift.text(dice)).collect();
        if self.knows_user {
            all.push("openid fhirUser".to_owned());
        }
        all.join(" ")
    }

    /// Whether the token is for the patient in context and nobody else, by its levels alone.
    pub fn is_for_one_patient(&self) -> bool {
        self.gifts.iter().all(|gift| gift.level == "patient") && !self.knows_user
    }
}

/// Where the element of a dotted path leads, lists flattened.
pub fn at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut here = vec![value];
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let flat = here.into_iter().flat_map(|v| v.as_array().map_or_else(|| vec![v], |all| all.iter().collect()));
        here = flat.filter_map(|v| v.get(step)).collect();
    }
    here.into_iter().flat_map(|v| v.as_array().map_or_else(|| vec![v], |all| all.iter().collect())).collect()
}

impl Records {
    pub fn get(&self, kind: &str, id: &str) -> Option<&Value> {
        self.all.iter().find(|r| name_of(r) == (kind, id))
    }

    /// `Type/id` where a reference or URL is to this server.
    pub fn local(&self, text: &str) -> Option<String> {
        let relative = text.strip_prefix(&format!("{}/", self.base)).unwrap_or(text);
        let parts: Vec<&str> = relative.split('/').collect();
        match parts.as_slice() {
            [kind, id] | [kind, id, "_history", _] => Some(format!("{kind}/{id}")),
            _ => None,
        }
    }

    pub fn refers(&self, resource: &Value, path: &str) -> Vec<String> {
        at(resource, path).into_iter().filter_map(|r| self.local(r["reference"].as_str()?)).collect()
    }

    /// Whether any string in it, whatever its name, is a reference to `name`.
    fn mentions(&self, resource: &Value, name: &str) -> bool {
        match resource {
            Value::String(text) => self.local(text).as_deref() == Some(name),
            Value::Array(all) => all.iter().any(|v| self.mentions(v, name)),
            Value::Object(all) => all.values().any(|v| self.mentions(v, name)),
            _ => false,
        }
    }

    /// Whose it is. §13, with the narrow set.
    pub fn owners(&self, resource: &Value) -> BTreeSet<String> {
        let (kind, id) = name_of(resource);
        let (subject, others): (&str, &[&str]) = match kind {
            "Patient" => return BTreeSet::from([id.to_owned()]),
            "Encounter" | "MedicationRequest" => ("subject", &[]),
            "Condition" => ("subject", &["asserter"]),
            "Observation" => ("subject", &["performer"]),
            "DocumentReference" | "QuestionnaireResponse" => ("subject", &["author"]),
            "Task" => ("for", &["focus"]),
            "Communication" => ("subject", &["sender", "recipient"]),
            "Appointment" => ("nothing", &["participant.actor"]),
            "AuditEvent" => ("nothing", &["agent.who", "entity.what"]),
            "RelatedPerson" => ("patient", &[]),
            _ => return BTreeSet::new(),
        };
        let paths = if resource.get(subject).is_some() { vec![subject] } else { others.to_vec() };
        let all = paths.iter().flat_map(|path| self.refers(resource, path));
        all.filter_map(|name| name.strip_prefix("Patient/").map(str::to_owned)).collect()
    }

    fn targets<'a>(&self, resource: &'a Value) -> Vec<&'a Value> {
        at(resource, if resource["resourceType"] == "Group" { "member.entity" } else { "target" })
    }
}

/// One token in one world.
pub struct Sight<'a> {
    pub pass: &'a Pass,
    pub records: &'a Records,
}

impl Sight<'_> {
    fn usable(&self) -> impl Iterator<Item = &Gift> {
        self.pass.gifts.iter().filter(|gift| match gift.level {
            "patient" => self.pass.patient.is_some(),
            "user" => self.pass.user.as_ref().is_some_and(|user| self.records.all.iter().any(|r| format!("{}/{}", name_of(r).0, name_of(r).1) == *user)),
            _ => true,
        })
    }

    fn covers(&self, letter: char, kind: &str) -> bool {
        self.usable().any(|gift| gift.letters.contains(letter) && gift.reaches(kind))
    }

    fn given(&self, letter: char, resource: &Value, below_system: bool) -> bool {
        let (kind, _) = name_of(resource);
        self.usable().any(|gift| {
            (!below_system || gift.level != "system")
                && gift.letters.contains(letter)
                && gift.reaches(kind)
                && gift.admits(resource)
                && self.within(gift.level, resource)
        })
    }

    fn within(&self, level: &str, resource: &Value) -> bool {
        let (kind, _) = name_of(resource);
        if level == "system" {
            return true;
        }
        if kind == "Provenance" || kind == "Group" {
            let targets = self.records.targets(resource);
            let visible = |target: &&Value| {
                let name = target["reference"].as_str().and_then(|text| self.records.local(text));
                let found = name.and_then(|name| name.split_once('/').and_then(|(kind, id)| self.records.get(kind, id)));
                found.is_some_and(|found| name_of(found).0 != "Provenance" && (self.given('r', found, false) || self.given('s', found, false)))
            };
            return !targets.is_empty() && targets.iter().all(visible);
        }
        if kind == "Binary" {
            return self.is_pointed_at(resource);
        }
        if SHARED.contains(&kind) {
            return level == "user" || self.is_referred_to(resource);
        }
        let owners = self.records.owners(resource);
        if level == "patient" { owners.contains(self.pass.patient.as_ref().unwrap()) } else { owners.iter().any(|patient| self.user_reaches(patient)) }
    }

    fn is_pointed_at(&self, binary: &Value) -> bool {
        let name = format!("Binary/{}", name_of(binary).1);
        let documents = self.records.all.iter().filter(|r| r["resourceType"] == "DocumentReference");
        documents.filter(|r| self.records.mentions(r, &name)).any(|r| self.given('r', r, false))
            || self.records.refers(binary, "securityContext").iter().any(|name| {
                let (kind, id) = name.split_once('/').unwrap();
                self.records.get(kind, id).is_some_and(|r| COMPARTMENT.contains(&kind) && self.given('r', r, false))
            })
    }

    fn is_referred_to(&self, shared: &Value) -> bool {
        let (kind, id) = name_of(shared);
        let name = format!("{kind}/{id}");
        let own = self.records.all.iter().filter(|r| COMPARTMENT.contains(&name_of(r).0) && !["Provenance", "Group"].contains(&name_of(r).0));
        own.filter(|r| self.records.mentions(r, &name)).any(|r| self.given('r', r, true))
    }

    fn opens_in_support(&self) -> bool {
        self.usable().any(|gift| gift.level != "system" && gift.letters.contains('r') && gift.kinds_reached().iter().any(|kind| COMPARTMENT.contains(kind)))
    }

    fn is_own_user(&self, resource: &Value) -> bool {
        let (kind, id) = name_of(resource);
        self.pass.knows_user
            && self.pass.user.as_ref().is_some_and(|user| {
                format!("{kind}/{id}") == *user || (kind == "PractitionerRole" && self.records.refers(resource, "practitioner").contains(user))
            })
    }

    fn user_reaches(&self, patient: &str) -> bool {
        let Some((kind, id)) = self.pass.user.as_deref().and_then(|user| user.split_once('/')) else { return false };
        let Some(user) = self.records.get(kind, id) else { return false };
        if kind != "Practitioner" {
            return self.records.owners(user).contains(patient);
        }
        let all = |kind: &'static str| self.records.all.iter().filter(move |r| r["resourceType"] == kind);
        let roles = all("PractitionerRole").filter(|r| r["active"] != false && self.records.refers(r, "practitioner").contains(&format!("Practitioner/{id}")));
        let mut places: BTreeSet<String> = roles.flat_map(|r| self.records.refers(r, "organization")).collect();
        // As often as there are organizations: then everything below has been reached.
        for _ in 0..self.records.ids("Organization").len() {
            let below = all("Organization").filter(|o| self.records.refers(o, "partOf").iter().any(|above| places.contains(above)));
            let below: Vec<String> = below.map(|o| format!("Organization/{}", name_of(o).1)).collect();
            places.extend(below);
        }
        let here = |resource: &Value, path: &str| self.records.refers(resource, path).iter().any(|name| places.contains(name));
        all("Patient").any(|p| name_of(p).1 == patient && here(p, "managingOrganization"))
            || all("Encounter").any(|e| self.records.owners(e).contains(patient) && here(e, "serviceProvider"))
    }

    /// Whether a resource is shown for this letter.
    pub fn sees(&self, letter: char, resource: &Value) -> bool {
        let (kind, _) = name_of(resource);
        self.given(letter, resource, false)
            || self.is_own_user(resource)
            || (SHARED.contains(&kind) && self.opens_in_support() && self.is_referred_to(resource))
            || (kind == "Binary" && letter == 'r' && self.is_pointed_at(resource))
    }

    /// Whether the type is open for this letter: else 403.
    pub fn may(&self, letter: char, kind: &str) -> bool {
        let own = || {
            let user = self.pass.user.as_deref().and_then(|user| user.split_once('/')).map_or("", |(kind, _)| kind);
            self.pass.knows_user && (user == kind || (user == "Practitioner" && kind == "PractitionerRole"))
        };
        self.covers(letter, kind)
            || (letter == 's' && (own() || (SHARED.contains(&kind) && self.opens_in_support())))
            || (letter == 'r' && kind == "Binary" && ["DocumentReference", "DiagnosticReport"].iter().any(|document| self.covers('r', document)))
    }

    /// Whether showing a resource tells anything of somebody else than the patient in context: plainer than the rules above, and true of
    /// every token that is for one patient alone.
    pub fn is_anothers(&self, resource: &Value) -> bool {
        let (kind, id) = name_of(resource);
        let Some(patient) = &self.pass.patient else { return true };
        let own = |r: &Value| self.records.owners(r).contains(patient);
        let named = |name: &String| name.split_once('/').and_then(|(kind, id)| self.records.get(kind, id));
        match kind {
            _ if SHARED.contains(&kind) => false,
            "Binary" => {
                let name = format!("Binary/{id}");
                let pointing = self.records.all.iter().any(|r| r["resourceType"] == "DocumentReference" && self.records.mentions(r, &name) && own(r));
                !pointing && !self.records.refers(resource, "securityContext").iter().filter_map(named).any(own)
            }
            "Provenance" | "Group" => {
                let names = self.records.refers(resource, if kind == "Group" { "member.entity" } else { "target" });
                !names.iter().all(|name| named(name).is_some_and(|target| !self.is_anothers(target)))
            }
            _ => !own(resource),
        }
    }
}
