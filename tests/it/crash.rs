//! The built server, killed with `kill -9` under load: what was answered is still true when it is back. DESIGN §3, The store.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use helsebro::protocol::pkce::CodeVerifier;
use reqwest::redirect::Policy;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;
use url::Url;

use crate::world::{VERIFIER, basic};

pub const AT: &str = "http://127.0.0.1:4567/cb";
pub const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
const ROUNDS: usize = 10;
const BROWSERS: usize = 6;
/// Answers after which the server is killed: different each time.
const ENOUGH: usize = 20;
/// More than any run gets through; each person agrees once, so every agreement is a write of its own.
const PEOPLE: usize = 160;

/// Ends the child when the test does, however it does.
pub struct Held(pub Child);

impl Held {
    /// `SIGTERM`, and the exit code.
    pub fn stop(mut self) -> Option<i32> {
        Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a client was told, and so may rely on.
#[derive(Default)]
struct Ledger {
    /// Client, and the newest refresh token it was given.
    tokens: Mutex<Vec<(&'static str, String)>>,
    /// Client, and a code it got tokens for.
    spent: Mutex<Vec<(&'static str, String)>>,
    /// Client, and the session cookie of somebody who agreed to it.
    agreed: Mutex<Vec<(&'static str, String)>>,
    person: AtomicUsize,
    stop: AtomicBool,
}

/// A server of its own: its configuration, its directory, and where it answers.
pub struct Place {
    pub origin: String,
    pub http: reqwest::Client,
    /// What it said on stderr so far.
    pub said: Arc<Mutex<Vec<String>>>,
    config: PathBuf,
    _dir: tempfile::TempDir,
}

impl Place {
    pub fn new(durability: &str, log_level: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Ports that are free now; the server takes them a moment later and again after each kill.
        let (public, ops) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (public, ops) = (public.local_addr().unwrap(), ops.local_addr().unwrap());
        let app = format!("redirect_uris = [\"{AT}\"]\nscopes = \"openid offline_access user/*.rs\"\nconsent = \"once\"\ncode_replay = \"refuse\"");
        let people: String = (0..PEOPLE).map(|n| format!("[[issuer.user]]\nname = \"Lege {n}\"\nfhir_user = \"Practitioner/lege-{n}\"\n")).collect();
        let text = format!(
            "[server]\nlisten = \"{public}\"\nops_listen = \"{ops}\"\nlog_level = \"{log_level}\"\n[store]\npath = \"store.redb\"\ndurability = \"{durability}\"\n\
             [[issuer]]\nurl = \"http://{public}\"\nlogin = [\"local\"]\n[[issuer.fhir]]\nbase = \"http://{public}/fhir\"\n{people}\
             [[client]]\nclient_id = \"secret\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n{app}\n\
             [[client]]\nclient_id = \"public\"\nauth = \"none\"\n{app}\n"
        );
        let config = dir.path().join("helsebro.toml");
        std::fs::write(&config, text).unwrap();
        // Whoever installs a provider first wins; there is only this one to install.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        Self { origin: format!("http://{public}"), http, said: Arc::default(), config, _dir: dir }
    }

    /// Where everything of it lies.
    pub fn dir(&self) -> &Path {
        self._dir.path()
    }

    /// Starts the server and waits until it answers.
    pub async fn start(&self) -> Held {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_helsebro")));
        let child = command.arg("serve").arg("--config").arg(&self.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut child = Held(child);
        let lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let said = Arc::clone(&self.said);
        // Goes on reading until the server is gone: a full pipe would stop it.
        std::thread::spawn(move || {
            let mut ready = Some(ready);
            for line in lines.map_while(Result::ok) {
                if line.contains(" ready ")
                    && let Some(ready) = ready.take()
                {
                    let _nobody_waits = ready.send(());
                }
                said.lock().unwrap().push(line);
            }
        });
        assert!(is_ready.await.is_ok(), "the server ended by itself: {:?}", self.said.lock().unwrap());
        child
    }

    /// A token request; `None` where the server went away meanwhile.
    pub async fn token(&self, client: &str, form: &[(&str, &str)]) -> Option<(u16, Value)> {
        let mut form = form.to_vec();
        form.push(("client_id", client));
        let mut request = self.http.post(format!("{}/token", self.origin)).form(&form);
        if client == "secret" {
            request = request.header("authorization", basic(client, SECRET));
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.ok()?))
    }

    fn authorize(&self, client: &str, more: &[(&str, &str)]) -> String {
        let challenge = CodeVerifier::parse(VERIFIER).unwrap().challenge();
        let base = format!("{}/fhir", self.origin);
        let mut params = vec![
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", AT),
            ("scope", "openid offline_access user/Patient.rs"),
            ("state", "s"),
            ("aud", &base),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        params.extend(more);
        Url::parse_with_params(&format!("{}/authorize", self.origin), params).unwrap().into()
    }

    /// One person signs in and agrees; the code, and the cookies of the browser. `None` where the server went away.
    pub async fn sign_in(&self, client: &str, person: usize) -> Option<(String, String)> {
        let mut cookies: Vec<(String, String)> = Vec::new();
        let mut next = Some((self.authorize(client, &[("login_hint", &format!("Practitioner/lege-{person}"))]), None::<Vec<(String, String)>>));
        while let Some((url, form)) = next.take() {
            let jar = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            let request = match form {
                Some(mut fields) => {
                    // The list has everybody; the one who is to sign in is chosen whatever is prefilled.
                    if let Some((_, user)) = fields.iter_mut().find(|(name, _)| name == "user") {
                        *user = format!("Practitioner/lege-{person}");
                    }
                    self.http.post(&url).form(&fields)
                }
                None => self.http.get(&url),
            };
            let response = request.header("cookie", jar).send().await.ok()?;
            for set in response.headers().get_all("set-cookie") {
                let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
                cookies.retain(|(known, _)| known != name);
                cookies.push((name.to_owned(), value.to_owned()));
            }
            let location = response.headers().get("location").map(|to| Url::parse(&url).unwrap().join(to.to_str().unwrap()).unwrap());
            if let Some(to) = location {
                if to.as_str().starts_with(AT) {
                    let code = to.query_pairs().find(|(name, _)| name == "code").map(|(_, code)| code.into_owned());
                    let code = code.unwrap_or_else(|| panic!("no code but {to}"));
                    return Some((code, cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")));
                }
                next = Some((to.into(), None));
                continue;
            }
            let page = response.text().await.ok()?;
            let (action, fields) = crate::world::form_fields(&page, 0);
            next = Some((Url::parse(&url).unwrap().join(&action).unwrap().into(), Some(fields)));
        }
        None
    }

    /// Signs people in, redeems and refreshes until the server is gone.
    async fn work(self: Arc<Self>, ledger: Arc<Ledger>, answered: UnboundedSender<()>, number: usize) {
        let client = if number.is_multiple_of(2) { "public" } else { "secret" };
        while !ledger.stop.load(Ordering::SeqCst) {
            let person = ledger.person.fetch_add(1, Ordering::SeqCst) % PEOPLE;
            let Some((code, cookies)) = self.sign_in(client, person).await else { return };
            ledger.agreed.lock().unwrap().push((client, cookies));
            let _killed = answered.send(());
            let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
            let Some((status, tokens)) = self.token(client, &form).await else { return };
            assert_eq!(status, 200, "{tokens}");
            ledger.spent.lock().unwrap().push((client, code));
            let mut token = tokens["refresh_token"].as_str().unwrap().to_owned();
            let at = {
                let mut all = ledger.tokens.lock().unwrap();
                all.push((client, token.clone()));
                all.len() - 1
            };
            for _ in 0..4 {
                let _killed = answered.send(());
                let Some((status, tokens)) = self.token(client, &[("grant_type", "refresh_token"), ("refresh_token", &token)]).await else { return };
                assert_eq!(status, 200, "{tokens}");
                token = tokens["refresh_token"].as_str().unwrap().to_owned();
                ledger.tokens.lock().unwrap()[at] = (client, token.clone());
            }
        }
    }

    /// Whether everything in the ledger is still so.
    async fn holds(&self, ledger: &Ledger, round: usize) {
        let tokens = ledger.tokens.lock().unwrap().clone();
        for (place, (client, token)) in tokens.iter().enumerate() {
            let (status, answer) = self.token(client, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await.unwrap();
            assert_eq!(status, 200, "round {round}: a refresh token of {client} was lost: {answer}");
            ledger.tokens.lock().unwrap()[place] = (client, answer["refresh_token"].as_str().unwrap().to_owned());
        }
        let spent = ledger.spent.lock().unwrap().clone();
        for (client, code) in spent {
            let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
            let (status, answer) = self.token(client, &form).await.unwrap();
            assert_eq!((status, &answer["error"]), (400, &"invalid_grant".into()), "round {round}: a spent code of {client} came back: {answer}");
        }
        let agreed = ledger.agreed.lock().unwrap().clone();
        for (client, cookies) in agreed {
            // Neither the session nor what was agreed to is asked for again.
            let response = self.http.get(self.authorize(client, &[("prompt", "none")])).header("cookie", cookies).send().await.unwrap();
            let location = response.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
            assert!(location.starts_with(&format!("{AT}?code=")), "round {round}: {client} was forgotten: {} {location}", response.status());
        }
    }
}

async fn survives_kill_9(durability: &str) {
    let place = Arc::new(Place::new(durability, "info"));
    let mut kept: usize = 0;
    for round in 0..ROUNDS {
        let mut server = place.start().await;
        let (answered, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let ledger = Arc::new(Ledger { person: AtomicUsize::new(round * PEOPLE / ROUNDS), ..Ledger::default() });
        let work: Vec<_> = (0..BROWSERS).map(|number| tokio::spawn(Arc::clone(&place).work(Arc::clone(&ledger), answered.clone(), number))).collect();
        drop(answered);
        for _ in 0..ENOUGH + 4 * round {
            assert!(heard.recv().await.is_some(), "round {round}: all gave up before the kill");
        }
        // SIGKILL: nothing is flushed, nobody says goodbye.
        server.0.kill().unwrap();
        server.0.wait().unwrap();
        ledger.stop.store(true, Ordering::SeqCst);
        for worker in work {
            worker.await.unwrap();
        }
        let server = place.start().await;
        place.holds(&ledger, round).await;
        kept += ledger.tokens.lock().unwrap().len();
        drop(server);
    }
    assert!(kept >= ROUNDS * 3, "{kept} grants is too little to prove anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_durability_keeps_every_answer_through_ten_kills() {
    survives_kill_9("power-loss").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_durability_keeps_every_answer_through_ten_kills() {
    survives_kill_9("process").await;
}
