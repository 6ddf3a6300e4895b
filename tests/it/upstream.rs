//! Our client at the identity provider against the mock of it, over HTTP, with its faults. `reference/helseid.md` §6.8, §7.6.

mod faults;
mod flows;
mod world;
