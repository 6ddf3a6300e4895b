//! client_credentials. §2.6.
