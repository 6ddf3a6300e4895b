//! Metadata and keys. §1.2, 1.3.
