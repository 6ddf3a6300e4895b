//! The servers as they are started: several in one process, and one that is killed while it writes.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use helsebro::app::fhir_config::check;
use helsebro::app::fhir_server::{start_all, stop_all};
use helsebro::config::SystemEnvironment;
use helsebro::random::SeededRandom;
use serde_json::json;

use super::world::{SECRET, World};
use super::write::observation;

fn row(base: &str, issuer: &str, listen: &str, ops: &str, kept: &Path) -> String {
    format!(
        "base = \"{base}\"\nissuer = \"{issuer}\"\nclient_id = \"fhir-server\"\nclient_secret = \"{SECRET}\"\nlisten = \"{listen}\"\n\
         ops_listen = \"{ops}\"\nkept = \"{}\"\n",
        kept.display()
    )
}

#[tokio::test]
async fn two_issuers_have_two_bases_and_nothing_in_common() {
    let dir = tempfile::tempdir().unwrap();
    let worlds = [World::start().await, World::start().await];
    let bases = ["http://127.0.0.1:1/fhir", "http://127.0.0.1:2/fhir"];
    let rows = [0, 1].map(|n| format!("[[server]]\n{}", row(bases[n], &worlds[n].issuer, "127.0.0.1:0", "127.0.0.1:0", &dir.path().join(n.to_string()))));
    let configs = check("fhir.toml", &rows.concat(), &SystemEnvironment::relative_to(dir.path()), &SeededRandom::new(1)).unwrap();
    let running = start_all(configs, worlds[0].clock.clone(), Arc::new(SeededRandom::new(2))).await.unwrap();
    let at = |n: usize| format!("http://{}/fhir", running[n].public);
    let tokens = [0, 1].map(|n| worlds[n].token("patient/*.cruds").with("aud", bases[n]).issue());
    let mut body = observation("Patient/pasient-01");
    body["id"] = json!("mine");
    assert_eq!(worlds[0].write(&tokens[0], "PUT", &format!("{}/Observation/mine", at(0)), &body, &[]).await.status, 201);
    assert_eq!(worlds[0].get(&tokens[0], &format!("{}/Observation/mine", at(0))).await.status, 200);
    // The other has its own records and its own issuer: one's token is nothing at the other.
    worlds[1].get(&tokens[1], &format!("{}/Observation/mine", at(1))).await.refused(404, "not-found");
    let one_at_the_other = worlds[0].token("patient/*.cruds").with("aud", json!(bases)).issue();
    worlds[0].get(&one_at_the_other, &format!("{}/Observation/obs-01-1", at(1))).await.refused(401, "unknown");
    assert_eq!(worlds[0].get(&one_at_the_other, &format!("{}/Observation/obs-01-1", at(0))).await.status, 200);
    stop_all(running).await;
    let kept = |n: usize| std::fs::read_to_string(dir.path().join(n.to_string())).unwrap();
    assert!(kept(0).contains(r#""id":"mine""#) && kept(1).is_empty());
}

/// Killed when the test ends, however it does.
struct Held(Child);

impl Held {
    fn kill(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn start(config: &Path) -> Held {
    let command = Command::new(env!("CARGO_BIN_EXE_helsebro")).arg("fhir").arg("--config").arg(config).stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = Held(command.unwrap());
    let lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    // Goes on reading until the server is gone: a full pipe would stop it.
    std::thread::spawn(move || {
        let mut ready = Some(ready);
        for line in lines.map_while(Result::ok) {
            if let Some(ready) = ready.take_if(|_| line.contains(" ready ")) {
                let _nobody_waits = ready.send(());
            }
        }
    });
    is_ready.await.expect("the server says that it is ready");
    child
}

#[tokio::test]
async fn what_was_answered_survives_kill_9_and_a_torn_end() {
    let dir = tempfile::tempdir().unwrap();
    let world = Arc::new(World::start().await);
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (listen, kept) = (free(), dir.path().join("fhir.ndjson"));
    let base = format!("http://{listen}/fhir");
    let config = dir.path().join("fhir.toml");
    std::fs::write(&config, row(&base, &world.issuer, &listen, &free(), &kept)).unwrap();
    // This server goes by the time of day.
    let token = world.token("patient/*.cruds").with("aud", base.as_str()).with("exp", 4_000_000_000_i64).issue();
    let answered = Arc::new(Mutex::new(Vec::new()));
    let number = Arc::new(AtomicUsize::new(0));
    for round in 0..4 {
        let mut server = start(&config).await;
        let stop = Arc::new(AtomicBool::new(false));
        let before = answered.lock().unwrap().len();
        let writers: Vec<_> = (0..6)
            .map(|_| {
                let (world, token, base, answered, number, stop) =
                    (Arc::clone(&world), token.clone(), base.clone(), Arc::clone(&answered), Arc::clone(&number), Arc::clone(&stop));
                tokio::spawn(async move {
                    while !stop.load(Ordering::SeqCst) {
                        let id = format!("w{}", number.fetch_add(1, Ordering::SeqCst));
                        let mut body = observation("Patient/pasient-01");
                        body["id"] = id.as_str().into();
                        let request = world.request("PUT", &format!("{base}/Observation/{id}")).bearer_auth(&token).header("content-type", "application/json");
                        match request.body(body.to_string()).send().await {
                            Ok(answer) if answer.status() == 201 => answered.lock().unwrap().push(id),
                            Ok(answer) => panic!("{}", answer.status()),
                            // The server is gone: this one was not answered.
                            Err(_) => return,
                        }
                    }
                })
            })
            .collect();
        while answered.lock().unwrap().len() < before + 25 + round * 7 {
            tokio::task::yield_now().await;
        }
        server.kill();
        stop.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.await.unwrap();
        }
        // As if the last write had been cut in two as well.
        use std::io::Write as _;
        std::fs::OpenOptions::new()
            .append(true)
            .open(&kept)
            .unwrap()
            .write_all(&br#"{"put":{"resourceType":"Observation","id":"torn"#[..20 + round * 8])
            .unwrap();
    }
    let _server = start(&config).await;
    let answered = answered.lock().unwrap().clone();
    for id in &answered {
        let read = world.get(&token, &format!("{base}/Observation/{id}")).await;
        assert_eq!((read.status, read.header("etag")), (200, "W/\"1\""), "{id}");
    }
    assert!(answered.len() >= 100);
}
