//! Answering a search, a page at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Note, Server, json_response};
use crate::fhir::access::{Access, Action, Decision, Denied, On};
use crate::fhir::context::AccessContext;
use crate::fhir::data::Snapshot;
use crate::fhir::include::Include;
use crate::fhir::overlay::Switches;
use crate::fhir::refusal::Refusal;
use crate::fhir::resource::{Key, Resource};
use crate::fhir::search::bundle::Searchset;
use crate::fhir::search::cursor::Matches;
use crate::fhir::search::{Handling, Query, Reading};
use crate::fhir::table::{Belongs, TypeRow};
use crate::fhir::wire;
use crate::protocol::scope::Level;

/// What of an id is written as it is in a link.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.');

/// The parameter that carries a cursor.
const CURSOR: &str = "_cursor";

/// Where on which list a page stands.
struct Place<'a> {
    matches: &'a Matches,
    /// The name of the cursor, where there is more than one page.
    name: Option<&'a str>,
    offset: usize,
    /// `link[self]`
    own: String,
}

impl Server {
    pub(super) fn search(
        &self,
        row: &'static TypeRow,
        pairs: &[(String, String)],
        context: &AccessContext,
        parts: &Parts,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        self.find(row, None, pairs, context, parts, note)
    }

    /// A search within the R4 compartment of the patient of this id, whoever that is: what is not visible is not found.
    pub(super) fn search_within(
        &self,
        patient: &str,
        row: &'static TypeRow,
        pairs: &[(String, String)],
        context: &AccessContext,
        parts: &Parts,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        self.find(row, Some(patient), pairs, context, parts, note)
    }

    fn find(
        &self,
        row: &'static TypeRow,
        patient: Option<&str>,
        pairs: &[(String, String)],
        context: &AccessContext,
        parts: &Parts,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        let data = self.snapshot_for(row);
        let switches = &*self.switches();
        let base = &self.config.base;
        let access = Access::new(context, &data, base, switches.policy);
        match access.decide(Action::Search, On::Type(row)) {
            Decision::Allow(ground) => note.allowed(&ground),
            Decision::Hide => note.set("hide", "nothing of this type is within reach"),
            Decision::Deny(Denied::Scope(scope)) => return Err(Refusal::Scope { scope }),
            Decision::Deny(Denied::Outside) => return Err(Refusal::Outside),
        }
        let now = self.clock.now();
        let seeing = Seeing { context, access: &access, data: &data, switches };
        if let Some((_, cursor)) = pairs.iter().find(|(name, _)| name == CURSOR) {
            let (name, offset, matches) = self.cursors.open(cursor, row.name, context.owner(), now).ok_or(Refusal::Cursor)?;
            let still: Vec<_> = matches.ids.iter().map(|id| data.find(row.name, id).filter(|found| seeing.lists(found)).cloned()).collect();
            let place = Place { matches: &matches, name: Some(&name), offset, own: self.page_link(row, &name, offset) };
            let page = self.page(&place, &still, &seeing, note);
            return Ok(json_response(StatusCode::OK, page.write(base), pairs));
        }
        let handling = wire::handling(&parts.headers);
        let mut query = Query::read(Reading { row, base, now }, pairs, handling.unwrap_or(Handling::Lenient))?;
        if switches.terminology_aliases {
            query.use_aliases();
        }
        let within = patient.map(|id| Key { kind: "Patient", id: id.into() });
        let owner = within.as_ref().cloned().or_else(|| sole_patient(context, row));
        // Every filter runs before paging, and access is one of them: no count, order or page tells of what is hidden (§6 rule 6).
        let candidates = query.candidates(&data, owner.as_ref()).into_iter();
        let inside =
            |found: &Resource| within.as_ref().is_none_or(|key| found.key() == *key || found.references_at(base, &row.compartment_paths()).contains(key));
        let mut found: Vec<Arc<Resource>> = candidates.filter(|found| inside(found) && query.matches(found) && seeing.lists(found)).cloned().collect();
        found.retain(|resource| !switches.hides(pairs, resource, &data));
        let before = found.len();
        found.retain(|resource| switches.lists(&context.client_id, resource));
        if found.len() < before {
            tracing::info!(switch = "nav_complete_codings", client_id = context.client_id, left_out = before - found.len(), "incompletely coded");
        }
        query.order(&mut found);
        let own = self.own_link(row, patient, &query);
        let mut page = if query.count_only {
            Searchset { total: Some(found.len()), links: vec![("self", own)], ..Searchset::default() }
        } else {
            let ids = found.iter().map(|resource| Arc::clone(&resource.id)).collect();
            let matches = Arc::new(Matches { kind: row.name, ids, page_size: query.count, total: query.total, shape: query.shape });
            let name = (found.len() > query.count).then(|| self.cursors.keep(Arc::clone(&matches), context.owner(), now, &*self.random));
            let place = Place { matches: &matches, name: name.as_deref(), offset: 0, own };
            let found: Vec<_> = found.into_iter().map(Some).collect();
            self.page(&place, &found, &seeing, note)
        };
        page.ignored = query.ignored;
        let mut response = json_response(StatusCode::OK, page.write(base), pairs);
        if let Some(handling) = handling {
            let applied = if handling == Handling::Strict { "handling=strict" } else { "handling=lenient" };
            response.headers_mut().insert("preference-applied", HeaderValue::from_static(applied));
        }
        Ok(response)
    }

    /// The page at this place. `found` has a gap for what is no longer there or no longer visible, so that later pages keep their places.
    fn page(&self, place: &Place<'_>, found: &[Option<Arc<Resource>>], seeing: &Seeing<'_>, note: &mut Note) -> Searchset {
        let size = place.matches.page_size;
        let shown: Vec<&Arc<Resource>> = found.iter().skip(place.offset).take(size).flatten().collect();
        let entry = |resource: &Arc<Resource>| {
            let json = seeing.switches.serve(&seeing.context.client_id, resource, seeing.data, &self.config.base);
            (resource.row.name, resource.id.to_string(), place.matches.shape.subset.of(resource.row.name, place.matches.kind, json))
        };
        let included = self.included(&shown, &place.matches.shape.includes, seeing);
        // Who looks at the log is told of once, not for everybody in it.
        if place.matches.kind != "AuditEvent" {
            note.disclose(shown.iter().copied().chain(&included).map(|resource| &**resource));
        }
        let included = included.iter().map(entry).collect();
        let mut links = vec![("self", place.own.clone())];
        if let (Some(name), Some(row)) = (place.name, TypeRow::named(place.matches.kind)) {
            links.push(("first", self.page_link(row, name, 0)));
            if place.offset > 0 {
                links.push(("previous", self.page_link(row, name, place.offset.saturating_sub(size))));
            }
            let next = place.offset.saturating_add(size);
            if next < found.len() {
                links.push(("next", self.page_link(row, name, next)));
            }
            links.push(("last", self.page_link(row, name, found.len().saturating_sub(1) / size * size)));
        }
        let total = place.matches.total.then(|| found.iter().flatten().count());
        Searchset { total, links, matches: shown.into_iter().map(entry).collect(), included, ignored: Vec::new() }
    }

    /// What comes with these matches: each once, none that is a match itself, and only what a read would show this client
    /// (fhir-server.md §14, includes). What is not is left out without a word.
    fn included(&self, shown: &[&Arc<Resource>], includes: &[Include], seeing: &Seeing<'_>) -> Vec<Arc<Resource>> {
        let mut known: BTreeSet<Key> = shown.iter().map(|resource| resource.key()).collect();
        let mut all = Vec::new();
        for include in includes {
            for found in shown {
                for resource in include.of(found, seeing.data, &self.config.base) {
                    let (speaker, paths) = include.speaker(found, &resource);
                    let listed = seeing.switches.lists(&seeing.context.client_id, &resource) && !seeing.switches.withholds(speaker, paths, seeing.data);
                    if listed && seeing.reads(&resource) && known.insert(resource.key()) {
                        all.push(resource);
                    }
                }
            }
        }
        all
    }

    fn page_link(&self, row: &TypeRow, name: &str, offset: usize) -> String {
        format!("{}/{}?{CURSOR}={name}.{offset}", self.config.base, row.name)
    }

    /// What was applied, as a link.
    fn own_link(&self, row: &TypeRow, patient: Option<&str>, query: &Query) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(&query.applied);
        let text = text.finish();
        let within = patient.map(|id| format!("/Patient/{}", utf8_percent_encode(id, PLAIN))).unwrap_or_default();
        let mark = if text.is_empty() { "" } else { "?" };
        format!("{}{within}/{}{mark}{text}", self.config.base, row.name)
    }
}

/// With whose eyes a search looks at the data.
struct Seeing<'a> {
    context: &'a AccessContext,
    access: &'a Access<'a>,
    data: &'a Snapshot,
    switches: &'a Switches,
}

impl Seeing<'_> {
    fn lists(&self, resource: &Resource) -> bool {
        self.access.decide(Action::Search, On::Resource(resource)).allows()
    }

    fn reads(&self, resource: &Resource) -> bool {
        self.access.decide(Action::Read, On::Resource(resource)).allows()
    }
}

/// The patient whom everything of this type that the caller may find refers to, or is. `None` where there may be more than one.
/// It only saves looking at the rest: whether the caller may see a resource is decided all the same.
fn sole_patient(context: &AccessContext, row: &TypeRow) -> Option<Key> {
    let patient = context.patient.as_ref()?;
    let by_subject = matches!(row.belongs, Belongs::Patient | Belongs::Subject { .. });
    let only_this = context.grants.iter().filter(|grant| grant.reaches(row.name)).all(|grant| grant.level == Level::Patient);
    // The signed-in user's own resource is found whoever the patient is.
    let own = context.fhir_user.as_ref().is_some_and(|user| user.kind == row.name);
    (by_subject && only_this && !own).then(|| Key { kind: "Patient", id: Arc::clone(patient) })
}
