//! Client assertions. §2.5, M5.
