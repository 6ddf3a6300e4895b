//! Another SMART issuer whose tokens may be exchanged here: the hospital case, where one EPJ's token is not trusted at the next
//! system. DESIGN §3, Token exchange (d).

use std::collections::BTreeMap;

use crate::protocol::ids::{ClientId, FhirBase, Issuer};
use crate::secret::Secret;

/// One trusted issuer. Its ids mean nothing here: client, person and patient are each mapped.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    pub issuer: Issuer,
    /// Its FHIR base: the audience its tokens must have, and where their patient and person are read.
    pub base: FhirBase,
    /// How we introspect there: whether a token is live, and whom it is about, is that issuer's to say.
    pub client_id: ClientId,
    pub client_secret: Secret<String>,
    /// Its clients' ids, and which of ours each of them is.
    pub clients: BTreeMap<ClientId, ClientId>,
    /// The identifier systems a patient is found again by, best first.
    pub patient_systems: Vec<String>,
    /// The same for the person.
    pub person_systems: Vec<String>,
}
