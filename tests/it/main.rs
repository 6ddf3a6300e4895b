//! Everything that is proved over the wire, in one binary.

mod config;
mod pages;
