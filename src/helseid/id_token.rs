//! id_tokens: claims by identity scope. §3.2.
