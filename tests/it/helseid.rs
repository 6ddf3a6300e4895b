//! The mock of HelseID, from outside.

mod assertions;
mod dpop;
mod exchange;
mod organisation;
mod party;
