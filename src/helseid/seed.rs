//! Who there is at the start: clients, APIs, users and organisations. §7.4.

#[derive(Clone, Debug, Default)]
pub struct Seed;
