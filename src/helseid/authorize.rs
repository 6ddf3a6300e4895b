//! The browser arrives. §2.4.
#[derive(Clone, Debug)]
pub struct Visit;
