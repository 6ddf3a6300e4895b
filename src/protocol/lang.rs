//! The language of a page. OIDC Core §3.1.2.1 `ui_locales`, RFC 9110 §12.5.4.

use serde::{Deserialize, Serialize};

/// Bokmål or English.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    Nb,
    En,
}
