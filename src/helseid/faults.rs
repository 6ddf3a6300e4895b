//! Faults on demand. §7.3.

#[derive(Default)]
pub struct Faults;

impl Faults {
    pub fn clear(&self) {}
}
