//! Faults, around every endpoint. §7.3.

use std::sync::Arc;

use super::faults::Fault;

/// The faults that meet one request, in its extensions; handlers ask here at the points they can fail at.
#[derive(Clone, Debug, Default)]
pub struct Active(pub Arc<Vec<Fault>>);
