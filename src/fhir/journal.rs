//! What was asked and why it was answered so: the last requests, for whoever tests an app. fhir-server.md §17. Types and reasons, never
//! content, tokens or identity numbers.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;

use super::context::AccessContext;
use super::route::Route;
use crate::time::UnixTime;

/// How many requests are remembered.
const REMEMBERED: usize = 500;

/// One request, as little work as it takes: it is put into words when somebody asks.
#[derive(Clone, Debug)]
pub struct Entry {
    pub at: UnixTime,
    pub request_id: HeaderValue,
    pub method: Method,
    pub route: Route,
    pub status: StatusCode,
    pub context: Option<Arc<AccessContext>>,
    /// `allow`, `hide`, `deny` or `refuse`.
    pub decision: &'static str,
    pub reason: Cow<'static, str>,
}

/// An entry in words.
#[derive(Debug, Serialize)]
pub struct Told {
    /// Seconds since 1970-01-01T00:00:00Z.
    at: i64,
    request_id: String,
    method: String,
    /// The path with `{id}` for ids.
    route: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<String>,
    decision: &'static str,
    reason: String,
}

impl Entry {
    fn told(&self) -> Told {
        let context = self.context.as_deref();
        Told {
            at: self.at.0,
            request_id: self.request_id.to_str().unwrap_or_default().to_owned(),
            method: self.method.to_string(),
            route: self.route.template(),
            status: self.status.as_u16(),
            client_id: context.map(|context| context.client_id.clone()),
            scopes: context.map(|context| context.scopes.clone()),
            decision: self.decision,
            reason: self.reason.to_string(),
        }
    }
}

#[derive(Default)]
pub struct Journal(Mutex<VecDeque<Entry>>);

impl Journal {
    pub fn add(&self, entry: Entry) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if entries.len() == REMEMBERED { entries.pop_front() } else { None };
        entries.push_back(entry);
        drop(entries);
        drop(oldest);
    }

    /// Oldest first.
    pub fn entries(&self) -> Vec<Told> {
        let entries: Vec<Entry> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        entries.iter().map(Entry::told).collect()
    }

    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way() {
        let journal = Journal::default();
        for second in 0..600 {
            journal.add(Entry {
                at: UnixTime(second),
                request_id: HeaderValue::from_static("r"),
                method: Method::GET,
                route: Route::System,
                status: StatusCode::OK,
                context: None,
                decision: "allow",
                reason: "".into(),
            });
        }
        let entries = journal.entries();
        assert_eq!((entries.len(), entries[0].at, entries[499].at), (500, 100, 599));
    }
}
