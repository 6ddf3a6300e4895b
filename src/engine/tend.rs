//! What is done now and then: following what became of the keys.

use super::Engine;
use super::keys::KeysError;

impl Engine {
    /// Follows what other nodes did to the keys, and drops those that are gone.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn tend(&self) -> Result<(), KeysError> {
        self.keys.refresh().await
    }
}
