//! Answering a search, a page at a time.

use std::sync::Arc;

use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::{Note, Server, json_response};
use crate::fhir::access::{Access, Action, Decision, Denied, On};
use crate::fhir::context::AccessContext;
use crate::fhir::refusal::Refusal;
use crate::fhir::resource::Resource;
use crate::fhir::search::bundle::Searchset;
use crate::fhir::search::cursor::Matches;
use crate::fhir::search::{Handling, Query, Reading};
use crate::fhir::table::TypeRow;
use crate::fhir::wire;

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
        let data = self.snapshot_for(row);
        let switches = self.switches();
        let base = &self.config.base;
        let access = Access::new(context, &data, base, switches.policy);
        match access.decide(Action::Search, On::Type(row)) {
            Decision::Allow(ground) => note.allowed(&ground),
            Decision::Hide => note.set("hide", "nothing of this type is within reach"),
            Decision::Deny(Denied::Scope(scope)) => return Err(Refusal::Scope { scope }),
            Decision::Deny(Denied::Outside) => return Err(Refusal::Outside),
        }
        let now = self.clock.now();
        // Every filter runs before paging, and access is one of them: no count, order or page tells of what is hidden (§6 rule 6).
        let visible = |resource: &Arc<Resource>| access.decide(Action::Search, On::Resource(resource)).allows();
        if let Some((_, cursor)) = pairs.iter().find(|(name, _)| name == CURSOR) {
            let (name, offset, matches) = self.cursors.open(cursor, row.name, context.owner(), now).ok_or(Refusal::Cursor)?;
            let still: Vec<_> = matches.ids.iter().map(|id| data.find(row.name, id).filter(|found| visible(found)).cloned()).collect();
            let place = Place { matches: &matches, name: Some(&name), offset, own: self.page_link(row, &name, offset) };
            let page = self.page(&place, &still, context, &data);
            return Ok(json_response(StatusCode::OK, page.write(base), pairs));
        }
        let handling = wire::handling(&parts.headers);
        let query = Query::read(Reading { row, base, now }, pairs, handling.unwrap_or(Handling::Lenient))?;
        let mut found: Vec<Arc<Resource>> = data.of_type(row.name).filter(|resource| query.matches(resource) && visible(resource)).cloned().collect();
        let before = found.len();
        found.retain(|resource| switches.lists(&context.client_id, resource) && !switches.hides(pairs, resource));
        if found.len() < before {
            tracing::info!(switch = "nav_complete_codings", client_id = context.client_id, left_out = before - found.len(), "incompletely coded");
        }
        query.order(&mut found);
        let mut page = if query.count_only {
            Searchset { total: Some(found.len()), links: vec![("self", self.own_link(row, &query))], ..Searchset::default() }
        } else {
            let ids = found.iter().map(|resource| Arc::clone(&resource.id)).collect();
            let matches = Arc::new(Matches { kind: row.name, ids, page_size: query.count, total: query.total });
            let name = (found.len() > query.count).then(|| self.cursors.keep(Arc::clone(&matches), context.owner(), now, &*self.random));
            let place = Place { matches: &matches, name: name.as_deref(), offset: 0, own: self.own_link(row, &query) };
            let found: Vec<_> = found.into_iter().map(Some).collect();
            self.page(&place, &found, context, &data)
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
    fn page(&self, place: &Place<'_>, found: &[Option<Arc<Resource>>], context: &AccessContext, data: &crate::fhir::data::Snapshot) -> Searchset {
        let size = place.matches.page_size;
        let shown = found.iter().skip(place.offset).take(size).flatten();
        let matches = shown.map(|resource| {
            let json = self.switches().serve(&context.client_id, resource, data, &self.config.base);
            (resource.row.name, resource.id.to_string(), json)
        });
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
        }
        let total = place.matches.total.then(|| found.iter().flatten().count());
        Searchset { total, links, matches: matches.collect(), ignored: Vec::new() }
    }

    fn page_link(&self, row: &TypeRow, name: &str, offset: usize) -> String {
        format!("{}/{}?{CURSOR}={name}.{offset}", self.config.base, row.name)
    }

    /// What was applied, as a link.
    fn own_link(&self, row: &TypeRow, query: &Query) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(&query.applied);
        let text = text.finish();
        if text.is_empty() { format!("{}/{}", self.config.base, row.name) } else { format!("{}/{}?{text}", self.config.base, row.name) }
    }
}
