//! The mock of HelseID, alone on a free port, with a clock we move. `reference/helseid.md` §7.

mod admin;
mod assertions;
mod catalogue;
mod discovery;
mod dpop;
mod exchange;
mod faults;
mod levers;
mod login;
mod logout;
mod organisation;
mod pages;
mod par;
mod sessions;
mod test_token;
mod tokens;
mod transport;
mod world;
