//! authorization_code. §2.6.
