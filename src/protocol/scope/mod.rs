//! Scopes: what an app may do, parsed once and only ever narrowed.
//! <https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html>, RFC 6749 §3.3.

mod resource;
mod set;

use std::fmt;
use std::sync::Arc;

pub use resource::{Constraint, Interactions, Level, ResourceScope, Spelling, Target};
pub use set::ScopeSet;

/// Why a text is not a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("a scope is printable ASCII without spaces, `\"` and `\\` (RFC 6749 §3.3)")]
    Characters,
    #[error("the letters must be some of `cruds`, in that order, each at most once (SMART 2.2 scopes)")]
    Interactions,
    #[error("the level must be patient, user or system (SMART 2.2 scopes)")]
    Level,
    #[error("the resource type is not one of FHIR R4")]
    ResourceType,
    #[error("a constraint must be name=value, and belongs to the v2 letters only (SMART 2.2 finer-grained constraints)")]
    Constraint,
    #[error("launch context is asked for as launch/<type in lower case>, with at most one role (SMART 2.2 launch context)")]
    Context,
    #[error("not a scope SMART or OpenID Connect defines, and neither a full URI nor prefixed with `__`")]
    Unknown,
    #[error("a set of scopes has at most 100 items and 6 kB: it travels inside tokens")]
    TooMany,
}

/// One scope item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `patient/Observation.rs?category=laboratory`
    Resource(ResourceScope),
    /// `launch`: the context of the EHR's launch.
    Launch,
    /// `launch/patient`, `launch/list?role=…`: context of this kind, please.
    Context(ContextScope),
    OpenId,
    FhirUser,
    Profile,
    OfflineAccess,
    OnlineAccess,
    /// A full URI, or a name that begins with `__`. SAL-046.
    Extension(Arc<str>),
}

/// `launch/<type>` with the role it asks for, if any. SAL-039, SAL-040.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextScope {
    /// The resource type in lower case.
    pub kind: Arc<str>,
    pub role: Option<Arc<str>>,
}

impl ContextScope {
    fn parse(rest: &str) -> Result<Self, ScopeError> {
        let (kind, role) = match rest.split_once('?') {
            None => (rest, None),
            Some((kind, query)) => (kind, Some(query.strip_prefix("role=").filter(|role| !role.is_empty() && !role.contains('&')).ok_or(ScopeError::Context)?)),
        };
        if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(ScopeError::Context);
        }
        Ok(Self { kind: kind.into(), role: role.map(Into::into) })
    }

    /// Whether a ceiling that lists `self` allows asking for `asked`: a ceiling without a role allows any.
    fn allows(&self, asked: &Self) -> bool {
        self.kind == asked.kind && (self.role.is_none() || self.role == asked.role)
    }
}

impl Scope {
    /// Parses one item. Strict: what it accepts prints back to the same text.
    ///
    /// # Errors
    /// [`ScopeError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        // RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
        if text.is_empty() || !text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            return Err(ScopeError::Characters);
        }
        match text {
            "launch" => return Ok(Self::Launch),
            "openid" => return Ok(Self::OpenId),
            "fhirUser" => return Ok(Self::FhirUser),
            "profile" => return Ok(Self::Profile),
            "offline_access" => return Ok(Self::OfflineAccess),
            "online_access" => return Ok(Self::OnlineAccess),
            _ => {}
        }
        if text.starts_with("__") {
            return if text.len() > 2 { Ok(Self::Extension(text.into())) } else { Err(ScopeError::Unknown) };
        }
        if is_uri(text) {
            return Ok(Self::Extension(text.into()));
        }
        if let Some(rest) = text.strip_prefix("launch/") {
            return ContextScope::parse(rest).map(Self::Context);
        }
        if text.contains('/') { ResourceScope::parse(text).map(Self::Resource) } else { Err(ScopeError::Unknown) }
    }

    /// Whether this ceiling item allows `asked` whole. Resource scopes are narrowed instead: see [`ScopeSet::narrow`].
    fn allows(&self, asked: &Self) -> bool {
        match (self, asked) {
            (Self::Resource(ceiling), Self::Resource(asked)) => ceiling.covers(asked),
            (Self::Context(ceiling), Self::Context(asked)) => ceiling.allows(asked),
            _ => self == asked,
        }
    }
}

/// `scheme ":" something`: RFC 3986 §3. Resource scopes have their slash before any colon and so are never taken for one.
fn is_uri(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(scope) => scope.fmt(f),
            Self::Launch => f.write_str("launch"),
            Self::Context(ContextScope { kind, role: None }) => write!(f, "launch/{kind}"),
            Self::Context(ContextScope { kind, role: Some(role) }) => write!(f, "launch/{kind}?role={role}"),
            Self::OpenId => f.write_str("openid"),
            Self::FhirUser => f.write_str("fhirUser"),
            Self::Profile => f.write_str("profile"),
            Self::OfflineAccess => f.write_str("offline_access"),
            Self::OnlineAccess => f.write_str("online_access"),
            Self::Extension(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests;
