//! The audit log of a world, as its operator sees it.

use serde_json::Value;

use super::{Reply, World};

impl World {
    /// Asks the operations listener, with its token.
    pub async fn operate(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let url = format!("{}{path}", self.demo.facts.ops);
        let request = self.http.request(method.parse().unwrap(), url).bearer_auth(self.demo.facts.ops_token.expose());
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        Reply::of(request.send().await.unwrap()).await
    }

    /// The records after one, at most a thousand.
    pub async fn audit(&self, after: u64) -> Vec<Value> {
        let reply = self.operate("GET", &format!("/audit?after={after}&limit=1000"), None).await.is(200);
        reply.json()["records"].as_array().unwrap().clone()
    }
}
