//! What holds on Redis beyond the contract of every store: few round trips, outages, fail-overs, several nodes.

mod failover;
mod nodes;
pub mod servers;
mod single;
