//! The yardstick: the smallest axum server. And a FHIR server with an answer to everything, so that launches cost somebody else as little as can be.

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use serde_json::json;

/// The patient every encounter here is of.
pub const PATIENT: &str = "pasient-01";

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// Serves until the process is ended.
///
/// # Errors
/// When the port is taken.
pub async fn serve(port: u16) -> std::io::Result<()> {
    let kilobyte: &'static str = Box::leak(json!({ "pad": "x".repeat(1000) }).to_string().into_boxed_str());
    let routes = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/json", get(move || async move { (JSON, kilobyte) }))
        .route("/form", post(|body: Bytes| async move { (JSON, format!("{{\"n\":{}}}", body.len())) }))
        .route("/fhir/{kind}/{id}", get(|Path((kind, id)): Path<(String, String)>| async move { (JSON, resource(&kind, &id)) }));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?.tap_io(|stream| {
        // A socket that refuses is slower, not wrong.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, routes).await
}

fn resource(kind: &str, id: &str) -> String {
    let mut resource = json!({ "resourceType": kind, "id": id, "name": [{ "family": "Fjellrev", "given": ["Tapper"] }], "birthDate": "1992-03-14" });
    if kind == "Encounter" {
        resource = json!({ "resourceType": kind, "id": id, "status": "in-progress", "class": { "code": "AMB" }, "subject": { "reference": format!("Patient/{PATIENT}") } });
    }
    resource.to_string()
}
