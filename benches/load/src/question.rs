//! One file, one question: what is asked of the server, how fast it shall answer, and what the answer cannot be faster than.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Failed;
use crate::keys::Alg;

/// A file of `benches/questions`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The name of the file, without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// What is measured, in words, with what happens in one operation.
    pub ask: String,
    /// Where it is answered, one after the other; the first is the one held to the goals.
    pub on: Vec<Place>,
    /// Operations a second of processor time.
    pub goal: Option<f64>,
    /// The same as a part of what the floor allows, 0 to 1.
    pub goal_of_floor: Option<f64>,
    /// Which request of `hello` it is compared with.
    #[serde(default)]
    pub hello: Hello,
    /// What cannot be avoided, by name and number: requests (`get`, `post`) and pieces of cryptography (`sign_ES256`, …), `other` in microseconds.
    #[serde(default)]
    pub floor: BTreeMap<String, f64>,
    /// Median latency with one connection, in microseconds.
    pub goal_p50: Option<f64>,
    #[serde(default)]
    pub cookies: Cookies,
    /// Values taken one after the other, never twice: `{{next:NAME}}`.
    #[serde(default)]
    pub pool: BTreeMap<String, Pool>,
    /// Once, before anything.
    #[serde(default)]
    pub setup: Vec<Step>,
    /// Once for every connection.
    #[serde(default)]
    pub connect: Vec<Step>,
    /// One operation.
    pub step: Vec<Step>,
    /// The same asked of the peer.
    pub peer: Option<Peer>,
}

/// What answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    Hello,
    /// The store is a file, safe against the machine losing power.
    PowerLoss,
    /// The store is a file, safe against the process ending.
    Process,
    Memory,
    Redis,
    /// The mock FHIR server.
    Fhir,
    Peer,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::PowerLoss => "power-loss",
            Self::Process => "process",
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Fhir => "fhir",
            Self::Peer => "peer",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hello {
    #[default]
    Get,
    Post,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cookies {
    #[default]
    Off,
    /// Forgotten before every operation.
    Operation,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub count: usize,
    /// Signed here; or …
    pub assertion: Option<Assertion>,
    /// … the member of the answer to this step.
    pub step: Option<Step>,
    #[serde(default)]
    pub member: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    pub alg: Alg,
    pub client: String,
}

/// One request and what is kept of its answer. Values may hold `{{name}}`: a variable, `{{basic:ID}}` the Authorization value of a client,
/// `{{next:POOL}}`; `{{verifier}}`, `{{challenge}}`, `{{state}}`, `{{nonce}}` are new in every operation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    #[serde(default = "get")]
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub query: Vec<(String, String)>,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub form: Vec<(String, String)>,
    pub json: Option<String>,
    pub expect: u16,
    /// What the body must hold.
    pub holds: Option<String>,
    /// Follows redirects that stay at this server.
    #[serde(default)]
    pub follow: bool,
    /// From a member of the JSON answer; of a URL only the path and query.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
    /// From a parameter of the address that the answer leads to.
    #[serde(default)]
    pub save_param: BTreeMap<String, String>,
}

fn get() -> String {
    "GET".to_owned()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Format and algorithm of access tokens there: `jwt:ES256`.
    pub tokens: String,
    #[serde(default)]
    pub pool: BTreeMap<String, Pool>,
    #[serde(default)]
    pub setup: Vec<Step>,
    #[serde(default)]
    pub connect: Vec<Step>,
    #[serde(default)]
    pub cookies: Option<PeerCookies>,
    pub step: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerCookies {
    /// Kept as long as the connection: a session.
    Connection,
}

/// What is driven: the steps at one place.
#[derive(Clone, Debug)]
pub struct Script {
    pub pool: BTreeMap<String, Pool>,
    pub setup: Vec<Step>,
    pub connect: Vec<Step>,
    pub step: Vec<Step>,
    pub cookies: bool,
    pub forget_cookies: bool,
}

impl Question {
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, Failed> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut question: Self = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        question.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(question)
    }

    /// Every question of a folder, by name.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn all(folder: &Path) -> Result<Vec<Self>, Failed> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|ext| ext == "toml"));
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// What is driven at a place.
    pub fn script(&self, place: Place) -> Script {
        match (&self.peer, place) {
            (Some(peer), Place::Peer) => Script {
                pool: peer.pool.clone(),
                setup: peer.setup.clone(),
                connect: peer.connect.clone(),
                step: peer.step.clone(),
                cookies: peer.cookies.is_some(),
                forget_cookies: false,
            },
            _ => Script {
                pool: self.pool.clone(),
                setup: self.setup.clone(),
                connect: self.connect.clone(),
                step: self.step.clone(),
                cookies: self.cookies == Cookies::Operation,
                forget_cookies: true,
            },
        }
    }

    /// Microseconds of signatures made and checked, from what they cost here.
    pub fn signatures_micros(&self, pieces: &BTreeMap<String, f64>) -> f64 {
        let of =
            |(name, number): (&String, &f64)| number * pieces.get(name).filter(|_| name.starts_with("sign_") || name.starts_with("verify_")).unwrap_or(&0.0);
        self.floor.iter().map(of).sum()
    }

    /// Microseconds of processor time that no server could do without, from what its pieces cost here.
    pub fn floor_micros(&self, pieces: &BTreeMap<String, f64>) -> Option<f64> {
        let cost = |(name, number): (&String, &f64)| if name == "other" { Some(*number) } else { Some(number * pieces.get(name)?) };
        let costs: Option<Vec<f64>> = self.floor.iter().map(cost).collect();
        costs.filter(|costs| !costs.is_empty()).map(|costs| costs.iter().sum())
    }
}
