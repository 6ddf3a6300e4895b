//! The mock of HelseID, alone on a free port, with a clock we move. `reference/helseid.md` §7.

mod discovery;
mod faults;
mod login;
mod logout;
mod par;
mod sessions;
mod tokens;
mod world;
