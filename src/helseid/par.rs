//! Pushed authorization requests. §2.2.
