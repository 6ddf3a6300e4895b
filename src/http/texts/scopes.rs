//! What a scope means, said for clinicians from its parts, not its spelling. SAL §7.7, SAL-045.

mod nouns;
mod values;

use crate::protocol::lang::Lang;
use crate::protocol::launch::FhirContextItem;
use crate::protocol::scope::{Interactions, Level, ResourceScope, Scope, Target};

use nouns::{Kind, Noun};

/// One thing an app asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// A plain sentence without a full stop.
    pub sentence: String,
    /// The scope as it was asked for.
    pub detail: String,
    /// What a person might not expect: a wildcard covers types added later (SAL-045).
    pub warning: Option<String>,
}

/// What `scope` asks of the person; `None` for launch and context scopes, which only say what is open.
///
/// `patient_known` is whether the page shows the patient: "this patient", else "the chosen patient".
/// `helseid` is the name of the scope that asks for a HelseID token beside ours.
pub fn explain(scope: &Scope, lang: Lang, patient_known: bool, helseid: &str) -> Option<Ask> {
    let (sentence, warning) = match scope {
        Scope::Launch | Scope::Context(_) => return None,
        Scope::Resource(resource) => (resource_sentence(resource, lang, patient_known), resource_warning(resource, lang)),
        Scope::OpenId => (lang.scope_openid().to_owned(), None),
        Scope::FhirUser => (lang.scope_fhir_user().to_owned(), None),
        Scope::Profile => (lang.scope_profile().to_owned(), None),
        Scope::OfflineAccess => (lang.scope_offline().to_owned(), None),
        Scope::OnlineAccess => (lang.scope_online().to_owned(), None),
        Scope::Extension(name) if **name == *helseid => (lang.scope_helseid().to_owned(), None),
        Scope::Extension(name) => (lang.scope_extension(name), Some(lang.scope_extension_warning().to_owned())),
    };
    Some(Ask { sentence, detail: scope.to_string(), warning })
}

/// What a `fhirContext` item is, by its type: what clinicians call it, and which one. An identifier may be of a person and is not shown.
pub fn explain_context(item: &FhirContextItem, lang: Lang) -> String {
    let target = item.target();
    let kind = target.as_ref().map(|reference| reference.kind.as_str()).or(item.kind.as_deref());
    let what = match (kind.and_then(nouns::find), kind) {
        (Some(Noun { nb, en, .. }), _) => (if lang == Lang::Nb { nb } else { en }).to_owned(),
        (None, Some(name)) => lang.noun_other(name),
        (None, None) => lang.noun_other("fhirContext"),
    };
    match item.reference.as_deref().or(item.canonical.as_deref()) {
        Some(which) => format!("{what} ({which})"),
        None => what,
    }
}

fn resource_sentence(scope: &ResourceScope, lang: Lang, patient_known: bool) -> String {
    let noun = match &scope.target {
        Target::Any => None,
        Target::Type(name) => nouns::find(name),
    };
    let what = match (noun, &scope.target, scope.level) {
        (Some(Noun { nb, en, .. }), ..) => (if lang == Lang::Nb { nb } else { en }).to_owned(),
        (None, Target::Any, Level::Patient) => lang.noun_whole_record().to_owned(),
        (None, Target::Any, Level::User | Level::System) => lang.noun_everything().to_owned(),
        (None, Target::Type(name), _) => lang.noun_other(name),
    };
    let whose = match (scope.level, noun.map_or(Kind::OfPatient, |noun| noun.kind)) {
        (Level::Patient, Kind::OfPatient) => Some(if patient_known { lang.for_this_patient() } else { lang.for_chosen_patient() }),
        (Level::Patient, Kind::Shared) => Some(if patient_known { lang.tied_to_this_patient() } else { lang.tied_to_chosen_patient() }),
        (Level::User, Kind::OfPatient) => Some(lang.for_your_patients()),
        (Level::User, Kind::Shared) => Some(lang.that_you_may_see()),
        (Level::System, Kind::OfPatient) => Some(lang.for_all_patients()),
        (Level::System, Kind::Shared) => None,
    };
    let mut sentence = format!("{} {what}", verbs(scope.may, lang));
    if let Some(whose) = whose {
        sentence.push(' ');
        sentence.push_str(whose);
    }
    if !scope.only.is_empty() {
        let conditions: Vec<String> = scope.only.iter().map(|constraint| values::condition(constraint, lang)).collect();
        sentence.push_str(&lang.only_where(list(&conditions, lang.and())));
    }
    sentence
}

fn resource_warning(scope: &ResourceScope, lang: Lang) -> Option<String> {
    let wildcard = matches!(scope.target, Target::Any).then(|| lang.warn_wildcard());
    let unattended = (scope.level == Level::System).then(|| lang.warn_unattended());
    let parts: Vec<&str> = wildcard.into_iter().chain(unattended).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// "Lese og søke i": the letters as verbs, reading before writing, with a capital first.
fn verbs(may: Interactions, lang: Lang) -> String {
    let words: Vec<String> = [
        (Interactions::READ, lang.verb_read()),
        (Interactions::SEARCH, lang.verb_search()),
        (Interactions::CREATE, lang.verb_create()),
        (Interactions::UPDATE, lang.verb_update()),
        (Interactions::DELETE, lang.verb_delete()),
    ]
    .into_iter()
    .filter(|(letter, _)| may.includes(*letter))
    .map(|(_, verb)| verb.to_owned())
    .collect();
    let text = list(&words, lang.and());
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// "a, b og c"
fn list(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests;
