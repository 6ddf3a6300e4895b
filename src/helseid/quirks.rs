//! What is unsure about the real service, as switches. §7.5.

#[derive(Clone, Debug, Default)]
pub struct Quirks;
