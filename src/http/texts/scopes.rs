//! What a scope means, said for clinicians from its parts, not its spelling. SAL §7.7, SAL-045.

use crate::protocol::lang::Lang;
use crate::protocol::scope::Scope;

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
pub fn explain(scope: &Scope, lang: Lang, patient_known: bool) -> Option<Ask> {
    let _ = (scope, lang, patient_known);
    None
}
