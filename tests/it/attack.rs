//! Attacks, by name: each is refused with the right error, changes nothing, and leaves one record. `table` says which test has which attack.

mod browser;
mod codes;
mod forged;
mod leaks;
mod outbound;
mod redirects;
mod table;
mod tokens;
mod wire;

use serde_json::Value;

use crate::world::{App, Tokens, World};

/// An app with a secret, one without, one that asks its user, and one of the attacker's own.
const CLIENTS: &str = r#"
[[client]]
client_id = "honest"
auth = "client_secret_basic"
client_secret = "K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72ol_pe_Unols"
redirect_uris = ["http://127.0.0.1:4567/cb", "http://127.0.0.1:4567/other"]
launch_urls = ["http://127.0.0.1:4567/launch"]
post_logout_redirect_uris = ["http://127.0.0.1:4567/bye"]
scopes = "openid fhirUser launch launch/patient offline_access patient/*.rs"
consent = "pre-approved"

[[client]]
client_id = "open"
auth = "none"
redirect_uris = ["http://127.0.0.1:4568/cb"]
launch_urls = ["http://127.0.0.1:4568/launch"]
scopes = "openid fhirUser launch launch/patient offline_access patient/*.rs"
consent = "pre-approved"

[[client]]
client_id = "asks"
auth = "none"
redirect_uris = ["http://127.0.0.1:4569/cb"]
launch_urls = ["http://127.0.0.1:4569/launch"]
scopes = "openid fhirUser launch launch/patient patient/*.rs"
consent = "always"

[[client]]
client_id = "evil"
auth = "none"
redirect_uris = ["http://127.0.0.1:6666/cb"]
launch_urls = ["http://127.0.0.1:6666/launch"]
scopes = "openid fhirUser launch launch/patient offline_access patient/*.rs"
consent = "pre-approved"
"#;

const SECRET: &str = "K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72ol_pe_Unols";
const AT: &str = "http://127.0.0.1:4567/cb";

fn honest(world: &World) -> App<'_> {
    world.app("honest").at(AT).set("scope", "openid fhirUser launch offline_access patient/Patient.rs")
}

fn open(world: &World) -> App<'_> {
    world.app("open").at("http://127.0.0.1:4568/cb").set("scope", "openid fhirUser launch offline_access patient/Patient.rs")
}

fn asks(world: &World) -> App<'_> {
    world.app("asks").at("http://127.0.0.1:4569/cb").set("scope", "openid fhirUser launch patient/Patient.rs")
}

/// A code for an app, launched by the EPJ in a browser of its own.
async fn code(app: &App<'_>) -> String {
    let launch = app.world.ehr().client(&app.id).launch().await;
    app.open(&mut app.world.browser(), &launch).await
}

/// Tokens of a public app.
async fn tokens(app: &App<'_>) -> Tokens {
    app.redeem(&code(app).await).await
}

/// Looks at the refusals that were recorded since it looked last.
struct Trail<'w> {
    world: &'w World,
    seen: u64,
}

impl<'w> Trail<'w> {
    async fn new(world: &'w World) -> Self {
        let mut trail = Self { world, seen: 0 };
        while !trail.records().await.is_empty() {}
        trail
    }

    async fn records(&mut self) -> Vec<Value> {
        let records = self.world.audit(self.seen).await;
        self.seen = records.last().map_or(self.seen, |record| record["seq"].as_u64().unwrap());
        records
    }

    /// Asserts that the attack left one refusal, and that it says what was refused, with which error and why.
    async fn refused(&mut self, attack: &str, action: &str, error: &str, reason: &str) -> Value {
        let records = self.records().await;
        let refusals: Vec<&Value> = records.iter().filter(|record| record["outcome"] == "refused").collect();
        let [record] = refusals.as_slice() else { panic!("{attack}: {} refusals: {records:#?}", refusals.len()) };
        assert_eq!((record["action"].as_str(), record["error"].as_str()), (Some(action), Some(error)), "{attack}: {record}");
        assert!(record["reason"].as_str().is_some_and(|said| said.contains(reason)), "{attack}: not `{reason}` but {record}");
        (*record).clone()
    }

    /// Asserts that nothing was refused, which is what a good request leaves.
    async fn nothing_refused(&mut self, what: &str) {
        let records = self.records().await;
        assert!(records.iter().all(|record| record["outcome"] == "allowed"), "{what}: {records:#?}");
    }
}
