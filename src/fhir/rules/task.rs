//! How a Task moves, and who moves it. fhir-server.md §16, <https://hl7.org/fhir/R4/task.html#statemachine>

use serde_json::Value;

use crate::fhir::context::AccessContext;
use crate::fhir::refusal::Issue;
use crate::fhir::resource::{Key, Resource};
use crate::protocol::ids::FhirBase;

/// What may follow on what; `entered-in-error` follows on everything.
const MOVES: &[(&str, &[&str])] = &[
    ("draft", &["requested"]),
    ("requested", &["received", "accepted", "rejected", "cancelled"]),
    ("received", &["accepted", "rejected"]),
    ("accepted", &["ready", "in-progress", "cancelled"]),
    ("ready", &["in-progress", "cancelled"]),
    ("in-progress", &["on-hold", "failed", "completed"]),
    ("on-hold", &["in-progress", "cancelled"]),
];

/// What only the owner does.
const OWNERS: &[&str] = &["received", "accepted", "rejected", "ready", "in-progress", "on-hold", "failed", "completed"];

/// The shortest way from one status to another over what an owner does; the last step is `to`. `None` where none leads there.
pub fn way(from: &str, to: &str) -> Option<Vec<&'static str>> {
    let mut reached: Vec<Vec<&'static str>> = vec![Vec::new()];
    for step in 0.. {
        let so_far = reached.get(step)?.clone();
        let here = so_far.last().copied().unwrap_or(from);
        if here == to && !so_far.is_empty() {
            return Some(so_far);
        }
        let next = MOVES.iter().filter(|(status, _)| *status == here).flat_map(|(_, next)| next.iter().copied());
        for status in next.filter(|status| OWNERS.contains(status)) {
            if !reached.iter().any(|way| way.contains(&status)) {
                reached.push(so_far.iter().copied().chain([status]).collect());
            }
        }
    }
    None
}

pub fn check(before: Option<&Resource>, after: &Resource, context: &AccessContext, base: &FhirBase) -> Option<Issue> {
    let status = |task: &Resource| task.body.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
    let refused = |why: &str| Some(Issue::at("business-rule", "Task.status", why));
    let next = status(after);
    let Some(before) = before else {
        return if matches!(next.as_str(), "draft" | "requested") { None } else { refused("a new task is draft or requested") };
    };
    let now = status(before);
    if now == next {
        return None;
    }
    let follows = next == "entered-in-error" || MOVES.iter().any(|(from, to)| *from == now && to.contains(&next.as_str()));
    if !follows {
        return Some(Issue::at("business-rule", "Task.status", format!("a task does not go from {now} to {next}")));
    }
    // A client without a user is the record system itself.
    let user = context.fhir_user.as_ref()?;
    let named = |path: &str| -> Vec<Key> { before.references_at(base, &[path]) };
    let is = |keys: &[Key]| keys.is_empty() || keys.contains(user);
    if OWNERS.contains(&next.as_str()) && !is(&named("owner")) {
        return refused("only its owner takes a task on and ends it");
    }
    if next == "cancelled" && !is(&named("requester")) {
        return refused("only its requester cancels a task");
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fhir::context::Told;
    use crate::fhir::resource::Stamp;
    use crate::fhir::table::TypeRow;
    use crate::time::UnixTime;

    #[test]
    fn an_owner_takes_the_shortest_way() {
        for (from, to, steps) in [
            ("requested", "completed", Some(vec!["accepted", "in-progress", "completed"])),
            ("requested", "rejected", Some(vec!["rejected"])),
            ("received", "rejected", Some(vec!["rejected"])),
            ("ready", "completed", Some(vec!["in-progress", "completed"])),
            ("on-hold", "failed", Some(vec!["in-progress", "failed"])),
            ("accepted", "rejected", None),
            ("requested", "requested", None),
            ("requested", "cancelled", None),
            ("completed", "in-progress", None),
            ("requested", "nonsense", None),
            ("draft", "accepted", None),
        ] {
            assert_eq!(way(from, to), steps, "{from} to {to}");
        }
    }

    #[test]
    fn tasks_move_as_they_should_and_by_whom_they_should() {
        let base = FhirBase::parse("https://epj.example/fhir").unwrap();
        let task = |status: &str| {
            let body = json!({"resourceType": "Task", "status": status, "intent": "proposal", "owner": {"reference": "Practitioner/owner"},
                "requester": {"reference": "Practitioner/asker"}});
            Resource::written(&base, TypeRow::named("Task").unwrap(), Stamp { id: "t".into(), version: 1, at: UnixTime(0), creator: None }, body)
        };
        for (from, to, user, good) in [
            ("", "draft", "owner", true),
            ("", "requested", "asker", true),
            ("", "completed", "owner", false),
            ("requested", "requested", "other", true),
            ("requested", "accepted", "owner", true),
            ("requested", "accepted", "asker", false),
            ("requested", "cancelled", "asker", true),
            ("requested", "cancelled", "owner", false),
            ("requested", "completed", "owner", false),
            ("received", "cancelled", "asker", false),
            ("accepted", "in-progress", "owner", true),
            ("in-progress", "completed", "owner", true),
            ("in-progress", "completed", "", true),
            ("in-progress", "cancelled", "asker", false),
            ("completed", "in-progress", "owner", false),
            ("completed", "entered-in-error", "asker", true),
            ("on-hold", "in-progress", "owner", true),
        ] {
            let user = (!user.is_empty()).then(|| format!("Practitioner/{user}"));
            let context = AccessContext::new(Told { client_id: "app", fhir_user: user.as_deref(), ..Told::default() }, UnixTime(1), &base, UnixTime(0));
            let before = (!from.is_empty()).then(|| task(from));
            assert_eq!(check(before.as_ref(), &task(to), &context, &base).is_none(), good, "{from} to {to} by {user:?}");
        }
    }
}
