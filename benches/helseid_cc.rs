//! How many tokens the mock of HelseID gives a machine: `cargo bench --bench helseid_cc`. One worker thread, keep-alive connections, assertions signed
//! beforehand, bearer tokens for the client `batch`. The bar is 500 a second; most of the time is one RSA signature of 3072 bits.

use std::sync::Arc;
use std::time::Instant;

use helsebro::app::helseid_server::{self, HelseidParts};
use helsebro::helseid::seed::{Seed, table};
use helsebro::listen::Listener;
use helsebro::random::{Random as _, SystemRandom};
use helsebro::time::{Clock as _, SystemClock};
use serde_json::json;

const REQUESTS: usize = 2000;
const CLIENTS: usize = 4;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let client = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let begun = Instant::now();
    let seed = Seed::generate().expect("keys");
    let batch = seed.client(table::BATCH).expect("a client of the list").clone();
    let running = runtime.block_on(async {
        let listener = Listener::bind("127.0.0.1:0").await.expect("a free port");
        helseid_server::start(HelseidParts::on(listener, seed), SystemClock::shared(), Arc::new(SystemRandom)).await.expect("a mock")
    });
    println!("started in {} ms", begun.elapsed().as_millis());
    let (issuer, key) = (running.mock.idp.issuer.to_string(), batch.private_key.expect("a key made here"));
    let now = SystemClock::default().now().0;
    let bodies: Vec<String> = (0..REQUESTS)
        .map(|_| {
            let claims = json!({"iss": batch.id, "sub": batch.id, "aud": issuer, "iat": now, "nbf": now, "exp": now + 60, "jti": SystemRandom.id()});
            let assertion = key.sign("client-authentication+jwt", &claims).expect("a signature");
            form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("client_id", &batch.id)
                .append_pair("scope", "demo:old/read")
                .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                .append_pair("client_assertion", &assertion)
                .finish()
        })
        .collect();
    let url = format!("{issuer}/connect/token");
    let begun = Instant::now();
    client.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let mut tasks = tokio::task::JoinSet::new();
        for part in bodies.chunks(REQUESTS / CLIENTS) {
            let (http, url, part) = (http.clone(), url.clone(), part.to_vec());
            tasks.spawn(async move {
                for body in part {
                    let request = http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(body);
                    let answer = request.send().await.expect("an answer");
                    assert_eq!(answer.status().as_u16(), 200, "{}", answer.text().await.unwrap_or_default());
                    answer.bytes().await.expect("a body");
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("no client gave up");
        }
    });
    let took = begun.elapsed();
    println!("{REQUESTS} tokens in {} ms: {:.0} a second", took.as_millis(), REQUESTS as f64 / took.as_secs_f64());
    runtime.block_on(running.mock.stop());
}
