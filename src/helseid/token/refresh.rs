//! refresh_token. §2.6, 2.8.
