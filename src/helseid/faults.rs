//! Faults on demand. §7.3.

#[derive(Clone, Debug)]
pub struct Fault;

#[derive(Default)]
pub struct Faults;

impl Faults {
    pub fn clear(&self) {}
}
