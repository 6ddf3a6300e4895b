//! Patients and encounters for the pages of a standalone launch. SAL §3.6.

use super::Engine;
use super::keys::KeysError;
use crate::fhir_client::{EncounterSummary, FhirDown, Found, PatientQuery, PatientSummary};
use crate::protocol::ids::{FhirBase, FhirId};
use std::collections::BTreeSet;

/// How many patients a page shows.
const SHOWN: usize = 20;

/// Why the picker has nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum PickerError {
    #[error(transparent)]
    Fhir(#[from] FhirDown),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("the FHIR base is not configured")]
    NoBase,
}

impl Engine {
    /// Patients by name, birth date or identity number; the first ones where nothing is asked for.
    ///
    /// # Errors
    /// [`PickerError`]: a FHIR server that cannot answer.
    pub async fn patients(&self, base: &FhirBase, query: &PatientQuery) -> Result<Found<PatientSummary>, PickerError> {
        let token = self.own_token(base, &BTreeSet::new())?;
        Ok(self.fhir.get(base).ok_or(PickerError::NoBase)?.patients(&token, query, SHOWN).await?)
    }

    /// The patient of this id, if there is one.
    ///
    /// # Errors
    /// [`PickerError`]
    pub async fn patient(&self, base: &FhirBase, id: &FhirId) -> Result<Option<PatientSummary>, PickerError> {
        let token = self.own_token(base, &BTreeSet::new())?;
        let what = crate::protocol::ids::Reference { kind: crate::protocol::ids::ResourceType::parse("Patient").expect("a FHIR type"), id: id.clone() };
        let found = self.fhir.get(base).ok_or(PickerError::NoBase)?.read(&token, &what).await?;
        Ok(found.and_then(|resource| resource.patient_summary()))
    }

    /// The open encounters of a patient.
    ///
    /// # Errors
    /// [`PickerError`]
    pub async fn open_encounters(&self, base: &FhirBase, patient: &FhirId) -> Result<Vec<EncounterSummary>, PickerError> {
        let token = self.own_token(base, &BTreeSet::new())?;
        Ok(self.fhir.get(base).ok_or(PickerError::NoBase)?.open_encounters(&token, patient).await?)
    }
}
