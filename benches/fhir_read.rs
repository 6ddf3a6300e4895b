//! What a read of one resource costs beside a bare handler that looks at the same token and answers with the same bytes: two servers in one
//! process on one core, the same accept loop, keep-alive connections over loopback, rounds in turn. Prints requests a second and
//! microseconds of processor time a request, and fails where a read has less than 60 % of the bare handler's throughput.
//!
//! `cargo bench --bench fhir_read`. With `taskset` at hand the servers get the first core and the load the second.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a measurement that goes wrong says so and ends")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use helsebro::fhir::{DataSource, FhirConfig, Origins, Switches, router};
use helsebro::listen::{Limits, Listener, serve};
use helsebro::protocol::ids::{FhirBase, Issuer};
use helsebro::random::{Random as _, SystemRandom};
use helsebro::secret::{Digest, Secret};
use helsebro::time::{Clock as _, SystemClock};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// As long as an access token of ours.
const TOKEN_LENGTH: usize = 900;
const PATH: &str = "/fhir/Observation/obs-01-3";
const CONNECTIONS: usize = 32;
const WARM_UP: Duration = Duration::from_millis(500);
const ROUND: Duration = Duration::from_millis(400);
const ROUNDS: usize = 15;
/// What a read must reach of the bare handler's throughput.
const LEAST: f64 = 0.60;

fn token() -> String {
    "eyJhbGciOiJSUzI1NiJ9.".chars().cycle().take(TOKEN_LENGTH).collect()
}

fn main() {
    let pinned = Command::new("taskset").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let wanted = std::env::args().nth(1).unwrap_or_default();
    match wanted.as_str() {
        "servers" => servers(),
        "load" => load(pinned),
        // The load runs pinned too: as a child of its own.
        _ => {
            let status = on_core(pinned, "1", "load").status().unwrap();
            std::process::exit(status.code().unwrap_or(1));
        }
    }
}

fn on_core(pinned: bool, core: &str, part: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    if !pinned {
        let mut command = Command::new(this);
        command.arg(part);
        return command;
    }
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(this).arg(part);
    command
}

/// Both servers, until standard input ends.
fn servers() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let issuer = Listener::bind("127.0.0.1:0").await.unwrap();
        let fhir = Listener::bind("127.0.0.1:0").await.unwrap();
        let bare = Listener::bind("127.0.0.1:0").await.unwrap();
        let (issuer_url, base) = (format!("http://{}", issuer.local_addr()), format!("http://{}/fhir", fhir.local_addr()));
        let answer = serde_json::json!({
            "active": true, "scope": "launch openid fhirUser patient/*.rs", "client_id": "growth-chart", "exp": SystemClock::shared().now().0 + 3600,
            "iss": issuer_url, "aud": base, "patient": "pasient-01", "fhirUser": "Practitioner/lege-fastlege"
        });
        let introspection = Router::new().fallback(move || async move { axum::Json(answer) });
        let config = FhirConfig {
            base: FhirBase::parse(&base).unwrap(),
            issuer: Issuer::parse(&issuer_url).unwrap(),
            introspection_endpoint: format!("{issuer_url}/introspect"),
            client_id: "fhir-server".to_owned(),
            client_secret: Secret::new("secret".to_owned()),
            ops_token: SystemRandom.token(),
            cors_origins: Origins::default(),
            introspection_cache: Duration::from_secs(60),
            documentation: None,
            data: DataSource::BuiltIn,
            kept: None,
            switches: Switches::default(),
        };
        let began = Instant::now();
        let (public, _ops) = router(config, SystemClock::shared(), Arc::new(SystemRandom)).unwrap();
        let loading = began.elapsed();
        println!("{} {} {}", fhir.local_addr(), bare.local_addr(), loading.as_micros());
        let stop = CancellationToken::new();
        let grace = Duration::from_secs(1);
        tokio::spawn(serve(issuer, introspection, Limits::default(), stop.clone(), grace));
        let url = format!("http://{}{PATH}", fhir.local_addr());
        tokio::spawn(serve(fhir, public, Limits::default(), stop.clone(), grace));
        // The bytes the bare handler repeats.
        let body = reqwest::Client::new().get(url).bearer_auth(token()).send().await.unwrap().bytes().await.unwrap();
        let known = Arc::new((Secret::new(token()).digest(), body));
        tokio::spawn(serve(bare, Router::new().fallback(repeat).with_state(known), Limits::default(), stop.clone(), grace));
        tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await.unwrap();
    });
}

/// The same check of the same header, and the same bytes.
async fn repeat(State(known): State<Arc<(Digest, Bytes)>>, headers: HeaderMap) -> Response {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|text| text.strip_prefix("Bearer "));
    match token {
        Some(token) if Secret::new(token.to_owned()).digest() == known.0 => {
            ([(CONTENT_TYPE, "application/fhir+json; charset=utf-8")], known.1.clone()).into_response()
        }
        _ => StatusCode::UNAUTHORIZED.into_response(),
    }
}

/// Ends the servers when the measurement does.
struct Servers(Child);

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}

impl Servers {
    /// Processor time so far, in microseconds. proc(5): fields 14 and 15, in hundredths of a second.
    fn cpu_us(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) * 10_000.0
    }
}

fn load(pinned: bool) {
    let mut child = on_core(pinned, "0", "servers").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let servers = Servers(child);
    let parts: Vec<&str> = told.split_whitespace().collect();
    let (fhir, bare): (SocketAddr, SocketAddr) = (parts[0].parse().unwrap(), parts[1].parse().unwrap());
    println!("loading the built-in set and making the server: {} ms", parts[2].parse::<f64>().unwrap() / 1000.0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for address in [fhir, bare] {
            round(address, WARM_UP).await;
        }
        let mut rounds = [Vec::new(), Vec::new()];
        for number in 0..ROUNDS {
            // Who goes first takes turns too.
            for place in if number % 2 == 0 { [0, 1] } else { [1, 0] } {
                let before = servers.cpu_us();
                let began = Instant::now();
                let answers = round([fhir, bare][place], ROUND).await as f64;
                rounds[place].push((answers / began.elapsed().as_secs_f64(), (servers.cpu_us() - before) / answers));
            }
        }
        let of = |place: usize, what: fn(&(f64, f64)) -> f64| median(rounds[place].iter().map(what).collect());
        let (read, plain) = (of(0, |round| round.0), of(1, |round| round.0));
        let ratio = median(rounds[0].iter().zip(&rounds[1]).map(|(read, bare)| read.0 / bare.0).collect());
        println!(
            "{ROUNDS} rounds of {ROUND:?} each in turn, {CONNECTIONS} connections, {}",
            if pinned { "server on one core, load on another" } else { "not pinned" }
        );
        println!("bare handler   {plain:>8.0} requests/s {:>6.2} us of processor time each", of(1, |round| round.1));
        println!("FHIR read      {read:>8.0} requests/s {:>6.2} us of processor time each", of(0, |round| round.1));
        println!("ratio          {:>8.1} % of throughput, {:.1} % by processor time", ratio * 100.0, of(1, |r| r.1) / of(0, |r| r.1) * 100.0);
        drop(servers);
        std::process::exit(i32::from(ratio < LEAST));
    });
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// How many answers came in this time.
async fn round(address: SocketAddr, time: Duration) -> u64 {
    let until = Instant::now() + time;
    let all: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(connection(address, until))).collect();
    let mut answers = 0;
    for one in all {
        answers += one.await.unwrap();
    }
    answers
}

async fn connection(address: SocketAddr, until: Instant) -> u64 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\naccept: application/fhir+json\r\n\r\n", token());
    let mut buffer = vec![0; 64 * 1024];
    let (mut answers, mut length) = (0, None);
    while Instant::now() < until {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut read = 0;
        // All answers of one server are equally long: only the first is taken apart.
        while length.is_none_or(|length| read < length) {
            let more = stream.read(&mut buffer[read..]).await.unwrap();
            assert!(more > 0, "the connection was closed");
            read += more;
            if length.is_none() {
                length = whole(&buffer[..read]);
            }
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200") && Some(read) == length, "{}", String::from_utf8_lossy(&buffer[..read]));
        answers += 1;
    }
    answers
}

/// How long the answer is that begins so.
fn whole(begins: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(begins).to_ascii_lowercase();
    let head = text.find("\r\n\r\n")? + 4;
    let (_, rest) = text.split_once("content-length: ")?;
    Some(head + rest.split("\r\n").next()?.parse::<usize>().ok()?)
}
