//! DPoP at the token endpoint. §2.7, M6.
