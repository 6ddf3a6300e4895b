//! How the server is reached: TLS, HTTP/2, socket files, proxies, and by other names. RFC 8446, RFC 9113, RFC 7239.

mod inside;
mod proxies;
mod secured;
mod turns;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use helsebro::app::server::{self, Listeners, Running};
use helsebro::config::{self, SystemEnvironment, Text};
use helsebro::listen::Entrance;
use helsebro::random::SystemRandom;
use helsebro::time::{FixedClock, UnixTime};

use crate::world::{Reply, SECRET, basic};

const NOW: i64 = 1_795_000_000;

/// What administration shows.
const OPS: &str = "R3fQ8mVzT1kYb7WnLx5cHd9sJp2gAe4uKo6iNyPtZ_M";

struct Place {
    running: Running,
    public: Option<SocketAddr>,
    ops: Option<SocketAddr>,
    data: tempfile::TempDir,
}

impl Place {
    /// On free ports, with the configuration that `text` writes for the public one and a directory of its own.
    async fn start(data: tempfile::TempDir, text: impl FnOnce(SocketAddr, &Path) -> String) -> Self {
        let any = || server::bind("127.0.0.1:0".parse().unwrap());
        let listeners = Listeners { public: any().await.unwrap(), ops: any().await.unwrap() };
        let text = text(listeners.public.local_addr(), data.path());
        Self::on(data, listeners, &text).await
    }

    async fn on(data: tempfile::TempDir, listeners: Listeners<impl Into<Entrance>>, text: &str) -> Self {
        let config = parsed(data.path(), text);
        let running = server::start(&config, listeners, Arc::new(FixedClock::at(UnixTime(NOW))), Arc::new(SystemRandom), None).await;
        let running = running.unwrap_or_else(|error| panic!("{error}"));
        Self { public: running.public.tcp(), ops: running.ops.tcp(), running, data }
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.public.unwrap())
    }

    /// The records of the audit log, as (action, outcome, source).
    async fn sources(&self) -> Vec<String> {
        let request = client().get(format!("http://{}/audit?after=0&limit=1000", self.ops.unwrap())).bearer_auth(OPS);
        let records = Reply::of(request.send().await.unwrap()).await.is(200).json()["records"].as_array().unwrap().clone();
        let text = |record: &serde_json::Value, name: &str| record[name].as_str().unwrap_or("-").to_owned();
        records.iter().filter(|record| record["action"] == "token").map(|record| text(record, "source")).collect()
    }
}

fn parsed(data: &Path, text: &str) -> config::Config {
    let environment = SystemEnvironment::relative_to(data);
    config::check(Text { file: "test", text, environment: &environment }, &[]).unwrap_or_else(|found| panic!("{found}\n{text}")).config
}

/// One issuer with a client that gets tokens for itself. `server` and `issuer` are more keys of those tables.
fn text(issuer: &str, server: &str, more: &str, clients: &str) -> String {
    format!(
        "[server]\nops_token = \"{OPS}\"\n{server}\n[store]\nkind = \"memory\"\n[guess]\nclient_failures = 10\n[[issuer]]\nurl = \"{issuer}\"\n{more}\n\
         [[issuer.fhir]]\nbase = \"{issuer}/fhir\"\n\
         [[client]]\nclient_id = \"service\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\nscopes = \"launch:create\"\n{clients}\n"
    )
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

/// A token request with a secret, and headers as they are.
async fn token(url: &str, secret: &str, headers: &[(&str, &str)]) -> Reply {
    let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
    let mut request = client().post(url).form(&form).header("authorization", basic("service", secret));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Reply::of(request.send().await.unwrap()).await
}
