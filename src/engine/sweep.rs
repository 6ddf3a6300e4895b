//! What is done now and then: forgetting what has expired, and looking whether the keys changed.

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
