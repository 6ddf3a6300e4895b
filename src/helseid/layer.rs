//! Faults, around every endpoint. §7.3.
