//! An authorization server by itself, configured as a test wants it, with FHIR servers that are stubs or nowhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Path as UrlPath;
use axum::response::IntoResponse as _;
use axum::routing::get;
use helsebro::app::server::{self, Listeners, Running, bind};
use helsebro::config::{self, SystemEnvironment, Text};
use helsebro::random::SystemRandom;
use helsebro::time::SystemClock;
use reqwest::redirect::Policy;
use serde_json::json;

use super::{Browser, Reply};
use crate::on_redis::servers;

pub struct Lone {
    pub issuer: String,
    pub fhir: Vec<String>,
    pub http: reqwest::Client,
    running: Running,
    _data: tempfile::TempDir,
}

/// The secret of every confidential client of a lone server.
pub const SECRET: &str = "K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72ol_pe_Unols";

/// A FHIR server that has every resource it is asked for, once.
async fn everything(UrlPath((_, kind, id)): UrlPath<(String, String, String)>) -> axum::response::Response {
    let body = json!({ "resourceType": kind, "id": id }).to_string();
    ([("content-type", "application/fhir+json")], body).into_response()
}

/// A search that finds more than anybody can choose among.
async fn crowd() -> axum::response::Response {
    let patient = |n: usize| json!({"resource": {"resourceType": "Patient", "id": format!("p{n}"), "name": [{"text": format!("Pasient {n}")}], "birthDate": "1990-01-01"}, "search": {"mode": "match"}});
    let bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": 21, "entry": (0..21).map(patient).collect::<Vec<_>>()});
    ([("content-type", "application/fhir+json")], bundle.to_string()).into_response()
}

impl Lone {
    /// Two bases that answer and one nobody listens at. `more` is configuration: `ISSUER` in it stands for the issuer, `[[issuer]]`
    /// keys come before the marker `--`, clients after it. `path` is that of the issuer.
    pub async fn start(path: &str, more: &str) -> Self {
        super::log::watched();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listeners = Listeners { public: bind(any).await.unwrap(), ops: bind(any).await.unwrap() };
        let nowhere = tokio::net::TcpListener::bind(any).await.unwrap().local_addr().unwrap();
        let stub = tokio::net::TcpListener::bind(any).await.unwrap();
        let fhir = Router::new().route("/{base}/{kind}/{id}", get(everything).post(crowd));
        let there = stub.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(stub, fhir).await });
        let issuer = format!("http://{}{path}", listeners.public.local_addr());
        let fhir = vec![format!("http://{there}/a"), format!("http://{there}/b"), format!("http://{nowhere}/fhir")];
        let data = tempfile::tempdir().unwrap();
        let (own, clients) = more.split_once("--").unwrap_or(("", more));
        let bases: String = fhir.iter().map(|base| format!("[[issuer.fhir]]\nbase = \"{base}\"\ndefault = {}\n\n", base.ends_with("/a"))).collect();
        let local = !own.contains("login =");
        let ways = if local { "login = [\"ehr\", \"local\"]\n" } else { "" };
        let users = if local { "[[issuer.user]]\nname = \"Rolig Stetoskop\"\nfhir_user = \"Practitioner/1\"\n\n" } else { "" };
        let toml = format!(
            "[server]\nlisten = \"{}\"\nops_listen = \"{}\"\n\n[store]\nkind = \"memory\"\n\n[keys]\ndir = {:?}\n\n[[issuer]]\nurl = \"{issuer}\"\n{ways}{own}\n{bases}{users}[[client]]\nclient_id = \"epj\"\npreset = \"epj\"\nclient_secret = \"{SECRET}\"\n\n{clients}",
            listeners.public.local_addr(),
            listeners.ops.local_addr(),
            data.path().join("keys").display().to_string(),
        )
        .replace("ISSUER", &issuer);
        let environment = SystemEnvironment::relative_to(data.path());
        let mut checked = config::check(Text { file: "a test's configuration", text: &toml, environment: &environment }, &[])
            .unwrap_or_else(|found| panic!("{found}\n{toml}"));
        if let Some(store) = servers::chosen(data.path()) {
            checked.config.store = store;
        }
        let running = server::start(&checked.config, listeners, SystemClock::shared(), Arc::new(SystemRandom), None).await.unwrap();
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { issuer, fhir, http, running, _data: data }
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.http.clone())
    }

    /// A client-credentials token.
    pub async fn token(&self, client: &str, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let request = self.http.post(format!("{}/token", self.issuer)).form(&form).basic_auth(client, Some(SECRET));
        Reply::of(request.send().await.unwrap()).await.is(200).json()["access_token"].as_str().unwrap().to_owned()
    }

    /// What the launch API answers the EHR.
    pub async fn launch(&self, token: &str, body: serde_json::Value) -> Reply {
        Reply::of(self.http.post(format!("{}/launches", self.issuer)).bearer_auth(token).json(&body).send().await.unwrap()).await
    }

    pub async fn stop(self) {
        self.running.stop().await;
    }
}
