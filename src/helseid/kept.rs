//! Everything that is remembered between two requests, and for how long.

/// The memory of one mock.
#[derive(Default)]
pub struct Kept;

impl Kept {
    pub fn clear(&self) {}
}
