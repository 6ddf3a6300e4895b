//! The browser arrives. §2.4.
