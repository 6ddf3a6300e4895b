//! What was asked and how it was decided. M16.

#[derive(Default)]
pub struct Journal;

impl Journal {
    pub fn clear(&self) {}
}
