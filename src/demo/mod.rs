//! Two foreign parties that live in the same binary and know the server only over HTTP: an EPJ with a page to launch from
//! ([`epj`]) and a NAV-style confidential app ([`app`]); and the walk-through that plays them on the terminal ([`walk`]).
//!
//! Nothing here reads the server's own code for rules: what is checked is checked with independent libraries.

pub mod app;
pub mod epj;
pub mod facts;
pub mod faults;
pub mod levers;
pub mod page;
pub mod sealed;
pub mod sykmelding;
pub mod walk;
pub mod wire;

#[cfg(test)]
mod stub;
#[cfg(test)]
mod tab;
