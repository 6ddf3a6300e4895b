//! The levers of the demo's mocks as a tester pulls them: HelseID's admin calls and the FHIR server's operations, over HTTP.

use serde_json::{Value, json};

use super::faults::{Fault, Party};
use super::wire::{Answer, Wire, WireError, bearer, text_at};
use crate::jose::SigningKey;
use crate::secret::Secret;

/// Where one mock's levers are, without a trailing slash, and what opens them.
#[derive(Clone, Debug)]
pub struct Lever {
    pub url: String,
    pub secret: Secret<String>,
}

/// Why a lever did not move.
#[derive(Debug, thiserror::Error)]
pub enum LeverError {
    #[error("{0}")]
    Unreachable(#[from] WireError),
    #[error("the {party} answered {status}: {said}")]
    Refused { party: &'static str, status: u16, said: String },
    #[error("the {0}'s answer was not understood")]
    Answer(&'static str),
}

/// Both mocks' levers.
#[derive(Clone)]
pub struct Levers {
    wire: Wire,
    helseid: Lever,
    fhir: Lever,
}

/// A client registered at HelseID, played by whoever holds its key.
pub struct ClientThere {
    pub id: String,
    pub key: SigningKey,
    pub redirect_uris: Vec<String>,
}

impl Levers {
    pub fn new(wire: Wire, helseid: Lever, fhir: Lever) -> Self {
        Self { wire, helseid, fhir }
    }

    /// Puts a fault on, until it is taken off.
    ///
    /// # Errors
    /// [`LeverError`]: 422 where no fault has that name.
    pub async fn put_on(&self, fault: &Fault) -> Result<(), LeverError> {
        let rule = fault.rule();
        self.call(fault.party, |wire, url| wire.post(url).json(&rule)).await.map(drop)
    }

    /// Takes all faults off, of both.
    ///
    /// # Errors
    /// [`LeverError`]
    pub async fn take_off(&self) -> Result<(), LeverError> {
        for party in [Party::HelseId, Party::Fhir] {
            self.call(party, Wire::delete).await?;
        }
        Ok(())
    }

    /// What is on, as each mock tells it.
    ///
    /// # Errors
    /// [`LeverError`]
    pub async fn on(&self) -> Result<Vec<(Party, Value)>, LeverError> {
        let mut on = Vec::new();
        for party in [Party::HelseId, Party::Fhir] {
            let said = self.call(party, Wire::get).await?.json().ok_or(LeverError::Answer(party.name()))?;
            let rules = said.get("faults").and_then(Value::as_array).cloned().unwrap_or_default();
            on.extend(rules.into_iter().map(|rule| (party, rule)));
        }
        Ok(on)
    }

    async fn call(&self, party: Party, request: impl FnOnce(&Wire, &str) -> reqwest::RequestBuilder) -> Result<Answer, LeverError> {
        let (lever, path) = match party {
            Party::HelseId => (&self.helseid, "/__mock/faults"),
            Party::Fhir => (&self.fhir, "/faults"),
        };
        self.send(lever, party.name(), request(&self.wire, &format!("{}{path}", lever.url))).await
    }

    async fn send(&self, lever: &Lever, party: &'static str, request: reqwest::RequestBuilder) -> Result<Answer, LeverError> {
        let answer = self.wire.send(request.header("authorization", bearer(&lever.secret))).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let said = answer.json().and_then(|said| text_at(&said, "/error_description").map(str::to_owned)).unwrap_or_default();
        Err(LeverError::Refused { party, status: answer.status, said: said.chars().take(200).collect() })
    }

    /// A client of HelseID's by its name there, with the key that the mock made for it.
    ///
    /// # Errors
    /// [`LeverError`]
    pub async fn client(&self, name: &str) -> Result<ClientThere, LeverError> {
        let party = Party::HelseId.name();
        let request = self.wire.get(&format!("{}/__mock/clients", self.helseid.url));
        let said = self.send(&self.helseid, party, request).await?.json().unwrap_or_else(|| json!({}));
        let clients = said.get("clients").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let found = clients.iter().find(|client| text_at(client, "/name") == Some(name)).ok_or(LeverError::Answer(party))?;
        let key = found.get("private_jwk").and_then(|jwk| SigningKey::from_private_jwk(jwk).ok()).ok_or(LeverError::Answer(party))?;
        let uris = found.get("redirect_uris").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(ClientThere {
            id: text_at(found, "/client_id").unwrap_or_default().to_owned(),
            key,
            redirect_uris: uris.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }
}
