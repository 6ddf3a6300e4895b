//! What a proof of possession (DPoP, ES256) adds to a token request: `cargo bench --bench dpop_cost`. A service with a secret gets a token for itself, without
//! a proof and with one, in rounds that take turns; counted is the processor time of the server's one worker thread. What the signature check of the proof
//! takes by itself is measured apart and taken off. The bar: what is left is under 25 % of a request without a proof. Once with RS256 access tokens, whose
//! signature is most of the work, and once with ES256 ones. The store is in memory: on disk the mark of a used proof waits for the disk as all writes do.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a measurement that goes wrong says so and ends")]

use std::fs;
use std::sync::Arc;

use helsebro::app::server::{self, Listeners};
use helsebro::config::{self, SystemEnvironment, Text};
use helsebro::jose::{Alg, SigningKey, UnverifiedJwt, make_proof, verify_signature};
use helsebro::protocol::dpop::ProofClaims;
use helsebro::random::{Random as _, SystemRandom};
use helsebro::time::{Clock as _, SystemClock};

/// Each long enough for the clock of the kernel, and short enough for a proof to be good to its end.
const REQUESTS: usize = 400;
const ROUNDS: usize = 9;
/// What the rest of a proof may cost, in parts of a plain request.
const MOST: f64 = 0.25;
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
const WORKER: &str = "bench-server";

/// Nanoseconds that the threads of the server have run for. `schedstat`: the first number of proc(5).
fn server_time() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok).map(|task| task.path());
    let of_server = tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == WORKER));
    of_server.map(|task| fs::read_to_string(task.join("schedstat")).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn proofs(key: &SigningKey, url: &str) -> Vec<String> {
    let now = SystemClock::default().now();
    (0..REQUESTS).map(|_| make_proof(key, &ProofClaims::new("POST", url, SystemRandom.id(), now)).unwrap()).collect()
}

/// Nanoseconds that this thread has run for: a clock would count who else is on the machine.
fn own_time() -> u64 {
    fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Microseconds of processor time for the signature check of a proof, and for nothing else.
fn check_alone(key: &SigningKey, url: &str) -> f64 {
    let of_round = |_| {
        let proofs = proofs(key, url);
        let read: Vec<UnverifiedJwt<'_>> = proofs.iter().map(|proof| UnverifiedJwt::parse(proof).unwrap()).collect();
        let begun = own_time();
        for proof in read {
            verify_signature(proof, key.public_jwk()).unwrap();
        }
        (own_time() - begun) as f64 / 1e3 / REQUESTS as f64
    };
    median((0..ROUNDS).map(of_round).collect())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(WORKER).enable_all().build().unwrap();
    let load = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let data = tempfile::tempdir().unwrap();
    let (running, issuer) = runtime.block_on(async {
        let listeners = Listeners { public: server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap(), ops: server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap() };
        let issuer = format!("http://{}", listeners.public.local_addr());
        let client = |alg: &str| {
            format!(
                "[[client]]\nclient_id = \"{alg}\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\nscopes = \"launch:create\"\naccess_token_alg = \"{alg}\"\n"
            )
        };
        let text = format!(
            "[store]\nkind = \"memory\"\n[keys]\ndir = \"{}/keys\"\n[[issuer]]\nurl = \"{issuer}\"\nlogin = [\"ehr\"]\n[[issuer.fhir]]\nbase = \"{issuer}/fhir\"\n{}{}",
            data.path().display(),
            client("RS256"),
            client("ES256")
        );
        let environment = SystemEnvironment::relative_to(data.path());
        let config = config::check(Text { file: "bench", text: &text, environment: &environment }, &[]).unwrap_or_else(|found| panic!("{found}")).config;
        (server::start(&config, listeners, SystemClock::shared(), Arc::new(SystemRandom), None).await.unwrap(), issuer)
    });
    let url = format!("{issuer}/token");
    let key = SigningKey::generate(Alg::ES256).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    // Microseconds of the server's for each request of a round.
    let round = |alg: &str, proofs: Option<Vec<String>>| {
        let before = server_time();
        load.block_on(async {
            for n in 0..REQUESTS {
                let mut request = http.post(&url).basic_auth(alg, Some(SECRET)).form(&[("grant_type", "client_credentials"), ("scope", "launch:create")]);
                if let Some(proofs) = &proofs {
                    request = request.header("dpop", &proofs[n]);
                }
                let answer = request.send().await.unwrap();
                let (status, text) = (answer.status(), answer.text().await.unwrap());
                let kind = if proofs.is_some() { "\"DPoP\"" } else { "\"Bearer\"" };
                assert!(status == 200 && text.contains(kind), "{status}: {text}");
            }
        });
        (server_time() - before) as f64 / 1e3 / REQUESTS as f64
    };
    let check = check_alone(&key, &url);
    println!("the signature check of a proof alone: {check:.0} µs");
    let mut fits = true;
    for alg in ["RS256", "ES256"] {
        round(alg, None);
        let (mut plain, mut proven) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            plain.push(round(alg, None));
            proven.push(round(alg, Some(proofs(&key, &url))));
        }
        let (plain, proven) = (median(plain), median(proven));
        let rest = (proven - plain - check) / plain;
        fits &= rest < MOST;
        println!(
            "{alg} access tokens: {plain:.0} µs without a proof, {proven:.0} µs with one; beyond the check {:.0} µs, {:.1} %",
            proven - plain - check,
            rest * 100.0
        );
    }
    runtime.block_on(running.stop());
    assert!(fits, "a proof costs more than {} % of a plain request", MOST * 100.0);
}
