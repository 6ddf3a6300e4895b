//! The EHR: gets a token of its own and hands over launches.

use serde_json::{Value, json};

use super::{Reply, World};

pub struct Ehr<'w> {
    world: &'w World,
    pub body: Value,
}

impl<'w> Ehr<'w> {
    pub fn new(world: &'w World) -> Self {
        let first = &world.demo.facts.patients[0];
        let body = json!({ "client_id": "syk-inn", "patient": first.patient, "encounter": first.encounter, "fhir_user": first.fhir_user });
        Self { world, body }
    }

    pub fn client(self, id: &str) -> Self {
        self.with("client_id", json!(id))
    }

    /// The ready launch of this place in the list.
    pub fn ready(self, place: usize) -> Self {
        let ready = &self.world.demo.facts.patients[place];
        let (patient, encounter, user) = (json!(ready.patient), json!(ready.encounter), json!(ready.fhir_user));
        self.with("patient", patient).with("encounter", encounter).with("fhir_user", user)
    }

    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.body[member] = value;
        self
    }

    pub fn without(mut self, member: &str) -> Self {
        self.body.as_object_mut().unwrap().remove(member);
        self
    }

    /// A token with `launch:create`.
    pub async fn token(&self) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
        let reply = self.world.post("/token", Some(&self.world.basic("epj")), &form).await.is(200);
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn send(&self) -> Reply {
        self.send_to("/launches").await
    }

    async fn send_to(&self, path: &str) -> Reply {
        let token = self.token().await;
        let request = self.world.http.post(format!("{}{path}", self.world.issuer())).bearer_auth(token).json(&self.body);
        Reply::of(request.send().await.unwrap()).await
    }

    /// The launch, which must succeed: `launch`, `iss`, `launch_url`, `start_url`, `expires_at`.
    pub async fn launch(&self) -> Value {
        self.send().await.is(201).json()
    }

    pub async fn end_session(mut self, session: &str) -> Reply {
        self.body = json!({ "session": session });
        self.send_to("/launches/end-session").await
    }
}
