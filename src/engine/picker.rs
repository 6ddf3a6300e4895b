//! Patients and encounters for the pages of a standalone launch. SAL §3.6.

use super::Engine;
use super::keys::KeysError;
use crate::domain::interaction::Interaction;
use crate::fhir_client::{EncounterSummary, FhirClient, FhirDown, Found, PatientQuery, PatientSummary};
use crate::protocol::ids::{FhirId, Reference};
use crate::secret::Secret;

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
    #[error("nobody is signed in")]
    NoUser,
}

impl Engine {
    /// What the user of an interaction may read, and nothing else: the FHIR server decides by the user's own rights. SAL §3.2 row 12,
    /// SAL-203.
    fn reading_as_user(&self, interaction: &Interaction) -> Result<(&FhirClient, Secret<String>), PickerError> {
        let base = &interaction.request.base;
        let user = interaction.user.as_ref().ok_or(PickerError::NoUser)?;
        Ok((self.fhir.get(base).ok_or(PickerError::NoBase)?, self.token_as(base, &user.fhir_user)?))
    }

    /// Patients by name, birth date or identity number; the first ones where nothing is asked for.
    ///
    /// # Errors
    /// [`PickerError`]: a FHIR server that cannot answer.
    pub async fn patients(&self, interaction: &Interaction, query: &PatientQuery) -> Result<Found<PatientSummary>, PickerError> {
        let (fhir, token) = self.reading_as_user(interaction)?;
        Ok(fhir.patients(&token, query, SHOWN).await?)
    }

    /// The patient of this id, if there is one that the user may see.
    ///
    /// # Errors
    /// [`PickerError`]
    pub async fn patient(&self, interaction: &Interaction, id: &FhirId) -> Result<Option<PatientSummary>, PickerError> {
        let (fhir, token) = self.reading_as_user(interaction)?;
        let what = Reference::to("Patient", id);
        Ok(fhir.read(&token, &what).await?.and_then(|resource| resource.patient_summary()))
    }

    /// The open encounters of a patient.
    ///
    /// # Errors
    /// [`PickerError`]
    pub async fn open_encounters(&self, interaction: &Interaction, patient: &FhirId) -> Result<Vec<EncounterSummary>, PickerError> {
        let (fhir, token) = self.reading_as_user(interaction)?;
        Ok(fhir.open_encounters(&token, patient).await?)
    }
}
