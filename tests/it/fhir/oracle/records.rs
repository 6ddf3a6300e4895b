//! Random records: a few patients whose resources refer to each other more than real ones do. Every resource carries a marker no other
//! has, in places that no subset cuts away.

use serde_json::{Value, json};

/// SplitMix64: the same seed makes the same records, scopes and requests everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// True once in so many.
    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

pub const CATEGORIES: &[(&str, &str)] = &[("urn:cat", "lab"), ("urn:cat", "vital"), ("urn:other", "lab")];
pub const CODES: &[(&str, &str)] = &[("urn:oid:2.16.578.1.12.4.1.1.7170", "L03"), ("urn:codes", "A1"), ("urn:codes", "B2")];
pub const STATUSES: &[&str] = &["final", "draft", "active", "in-progress"];
pub const FAMILIES: &[&str] = &["Ås", "Aas", "Øye", "Øyen", "Máret"];

/// All resources of a world, in no order that matters.
pub struct Records {
    pub all: Vec<Value>,
    pub base: String,
}

/// The type and id of a resource.
pub fn name_of(resource: &Value) -> (&str, &str) {
    (resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap())
}

pub fn marker_of(resource: &Value) -> &str {
    resource["meta"]["source"].as_str().unwrap().strip_prefix("urn:").unwrap()
}

fn concept(of: (&str, &str)) -> Value {
    json!({"coding": [{"system": of.0, "code": of.1}], "text": "ord"})
}

impl Records {
    pub fn random(dice: &mut Dice, base: &str) -> Self {
        let patients = 2 + dice.below(3);
        Self::of(dice, base, patients)
    }

    /// Of so many patients.
    pub fn of(dice: &mut Dice, base: &str, patients: usize) -> Self {
        let mut records = Self { all: Vec::new(), base: base.to_owned() };
        for (kind, count) in [("Organization", 3), ("Practitioner", 3), ("PractitionerRole", 2), ("Questionnaire", 1), ("Medication", 2)] {
            for _ in 0..count {
                records.add(dice, kind);
            }
        }
        for _ in 0..patients {
            records.add(dice, "Patient");
        }
        let kinds = [
            ("RelatedPerson", 2),
            ("Encounter", 6),
            ("Condition", 8),
            ("Observation", 10),
            ("DocumentReference", 6),
            ("Binary", 4),
            ("Task", 4),
            ("QuestionnaireResponse", 3),
            ("Communication", 3),
            ("Appointment", 3),
            ("MedicationRequest", 3),
            ("Provenance", 5),
            ("AuditEvent", 2),
            ("Group", 3),
        ];
        for (kind, most) in kinds {
            for _ in 0..dice.below(most + 1) {
                records.add(dice, kind);
            }
        }
        records
    }

    pub fn ids(&self, kind: &str) -> Vec<String> {
        self.all.iter().filter(|r| r["resourceType"] == kind).map(|r| r["id"].as_str().unwrap().to_owned()).collect()
    }

    /// A reference to some resource of one of these types, or now and then to one that is not there.
    fn to(&self, dice: &mut Dice, kinds: &[&str]) -> Value {
        let kind = dice.pick(kinds);
        let ids = self.ids(kind);
        let id = if ids.is_empty() || dice.one_in(25) { "gone".to_owned() } else { dice.pick(&ids) };
        let text = match dice.below(12) {
            0 => format!("{}/{kind}/{id}", self.base),
            1 => format!("{kind}/{id}/_history/1"),
            2 if dice.one_in(4) => format!("https://other.example/fhir/{kind}/{id}"),
            _ => format!("{kind}/{id}"),
        };
        json!({"reference": text})
    }

    fn add(&mut self, dice: &mut Dice, kind: &str) {
        let number = self.all.len();
        let marker = format!("mk{number}q");
        let day = |dice: &mut Dice| format!("2026-{:02}-{:02}", 1 + dice.below(3), 1 + dice.below(28));
        let id = format!("{}{}", kind.to_lowercase(), self.ids(kind).len());
        let mut r = json!({
            "resourceType": kind, "id": id, "meta": {"lastUpdated": "2026-01-01T00:00:00Z", "source": format!("urn:{marker}")},
            "text": {"status": "generated", "div": format!("<div>{marker}</div>")}
        });
        if kind != "Binary" && kind != "Provenance" && kind != "AuditEvent" {
            r["identifier"] = json!([{"system": "urn:ids", "value": marker}]);
        }
        if kind == "QuestionnaireResponse" {
            r["identifier"] = json!({"system": "urn:ids", "value": marker});
        }
        if matches!(
            kind,
            "Encounter" | "Observation" | "DocumentReference" | "Task" | "QuestionnaireResponse" | "Communication" | "Appointment" | "MedicationRequest"
        ) {
            r["status"] = dice.pick(STATUSES).into();
        }
        if matches!(kind, "Condition" | "Observation" | "DocumentReference") && !dice.one_in(5) {
            r["category"] = json!([concept(dice.pick(CATEGORIES))]);
        }
        if matches!(kind, "Condition" | "Observation") {
            r["code"] = concept(dice.pick(CODES));
        }
        let patient = &["Patient"][..];
        let anyone = &["Patient", "Practitioner", "Patient"][..];
        let clinical = &["Condition", "Observation", "Encounter", "DocumentReference", "Patient"][..];
        match kind {
            "Organization" if number > 0 && dice.one_in(2) => r["partOf"] = self.to(dice, &["Organization"]),
            "PractitionerRole" => {
                r["practitioner"] = self.to(dice, &["Practitioner"]);
                r["organization"] = self.to(dice, &["Organization"]);
                r["active"] = (!dice.one_in(4)).into();
            }
            "Questionnaire" => r["url"] = "urn:q".into(),
            "Patient" => {
                r["name"] = json!([{"family": dice.pick(FAMILIES)}]);
                r["gender"] = dice.pick(&["male", "female"]).into();
                if dice.one_in(2) {
                    r["managingOrganization"] = self.to(dice, &["Organization"]);
                }
                if dice.one_in(2) {
                    r["generalPractitioner"] = json!([self.to(dice, &["Practitioner"])]);
                }
                if dice.one_in(2) {
                    r["link"] = json!([{"type": "seealso", "other": self.to(dice, patient)}]);
                }
            }
            "RelatedPerson" => r["patient"] = self.to(dice, patient),
            "Encounter" => {
                r["subject"] = self.to(dice, patient);
                r["class"] = json!({"code": "AMB"});
                r["type"] = json!([concept(dice.pick(CODES))]);
                r["serviceProvider"] = self.to(dice, &["Organization"]);
                r["participant"] = json!([{"individual": self.to(dice, &["Practitioner", "RelatedPerson"])}]);
            }
            "Condition" => {
                if !dice.one_in(6) {
                    let whom = if dice.one_in(8) { &["Group"] } else { patient };
                    r["subject"] = self.to(dice, whom);
                }
                r["asserter"] = self.to(dice, anyone);
                r["encounter"] = self.to(dice, &["Encounter"]);
                r["recordedDate"] = day(dice).into();
                r["clinicalStatus"] = concept(("urn:clinical", dice.pick(&["active", "resolved"])));
            }
            "Observation" => {
                if !dice.one_in(4) {
                    r["subject"] = self.to(dice, patient);
                }
                r["performer"] = json!([self.to(dice, anyone), self.to(dice, anyone)]);
                r["encounter"] = self.to(dice, &["Encounter"]);
                r["hasMember"] = json!([self.to(dice, &["Observation"])]);
                r["effectiveDateTime"] = day(dice).into();
                r["valueQuantity"] = json!({"value": dice.below(6), "unit": "mg"});
            }
            "DocumentReference" => {
                if !dice.one_in(4) {
                    r["subject"] = self.to(dice, patient);
                }
                r["author"] = json!([self.to(dice, anyone)]);
                r["type"] = concept(dice.pick(CODES));
                r["date"] = format!("{}T10:00:00+01:00", day(dice)).into();
                r["context"] = json!({"encounter": [self.to(dice, &["Encounter"])], "related": [self.to(dice, clinical)]});
                // The Binaries come later and are numbered.
                let binary = format!("Binary/binary{}", dice.below(4));
                let url = if dice.one_in(3) { format!("{}/{binary}", self.base) } else { binary };
                r["content"] = json!([{"attachment": {"contentType": "application/pdf", "url": url}}]);
            }
            "Binary" => {
                use base64::Engine as _;
                r["contentType"] = "application/pdf".into();
                r["data"] = base64::engine::general_purpose::STANDARD.encode(format!("content {marker}")).into();
                if dice.one_in(3) {
                    r["securityContext"] = self.to(dice, clinical);
                }
            }
            "Task" => {
                if !dice.one_in(3) {
                    r["for"] = self.to(dice, patient);
                }
                r["focus"] = self.to(dice, clinical);
                r["owner"] = self.to(dice, &["Practitioner"]);
            }
            "QuestionnaireResponse" => {
                if !dice.one_in(3) {
                    r["subject"] = self.to(dice, patient);
                }
                r["author"] = self.to(dice, anyone);
                r["encounter"] = self.to(dice, &["Encounter"]);
                r["questionnaire"] = dice.pick(&["urn:q", "urn:q|1", "urn:elsewhere"]).into();
            }
            "Communication" => {
                if dice.one_in(2) {
                    r["subject"] = self.to(dice, patient);
                }
                r["sender"] = self.to(dice, anyone);
                r["recipient"] = json!([self.to(dice, anyone)]);
            }
            "Appointment" => r["participant"] = json!([{"actor": self.to(dice, anyone)}, {"actor": self.to(dice, anyone)}]),
            "MedicationRequest" => {
                r["subject"] = self.to(dice, patient);
                r["medicationReference"] = self.to(dice, &["Medication"]);
                r["requester"] = self.to(dice, anyone);
            }
            "Provenance" => {
                let targets = 1 + dice.below(2);
                r["target"] = (0..targets)
                    .map(|_| self.to(dice, &["Condition", "Observation", "DocumentReference", "Patient", "Binary", "Practitioner", "Provenance"]))
                    .collect();
                r["agent"] = json!([{"who": self.to(dice, anyone)}]);
            }
            "AuditEvent" => {
                r["agent"] = json!([{"who": self.to(dice, anyone)}]);
                r["entity"] = json!([{"what": self.to(dice, clinical)}]);
            }
            "Group" => {
                let members = dice.below(3);
                r["member"] = (0..members).map(|_| json!({"entity": self.to(dice, patient)})).collect();
                r["type"] = "person".into();
            }
            _ => {}
        }
        self.all.push(r);
    }

    pub fn ndjson(&self) -> String {
        self.all.iter().map(|r| format!("{r}\n")).collect()
    }
}
