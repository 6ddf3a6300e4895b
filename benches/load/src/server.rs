//! The processes that are measured, each on the first core, with a configuration of their own; what helps them runs on the second.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Failed;
use crate::keys::{Alg, Key};
use crate::question::Place;

/// What is measured.
pub const SERVER_CORE: &str = "0";
/// What measures.
pub const OTHER_CORE: &str = "1";

/// No server takes longer to start, or to stop: one with two hundred issuers makes a thousand keys first.
const PATIENCE: Duration = Duration::from_secs(180);

/// Clients with a secret, and what their configuration says besides.
const WITH_SECRET: &[(&str, &str)] = &[
    ("epj", "preset = \"epj\"\naccess_token_alg = \"ES256\""),
    ("fhir-server", "preset = \"fhir-server\""),
    ("cc-rs256", "auth = \"client_secret_basic\"\nscopes = \"launch:create\"\naccess_token_alg = \"RS256\""),
    ("cc-es256", "auth = \"client_secret_basic\"\nscopes = \"launch:create\"\naccess_token_alg = \"ES256\""),
    ("app", APP),
    ("app-rs256", APP_RS256),
    ("exchanger", "auth = \"client_secret_basic\"\nscopes = \"patient/*.rs\"\naccess_token_alg = \"ES256\""),
];

const APP: &str = r#"auth = "client_secret_basic"
redirect_uris = ["http://127.0.0.1:9/cb"]
launch_urls = ["http://127.0.0.1:9/launch"]
scopes = "launch launch/patient openid fhirUser offline_access patient/*.rs"
consent = "pre-approved"
access_token_alg = "ES256"
id_token_signed_response_alg = "ES256"
may_act = ["exchanger"]"#;

const APP_RS256: &str = r#"auth = "client_secret_basic"
redirect_uris = ["http://127.0.0.1:9/cb"]
launch_urls = ["http://127.0.0.1:9/launch"]
scopes = "launch launch/patient openid fhirUser offline_access patient/*.rs"
consent = "pre-approved"
access_token_alg = "RS256""#;

const PUBLIC: &str = r#"client_id = "browser-app"
auth = "none"
redirect_uris = ["http://127.0.0.1:9/cb"]
launch_urls = ["http://127.0.0.1:9/launch"]
scopes = "launch launch/patient openid fhirUser offline_access patient/*.rs"
consent = "pre-approved"
access_token_alg = "ES256"
id_token_signed_response_alg = "ES256""#;

/// How much a server has of what it could have much of.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Besides those that are asked with.
    pub clients: usize,
    /// All of them.
    pub issuers: usize,
    /// The cores it may use.
    pub cores: &'static str,
    pub workers: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { clients: 0, issuers: 1, cores: SERVER_CORE, workers: 1 }
    }
}

/// Where things are.
#[derive(Clone)]
pub struct Bench {
    /// Of the repository.
    pub root: PathBuf,
    /// Everything that is written while it runs.
    pub work: PathBuf,
    pub helsebro: PathBuf,
    /// Whether what is measured and what measures go before everything else on their cores.
    pub first: bool,
    pub size: Size,
}

impl Bench {
    pub fn keys(&self) -> PathBuf {
        self.work.join("keys")
    }
}

/// A server under measurement, with what helps it. Everything ends when it is dropped.
pub struct Running {
    pub pid: u32,
    pub address: SocketAddr,
    /// Where `setup` is asked.
    pub setup_address: SocketAddr,
    pub known: BTreeMap<String, String>,
    /// From the start of the process to its first answer.
    pub started_in: Duration,
    children: Vec<Child>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            end(child);
        }
    }
}

/// Asked to stop, and made to where it does not.
fn end(child: &mut Child) {
    // A process that has ended already is none to stop.
    let _asked = Command::new("kill").arg(child.id().to_string()).stderr(Stdio::null()).status();
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ended = child.kill();
    let _reaped = child.wait();
}

/// Who goes first on a core, where anybody does.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// What is measured, and what measures.
    First,
    /// What has to answer on the generator's core, which never rests.
    BeforeThat,
    /// Like everything else.
    Waits,
}

/// A program on one core.
pub fn on_core(core: &str, turn: Turn, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]);
    match turn {
        Turn::First => drop(command.args(["chrt", "--rr", "1"])),
        Turn::BeforeThat => drop(command.args(["chrt", "--fifo", "2"])),
        Turn::Waits => {}
    }
    command.arg(program).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A secret of 256 bits, the same for one client in every run: it guards nothing.
fn secret(client: &str) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, client.as_bytes()))
}

impl Bench {
    /// The turn of what is started here: the generator is not.
    fn turn(&self, core: &str) -> Turn {
        match (self.first, core == SERVER_CORE) {
            (true, true) => Turn::First,
            (true, false) => Turn::BeforeThat,
            (false, _) => Turn::Waits,
        }
    }

    /// Starts what a question is asked of. `tokens`: of the peer.
    ///
    /// # Errors
    /// When it does not start here; the text says why.
    pub fn start(&self, place: Place, tokens: &str) -> Result<Running, Failed> {
        match place {
            Place::Hello => self.hello(self.size.cores, self.size.workers),
            Place::PowerLoss | Place::Process | Place::Memory | Place::Redis => self.authorization_server(place, self.size.cores),
            Place::Fhir => self.fhir(),
            Place::Peer => self.peer(tokens),
        }
    }

    fn hello(&self, core: &str, workers: usize) -> Result<Running, Failed> {
        let port = free_port()?;
        let mut command = on_core(core, self.turn(core), &std::env::current_exe()?);
        command.args(["hello", &port.to_string(), &workers.to_string()]);
        self.running(command, port, "/", BTreeMap::new(), Vec::new())
    }

    fn authorization_server(&self, place: Place, core: &str) -> Result<Running, Failed> {
        self.fresh(place)?;
        self.again(place, core, free_port()?)
    }

    /// Starts one on what another kept, at the address that one had. The FHIR server it reads launches from is the generator's neighbour.
    ///
    /// # Errors
    /// As [`Bench::start`].
    pub fn again(&self, place: Place, core: &str, port: u16) -> Result<Running, Failed> {
        let fhir = self.hello(OTHER_CORE, 1)?;
        let base = format!("http://{}/fhir", fhir.address);
        self.authorization_server_for(place, core, &base, port, fhir)
    }

    /// An empty directory for what a server keeps.
    fn fresh(&self, place: Place) -> Result<(), Failed> {
        let dir = self.work.join(place.name());
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(fs::create_dir_all(&dir)?),
        }
    }

    fn authorization_server_for(&self, place: Place, core: &str, base: &str, port: u16, mut helper: Running) -> Result<Running, Failed> {
        let ops = free_port()?;
        let dir = self.work.join(place.name());
        let mut children = std::mem::take(&mut helper.children);
        let store = match place {
            Place::Memory => "kind = \"memory\"".to_owned(),
            Place::Process => format!("path = {:?}\ndurability = \"process\"", dir.join("store.redb")),
            Place::Redis => {
                let (redis, child) = self.redis(&dir)?;
                children.push(child);
                format!("kind = \"redis\"\nurl = \"redis://127.0.0.1:{redis}/\"")
            }
            _ => format!("path = {:?}\ndurability = \"power-loss\"", dir.join("store.redb")),
        };
        let config = self.config(&dir, (port, ops), &store, base)?;
        fs::write(dir.join("helsebro.toml"), config)?;
        let mut command = on_core(core, self.turn(core), &self.helsebro);
        command.arg("serve").arg("--config").arg(dir.join("helsebro.toml")).env("TOKIO_WORKER_THREADS", self.size.workers.to_string());
        let mut known = BTreeMap::from([
            ("issuer".to_owned(), format!("http://127.0.0.1:{port}")),
            ("ops".to_owned(), format!("127.0.0.1:{ops}")),
            ("fhir".to_owned(), base.to_owned()),
            ("patient".to_owned(), crate::hello::PATIENT.to_owned()),
            ("redirect".to_owned(), "http://127.0.0.1:9/cb".to_owned()),
            ("scope".to_owned(), "launch openid fhirUser patient/*.rs".to_owned()),
        ]);
        known.extend(WITH_SECRET.iter().map(|(id, _)| (format!("secret:{id}"), secret(id))));
        self.running(command, port, "/.well-known/smart-configuration", known, children)
    }

    fn config(&self, dir: &Path, (port, ops): (u16, u16), store: &str, base: &str) -> Result<String, Failed> {
        let mut text = format!(
            r#"[server]
listen = "127.0.0.1:{port}"
ops_listen = "127.0.0.1:{ops}"
log = "json"

[store]
{store}

[keys]
dir = {keys:?}

[audit]
dir = {audit:?}

[[issuer]]
url = "http://127.0.0.1:{port}"
login = ["ehr"]

[[issuer.exchange]]
name = "narrower"
direction = "own"
caller = "exchanger"
audience = "{base}"
scopes = "patient/Patient.rs patient/Observation.rs"
binding = "where-shown"

[[issuer.fhir]]
base = "{base}"
resource_servers = ["fhir-server"]
access_token_alg = "ES256"

[[client]]
{PUBLIC}
issuer = "http://127.0.0.1:{port}"
"#,
            keys = self.work.join("server-keys"),
            // On, as in production: every decision is recorded, and the records are brought to the disk.
            audit = dir.join("audit"),
        );
        let issuer = format!("issuer = \"http://127.0.0.1:{port}\"");
        for (id, lines) in WITH_SECRET {
            text.push_str(&format!("\n[[client]]\n{issuer}\nclient_id = \"{id}\"\nclient_secret = \"{}\"\n{lines}\n", secret(id)));
        }
        for alg in [Alg::ES384, Alg::RS384] {
            let jwk = Key::at(&self.keys(), alg)?.jwk();
            let members: Vec<String> = jwk.as_object().into_iter().flatten().map(|(name, value)| format!("{name} = {value}")).collect();
            text.push_str(&format!(
                "\n[[client]]\n{issuer}\nclient_id = \"lab-{}\"\nauth = \"private_key_jwt\"\njwks = {{ keys = [{{ {} }}] }}\nscopes = \"system/Patient.rs\"\naccess_token_alg = \"ES256\"\n",
                alg.name().to_lowercase(),
                members.join(", ")
            ));
        }
        for other in 0..self.size.clients {
            let id = format!("other-{other}");
            text.push_str(&format!("\n[[client]]\n{issuer}\nclient_id = \"{id}\"\nclient_secret = \"{}\"\n{APP}\n", secret(&id)));
        }
        for other in 1..self.size.issuers {
            text.push_str(&format!("\n[[issuer]]\nurl = \"http://127.1.0.{other}:{port}\"\nlogin = [\"ehr\"]\n[[issuer.fhir]]\nbase = \"{base}/{other}\"\n"));
        }
        Ok(text)
    }

    /// The mock FHIR server on the first core; the authorization server it asks is on the second.
    fn fhir(&self) -> Result<Running, Failed> {
        let (port, issuer_port, ops) = (free_port()?, free_port()?, free_port()?);
        let base = format!("http://127.0.0.1:{port}/fhir");
        let dir = self.work.join("fhir");
        fs::create_dir_all(&dir)?;
        fs::write(
            dir.join("fhir.toml"),
            format!(
                "base = \"{base}\"\nissuer = \"http://127.0.0.1:{issuer_port}\"\nclient_id = \"fhir-server\"\nclient_secret = \"{}\"\nlisten = \"127.0.0.1:{port}\"\nops_listen = \"127.0.0.1:{ops}\"\nintrospection_cache = \"60s\"\n",
                secret("fhir-server")
            ),
        )?;
        let mut command = on_core(SERVER_CORE, self.turn(SERVER_CORE), &self.helsebro);
        command.arg("fhir").arg("--config").arg(dir.join("fhir.toml"));
        let mut fhir = self.running(command, port, "/fhir/metadata", BTreeMap::new(), Vec::new())?;
        let nobody =
            Running { pid: 0, address: fhir.address, setup_address: fhir.address, known: BTreeMap::new(), started_in: Duration::ZERO, children: Vec::new() };
        self.fresh(Place::Memory)?;
        let mut issuer = self.authorization_server_for(Place::Memory, OTHER_CORE, &base, issuer_port, nobody)?;
        fhir.setup_address = issuer.address;
        fhir.known = std::mem::take(&mut issuer.known);
        fhir.children.append(&mut issuer.children);
        Ok(fhir)
    }

    /// Redis in memory, on the second core: its processor time is not the server's.
    fn redis(&self, dir: &Path) -> Result<(u16, Child), Failed> {
        let port = free_port()?;
        let mut command = on_core(OTHER_CORE, self.turn(OTHER_CORE), Path::new("redis-server"));
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]).arg(dir).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("redis-server: {error}"))?;
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok((port, child))
    }

    fn peer(&self, tokens: &str) -> Result<Running, Failed> {
        let dir = self.root.join("benches/peers/oidc-provider");
        let here = self.work.join("oidc-provider");
        fs::create_dir_all(&here)?;
        for file in ["package.json", "server.mjs"] {
            fs::copy(dir.join(file), here.join(file))?;
        }
        if !here.join("node_modules/oidc-provider").exists() {
            let installed = Command::new("npm").args(["install", "--no-audit", "--no-fund", "--silent"]).current_dir(&here).stdin(Stdio::null()).status();
            if !installed.is_ok_and(|status| status.success()) {
                return Err("npm could not install oidc-provider".into());
            }
        }
        for alg in [Alg::RS256, Alg::ES256, Alg::RS384, Alg::ES384] {
            Key::at(&self.keys(), alg)?;
        }
        let port = free_port()?;
        let (format, alg) = tokens.split_once(':').ok_or("the peer's tokens are FORMAT:ALG")?;
        let mut command = on_core(SERVER_CORE, self.turn(SERVER_CORE), Path::new("node"));
        command.arg(here.join("server.mjs")).args([&port.to_string(), format, alg]).arg(self.keys()).arg("900");
        let known = BTreeMap::from([
            ("issuer".to_owned(), format!("http://127.0.0.1:{port}")),
            ("redirect".to_owned(), "http://127.0.0.1:9/cb".to_owned()),
            ("secret:cc".to_owned(), "secret-cc".to_owned()),
            ("secret:web".to_owned(), "secret-web".to_owned()),
        ]);
        self.running(command, port, "/.well-known/openid-configuration", known, Vec::new())
    }

    /// Starts a process and waits until it answers at `path`.
    fn running(&self, mut command: Command, port: u16, path: &str, known: BTreeMap<String, String>, children: Vec<Child>) -> Result<Running, Failed> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        // What a server says is written, and thrown away.
        let begun = Instant::now();
        let child = command.stderr(File::create("/dev/null")?).spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let pid = child.id();
        let mut running = Running { pid, address, setup_address: address, known, started_in: Duration::ZERO, children };
        running.children.insert(0, child);
        loop {
            if answers(address, path) {
                running.started_in = begun.elapsed();
                return Ok(running);
            }
            let gone = running.children.first_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
            if gone || begun.elapsed() > PATIENCE {
                return Err(format!("it did not start; by hand: {command:?}").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn answers(address: SocketAddr, path: &str) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let asked = stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes());
    let mut start = [0; 12];
    asked.is_ok() && stream.read_exact(&mut start).is_ok() && start.ends_with(b" 200")
}
