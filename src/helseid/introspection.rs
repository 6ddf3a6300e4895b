//! What a token is worth. RFC 7662.
