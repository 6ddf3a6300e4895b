//! The words on the wire: parse and print. No I/O, no clock, no policy.

pub mod ids;
pub mod lang;
pub mod r4;
pub mod scope;
