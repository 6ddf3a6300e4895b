//! Where bytes of strangers become values: every parser that reads from the network, by name, each as a function of bytes alone. The fuzz targets
//! (`fuzz/`) and the bounded run of the tests (`tests/it/fuzz.rs`) both go by this list.
//!
//! A function takes anything and must return. Where a parser prints what it took, or promises something of it, the function asserts that too; what
//! it asserts it says.

mod clients;
mod jose;
mod words;

use crate::{audit, fetch, fhir, fhir_client, store, upstream};

/// One parser, behind a function that may be given anything.
#[derive(Clone, Copy, Debug)]
pub struct EntryPoint {
    /// The name of the fuzz target and of the folder of its corpus.
    pub name: &'static str,
    /// Whose bytes they are.
    pub reads: &'static str,
    pub run: fn(&[u8]),
}

const fn entry(name: &'static str, reads: &'static str, run: fn(&[u8])) -> EntryPoint {
    EntryPoint { name, reads, run }
}

/// All of them. What reads JSON, forms or tokens from the wire and is not here is a defect of this list.
pub const ENTRY_POINTS: &[EntryPoint] = &[
    entry("form", "anybody: queries and forms; printed and read again", words::form),
    entry("authorize", "a browser: the parameters of an authorization request", clients::authorize),
    entry("token_request", "an app: the form of the token endpoint", words::token_request),
    entry("exchange", "an app: the form of a token exchange", words::exchange),
    entry("client_auth", "an app: the Authorization header, then a line end and the form", words::client_auth),
    entry("scopes", "an app: a list of scopes; printed and read again", words::scopes),
    entry("names", "anybody: client ids, URLs, references and other identifiers; printed and read again", words::names),
    entry("claims", "an app: the claims parameter", words::claims),
    entry("language", "a browser: ui_locales, Accept-Language", words::language),
    entry("forwarded", "a proxy and whoever is before it: Forwarded and X-Forwarded-For; who comes last is heard last", words::forwarded),
    entry("traceparent", "anybody: the trace a request says it is part of; printed and read again", words::traceparent),
    entry("cookies", "a browser: the Cookie header", words::cookies),
    entry("launch", "the EPJ: the body of a launch", words::launch),
    entry("registration", "an operator: a client as JSON; one that is taken is checked", clients::registration),
    entry("config", "an operator: a configuration", clients::config),
    entry("key_file", "an operator: a private key as PKCS#8, PEM or DER; kept and read again", jose::key_file),
    entry("jwt", "anybody: a token before anything of it is believed", jose::jwt),
    entry("jwt_claims", "whoever holds a key: claims that are signed rightly", jose::jwt_claims),
    entry("jwk", "an app, an issuer: one key; printed and read again", jose::jwk),
    entry("jwk_set", "an app, an issuer: a set of keys; what is kept of it has no private part", jose::jwk_set),
    entry("dpop_proof", "an app: a proof of possession; one nobody signed proves nothing", jose::dpop_proof),
    entry("dpop_claims", "an app: the claims of a proof that its key signed", jose::dpop_claims),
    entry("freshness", "whoever serves keys: Cache-Control and its like", fetch::entry::freshness),
    entry("peer_metadata", "another SMART issuer: its metadata; endpoints are at its own origin", fetch::entry::metadata),
    entry("upstream_metadata", "the identity provider: its metadata; endpoints are at its own origin", upstream::entry::metadata),
    entry("upstream_id_token", "the identity provider: the claims of an id_token", upstream::entry::id_token),
    entry("upstream_access_token", "the identity provider: the claims of an access token", upstream::entry::access_token),
    entry("upstream_logout_token", "the identity provider: the claims of a logout token", upstream::entry::logout_token),
    entry("upstream_userinfo", "the identity provider: what it knows of health personnel", upstream::entry::userinfo),
    entry("upstream_answer", "the identity provider: errors, whose words go to the log without numbers", upstream::entry::answer),
    entry("ehr_bundle", "the EHR's FHIR server: what a search found", fhir_client::entry::bundle),
    entry("ehr_resource", "the EHR's FHIR server: one resource", fhir_client::entry::resource),
    entry("patient_search", "a clinician: the search field of the picker", fhir_client::entry::patient_search),
    entry("fhir_json", "an app at the FHIR mock: JSON as FHIR has it; printed and read again", fhir::entry::json),
    entry("fhir_resource", "an app at the FHIR mock: a resource, its structure, primitives and references", fhir::entry::resource),
    entry("fhir_search", "an app at the FHIR mock: a type, then `?` and a query", fhir::entry::search),
    entry("fhir_reference", "an app at the FHIR mock: a reference", fhir::entry::reference),
    entry("fhir_path", "an app at the FHIR mock: a path", fhir::entry::path),
    entry("audit_lines", "whoever could write to the log: its lines, and events for a receiver", audit::entry::lines),
    entry("store_export", "an operator: an export of a store; without the key it was made under it is not taken", store::entry::export),
    entry("fhir_introspection", "our answer about a token, as the FHIR mock reads it", fhir::entry::introspection),
];

/// The entry point of this name.
pub fn find(name: &str) -> Option<&'static EntryPoint> {
    ENTRY_POINTS.iter().find(|entry| entry.name == name)
}

/// Bytes as text; what is not UTF-8 is another parser's first refusal.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
